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
	"testing"
	"time"

	"filippo.io/age"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	kustomizeController = "kustomize-controller"
	fluxGroup           = "kustomize.toolkit.fluxcd.io"
)

// flux is kustomize-controller for one Kustomization, which acts as the tenant's account.
type flux struct {
	*ssa.ResourceManager
	n     *tenant
	force bool
}

func newFlux(t *testing.T, n *tenant) *flux {
	t.Helper()
	c := n.client(t, n.flux)
	poller := polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{})
	return &flux{ResourceManager: ssa.NewResourceManager(c, poller, ssa.Owner{Field: kustomizeController, Group: fluxGroup}), n: n}
}

// try applies what Git declares, with the options that kustomize-controller sets.
func (f *flux) try(t *testing.T, git ...*unstructured.Unstructured) (*ssa.ChangeSet, error) {
	t.Helper()
	options := ssa.DefaultApplyOptions()
	options.Force, options.WaitInterval = f.force, poll
	options.ForceSelector = map[string]string{fluxGroup + "/force": "enabled"}
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{"kubectl.kubernetes.io/last-applied-configuration"},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: kustomizeController, OperationType: metav1.ManagedFieldsOperationUpdate},
		},
		Exclusions: map[string]string{fluxGroup + "/ssa": "Merge"},
	}
	return f.ApplyAllStaged(t.Context(), f.owned(git), options)
}

// apply expects an interval of Flux to work, and to do one thing to all.
func (f *flux) apply(t *testing.T, want ssa.Action, git ...*unstructured.Unstructured) {
	t.Helper()
	changes, err := f.try(t, git...)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range changes.Entries {
		if entry.Action != want {
			t.Errorf("Flux: %s %s; want %s", entry.Subject, entry.Action, want)
		}
	}
}

// owned are copies with the labels of the Kustomization: Flux sets defaults in what it is given.
func (f *flux) owned(git []*unstructured.Unstructured) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range git {
		out = append(out, o.DeepCopy())
	}
	f.SetOwnerLabels(out, "tokens", f.n.ns)
	return out
}

// quiet expects that Flux finds nothing to do, however often it looks, and changes nothing.
func (f *flux) quiet(t *testing.T, git ...*unstructured.Unstructured) {
	t.Helper()
	revisions := func() map[string]string {
		out := map[string]string{}
		for _, o := range git {
			out[o.GetName()] = f.n.live(t, o.GetName()).GetResourceVersion()
		}
		return out
	}
	before := revisions()
	for range 3 {
		f.apply(t, ssa.UnchangedAction, git...)
	}
	for _, o := range f.owned(git) {
		entry, was, is, err := f.Diff(t.Context(), o, ssa.DefaultDiffOptions())
		if err != nil {
			t.Fatal(err)
		}
		if entry.Action != ssa.UnchangedAction {
			t.Errorf("Flux sees drift of %s: %s", o.GetName(), cmp.Diff(was, is))
		}
	}
	if diff := cmp.Diff(before, revisions()); diff != "" {
		t.Errorf("written by applying it again (- before, + after):\n%s", diff)
	}
}

// settle waits as a Kustomization with wait: true does.
func (f *flux) settle(t *testing.T, git ...*unstructured.Unstructured) error {
	t.Helper()
	return f.Wait(git, ssa.WaitOptions{Interval: poll, Timeout: patience, FailFast: true})
}

// Whatever is in Git, in whatever state: applied again it is as it was, and Flux sees no drift.
func TestFluxSeesNoDrift(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "flux-drift")
	f := newFlux(t, n)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	mine, ofHolder := n.holder(t, "mine", time.Hour)
	delivered := n.manifest("delivered", spec{"displayName": "x", "expiresAt": in(30 * 24 * time.Hour), "audiences": []any{}, "suspend": false})
	brief := n.manifest("brief", spec{"expiresAt": in(time.Hour)})
	f.apply(t, ssa.CreatedAction, brief)
	n.waitFor(t, "brief", v1alpha1.ConditionActive, "True/Active")
	brief = n.manifest("brief", spec{"expiresAt": in(-time.Second)})
	f.apply(t, ssa.ConfiguredAction, brief)
	git := []*unstructured.Unstructured{
		delivered,
		n.manifest("mine", ofHolder),
		n.manifest("vendor", spec{"delivery": map[string]any{"recipients": []any{identity.Recipient().String()}}}),
		n.manifest("ci", spec{"user": map[string]any{"username": "system:serviceaccount:" + n.ns + ":ci"}, "expiresInDays": int64(30)}),
		n.manifest("parked", spec{"suspend": true}),
		n.manifest("past", spec{"expiresAt": in(-time.Hour)}),
	}
	f.apply(t, ssa.CreatedAction, git...)
	git = append(git, brief)
	if err := f.settle(t, git...); err != nil {
		t.Fatal(err)
	}
	plaintext := n.take(t, "delivered")
	n.waitFor(t, "brief", v1alpha1.ConditionActive, "False/Expired")
	n.waitFor(t, "past", v1alpha1.ConditionActive, "False/Expired")
	n.waitFor(t, "parked", v1alpha1.ConditionActive, "False/Suspended")
	ids := n.ids(t, git)
	f.quiet(t, git...)
	if err := f.settle(t, git...); err != nil {
		t.Errorf("what is suspended or has expired lets Flux wait: %v", err)
	}
	if diff := cmp.Diff(ids, n.ids(t, git)); diff != "" {
		t.Errorf("tokens (- before, + after):\n%s", diff)
	}
	if ids["past"] != "" || ids["brief"] == "" || ids["ci"] == "" || ids["vendor"] == "" {
		t.Errorf("token ids %q", ids)
	}
	works(t, plaintext)
	works(t, mine)

	t.Run("rotated", func(t *testing.T) {
		rotated := n.manifest("delivered", spec(delivered.Object["spec"].(map[string]any)).with("rotation", map[string]any{"trigger": "2", "overlapSeconds": int64(3600)}))
		f.apply(t, ssa.ConfiguredAction, rotated)
		NewWithT(t).Eventually(func() string { return n.get(t, "delivered").Status.PreviousTokenID }, patience, poll).Should(Equal(ids["delivered"]))
		works(t, n.take(t, "delivered"))
		works(t, plaintext)
		f.quiet(t, rotated)
	})
}

// ids are the tokens of resources.
func (n *tenant) ids(t *testing.T, git []*unstructured.Unstructured) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, o := range git {
		out[o.GetName()] = n.get(t, o.GetName()).Status.TokenID
	}
	return out
}

// What Flux prunes is revoked. Added again it is a new token, but a holder's stays revoked, and Flux says so at once.
func TestCase17_PrunedByFluxAndAddedAgain(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "flux-prune")
	f := newFlux(t, n)
	mine, ofHolder := n.holder(t, "mine", time.Hour)
	git := []*unstructured.Unstructured{n.manifest("delivered", nil), n.manifest("mine", ofHolder)}
	kept := n.manifest("kept", nil)
	kept.SetAnnotations(map[string]string{fluxGroup + "/prune": "disabled"})
	f.apply(t, ssa.CreatedAction, append(git, kept)...)
	first := n.take(t, "delivered")
	n.waitFor(t, "mine", v1alpha1.ConditionActive, "True/Active")
	works(t, first)
	works(t, mine)

	prune := ssa.DefaultDeleteOptions()
	prune.Inclusions = f.GetOwnerLabels("tokens", n.ns)
	prune.Exclusions = map[string]string{fluxGroup + "/prune": "disabled", fluxGroup + "/reconcile": "disabled"}
	if _, err := f.DeleteAll(t.Context(), f.owned(append(git, kept)), prune); err != nil {
		t.Fatal(err)
	}
	over(t, first)
	over(t, mine)
	f.apply(t, ssa.CreatedAction, git...)
	second := n.take(t, "delivered")
	works(t, second)
	n.waitFor(t, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	if err := f.settle(t, git...); err == nil {
		t.Error("Flux takes a revoked digest in Git for healthy")
	}
	f.quiet(t, git...)
	over(t, first)
	over(t, mine)
	works(t, n.take(t, "kept"))
}
