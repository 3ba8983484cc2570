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
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// A person deletes a resource that Git still declares: the resource comes back, and a holder's token does not.
func TestCase17_GitStillDeclaresWhatWasRevoked(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "revoked-in-git")
	f := newFlux(t, n)
	mine, ofHolder := n.holder(t, "mine", time.Hour)
	git := n.manifest("mine", ofHolder)
	f.apply(t, ssa.CreatedAction, git)
	n.waitFor(t, "mine", v1alpha1.ConditionActive, "True/Active")
	works(t, mine)
	for range 2 {
		n.kubectl(t, "", "", "delete", "pat", "mine")
		f.apply(t, ssa.CreatedAction, git)
		n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
		over(t, mine)
	}
	f.quiet(t, git)
	n.sync(t, serverSide, git)
	n.inSync(t, git)
	over(t, mine)
}

// A person revokes a token that Git declares, and keeps the resource. It stays revoked, however it is applied again, and
// needs no further action.
func TestCase17_GitStillDeclaresWhatWasRevokedAndKept(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "revoked-and-kept")
	f := newFlux(t, n)
	mine, ofHolder := n.holder(t, "mine", time.Hour)
	git := []*unstructured.Unstructured{n.manifest("mine", ofHolder), n.manifest("delivered", nil)}
	f.apply(t, ssa.CreatedAction, git...)
	delivered := n.take(t, "delivered")
	n.waitFor(t, "mine", v1alpha1.ConditionActive, "True/Active")
	ids := n.ids(t, git)
	for _, o := range git {
		n.revoke(t, o.GetName())
	}
	stay := func(by string) {
		t.Helper()
		for _, o := range git {
			n.waitFor(t, o.GetName(), v1alpha1.ConditionActive, "False/Revoked")
		}
		if diff := cmp.Diff(ids, n.ids(t, git)); diff != "" {
			t.Errorf("%s: tokens (- before, + after):\n%s", by, diff)
		}
		over(t, mine)
		over(t, delivered)
	}
	stay("revoked")
	f.quiet(t, git...)
	if err := f.settle(t, git...); err != nil {
		t.Errorf("what was revoked lets Flux wait: %v", err)
	}
	stay("Flux")
	for name, way := range map[string][]string{"client-side": clientSide, "server-side": serverSide, "replace": replace} {
		for _, o := range git {
			n.sync(t, way, o)
			n.inSync(t, o)
		}
		stay(name)
	}
}

// revoke revokes the current token and keeps the resource, as kubectl pat revoke --keep does.
func (n *tenant) revoke(t *testing.T, name string) {
	t.Helper()
	n.kubectl(t, "", "", "patch", "pat", name, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status":{"revoked":[{"tokenID":%q,"reason":"left on a train"}]}}`, n.get(t, name).Status.TokenID))
}

// Git goes back to a digest that was rotated out: within the overlap it works to the end of that, after it it stays ended, and
// the one that took its place goes on.
func TestCase17_GitRevertsToAReplacedDigest(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "reverted-in-git")
	f := newFlux(t, n)
	first, was := n.holder(t, "mine", time.Hour)
	second, is := n.holder(t, "mine", time.Hour)
	is["expiresAt"] = was["expiresAt"]
	old, rotated := n.manifest("mine", was), n.manifest("mine", is.with("rotation", map[string]any{"overlapSeconds": int64(5)}))
	f.apply(t, ssa.CreatedAction, old)
	n.waitFor(t, "mine", v1alpha1.ConditionActive, "True/Active")
	began := time.Now() // of the overlap, at the earliest
	f.apply(t, ssa.ConfiguredAction, rotated)
	works(t, second)
	if status, err := product.Review(t.Context(), first); time.Since(began) < 4*time.Second && (err != nil || !status.Authenticated) {
		t.Errorf("within the overlap: %+v, %v", status, err)
	}
	f.apply(t, ssa.ConfiguredAction, old)
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	over(t, first)
	NewWithT(t).Eventually(func() string {
		return meta.FindStatusCondition(n.get(t, "mine").Status.Conditions, v1alpha1.ConditionStalled).Message
	}, patience, poll).Should(ContainSubstring("and stays ended"))
	f.quiet(t, old)
	f.apply(t, ssa.ConfiguredAction, rotated)
	n.waitFor(t, "mine", v1alpha1.ConditionReady, "True/Reconciled")
	f.apply(t, ssa.ConfiguredAction, old)
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	over(t, first)
	works(t, second)

	// A revert takes the earlier end back as well, and that one stays: the newer manifest asks for a longer life then.
	third, later := n.holder(t, "mine", 2*time.Hour)
	f.apply(t, ssa.ConfiguredAction, n.manifest("mine", later))
	n.waitFor(t, "mine", v1alpha1.ConditionReady, "True/Reconciled")
	f.apply(t, ssa.ConfiguredAction, old)
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	if _, err := f.try(t, n.manifest("mine", later)); err == nil || !strings.Contains(err.Error(), "cannot live longer") {
		t.Errorf("got %v", err)
	}
	f.apply(t, ssa.ConfiguredAction, n.manifest("mine", later.with("expiresAt", was["expiresAt"])))
	n.waitFor(t, "mine", v1alpha1.ConditionReady, "True/Reconciled")
	works(t, third)
}

// A trigger in Git that goes back makes another token, and never brings the former back.
func TestCase17_GitRevertsATrigger(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "reverted-trigger")
	f := newFlux(t, n)
	at := func(trigger string) *unstructured.Unstructured {
		return n.manifest("my-pat", spec{"rotation": map[string]any{"trigger": trigger}})
	}
	f.apply(t, ssa.CreatedAction, at("1"))
	seen := map[string]bool{}
	last := ""
	for _, trigger := range []string{"2", "1", "2"} {
		plaintext := n.take(t, "my-pat")
		if seen[plaintext] {
			t.Errorf("the token of before is back with trigger %s", trigger)
		}
		seen[plaintext] = true
		id := n.get(t, "my-pat").Status.TokenID
		f.apply(t, ssa.ConfiguredAction, at(trigger))
		NewWithT(t).Eventually(func() string { return n.get(t, "my-pat").Status.TokenID }, patience, poll).ShouldNot(Equal(id))
		over(t, plaintext)
		last = trigger
	}
	works(t, n.take(t, "my-pat"))
	f.quiet(t, at(last))
}

// Git that says suspend: false resumes what is suspended, and nothing that has ended.
func TestCase17_SuspendFalseRevivesNothing(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "resumed-in-git")
	f := newFlux(t, n)
	mine, ofHolder := n.holder(t, "mine", time.Hour)
	brief := spec{"suspend": false, "expiresAt": in(time.Hour)}
	git := []*unstructured.Unstructured{n.manifest("mine", ofHolder.with("suspend", false)), n.manifest("brief", brief)}
	f.apply(t, ssa.CreatedAction, git...)
	n.waitFor(t, "mine", v1alpha1.ConditionActive, "True/Active")
	n.waitFor(t, "brief", v1alpha1.ConditionActive, "True/Active")
	git[1] = n.manifest("brief", brief.with("expiresAt", in(-time.Second)))
	f.apply(t, ssa.ConfiguredAction, git[1])
	n.kubectl(t, "", "", "delete", "pat", "mine")
	f.apply(t, ssa.CreatedAction, git[0])
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	n.waitFor(t, "brief", v1alpha1.ConditionActive, "False/Expired")
	id := n.get(t, "brief").Status.TokenID
	for _, name := range []string{"mine", "brief"} {
		n.kubectl(t, "", "", "patch", "pat", name, "--type=merge", "--patch", `{"spec":{"suspend":true}}`)
	}
	f.apply(t, ssa.ConfiguredAction, git...)
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	n.waitFor(t, "brief", v1alpha1.ConditionActive, "False/Expired")
	f.quiet(t, git...)
	over(t, mine)
	if now := n.get(t, "brief").Status.TokenID; now != id {
		t.Errorf("token %s took the place of %s", now, id)
	}
}

// An emergency: a person suspends a token, and Git does not set spec.suspend. Flux reverts what kubectl has set, and no
// other client's change; Argo CD reverts nothing.
func TestSuspendedBesideGit(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "suspended-by-hand")
	f := newFlux(t, n)
	byFlux, byArgo := n.manifest("by-flux", nil), n.manifest("by-argocd", nil)
	f.apply(t, ssa.CreatedAction, byFlux)
	n.sync(t, clientSide, byArgo)
	suspend := func(name string, args ...string) {
		t.Helper()
		n.kubectl(t, "", "", append([]string{"patch", "pat", name, "--type=merge", "--patch", `{"spec":{"suspend":true}}`}, args...)...)
	}
	n.take(t, "by-flux")
	n.take(t, "by-argocd")
	suspend("by-flux")
	if _, err := f.try(t, byFlux); err != nil {
		t.Fatal(err)
	}
	if n.get(t, "by-flux").Spec.Suspend {
		t.Error("Flux leaves what kubectl has set: docs/gitops.md says it does not")
	}
	suspend("by-flux", "--field-manager=incident")
	suspend("by-argocd")
	for _, name := range []string{"by-flux", "by-argocd"} {
		n.waitFor(t, name, v1alpha1.ConditionActive, "False/Suspended")
	}
	f.quiet(t, byFlux)
	for _, way := range [][]string{clientSide, serverSide} {
		n.sync(t, way, byArgo)
		n.inSync(t, byArgo)
	}
	for _, name := range []string{"by-flux", "by-argocd"} {
		n.waitFor(t, name, v1alpha1.ConditionActive, "False/Suspended")
	}
}

// Parts of spec.user that Git leaves out, all of its groups too, keep their value: that is not drift, and removes nothing.
func TestWhatGitLeavesOutOfTheUserStays(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "user-left-out")
	f := newFlux(t, n)
	f.apply(t, ssa.CreatedAction, n.manifest("my-pat", nil))
	plaintext := n.take(t, "my-pat")
	want := n.get(t, "my-pat").Spec.User
	for name, user := range map[string]map[string]any{
		"no groups": {"username": "alice"}, "an empty list": {"username": "alice", "groups": []any{}},
	} {
		git := n.manifest("my-pat", spec{"user": user})
		if _, err := f.try(t, git); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.quiet(t, git)
		n.sync(t, serverSide, git)
		if diff := cmp.Diff(want, n.get(t, "my-pat").Spec.User); diff != "" {
			t.Errorf("%s (- before, + after):\n%s", name, diff)
		}
	}
	works(t, plaintext)
}

// What has expired by the clock stays in Git: it is applied every interval, is healthy, and is never issued again.
func TestCase17_WhatHasExpiredIsNeverIssuedAgain(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "expired-in-git")
	f := newFlux(t, n)
	var name, plaintext string
	var git *unstructured.Unstructured
	for life := 8 * time.Second; plaintext == ""; life *= 4 { // until it is issued before it ends, at any speed
		name = fmt.Sprintf("lives-%.0fs", life.Seconds())
		git = n.manifest(name, spec{"expiresAt": in(life)})
		f.apply(t, ssa.CreatedAction, git)
		NewWithT(t).Eventually(func() bool {
			p, secret := n.get(t, name), &corev1.Secret{}
			if admin.Get(t.Context(), client.ObjectKey{Namespace: n.ns, Name: p.Status.DeliverySecretName}, secret) == nil {
				plaintext = string(secret.Data[v1alpha1.SecretKeyToken])
			}
			return plaintext != "" || env.Condition(p, v1alpha1.ConditionActive) == "False/"+v1alpha1.ReasonExpired
		}, patience, poll).Should(BeTrue(), "it is neither issued nor over")
	}
	n.waitFor(t, name, v1alpha1.ConditionActive, "False/Expired")
	n.waitFor(t, name, v1alpha1.ConditionReady, "True/Reconciled")
	id := n.get(t, name).Status.TokenID
	f.quiet(t, git)
	n.sync(t, serverSide, git)
	n.sync(t, clientSide, git)
	n.inSync(t, git)
	if now := n.get(t, name).Status.TokenID; now != id {
		t.Errorf("token %s took the place of %s", now, id)
	}
	over(t, plaintext)

	// A cluster that is new to it, which the namespace stands for: another UID, and no record.
	if err := admin.Delete(t.Context(), git.DeepCopy(), client.Preconditions{UID: ptr.To(n.get(t, name).UID)}); err != nil {
		t.Fatal(err)
	}
	_, stderr, err := n.try(t, n.argocd, text(t, git), serverSide...)
	if err != nil || !strings.Contains(stderr, "has passed, so no token will work") {
		t.Errorf("%v, and as a warning %q", err, stderr)
	}
	n.waitFor(t, name, v1alpha1.ConditionActive, "False/Expired")
	if now := n.get(t, name).Status; now.TokenID != "" || now.DeliverySecretName != "" {
		t.Errorf("token %s in %s", now.TokenID, now.DeliverySecretName)
	}
	if err := f.settle(t, git); err != nil {
		t.Error(err)
	}
}
