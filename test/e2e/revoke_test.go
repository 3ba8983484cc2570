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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// revoke names a token in status.revoked, as a user who may patch status.
func revoke(t *testing.T, u user, ns, name, id string) {
	t.Helper()
	patch := fmt.Sprintf(`{"status":{"revoked":[{"tokenID":%q,"at":%q,"by":%q,"reason":"left on a train"}]}}`, id, time.Now().UTC().Format(time.RFC3339), u.Name)
	kubectl(t, u.Kubeconfig, "", "-n", ns, "patch", "pat", name, "--subresource=status", "--type=merge", "-p", patch)
}

// Revoked while its resource is kept: verifiers do not wait for the operator, nothing brings the token back, and its
// resource stays as a trace, quietly.
func TestCase17_RevokedAndKeptStaysRevoked(t *testing.T) {
	long.Only(t)
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	mine, spec := holder(t, ns, "mine", time.Hour)
	create(t, alice, pat(ns, "mine", spec))
	waitFor(t, ns, "mine", v1alpha1.ConditionActive, "True/Active")
	for _, token := range []string{plaintext, mine} {
		accepted(t, token)
	}
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"my-pat", "mine"} {
		revoke(t, alice, ns, name, get(t, ns, name).Status.TokenID)
	}
	for name, token := range map[string]string{"my-pat": plaintext, "mine": mine} {
		took := eventually(t, patience, func() bool { return !directReview(t, token).Authenticated }, func() string { return name + " still works" })
		t.Logf("%s: refused by the verifier after %v, with no operator", name, took)
		if got := directReview(t, token); got.Error != "" {
			t.Errorf("%s: %+v; want a plain no", name, got)
		}
	}
	// A revocation that goes from status, past the policy, stays in force while the verifier runs.
	pastStatusPolicy(t, ns, "mine", `{"status":{"revoked":null}}`)
	eventually(t, patience, func() bool { return len(get(t, ns, "mine").Status.Revoked) == 0 }, func() string { return "it is not taken back" })
	refused(t, mine)
	refused(t, plaintext)
	revoke(t, alice, ns, "mine", get(t, ns, "mine").Status.TokenID)

	startOperator(t)
	for name, token := range map[string]string{"my-pat": plaintext, "mine": mine} {
		waitFor(t, ns, name, v1alpha1.ConditionActive, "False/Revoked")
		waitFor(t, ns, name, v1alpha1.ConditionReady, "True/Reconciled")
		if got := get(t, ns, name).Status.Revoked; len(got) != 1 || got[0].By != "alice" || got[0].Reason != "left on a train" {
			t.Errorf("%s: status.revoked %v", name, got)
		}
		// Its record says so now: neither status nor spec, nor another process, brings it back.
		pastStatusPolicy(t, ns, name, `{"status":null}`)
		kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", name, "--type=merge", "-p", `{"spec":{"suspend":true}}`)
		kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", name, "--type=merge", "-p", `{"spec":{"suspend":false}}`)
		waitFor(t, ns, name, v1alpha1.ConditionActive, "False/Revoked")
		if directReview(t, token).Authenticated {
			t.Errorf("%s is alive again", name)
		}
	}
	restartVerifier(t)
	refused(t, plaintext)
	refused(t, mine)

	// Another token is another matter.
	accepted(t, rotate(t, ns, "my-pat", "2", 0))
	refused(t, plaintext)
}

// Every use that a verifier sees is in status, soon where it is the first; what ends by it is the predecessor alone.
func TestUseIsInStatusAndRetiresAPredecessor(t *testing.T) {
	t.Parallel()
	ns := team(t)
	first := issued(t, alice, pat(ns, "my-pat"))
	if s := get(t, ns, "my-pat").Status; s.FirstUsedAt != nil || s.LastUsedAt != nil {
		t.Errorf("before any use: first %v, last %v", s.FirstUsedAt, s.LastUsedAt)
	}
	began := time.Now().Truncate(time.Second)
	accepted(t, first)
	used := func() *metav1.Time { return get(t, ns, "my-pat").Status.FirstUsedAt }
	took := eventually(t, patience, func() bool { return used() != nil }, func() string { return "the first use is not in status" })
	t.Logf("the first use was in status after %v", took)
	s := get(t, ns, "my-pat").Status
	if s.FirstUsedAt.Time.Before(began) || s.LastUsedAt.Time.Before(began) || s.LastUsedAt.After(time.Now()) {
		t.Errorf("used from %v: first %v, last %v", began, s.FirstUsedAt, s.LastUsedAt)
	}

	if err := change(t, alice, ns, "my-pat", func(s *spec) {
		s.Rotation = &v1alpha1.Rotation{Trigger: "2", OverlapSeconds: 3600, RetireOnFirstUse: true}
	}); err != nil {
		t.Fatal(err)
	}
	was := s.TokenID
	eventually(t, patience, func() bool {
		now := get(t, ns, "my-pat").Status
		return now.TokenID != was && now.DeliverySecretName != ""
	},
		func() string { return "it is not rotated" })
	if s := get(t, ns, "my-pat").Status; s.FirstUsedAt != nil || s.PreviousTokenID != was {
		t.Errorf("rotated: first used %v, predecessor %q", s.FirstUsedAt, s.PreviousTokenID)
	}
	if !directReview(t, first).Authenticated || used() != nil {
		t.Errorf("the predecessor is used: valid %v, and the successor first used %v", directReview(t, first).Authenticated, used())
	}
	accepted(t, take(t, alice, ns, "my-pat"))
	took = eventually(t, patience, func() bool { return !directReview(t, first).Authenticated }, func() string { return "the predecessor outlives the first use of its successor" })
	t.Logf("the predecessor was refused %v after the first use of its successor", took)
	eventually(t, patience, func() bool { return used() != nil }, func() string { return "the first use of the successor is not in status" })
}

// Nothing but the two times is of the verifier's field owner, and the operator's are its own.
func TestCase22_LastUseOwnsTwoFieldsOfStatus(t *testing.T) {
	t.Parallel()
	ns := team(t)
	accepted(t, issued(t, alice, pat(ns, "my-pat")))
	eventually(t, patience, func() bool { return get(t, ns, "my-pat").Status.LastUsedAt != nil }, func() string { return "the use is not in status" })
	owned := map[string]string{}
	for _, f := range get(t, ns, "my-pat").ManagedFields {
		if f.Subresource == "status" {
			owned[f.Manager+" "+string(f.Operation)] = f.FieldsV1.GetRawString()
		}
	}
	want := map[string]string{"pat-operator-last-used Apply": `{"f:status":{"f:firstUsedAt":{},"f:lastUsedAt":{}}}`}
	operators := cmpopts.IgnoreMapEntries(func(manager, _ string) bool { return manager == "pat-operator Apply" })
	if diff := cmp.Diff(want, owned, operators); diff != "" || owned["pat-operator Apply"] == "" {
		t.Errorf("managers of status (-want +got):\n%s", diff)
	}
}
