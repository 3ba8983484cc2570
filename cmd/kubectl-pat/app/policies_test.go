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

package app

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// policyOf reads a TokenPolicy whose spec is a YAML flow mapping.
func policyOf(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("metadata: {name: "+name+"}\nspec: "+spec), &object.Object); err != nil {
		t.Fatal(err)
	}
	object.SetGroupVersionKind(policy.Kind)
	return object
}

func TestWordsOfPolicies(t *testing.T) {
	for _, tc := range []struct{ spec, matches, limits string }{
		{"{deny: {reason: Left}}", "everyone", "stopped: Left"},
		{"{match: {subjects: [{kind: User, name: alice}, {kind: Group, name: devs}, {kind: ServiceAccount, namespace: a, name: ci}], namespaces: [a, 'v-*']}, maxLifetimeDays: 30, maxTokensPerUser: 1}",
			"user alice, group devs, service account a/ci in a, v-*", "30 days at most; 1 token for each user"},
		{"{match: {namespaces: [a]}, requireScopes: true, allowedAudiences: [x], allowedDelivery: [Holder], allowedFrom: [10.0.0.0/8], allowedGroups: [devs]}",
			"everyone in a", "limited permissions only; audiences x; delivery Holder; from 10.0.0.0/8; groups devs"},
		{"{requireScopes: true, allowedScopes: [read-only, metrics]}", "everyone", "permissions read-only, metrics"},
		{"{match: {users: [alice]}, maxLifetimeDays: 1}", "everyone (not understood, so it matches more: spec.match.users)", "1 day at most"},
		{"{allowedHours: [9]}", "everyone", "stopped: this version of kubectl pat does not know spec.allowedHours"},
	} {
		p := policy.Parse(policyOf(t, "x", tc.spec))
		if got := matchWords(p); got != tc.matches {
			t.Errorf("%s matches %q; want %q", tc.spec, got, tc.matches)
		}
		if got := strings.Join(limitWords(p), "; "); got != tc.limits {
			t.Errorf("%s limits %q; want %q", tc.spec, got, tc.limits)
		}
	}
}

func TestWhatAPolicyDoesToAToken(t *testing.T) {
	pat := func(with func(*v1alpha1.PersonalAccessToken)) *v1alpha1.PersonalAccessToken {
		p := withConditions(1, isReady, isActive)
		p.Spec = v1alpha1.PersonalAccessTokenSpec{
			User: &v1alpha1.UserInfo{Username: "alice", Groups: []string{"devs", "admins", "system:authenticated"}}, Token: &v1alpha1.HolderToken{},
		}
		p.Status.TokenID, p.Status.IssuedAt, p.Status.ExpiresAt = "aaaaaaaaaaaaaaaa", after(-10*day), after(80*day)
		if with != nil {
			with(p)
		}
		return p
	}
	for name, tc := range map[string]struct {
		spec string
		with func(*v1alpha1.PersonalAccessToken)
		want string
	}{
		"deny":                               {"{deny: {reason: Left}, maxLifetimeDays: 1}", nil, "stopped: Left"},
		"an unknown field":                   {"{allowedHours: [9]}", nil, "stopped: this version of kubectl pat does not know spec.allowedHours"},
		"a shorter life":                     {"{maxLifetimeDays: 30}", nil, "ends in 20d; refused if new: lifetime"},
		"a life that is over":                {"{maxLifetimeDays: 7}", nil, "stopped: it has ended 3d ago; refused if new: lifetime"},
		"a shorter life, by status too":      {"{maxLifetimeDays: 30}", func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = after(20 * day) }, "ends in 20d; refused if new: lifetime"},
		"a life that is over, by status too": {"{maxLifetimeDays: 7}", func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = after(-3 * day) }, "stopped: it has ended 3d ago; refused if new: lifetime"},
		"a life that ends before":            {"{maxLifetimeDays: 30}", func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = after(day) }, "keeps to it"},
		"a life that is enough":              {"{maxLifetimeDays: 90}", nil, "keeps to it"},
		"not issued": {"{maxLifetimeDays: 30}", func(p *v1alpha1.PersonalAccessToken) {
			p.Status = v1alpha1.PersonalAccessTokenStatus{}
		}, "refused if new: lifetime"},
		"not issued, for days": {"{maxLifetimeDays: 30}", func(p *v1alpha1.PersonalAccessToken) {
			p.Status, p.Spec.ExpiresInDays = v1alpha1.PersonalAccessTokenStatus{}, ptr.To[int32](30)
		}, "keeps to it"},
		"everywhere":    {"{allowedFrom: [10.0.0.0/8]}", nil, "only from 10.0.0.0/8; refused if new: from"},
		"inside":        {"{allowedFrom: [10.0.0.0/8]}", func(p *v1alpha1.PersonalAccessToken) { p.Spec.From = []string{"10.1.0.0/16"} }, "keeps to it"},
		"groups":        {"{allowedGroups: [devs]}", nil, "without groups admins"},
		"all groups":    {"{allowedGroups: [devs, admins]}", nil, "keeps to it"},
		"permissions":   {"{requireScopes: true}", nil, "refused if new: scopes"},
		"delivery":      {"{allowedDelivery: [Recipients]}", nil, "refused if new: token"},
		"its audiences": {"{allowedAudiences: [x]}", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"y"} }, "refused if new: audiences"},
		"no audiences":  {"{allowedAudiences: [x]}", nil, "refused if new: audiences, unless the API server's own are allowed"},
		"too many":      {"{maxTokensPerUser: 0}", nil, "keeps to it"},
	} {
		if got := effect(policy.Parse(policyOf(t, "x", tc.spec)), pat(tc.with), start); got != tc.want {
			t.Errorf("%s: %q; want %q", name, got, tc.want)
		}
	}
}

func TestPoliciesTable(t *testing.T) {
	limited := policyOf(t, "contractors", "{match: {subjects: [{kind: Group, name: contractors}]}, maxLifetimeDays: 30}")
	if err := unstructured.SetNestedMap(limited.Object, map[string]any{"observedGeneration": int64(1), "matchedTokens": int64(3), "affectedTokens": int64(1),
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Reconciled", "message": "", "lastTransitionTime": "2026-11-24T12:00:00Z"}}}, "status"); err != nil {
		t.Fatal(err)
	}
	tr := newTrial(t, interceptor.Funcs{})
	for _, o := range []client.Object{policyOf(t, "everyone", "{deny: {reason: \"Incident \\u202e 7\"}}"), limited} {
		if err := tr.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	tr.run(t.Context(), t, exitOK, "policies")
	want := `NAME          MATCHES             LIMITS                       MATCHED   AFFECTED   READY
contractors   group contractors   30 days at most              3         1          yes
everyone      everyone            stopped: Incident \u202e 7   unknown   unknown    unknown
`
	if diff := cmp.Diff(want, tr.out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A policy of one user tells users apart, and its name is one for Kubernetes.
func TestNamesOfOffboardingPolicies(t *testing.T) {
	seen := map[string]string{}
	for _, user := range []string{"alice", "Alice", "alice@example.com", "alice.example.com", "ü", "-", "system:serviceaccount:a:b", `CORP\alice`, strings.Repeat("x", 1000), strings.Repeat("x", 1001)} {
		name := offboardName(user)
		if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 || len(name) > 63 {
			t.Errorf("%q: %q: %v", user, name, wrong)
		}
		if other, taken := seen[name]; taken || name != offboardName(user) {
			t.Errorf("%q and %q share %s", user, other, name)
		}
		seen[name] = user
	}
	if got, want := offboardName("alice@example.com"), "offboard-alice-example-com-ff8d9819fc"; got != want {
		t.Errorf("%s; want %s, as earlier versions name it", got, want)
	}
}

// Offboarding twice is fine; what another made of the policy is neither changed nor deleted.
func TestOffboardTouchesOnlyItsOwnPolicies(t *testing.T) {
	mine := (&offboardOptions{user: "alice", reason: "Left"}).policy
	change := func(with func(*unstructured.Unstructured)) *unstructured.Unstructured {
		o := mine()
		with(o)
		return o
	}
	set := func(value any, path ...string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		there       *unstructured.Unstructured
		again, undo int
	}{
		"its own":             {mine(), exitOK, exitOK},
		"another reason":      {change(set("Retired", "spec", "deny", "reason")), exitOK, exitOK},
		"made by hand":        {change(func(o *unstructured.Unstructured) { o.SetLabels(nil) }), exitOK, exitError},
		"of another user":     {change(set([]any{map[string]any{"kind": "User", "name": "bob"}}, "spec", "match", "subjects")), exitError, exitError},
		"of everyone":         {change(func(o *unstructured.Unstructured) { unstructured.RemoveNestedField(o.Object, "spec", "match") }), exitError, exitError},
		"in a namespace only": {change(set([]any{"team-a"}, "spec", "match", "namespaces")), exitError, exitError},
		"with a limit":        {change(set(int64(3), "spec", "maxLifetimeDays")), exitError, exitError},
		"without deny":        {change(func(o *unstructured.Unstructured) { unstructured.RemoveNestedField(o.Object, "spec", "deny") }), exitError, exitError},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{})
			if err := tr.client.Create(t.Context(), tc.there.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			tr.run(t.Context(), t, tc.again, "offboard", "alice", "--yes", "--wait=false")
			tr.run(t.Context(), t, tc.undo, "offboard", "alice", "--undo", "--yes")
			left := policyOf(t, "x", "{}")
			err := tr.client.Get(t.Context(), client.ObjectKeyFromObject(tc.there), left)
			if gone := apierrors.IsNotFound(err); gone != (tc.undo == exitOK) {
				t.Errorf("after --undo: %v", err)
			}
		})
	}
}

// The operator writes status at any time; a change of spec by another ends the run.
func TestUndoAmongOtherWriters(t *testing.T) {
	for name, tc := range map[string]struct {
		path []string
		code int
	}{
		"status": {[]string{"status", "matchedTokens"}, exitOK},
		"spec":   {[]string{"spec", "maxLifetimeDays"}, exitError},
	} {
		t.Run(name, func(t *testing.T) {
			busy := true
			tr := newTrial(t, interceptor.Funcs{Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				if !busy {
					return c.Delete(ctx, o, opts...)
				}
				busy = false
				now := policyOf(t, "x", "{}")
				if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
					return err
				}
				if err := unstructured.SetNestedField(now.Object, int64(3), tc.path...); err != nil {
					return err
				}
				if tc.path[0] == "spec" {
					now.SetGeneration(now.GetGeneration() + 1)
				}
				if err := c.Update(ctx, now); err != nil {
					return err
				}
				return apierrors.NewConflict(schema.GroupResource{}, o.GetName(), nil)
			}})
			if err := tr.client.Create(t.Context(), (&offboardOptions{user: "alice", reason: "Left"}).policy()); err != nil {
				t.Fatal(err)
			}
			tr.run(t.Context(), t, tc.code, "offboard", "alice", "--undo", "--yes")
			if tc.code == exitError {
				tr.errs(t, "error: tokenpolicy.pat-operator.io/"+offboardName("alice")+" was changed in the meantime: run it again")
			}
		})
	}
}

// An operator that does not process the policy is not taken for one that does.
func TestOffboardSaysThatTheOperatorIsAway(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{}, samples()...)
	tr.run(t.Context(), t, exitError, "offboard", "alice", "--yes", "--timeout", "1ms")
	tr.errs(t, "error: the policy was made, and the operator has not processed it within 1ms: an administrator can check with kubectl pat doctor that it runs, and without --policies=false, which ignores TokenPolicies")
	want := "tokenpolicy.pat-operator.io/" + offboardName("alice") + ` created
NAMESPACE   NAME     DISPLAY NAME     EXPIRES   LAST USED
team-a      backup   Nightly Backup   in 50d    60m ago
`
	if diff := cmp.Diff(want, tr.out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An older operator may stop more than the user's tokens.
func TestOffboardSaysThatTheOperatorIsOlder(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		condition := map[string]any{"type": "Ready", "status": "False", "reason": v1alpha1.ReasonPolicyNotUnderstood, "message": "It matches more.", "lastTransitionTime": "2026-11-24T12:00:00Z"}
		if err := unstructured.SetNestedMap(o.(*unstructured.Unstructured).Object, map[string]any{"observedGeneration": int64(1), "conditions": []any{condition}}, "status"); err != nil {
			return err
		}
		return c.Create(ctx, o, opts...)
	}})
	tr.run(t.Context(), t, exitError, "offboard", "alice", "--yes")
	tr.errs(t, "error: the policy was made, and the operator does not understand it: It matches more. (PolicyNotUnderstood)")
}

// Without the API both commands say so, and what to do.
func TestWithoutTheAPIOfPolicies(t *testing.T) {
	gone := apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "tokenpolicies"}, "x", "404 page not found", 0, true)
	tr := newTrial(t, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return gone
		},
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return gone },
	})
	for _, line := range [][]string{{"policies"}, {"policies", "x"}, {"list", "--policy", "x"}, {"offboard", "alice", "--yes"}, {"offboard", "alice", "--undo", "--yes"}} {
		tr.run(t.Context(), t, exitError, line...)
		tr.errs(t, "error: the cluster has no TokenPolicies ("+gone.Error()+"): an administrator can install pat-operator's CustomResourceDefinition tokenpolicies.pat-operator.io; without it, kubectl pat revoke --user USER -A ends tokens for good")
	}
}

// A token that a policy stops says so in list and describe, with since when.
func TestStoppedTokens(t *testing.T) {
	const message = `TokenPolicy "leavers" denies this user's tokens here: Left the company; an administrator can change the policy`
	pat := withConditions(1, isReady, isActive)
	pat.Status.TokenID, pat.Status.ExpiresAt = "aaaaaaaaaaaaaaaa", after(30*day)
	pat.Status.Conditions[1] = metav1.Condition{
		Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDeniedByPolicy, Message: message,
		ObservedGeneration: 1, LastTransitionTime: *after(-2 * day),
	}
	tr := newTrial(t, interceptor.Funcs{}, pat)
	tr.run(t.Context(), t, exitOK, "list", "-n", pat.Namespace)
	if !strings.Contains(tr.out.String(), " Stopped ") {
		t.Errorf("list:\n%s", tr.out)
	}
	tr.run(t.Context(), t, exitOK, "describe", pat.Name, "-n", pat.Namespace)
	want := "Status:      Stopped\n             " + message + "\n             Since 2026-11-22T12:00:00Z (2d ago).\n"
	if !strings.Contains(tr.out.String(), want) {
		t.Errorf("describe:\n%s\nwant\n%s", tr.out, want)
	}
}
