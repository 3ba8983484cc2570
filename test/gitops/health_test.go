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
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/ssa"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

var update = flag.Bool("update", false, "write the test data of Argo CD's health anew")

// healthOf is how the tools see a state.
type healthOf struct {
	kstatus status.Status
	argocd  string
}

var (
	healthy     = healthOf{status.CurrentStatus, "Healthy"}
	suspended   = healthOf{status.CurrentStatus, "Suspended"}
	progressing = healthOf{status.InProgressStatus, "Progressing"}
	failed      = healthOf{status.FailedStatus, "Degraded"}
)

// state is a resource in one of its states.
type state struct {
	name string
	live *unstructured.Unstructured
	want healthOf
}

// check compares what kstatus, which Flux waits by, and health.lua say of a state.
func (s *state) check(t *testing.T) (message string) {
	t.Helper()
	got, err := status.Compute(s.live)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != s.want.kstatus {
		t.Errorf("%s: kstatus says %s (%s); want %s", s.name, got.Status, got.Message, s.want.kstatus)
	}
	argocd := argoHealth(t, s.live)
	if argocd.Status != s.want.argocd || argocd.Message == "" {
		t.Errorf("%s: health.lua says %s %q; want %s", s.name, argocd.Status, argocd.Message, s.want.argocd)
	}
	return argocd.Message
}

// Each state that a real cluster can be brought into, and what is in the repository for Argo CD's own tests is it.
func TestHealthOfLiveResources(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "team-a")
	f := newFlux(t, n)
	var states []*state
	took := func(name, resource string, want healthOf) {
		t.Helper()
		states = append(states, &state{name, n.live(t, resource), want})
	}
	fresh := n.manifest("new", nil)
	if err := admin.Create(t.Context(), fresh, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	states = append(states, &state{"new", fresh, progressing})

	rotation := spec{"rotation": map[string]any{"trigger": "2", "overlapSeconds": int64(3600)}}
	_, ofHolder := n.holder(t, "token-revoked", time.Hour)
	held := n.manifest("deleted", nil)
	held.SetFinalizers([]string{"example.com/hold"})
	f.apply(t, ssa.CreatedAction,
		n.manifest("active", nil), n.manifest("rotated", nil), n.manifest("suspended", spec{"suspend": true}),
		n.manifest("expired", spec{"expiresAt": in(time.Hour)}), n.manifest("expired-before-issued", spec{"expiresAt": in(-time.Hour)}),
		n.manifest("owner-gone", spec{"user": map[string]any{"username": "system:serviceaccount:" + n.ns + ":ci"}}),
		n.manifest("record-invalid", nil), n.manifest("record-too-new", nil), n.manifest("record-lost", nil), n.manifest("token-revoked", ofHolder), n.manifest("revoked", nil), held)
	for _, name := range []string{"active", "rotated", "expired", "owner-gone", "record-invalid", "record-too-new", "record-lost", "token-revoked", "revoked", "deleted"} {
		n.waitFor(t, name, v1alpha1.ConditionActive, "True/Active")
	}
	f.apply(t, ssa.ConfiguredAction, n.manifest("rotated", rotation), n.manifest("expired", spec{"expiresAt": in(-time.Second)}))
	n.kubectl(t, "", "", "delete", "pat", "token-revoked")
	f.apply(t, ssa.CreatedAction, n.manifest("token-revoked", ofHolder))
	n.kubectl(t, "", "", "delete", "serviceaccount", "ci")
	n.revoke(t, "revoked")
	n.spoilRecords(t)
	n.kubectl(t, "", "", "delete", "pat", "deleted", "--wait=false")
	t.Cleanup(func() { n.release(t, "deleted") })

	NewWithT(t).Eventually(func() string { return n.get(t, "rotated").Status.PreviousTokenID }, patience, poll).ShouldNot(BeEmpty())
	n.waitFor(t, "rotated", v1alpha1.ConditionReady, "True/Reconciled")
	took("active", "active", healthy)
	took("rotated", "rotated", healthy)
	for _, s := range []struct {
		resource, reason string
		want             healthOf
	}{
		{"suspended", v1alpha1.ReasonSuspended, suspended}, {"expired", v1alpha1.ReasonExpired, healthy}, {"expired-before-issued", v1alpha1.ReasonExpired, healthy},
		{"owner-gone", v1alpha1.ReasonOwnerGone, failed}, {"record-invalid", v1alpha1.ReasonRecordInvalid, failed}, {"record-too-new", v1alpha1.ReasonRecordTooNew, failed},
		{"record-lost", v1alpha1.ReasonRecordLost, failed}, {"revoked", v1alpha1.ReasonRevoked, healthy}, {"token-revoked", v1alpha1.ReasonTokenRevoked, failed},
	} {
		n.waitFor(t, s.resource, v1alpha1.ConditionActive, "False/"+s.reason)
		took(s.resource, s.resource, s.want)
	}
	var tests []healthTest
	for _, s := range states {
		tests = append(tests, healthTest{HealthStatus: argoStatus{s.want.argocd, s.check(t)}, InputPath: "testdata/" + s.name + ".yaml"})
	}
	compareTestdata(t, states, tests)

	// Argo CD asks no script about what is being deleted, and waits.
	deleted := n.live(t, "deleted")
	if got, err := status.Compute(deleted); err != nil || got.Status != status.TerminatingStatus {
		t.Errorf("being deleted: %v, %v", got, err)
	}
	// Changed and not yet looked at.
	changed := n.live(t, "active")
	changed.SetGeneration(changed.GetGeneration() + 1)
	(&state{"changed", changed, progressing}).check(t)
}

// release lets go of a resource that a finalizer holds.
func (n *tenant) release(t *testing.T, name string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := admin.Patch(context.Background(), n.manifest(name, nil), patch); err != nil {
		t.Error(err)
	}
}

// spoilRecords edits and deletes records, which takes the policy out of the way that keeps people from them.
func (n *tenant) spoilRecords(t *testing.T) {
	t.Helper()
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	if err := admin.Get(t.Context(), client.ObjectKey{Name: "pat-operator-records"}, binding); err != nil {
		t.Fatal(err)
	}
	if err := admin.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	g := NewWithT(t)
	record := func(name string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.RecordsNamespace, Name: recordName(n.ns, name)}}
	}
	for name, payload := range map[string]string{"record-invalid": "{}", "record-too-new": `{"v":1000}`} {
		g.Eventually(func() error {
			patch := fmt.Sprintf(`{"stringData":{"record":%q}}`, payload)
			return admin.Patch(t.Context(), record(name), client.RawPatch(types.MergePatchType, []byte(patch)))
		}, patience, poll).Should(Succeed())
	}
	g.Eventually(func() error { return admin.Delete(t.Context(), record("record-lost")) }, patience, poll).Should(Succeed())
	binding.ResourceVersion, binding.UID = "", ""
	if err := admin.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
}

// condition is one as the controller writes it.
func condition(kind, value, reason string) any {
	return map[string]any{
		"type": kind, "status": value, "reason": reason, "message": "Said of " + reason + ".",
		"observedGeneration": int64(1), "lastTransitionTime": "2026-01-01T00:00:00Z",
	}
}

// Every reason that a condition may have, in each form in which the controller writes it (controllers, internal/lifecycle).
// A reason that is new has to be put here.
func TestHealthForEveryReason(t *testing.T) {
	long.Only(t)
	t.Parallel()
	stalled := func(reason string) []any {
		return []any{condition("Active", "False", reason), condition("Ready", "False", reason), condition("Stalled", "True", reason)}
	}
	goesOn := func(reason string) []any {
		return []any{condition("Active", "True", v1alpha1.ReasonActive), condition("Ready", "False", reason), condition("Stalled", "True", reason)}
	}
	waits := func(active, because, reason string) []any {
		return []any{condition("Active", active, because), condition("Ready", "False", reason)}
	}
	quiet := func(active, reason string) []any {
		return []any{condition("Active", active, reason), condition("Ready", "True", v1alpha1.ReasonReconciled)}
	}
	forms := map[string][]struct {
		conditions []any
		want       healthOf
	}{
		v1alpha1.ReasonActive:              {{quiet("True", v1alpha1.ReasonActive), healthy}},
		v1alpha1.ReasonReconciled:          {{quiet("True", v1alpha1.ReasonActive), healthy}},
		v1alpha1.ReasonIssuing:             {{waits("False", v1alpha1.ReasonIssuing, v1alpha1.ReasonIssuing), progressing}},
		v1alpha1.ReasonIssuingFailed:       {{waits("False", v1alpha1.ReasonIssuing, v1alpha1.ReasonIssuingFailed), progressing}, {waits("True", v1alpha1.ReasonActive, v1alpha1.ReasonIssuingFailed), progressing}},
		v1alpha1.ReasonDeleting:            {{waits("False", v1alpha1.ReasonDeleting, v1alpha1.ReasonDeleting), progressing}},
		v1alpha1.ReasonRotating:            {{waits("True", v1alpha1.ReasonActive, v1alpha1.ReasonRotating), progressing}, {waits("False", v1alpha1.ReasonExpired, v1alpha1.ReasonRotating), progressing}, {waits("False", v1alpha1.ReasonSuspended, v1alpha1.ReasonRotating), progressing}},
		v1alpha1.ReasonSuspended:           {{quiet("False", v1alpha1.ReasonSuspended), suspended}},
		v1alpha1.ReasonExpired:             {{quiet("False", v1alpha1.ReasonExpired), healthy}},
		v1alpha1.ReasonRevoked:             {{quiet("False", v1alpha1.ReasonRevoked), healthy}},
		v1alpha1.ReasonExpiringSoon:        {{append(quiet("True", v1alpha1.ReasonActive), condition("ExpiringSoon", "True", v1alpha1.ReasonExpiringSoon)), healthy}},
		v1alpha1.ReasonOwnerGone:           {{stalled(v1alpha1.ReasonOwnerGone), failed}},
		v1alpha1.ReasonUserChanged:         {{stalled(v1alpha1.ReasonUserChanged), failed}},
		v1alpha1.ReasonUserMissing:         {{stalled(v1alpha1.ReasonUserMissing), failed}},
		v1alpha1.ReasonUserRefused:         {{stalled(v1alpha1.ReasonUserRefused), failed}},
		v1alpha1.ReasonRecordInvalid:       {{stalled(v1alpha1.ReasonRecordInvalid), failed}},
		v1alpha1.ReasonRecordTooNew:        {{stalled(v1alpha1.ReasonRecordTooNew), failed}},
		v1alpha1.ReasonRecordLost:          {{stalled(v1alpha1.ReasonRecordLost), failed}},
		v1alpha1.ReasonBindingMismatch:     {{stalled(v1alpha1.ReasonBindingMismatch), failed}, {goesOn(v1alpha1.ReasonBindingMismatch), failed}},
		v1alpha1.ReasonTokenRevoked:        {{stalled(v1alpha1.ReasonTokenRevoked), failed}, {goesOn(v1alpha1.ReasonTokenRevoked), failed}},
		v1alpha1.ReasonEndedTokensFull:     {{stalled(v1alpha1.ReasonEndedTokensFull), failed}, {goesOn(v1alpha1.ReasonEndedTokensFull), failed}},
		v1alpha1.ReasonNotAuthorized:       {{stalled(v1alpha1.ReasonNotAuthorized), failed}, {goesOn(v1alpha1.ReasonNotAuthorized), failed}},
		v1alpha1.ReasonGuardsMissing:       {{waits("False", v1alpha1.ReasonIssuing, v1alpha1.ReasonGuardsMissing), progressing}, {waits("True", v1alpha1.ReasonActive, v1alpha1.ReasonGuardsMissing), progressing}},
		v1alpha1.ReasonDeliveryDisabled:    {{stalled(v1alpha1.ReasonDeliveryDisabled), failed}, {goesOn(v1alpha1.ReasonDeliveryDisabled), failed}},
		v1alpha1.ReasonDeliveryNameTaken:   {{waits("False", v1alpha1.ReasonIssuing, v1alpha1.ReasonDeliveryNameTaken), progressing}},
		v1alpha1.ReasonRecipientsRefused:   {{stalled(v1alpha1.ReasonRecipientsRefused), failed}, {goesOn(v1alpha1.ReasonRecipientsRefused), failed}},
		v1alpha1.ReasonLifetimeTooLong:     {{stalled(v1alpha1.ReasonLifetimeTooLong), failed}, {goesOn(v1alpha1.ReasonLifetimeTooLong), failed}},
		v1alpha1.ReasonDeniedByPolicy:      {{quiet("False", v1alpha1.ReasonDeniedByPolicy), suspended}, {stalled(v1alpha1.ReasonDeniedByPolicy), failed}, {goesOn(v1alpha1.ReasonDeniedByPolicy), failed}},
		v1alpha1.ReasonPolicyNotUnderstood: {{quiet("False", v1alpha1.ReasonPolicyNotUnderstood), suspended}, {stalled(v1alpha1.ReasonPolicyNotUnderstood), failed}},
		v1alpha1.ReasonTooManyTokens:       {{stalled(v1alpha1.ReasonTooManyTokens), failed}},
		v1alpha1.ReasonRotationNeeded:      {{goesOn(v1alpha1.ReasonRotationNeeded), failed}},
	}
	for _, reason := range reasons(t) {
		if len(forms[reason]) == 0 {
			t.Errorf("nothing says how healthy a resource with reason %s is", reason)
		}
		for _, form := range forms[reason] {
			o := (&tenant{ns: "team-a"}).manifest("my-pat", nil)
			o.SetGeneration(1)
			o.Object["status"] = map[string]any{"observedGeneration": int64(1), "conditions": form.conditions}
			message := (&state{reason, o, form.want}).check(t)
			if !strings.Contains(message, "Said of ") {
				t.Errorf("%s: message %q does not come from the controller", reason, message)
			}
		}
	}
}

// reasons are the values of the constants Reason… of the API.
func reasons(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api", "v1alpha1", "conditions.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is not a string", spec.Names[0].Name)
		}
		reason, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, reason)
		return false
	})
	if len(out) < 20 {
		t.Fatalf("only %q are reasons", out)
	}
	return out
}

// A policy is done when the operator has taken it up, and not before.
func TestHealthOfTokenPolicies(t *testing.T) {
	long.Only(t)
	t.Parallel()
	fresh := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"match": map[string]any{"namespaces": []any{"none-of-ours"}}, "maxLifetimeDays": int64(30),
	}}}
	fresh.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TokenPolicy"))
	fresh.SetName("health")
	if err := admin.Create(t.Context(), fresh, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	with := func(ready, reason string) *unstructured.Unstructured {
		o := fresh.DeepCopy()
		condition := map[string]any{"type": v1alpha1.ConditionReady, "status": ready, "reason": reason, "message": "", "lastTransitionTime": "2026-11-24T12:00:00Z"}
		if err := unstructured.SetNestedMap(o.Object, map[string]any{"observedGeneration": o.GetGeneration(), "conditions": []any{condition}}, "status"); err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, s := range []struct {
		live *unstructured.Unstructured
		want status.Status
	}{
		{fresh, status.InProgressStatus},
		{with("True", v1alpha1.ReasonReconciled), status.CurrentStatus},
		{with("False", v1alpha1.ReasonPolicyNotUnderstood), status.InProgressStatus},
	} {
		if got, err := status.Compute(s.live); err != nil || got.Status != s.want {
			t.Errorf("%v: kstatus says %v, %v; want %s", s.live.Object["status"], got, err, s.want)
		}
	}
}
