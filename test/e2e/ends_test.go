/*
Copyright 2026 The pat-operator Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// Killed and started again, both processes know what they knew: tokens live, those revoked meanwhile do not.
func TestCase17_RevokedWhileTheOperatorIsDown(t *testing.T) {
	long.Only(t)
	ns := team(t)
	kept := issued(t, alice, pat(ns, "kept"))
	gone := issued(t, alice, pat(ns, "gone"))
	mine, spec := holder(t, ns, "mine", time.Hour)
	create(t, alice, pat(ns, "mine", spec))
	waitFor(t, ns, "mine", "Active", "True/Active")
	for _, plaintext := range []string{kept, gone, mine} {
		accepted(t, plaintext)
	}
	operator.Kill()
	verifier.Kill()
	for _, name := range []string{"gone", "mine"} {
		if err := alice.Delete(t.Context(), pat(ns, name)); err != nil {
			t.Fatal(err)
		}
	}
	startOperator(t)
	startVerifier(t)
	accepted(t, kept)
	refused(t, gone)
	refused(t, mine)

	t.Run("applied again from Git", func(t *testing.T) {
		create(t, alice, pat(ns, "mine", spec))
		waitFor(t, ns, "mine", "Stalled", "True/TokenRevoked")
		if got := directReview(t, mine); got.Authenticated {
			t.Error("a revoked token works again")
		}
		create(t, alice, pat(ns, "gone"))
		if again := take(t, alice, ns, "gone"); again == gone {
			t.Error("the same token was issued again")
		}
		if got := directReview(t, gone); got.Authenticated {
			t.Error("a revoked token works again")
		}
	})
}

func TestCase17_ReplacedByForceIsANewToken(t *testing.T) {
	ns := team(t)
	manifest := fmt.Sprintf("apiVersion: pat-operator.io/v1alpha1\nkind: PersonalAccessToken\nmetadata: {name: my-pat, namespace: %s}\nspec: {displayName: x}\n", ns)
	kubectl(t, alice.Kubeconfig, manifest, "apply", "-f", "-")
	before := take(t, alice, ns, "my-pat")
	kubectl(t, alice.Kubeconfig, manifest, "replace", "--force", "-f", "-")
	after := take(t, alice, ns, "my-pat")
	if before == after {
		t.Error("the old token was issued again")
	}
	eventually(t, patience, func() bool { return !directReview(t, before).Authenticated }, func() string { return "the old token works" })
	accepted(t, after)
}

func TestCase17_ARecordDeletedBehindOurBack(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	record := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.RecordsNamespace, Name: recordName(ns, "my-pat")}}
	withoutRecordsPolicy(t, func() {
		if err := admin.Delete(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	})
	waitFor(t, ns, "my-pat", "Stalled", "True/RecordLost")
	refused(t, plaintext)
	err := change(t, alice, ns, "my-pat", func(s *spec) { s.Rotation = &v1alpha1.Rotation{Trigger: "the record was lost"} })
	wantStatus(t, err, 403, "an earlier change was refused", "delete this PersonalAccessToken and apply it again")
	if err := alice.Delete(t.Context(), pat(ns, "my-pat")); err != nil {
		t.Fatal(err)
	}
	another := issued(t, alice, pat(ns, "my-pat"))
	refused(t, plaintext)
	accepted(t, another)
}

// A namespace that goes away takes its tokens with it, and goes.
func TestCase18_ANamespaceThatIsDeletedRevokes(t *testing.T) {
	long.Only(t)
	t.Parallel()
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
	if err := admin.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	refused(t, plaintext)
	eventually(t, 3*patience, func() bool {
		return apierrors.IsNotFound(admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace))
	}, func() string { return "the namespace does not go away" })
	eventually(t, patience, func() bool {
		var records corev1.SecretList
		if err := admin.List(t.Context(), &records, client.InNamespace(cluster.RecordsNamespace), client.MatchingLabels{"pat-operator.io/namespace": ns}); err != nil {
			t.Fatal(err)
		}
		return len(records.Items) == 0
	}, func() string { return "its record is left" })
}

// Many deletions at once do not open the breaker: all tokens end, and no record waits for an hour.
func TestCase43_DeletionsByTheHundredEndAtOnce(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := 150
	switch {
	case *soak >= 30*time.Minute:
		n = 10_000
	case *soak > 0:
		n = 1000
	}
	ns := team(t)
	const lanes = 8
	var creating sync.WaitGroup
	for lane := range lanes {
		creating.Go(func() {
			for i := lane; i < n; i += lanes {
				if err := alice.Create(t.Context(), pat(ns, fmt.Sprintf("pat-%d", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	creating.Wait()
	settled(t, ns, n)
	plaintexts := []string{take(t, alice, ns, "pat-0"), take(t, alice, ns, fmt.Sprintf("pat-%d", n-1))}
	for _, plaintext := range plaintexts {
		accepted(t, plaintext)
	}
	eventually(t, 5*patience, func() bool {
		return alice.DeleteAllOf(t.Context(), &v1alpha1.PersonalAccessToken{}, client.InNamespace(ns)) == nil
	}, func() string { return "they cannot be deleted" })
	for _, plaintext := range plaintexts {
		refused(t, plaintext)
	}
	left := &corev1.SecretList{}
	eventually(t, 5*patience, func() bool {
		if err := admin.List(t.Context(), left, client.InNamespace(cluster.RecordsNamespace), client.MatchingLabels{record.LabelNamespace: ns}, client.Limit(1)); err != nil {
			t.Fatal(err)
		}
		return len(left.Items) == 0
	}, func() string { return fmt.Sprintf("the record %s is left", left.Items[0].Name) })
}

// A foreign finalizer holds the resource: the token ends as soon as the resource is marked deleted.
func TestCase18_MarkedDeletedIsRefused(t *testing.T) {
	long.Only(t)
	t.Parallel()
	ns := team(t)
	p := pat(ns, "my-pat")
	p.Finalizers = []string{"example.com/hold"}
	plaintext := issued(t, alice, p)
	accepted(t, plaintext)
	if err := alice.Delete(t.Context(), pat(ns, "my-pat")); err != nil {
		t.Fatal(err)
	}
	refused(t, plaintext)
	if err := merge(t, admin, ns, "my-pat", `{"metadata":{"finalizers":null}}`); err != nil {
		t.Fatal(err)
	}
}

// A quota that keeps a token from being issued is named by the resource and by an event, and nothing else is to be done once
// it is lifted.
func TestCase62_KubectlNamesTheQuota(t *testing.T) {
	long.Only(t)
	t.Parallel()
	ns := team(t)
	none := corev1.ResourceList{corev1.ResourceName("count/secrets"): resource.MustParse("0")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "no-secrets"}, Spec: corev1.ResourceQuotaSpec{Hard: none}}
	create(t, admin, quota)
	eventually(t, patience, func() bool {
		return admin.Get(t.Context(), client.ObjectKeyFromObject(quota), quota) == nil && len(quota.Status.Hard) > 0
	}, func() string { return "nobody reckons with the quota" })
	create(t, alice, pat(ns, "my-pat"))
	waitFor(t, ns, "my-pat", v1alpha1.ConditionReady, "False/IssuingFailed")
	const cause = `exceeded quota: no-secrets`
	if says := kubectl(t, alice.Kubeconfig, "", "-n", ns, "get", "pat", "my-pat", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].message}`); !strings.Contains(says, cause) {
		t.Errorf("Ready says %q", says)
	}
	var events string
	eventually(t, patience, func() bool {
		events = kubectl(t, cl.AdminKubeconfig, "", "-n", ns, "events", "--for", "pat/my-pat", "--types", "Warning")
		return strings.Contains(events, "IssuingFailed") && strings.Contains(events, cause)
	}, func() string { return "no event names it: " + events })
	if err := admin.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ns, "my-pat", v1alpha1.ConditionReady, "True/Reconciled")
}

// kubectl says of a resource that a finalizer holds that its token does not work, and why.
func TestCase59_KubectlSaysDeleting(t *testing.T) {
	long.Only(t)
	t.Parallel()
	ns := team(t)
	p := pat(ns, "my-pat")
	p.Finalizers = []string{"example.com/hold"}
	issued(t, alice, p)
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "delete", "pat", "my-pat", "--wait=false")
	for condition, want := range map[string]string{v1alpha1.ConditionActive: "False/Deleting", v1alpha1.ConditionReady: "False/Deleting"} {
		waitFor(t, ns, "my-pat", condition, want)
	}
	rows := strings.Split(kubectl(t, alice.Kubeconfig, "", "-n", ns, "get", "pat", "my-pat", "-o", "wide"), "\n")
	if head, row := strings.Fields(rows[0]), strings.Fields(rows[1]); head[len(head)-1] != "REASON" || row[len(row)-1] != "Deleting" || !slices.Contains(row, "False") {
		t.Errorf("kubectl get prints\n%s", strings.Join(rows, "\n"))
	}
	message := meta.FindStatusCondition(get(t, ns, "my-pat").Status.Conditions, v1alpha1.ConditionActive).Message
	if !strings.Contains(message, "Finalizers still hold the resource: example.com/hold.") {
		t.Errorf("says %q", message)
	}
	var events string
	eventually(t, patience, func() bool {
		events = kubectl(t, cl.AdminKubeconfig, "", "-n", ns, "events", "--for", "pat/my-pat", "--types", "Warning")
		return strings.Contains(events, message)
	}, func() string { return "no event says it: " + events })
	if err := merge(t, admin, ns, "my-pat", `{"metadata":{"finalizers":null}}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool {
		return apierrors.IsNotFound(admin.Get(t.Context(), client.ObjectKeyFromObject(p), pat(ns, "my-pat")))
	}, func() string { return "the resource does not go away" })
}
