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

package gitops

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	lastApplied   = "kubectl.kubernetes.io/last-applied-configuration"
	instanceLabel = "app.kubernetes.io/instance"
)

// Argo CD runs kubectl: by default as people do, with the sync options ServerSideApply=true and Replace=true otherwise.
var (
	clientSide = []string{"apply", "-f", "-"}
	serverSide = []string{"apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"}
	replace    = []string{"replace", "-f", "-"}
)

// tracked is a manifest with the mark of its Argo CD application: by default an annotation, and a label where it is told so.
func tracked(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	o.SetAnnotations(map[string]string{"argocd.argoproj.io/tracking-id": "tokens:pat-operator.io/PersonalAccessToken:" + o.GetNamespace() + "/" + o.GetName()})
	o.SetLabels(map[string]string{instanceLabel: "tokens"})
	return o
}

// sync applies a manifest as Argo CD does, as the account that the project names.
func (n *tenant) sync(t *testing.T, way []string, o *unstructured.Unstructured) string {
	t.Helper()
	return n.kubectl(t, n.argocd, text(t, o), way...)
}

// inSync expects Argo CD to see no difference between Git and what is live, by either of its comparisons.
func (n *tenant) inSync(t *testing.T, git *unstructured.Unstructured) {
	t.Helper()
	live := n.live(t, git.GetName())
	live.SetManagedFields(nil)
	if diff := cmp.Diff(live.Object, n.threeWay(t, git, live)); diff != "" {
		t.Errorf("%s is OutOfSync (- live, + Git):\n%s", git.GetName(), diff)
	}
	// ServerSideDiff=true,IncludeMutationWebhook=true, which is the stricter form.
	predicted := &unstructured.Unstructured{}
	out, _, err := n.try(t, n.argocd, text(t, git), append(slices.Clone(serverSide), "--dry-run=server", "--output=json")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := predicted.UnmarshalJSON([]byte(out)); err != nil {
		t.Fatal(err)
	}
	predicted.SetManagedFields(nil)
	if diff := cmp.Diff(live.Object, predicted.Object); diff != "" {
		t.Errorf("%s is OutOfSync by ServerSideDiff (- live, + Git):\n%s", git.GetName(), diff)
	}
}

// threeWay is what is live with what Git would change in it: Argo CD's comparison, where it says nothing else. Like Argo CD
// it passes over annotations that are empty, which kubectl has put into the one that it compares by.
func (n *tenant) threeWay(t *testing.T, git, live *unstructured.Unstructured) map[string]any {
	t.Helper()
	original := git.DeepCopy()
	if applied := live.GetAnnotations()[lastApplied]; applied != "" {
		if err := original.UnmarshalJSON([]byte(applied)); err != nil {
			t.Fatal(err)
		}
	}
	if len(original.GetAnnotations()) == 0 {
		original.SetAnnotations(nil)
	}
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch([]byte(text(t, original)), []byte(text(t, git)), []byte(text(t, live)))
	if err != nil {
		t.Fatal(err)
	}
	var changes map[string]any
	if err := json.Unmarshal(patch, &changes); err != nil {
		t.Fatal(err)
	}
	merged := live.DeepCopy().Object
	merge(merged, changes)
	return merged
}

// merge applies a JSON merge patch.
func merge(into, changes map[string]any) {
	for key, change := range changes {
		is, ok := into[key].(map[string]any)
		deeper, nested := change.(map[string]any)
		switch {
		case change == nil:
			delete(into, key)
		case ok && nested:
			merge(is, deeper)
		default:
			into[key] = change
		}
	}
}

// Synced again by any of Argo CD's ways, a token is as it was, and what it compares shows no difference.
func TestArgoCDSeesNoDifference(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "argocd-drift")
	for name, way := range map[string][]string{"client-side": clientSide, "server-side": serverSide, "replace": replace} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mine, ofHolder := n.holder(t, name+"-mine", time.Hour)
			git := []*unstructured.Unstructured{
				tracked(n.manifest(name+"-delivered", spec{"displayName": "x", "expiresAt": in(time.Hour), "audiences": []any{}, "suspend": false})),
				tracked(n.manifest(name+"-mine", ofHolder)),
				tracked(n.manifest(name+"-ci", spec{"user": map[string]any{"username": "system:serviceaccount:" + n.ns + ":ci"}})),
				tracked(n.manifest(name+"-parked", spec{"suspend": true})),
				tracked(n.manifest(name+"-past", spec{"expiresAt": in(-time.Hour)})),
			}
			for _, o := range git {
				first := way
				if name == "replace" {
					first = []string{"create", "-f", "-"}
				}
				n.sync(t, first, o)
			}
			plaintext := n.take(t, name+"-delivered")
			n.waitFor(t, name+"-mine", v1alpha1.ConditionActive, "True/Active")
			n.waitFor(t, name+"-parked", v1alpha1.ConditionActive, "False/Suspended")
			n.waitFor(t, name+"-past", v1alpha1.ConditionActive, "False/Expired")
			n.waitFor(t, name+"-ci", v1alpha1.ConditionActive, "True/Active")
			ids := n.ids(t, git)
			for _, o := range git {
				before := n.get(t, o.GetName())
				for range 2 {
					n.sync(t, way, o)
					n.inSync(t, o)
				}
				after := n.get(t, o.GetName())
				if after.Generation != before.Generation || name != "replace" && after.ResourceVersion != before.ResourceVersion {
					t.Errorf("%s: generation %d, was %d; revision %s, was %s", o.GetName(), after.Generation, before.Generation, after.ResourceVersion, before.ResourceVersion)
				}
			}
			if diff := cmp.Diff(ids, n.ids(t, git)); diff != "" {
				t.Errorf("tokens (- before, + after):\n%s", diff)
			}
			works(t, plaintext)
			works(t, mine)
		})
	}
}

// A PUT leaves out what the webhook has put in: it is taken from the old object, not from who syncs.
func TestCase08_ReplaceKeepsTheUser(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "argocd-replace")
	_, alice, err := cl.User("alice", n.ns+"-devs")
	if err != nil {
		t.Fatal(err)
	}
	n.kubectl(t, "", "", "create", "rolebinding", "devs", "--clusterrole=pat-operator-personalaccesstoken-edit", "--group="+n.ns+"-devs")
	hers := n.manifest("hers", nil)
	unstructured.RemoveNestedField(hers.Object, "spec", "user")
	NewWithT(t).Eventually(func() error {
		_, _, err := cl.Kubectl(t.Context(), alice, text(t, hers), "create", "-f", "-")
		return err
	}, patience, poll).Should(Succeed())
	ofCI := n.manifest("ci", spec{"user": map[string]any{"username": "system:serviceaccount:" + n.ns + ":ci"}})
	n.sync(t, serverSide, ofCI)
	plaintext := n.take(t, "hers")
	n.waitFor(t, "ci", v1alpha1.ConditionActive, "True/Active")
	for _, o := range []*unstructured.Unstructured{hers, ofCI} {
		before := n.get(t, o.GetName())
		n.sync(t, replace, o)
		after := n.get(t, o.GetName())
		if diff := cmp.Diff(before.Spec.User, after.Spec.User); diff != "" || after.Status.TokenID != before.Status.TokenID {
			t.Errorf("%s (- before, + after):\n%s", o.GetName(), diff)
		}
	}
	works(t, plaintext)
}

// Replace and Force together delete and create: an operator's token is another, a holder's stays revoked.
func TestCase17_ReplacedByForceInArgoCD(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "argocd-force")
	mine, ofHolder := n.holder(t, "mine", time.Hour)
	delivered, declared := n.manifest("delivered", nil), n.manifest("mine", ofHolder)
	n.sync(t, clientSide, delivered)
	n.sync(t, clientSide, declared)
	first := n.take(t, "delivered")
	n.waitFor(t, "mine", v1alpha1.ConditionActive, "True/Active")
	force := []string{"replace", "--force", "-f", "-"}
	n.sync(t, force, delivered)
	n.sync(t, force, declared)
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	over(t, first)
	over(t, mine)
	works(t, n.take(t, "delivered"))
	n.sync(t, clientSide, declared)
	n.inSync(t, declared)
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	over(t, mine)
}

// Where Argo CD tracks by a label, it would delete what has the label and is not in Git. None of our Secrets has it.
func TestCase20_NothingOfOursIsPrunedByLabel(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "argocd-prune")
	git := tracked(n.manifest("my-pat", nil))
	prune := append(slices.Clone(clientSide), "--prune", "--selector="+instanceLabel+"=tokens",
		"--prune-allowlist=core/v1/Secret", "--prune-allowlist=pat-operator.io/v1alpha1/PersonalAccessToken")
	other := tracked(n.manifest("other", nil))
	n.kubectl(t, "", text(t, git), prune...)
	plaintext := n.take(t, "my-pat")
	n.kubectl(t, "", text(t, git), prune...)
	var secrets corev1.SecretList
	if err := admin.List(t.Context(), &secrets, client.HasLabels{instanceLabel}); err != nil {
		t.Fatal(err)
	}
	for i := range secrets.Items {
		if secrets.Items[i].Labels[instanceLabel] == "tokens" {
			t.Errorf("Argo CD takes %s/%s for its own", secrets.Items[i].Namespace, secrets.Items[i].Name)
		}
	}
	if again := n.take(t, "my-pat"); again != plaintext {
		t.Error("the delivery Secret is another")
	}
	works(t, plaintext)
	n.kubectl(t, "", text(t, other), prune...)
	over(t, plaintext)
}

// One tool after the other, and both at once: each leaves the token alone.
func TestSwitchingBetweenTools(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "switch")
	f := newFlux(t, n)
	git := n.manifest("my-pat", spec{"displayName": "x", "expiresInDays": int64(30), "suspend": false})
	n.sync(t, clientSide, git)
	plaintext := n.take(t, "my-pat")
	id := n.get(t, "my-pat").Status.TokenID
	for range 2 {
		if _, err := f.try(t, git); err != nil { // the first adds Flux's labels, and takes away what kubectl left
			t.Fatal(err)
		}
		f.quiet(t, git)
		n.sync(t, serverSide, git)
		n.inSync(t, git)
		n.sync(t, clientSide, git)
		n.sync(t, replace, git)
		n.kubectl(t, n.argocd, text(t, git), "apply", "--server-side", "-f", "-", "--force-conflicts") // people's own
	}
	if now := n.get(t, "my-pat"); now.Status.TokenID != id || now.Generation != 1 {
		t.Errorf("token %s, was %s; generation %d", now.Status.TokenID, id, now.Generation)
	}
	works(t, plaintext)
	raw, err := yaml.Marshal(n.live(t, "my-pat").GetManagedFields())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("managers in the end:\n%s", raw)
}
