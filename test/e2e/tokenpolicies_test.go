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
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// tokenPolicy is one that matches nothing that other tests make.
func tokenPolicy(name string, with ...func(*v1alpha1.TokenPolicySpec)) *v1alpha1.TokenPolicy {
	p := &v1alpha1.TokenPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.TokenPolicySpec{
		Match: &v1alpha1.PolicyMatch{Namespaces: []string{"none-of-ours"}},
		Deny:  &v1alpha1.PolicyDenial{Reason: "Left the company"},
	}}
	for _, f := range with {
		f(&p.Spec)
	}
	return p
}

func TestBadPoliciesAreRefusedWithAWayOut(t *testing.T) {
	type spec = v1alpha1.TokenPolicySpec
	subject := func(s v1alpha1.PolicySubject) func(*spec) {
		return func(p *spec) { p.Match = &v1alpha1.PolicyMatch{Subjects: []v1alpha1.PolicySubject{s}} }
	}
	namespaces := func(names ...string) func(*spec) {
		return func(p *spec) { p.Match = &v1alpha1.PolicyMatch{Namespaces: names} }
	}
	reason := func(text string) func(*spec) { return func(p *spec) { p.Deny.Reason = text } }
	from := func(cidr ...string) func(*spec) { return func(p *spec) { p.AllowedFrom = cidr } }
	const (
		nothing    = "the policy limits nothing; set at least one of deny, maxLifetimeDays, maxTokensPerUser, requireScopes, allowedScopes, allowedAudiences, allowedDelivery, allowedFrom and allowedGroups"
		noPrefix   = "must be a network in CIDR notation without host bits, for example 203.0.113.0/24 or 2001:db8::/32"
		account    = "set namespace for a ServiceAccount, and for nothing else"
		characters = "reason must not contain a control character, such as a tab or a line end, or a mark that changes the direction of text; leave it out"
	)
	for name, tc := range map[string]struct {
		with func(*spec)
		says []string
	}{
		"limits nothing":            {func(p *spec) { p.Deny = nil }, []string{"spec: ", nothing}},
		"does not require scopes":   {func(p *spec) { p.Deny, p.RequireScopes = nil, false }, []string{nothing}},
		"a network with host bits":  {from("192.0.2.1/24"), []string{"spec.allowedFrom[0]", noPrefix}},
		"an address":                {from("10.0.0.0/8", "192.0.2.1"), []string{"spec.allowedFrom[1]", noPrefix}},
		"a name for a network":      {from("office"), []string{"spec.allowedFrom[0]", noPrefix}},
		"another spelling":          {from("2001:DB8::/32"), []string{"spec.allowedFrom[0]", noPrefix}},
		"IPv4 in IPv6":              {from("::ffff:192.0.2.0/120"), []string{"spec.allowedFrom[0]", noPrefix}},
		"no network":                {from(""), []string{"spec.allowedFrom[0]"}},
		"the same network twice":    {from("10.0.0.0/8", "10.0.0.0/8"), []string{"spec.allowedFrom[1]", "Duplicate value"}},
		"an account, no namespace":  {subject(v1alpha1.PolicySubject{Kind: "ServiceAccount", Name: "ci"}), []string{"spec.match.subjects[0]", account}},
		"a user with a namespace":   {subject(v1alpha1.PolicySubject{Kind: "User", Name: "alice", Namespace: "team-a"}), []string{"spec.match.subjects[0]", account}},
		"a group with a namespace":  {subject(v1alpha1.PolicySubject{Kind: "Group", Name: "devs", Namespace: "team-a"}), []string{account}},
		"another kind of subject":   {subject(v1alpha1.PolicySubject{Kind: "Role", Name: "devs"}), []string{"spec.match.subjects[0].kind", `supported values: "User", "Group", "ServiceAccount"`}},
		"a subject without a name":  {subject(v1alpha1.PolicySubject{Kind: "User"}), []string{"spec.match.subjects[0].name"}},
		"another wildcard":          {namespaces("team-?"), []string{"spec.match.namespaces[0]", "should match"}},
		"a pattern that is a range": {namespaces("team-[ab]"), []string{"spec.match.namespaces[0]", "should match"}},
		"capital letters":           {namespaces("Team-a"), []string{"spec.match.namespaces[0]", "should match"}},
		"no reason":                 {reason(""), []string{"spec.deny.reason"}},
		"a long reason":             {reason(strings.Repeat("x", 257)), []string{"spec.deny.reason", "256"}},
		"a tab":                     {reason("Left\tthe company"), []string{"spec.deny.reason", characters}},
		"a line end":                {reason("Left\nthe company"), []string{characters}},
		"an escape":                 {reason("\x1b[31mLeft"), []string{characters}},
		"a line separator":          {reason("Left\u2028the company"), []string{characters}},
		"a reversed text":           {reason("Left \u202eynapmoc"), []string{characters}},
		"an isolated text":          {reason("Left \u2067ynapmoc"), []string{characters}},
		"no day":                    {func(p *spec) { p.MaxLifetimeDays = ptr.To[int32](0) }, []string{"spec.maxLifetimeDays", "greater than or equal to 1"}},
		"ten years and more":        {func(p *spec) { p.MaxLifetimeDays = ptr.To[int32](3661) }, []string{"spec.maxLifetimeDays", "less than or equal to 3660"}},
		"less than no token":        {func(p *spec) { p.MaxTokensPerUser = ptr.To[int32](-1) }, []string{"spec.maxTokensPerUser", "greater than or equal to 0"}},
		"an unknown preset":         {func(p *spec) { p.AllowedScopes = []string{"read"} }, []string{"spec.allowedScopes[0]", `supported values: "read-only", "namespace-admin", "ci-deploy", "metrics"`}},
		"an unknown delivery":       {func(p *spec) { p.AllowedDelivery = []string{"Mail"} }, []string{"spec.allowedDelivery[0]", `supported values: "Secret", "Recipients", "Holder"`}},
		"an audience without text":  {func(p *spec) { p.AllowedAudiences = []string{""} }, []string{"spec.allowedAudiences[0]"}},
		"a group without a name":    {func(p *spec) { p.AllowedGroups = []string{""} }, []string{"spec.allowedGroups[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantStatus(t, admin.Create(t.Context(), tokenPolicy("refused", tc.with), client.DryRunAll), 422, tc.says...)
		})
	}
	for name, with := range map[string]func(*spec){
		"deny":                 func(*spec) {},
		"no new token":         func(p *spec) { p.Deny, p.MaxTokensPerUser = nil, ptr.To[int32](0) },
		"scopes":               func(p *spec) { p.Deny, p.RequireScopes = nil, true },
		"an account":           subject(v1alpha1.PolicySubject{Kind: "ServiceAccount", Name: "ci", Namespace: "team-a"}),
		"a word in any script": reason("Hat die Firma verlassen – 離職 – غادر الشركة"),
		"everywhere":           from("0.0.0.0/0", "::/0"),
	} {
		if err := admin.Create(t.Context(), tokenPolicy("taken", with), client.DryRunAll); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each sample of a policy is taken unmodified, and the kustomization names it.
func TestPolicySamples(t *testing.T) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "config", "samples", "policies", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, strings.TrimSpace(kubectl(t, cl.AdminKubeconfig, string(raw), "apply", "--dry-run=server", "-o", "name", "-f", "-")))
	}
	got := strings.Fields(kubectl(t, cl.AdminKubeconfig, "", "apply", "--dry-run=server", "-o", "name", "-k", filepath.Join(root, "config", "samples", "policies")))
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 3 || !slices.Equal(got, want) {
		t.Errorf("the folder has %q, its kustomization %q; want the same, three at least", want, got)
	}
}

// Policies are for who has the role for them. Readers of a namespace do not see them, and its administrators cannot make one.
func TestRolesOfPolicies(t *testing.T) {
	ns := team(t)
	bind := func(who user, role string, everywhere bool) {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
		if everywhere {
			b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "policies-" + who.Name}, RoleRef: ref, Subjects: []rbacv1.Subject{subject(who.Name)}}
			create(t, admin, b)
			t.Cleanup(func() { _ = admin.Delete(context.Background(), b) })
			return
		}
		create(t, admin, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: who.Name}, RoleRef: ref, Subjects: []rbacv1.Subject{subject(who.Name)}})
	}
	for _, tc := range []struct {
		name, role    string
		everywhere    bool
		reads, writes bool
	}{
		{"a-reader-of-all", "view", true, true, false},
		{"an-admin-of-all", "admin", true, true, false}, // admin includes view
		{"a-policy-admin", "pat-operator-policy-admin", true, true, true},
		{"an-admin-of-one", "admin", false, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			u, err := product.User(tc.name)
			if err != nil {
				t.Fatal(err)
			}
			bind(u, tc.role, tc.everywhere)
			// Something that each role gives shows that it has taken effect.
			eventually(t, patience, func() bool {
				if tc.reads {
					return u.List(t.Context(), &v1alpha1.TokenPolicyList{}) == nil
				}
				return u.List(t.Context(), &v1alpha1.PersonalAccessTokenList{}, client.InNamespace(ns)) == nil
			}, func() string { return "the role takes no effect" })
			if err := u.List(t.Context(), &v1alpha1.TokenPolicyList{}); (err == nil) != tc.reads {
				t.Errorf("list: %v", err)
			}
			p := tokenPolicy("of-" + tc.name)
			switch err := u.Create(t.Context(), p); {
			case !tc.writes:
				wantStatus(t, err, 403, "cannot create")
			case err != nil:
				t.Fatal(err)
			default:
				wantStatus(t, u.Status().Update(t.Context(), p), 403, "cannot update")
				if err := u.Delete(t.Context(), p); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
