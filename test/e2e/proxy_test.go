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
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/impersonation"
	"github.com/pat-operator/pat-operator/test/long"
)

// The operator's process, with its own account and rights, keeps the list of whom the proxy may act for: a token that is
// issued appears, one that is suspended, revoked or deleted disappears, while it runs and while it is away.
func TestTheOperatorKeepsWhomTheProxyMayActFor(t *testing.T) {
	long.Only(t)
	proxied(t)
	apply(t, "config/rbac/proxy/managed")
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	startOperator(t, "--managed-impersonation")
	t.Cleanup(func() {
		if err := operator.Stop(); err != nil {
			t.Error(err)
		}
		startOperator(t)
	})
	ns := team(t)
	// Tests that ran before have left tokens of alice and bob.
	carol, err := product.User("carol", "team-devs", "carols")
	if err != nil {
		t.Fatal(err)
	}
	dora, err := product.User("dora", "team-devs", "doras")
	if err != nil {
		t.Fatal(err)
	}
	named := func(want bool, names ...string) {
		t.Helper()
		role := &rbacv1.ClusterRole{}
		eventually(t, patience, func() bool {
			if err := admin.Get(t.Context(), client.ObjectKey{Name: impersonation.RoleName}, role); err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, rule := range role.Rules {
				all = append(all, rule.ResourceNames...)
			}
			return !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(all, name) != want })
		}, func() string { return fmt.Sprintf("%v named: want %t of %v", names, want, role.Rules) })
	}
	issued(t, carol, pat(ns, "carols"))
	named(true, "carol", "carols", "team-devs")
	if err := merge(t, carol, ns, "carols", `{"spec":{"suspend":true}}`); err != nil {
		t.Fatal(err)
	}
	named(false, "carol", "carols")
	if err := merge(t, carol, ns, "carols", `{"spec":{"suspend":false}}`); err != nil {
		t.Fatal(err)
	}
	named(true, "carol", "carols")

	issued(t, dora, pat(ns, "doras"))
	named(true, "dora")
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	if err := dora.Status().Patch(t.Context(), pat(ns, "doras"), revocation(t, ns, "doras")); err != nil {
		t.Fatal(err)
	}
	startOperator(t, "--managed-impersonation")
	named(false, "dora", "doras")
	named(true, "carol")
	if err := carol.Delete(t.Context(), &v1alpha1.PersonalAccessToken{ObjectMeta: pat(ns, "carols").ObjectMeta}); err != nil {
		t.Fatal(err)
	}
	named(false, "carol", "carols", "dora")
	// The other rights of the operator's account are those of every form.
	for _, r := range rules(t, operatorAccount, ns) {
		if r == "[impersonate] [] [users] []" {
			t.Error("the operator may act for everybody")
		}
	}
}
