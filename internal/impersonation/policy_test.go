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

package impersonation

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// guarded installs the policy, and gives the operator's account rights that are far too wide.
func guarded(t *testing.T) (operator client.Client) {
	t.Helper()
	installed(t, manifests(t, "policy", "impersonator.yaml")...)
	subject := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: cluster.OperatorUser}}
	installed(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "too-wide"}, Subjects: subject,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	})
	operator = api.As(t, cluster.OperatorUser)
	env.Eventually(t, env.Patience, func() bool {
		err := operator.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}, client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "pat-operator-impersonator")
	}, func() string { return "the policy does not take effect" })
	return operator
}

func impersonate(resource string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: names}
}

func rules(rules ...rbacv1.PolicyRule) func(*rbacv1.ClusterRole) {
	return func(role *rbacv1.ClusterRole) { role.Rules = rules }
}

func changed(rule rbacv1.PolicyRule, change func(*rbacv1.PolicyRule)) func(*rbacv1.ClusterRole) {
	change(&rule)
	return rules(impersonate("users", "alice"), rule)
}

// An operator that was taken over, with every right that RBAC has, makes of the role nothing but a list of users and groups,
// and nobody else changes the list.
func TestThePolicyBoundsTheRole(t *testing.T) {
	c := world(t)
	operator := guarded(t)
	const (
		form     = "has rules for `impersonate` on users or groups, each with resourceNames, and no others"
		system   = `names no user and no group that begins with "system:"`
		metadata = "and not its metadata"
		part     = "has no aggregationRule and no label that makes it part of another role"
		alone    = "are written by pat-operator alone"
	)
	base := impersonate("users", "bob")
	role := &rbacv1.ClusterRole{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: RoleName}, role); err != nil {
		t.Fatal(err)
	}
	role.Rules = []rbacv1.PolicyRule{impersonate("users", "alice")}
	if err := operator.Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*rbacv1.ClusterRole)
		// operator and admin are what each is told; "" is that they may.
		operator, admin string
	}{
		{"other users", rules(impersonate("users", "bob", "*", "systemic:x")), "", alone},
		{"groups too", rules(impersonate("users", "bob"), impersonate("groups", "devs")), "", alone},
		{"none", rules(), "", alone},
		{"a group of Kubernetes", rules(impersonate("groups", "devs", "system:masters")), system, alone},
		{"a user of Kubernetes", rules(impersonate("users", "system:kube-controller-manager")), system, alone},
		{"a service account as a user", rules(impersonate("users", "system:serviceaccount:kube-system:root-ca-cert-publisher")), system, alone},
		{"an empty name", rules(impersonate("users", "")), system, alone},
		{"everybody", rules(impersonate("users")), form, alone},
		{"everybody, among others", rules(impersonate("users", "bob"), impersonate("groups")), form, alone},
		{"service accounts", rules(impersonate("serviceaccounts", "ci")), form, alone},
		{"secrets", rules(impersonate("secrets", "ci")), form, alone},
		{"two resources", changed(base, func(r *rbacv1.PolicyRule) { r.Resources = []string{"users", "serviceaccounts"} }), form, alone},
		{"any resource", changed(base, func(r *rbacv1.PolicyRule) { r.Resources = []string{"*"} }), form, alone},
		{"any group of the API", changed(base, func(r *rbacv1.PolicyRule) { r.APIGroups = []string{"*"} }), form, alone},
		{"another group of the API", changed(base, func(r *rbacv1.PolicyRule) { r.APIGroups = []string{"authentication.k8s.io"} }), form, alone},
		{"another verb", changed(base, func(r *rbacv1.PolicyRule) { r.Verbs = []string{"get"} }), form, alone},
		{"another verb too", changed(base, func(r *rbacv1.PolicyRule) { r.Verbs = []string{"impersonate", "get"} }), form, alone},
		{"any verb", changed(base, func(r *rbacv1.PolicyRule) { r.Verbs = []string{"*"} }), form, alone},
		{"a path", rules(rbacv1.PolicyRule{Verbs: []string{"impersonate"}, NonResourceURLs: []string{"/metrics"}}), form, alone},
		{"a label", func(r *rbacv1.ClusterRole) { r.Labels = map[string]string{"a": "b"} }, metadata, ""},
		{"an annotation", func(r *rbacv1.ClusterRole) { r.Annotations = map[string]string{"a": "b"} }, metadata, ""},
		{"an owner", func(r *rbacv1.ClusterRole) {
			r.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: "gone", UID: "1"}}
		}, metadata, ""},
		{"a finalizer", func(r *rbacv1.ClusterRole) { r.Finalizers = []string{"example.com/held"} }, metadata, ""},
		{"part of admin", func(r *rbacv1.ClusterRole) {
			r.Labels = map[string]string{"rbac.authorization.k8s.io/aggregate-to-admin": "true"}
		}, metadata, part},
		{"made of others", func(r *rbacv1.ClusterRole) {
			r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}}
		}, part, part},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for account, want := range map[client.Client]string{operator: tc.operator, c: tc.admin} {
				changed := role.DeepCopy()
				tc.change(changed)
				err := account.Update(t.Context(), changed, client.DryRunAll)
				switch {
				case want == "" && err != nil:
					t.Error(err)
				case want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want)):
					t.Errorf("error %v; want %q", err, want)
				}
			}
		})
	}

	t.Run("applied again", func(t *testing.T) {
		if err := c.Delete(t.Context(), role.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		full := role.DeepCopy()
		full.ResourceVersion, full.UID = "", ""
		if err := c.Create(t.Context(), full); err == nil || !strings.Contains(err.Error(), alone) {
			t.Errorf("with rules: %v", err)
		}
		empty := manifests(t, "rbac", "proxy", "managed", "users.yaml")[0]
		if err := c.Create(t.Context(), empty); err != nil {
			t.Errorf("without rules: %v", err)
		}
	})
}

// The operator's account writes no other role, and no binding: it could otherwise act for others itself.
func TestTheOperatorWritesNoOtherRole(t *testing.T) {
	c := world(t)
	operator := guarded(t)
	existing := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "existing"}}
	installed(t, existing)
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: RoleName}
	itself := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: cluster.OperatorUser}}
	meta := metav1.ObjectMeta{Name: "mine", Namespace: "team-a"}
	for name, do := range map[string]func() error{
		"another role": func() error {
			changed := existing.DeepCopy()
			rules(impersonate("users", "alice"))(changed)
			return operator.Update(t.Context(), changed)
		},
		"a new role": func() error {
			return operator.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Rules: []rbacv1.PolicyRule{impersonate("users", "alice")}})
		},
		"a new role with a generated name": func() error {
			return operator.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: RoleName}})
		},
		"a binding of the whole cluster": func() error {
			return operator.Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, RoleRef: ref, Subjects: itself})
		},
		"a role of a namespace": func() error { return operator.Create(t.Context(), &rbacv1.Role{ObjectMeta: meta}) },
		"a binding of a namespace": func() error {
			return operator.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: itself})
		},
		"the end of another role": func() error { return operator.Delete(t.Context(), existing) },
		"the end of its own": func() error {
			return operator.Delete(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: RoleName}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := do(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "and no other role or binding") {
				t.Errorf("error %v; want that the policy refuses it", err)
			}
		})
	}
	for _, name := range []string{"existing", RoleName} {
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &rbacv1.ClusterRole{}); err != nil {
			t.Error(err)
		}
	}
}

// As large as the role may get, the policy can judge it and etcd takes it. By RBAC alone, the operator's account writes it, and
// nothing else of its kind.
func TestThePolicyTakesTheLargestRole(t *testing.T) {
	long.Only(t)
	c := world(t)
	operator := guarded(t)
	if err := c.Delete(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "too-wide"}}); err != nil {
		t.Fatal(err)
	}
	installed(t, manifests(t, "rbac", "proxy", "managed", "operator_role.yaml")...)
	account := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "as-a-user"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pat-operator-managed-impersonation"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: cluster.OperatorUser}},
	}
	installed(t, account)
	names := map[name]bool{}
	for i := range MaxNames {
		resource := users
		if i%2 == 0 {
			resource = groups
		}
		n := fmt.Sprintf("%05d", i)
		names[name{resource, n + strings.Repeat("x", maxBytes/MaxNames-len(n))}] = true
	}
	role := &rbacv1.ClusterRole{}
	for what, length := range map[string]map[name]bool{"many names": names, "names as long as they may be": longest()} {
		t.Run(what, func(t *testing.T) {
			var last error
			env.Eventually(t, env.Patience, func() bool { // The binding takes effect.
				if err := operator.Get(context.Background(), client.ObjectKey{Name: RoleName}, role); err != nil {
					last = err
					return !apierrors.IsForbidden(err)
				}
				role.Rules = rulesOf(length)
				last = operator.Update(t.Context(), role)
				return last == nil || !apierrors.IsForbidden(last) || strings.Contains(last.Error(), "Policy")
			}, func() string { return fmt.Sprint(last) })
			if last != nil {
				t.Fatal(last)
			}
		})
	}
	for _, other := range []string{"cluster-admin", "view"} {
		stranger := &rbacv1.ClusterRole{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: other}, stranger); err != nil {
			t.Fatal(err)
		}
		if err := operator.Update(t.Context(), stranger, client.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("it updates %s: %v", other, err)
		}
	}
}

func longest() map[name]bool {
	names := map[name]bool{}
	for i := range maxBytes / 1024 {
		n := fmt.Sprintf("%05d", i)
		names[name{users, n + strings.Repeat("x", 1024-len(n))}] = true
	}
	return names
}
