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

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// may gives a subject cluster-wide rights, and returns a function that takes them away again.
func may(t *testing.T, subject rbacv1.Subject, rules ...rbacv1.PolicyRule) (revoke func()) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "may-"}, Rules: rules}
	create(t, admin, role)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{subject},
	}
	create(t, admin, binding)
	return func() {
		for _, o := range []client.Object{binding, role} {
			if err := admin.Delete(t.Context(), o); err != nil {
				t.Error(err)
			}
		}
	}
}

func subject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}
}

func impersonate(apiGroup, resource string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{apiGroup}, Resources: []string{resource}, ResourceNames: names, Verbs: []string{"impersonate"}}
}

// Each right in turn is missing: the 403 names it. With all of them, the token is the other's.
func TestCase02_ForSomebodyElse(t *testing.T) {
	ns := team(t)
	carol := func(s *spec) {
		s.User = &v1alpha1.UserInfo{
			Username: "carol", UID: "c-1", Groups: []string{"one", "two"},
			Extra: map[string]v1alpha1.ExtraValue{"example.com/team": {"blue"}},
		}
	}
	rights := map[string]rbacv1.PolicyRule{
		"carol": impersonate("", "users", "carol"),
		"one":   impersonate("", "groups", "one"),
		"two":   impersonate("", "groups", "two"),
		"c-1":   impersonate("authentication.k8s.io", "uids", "c-1"),
		"blue":  impersonate("authentication.k8s.io", "userextras/example.com/team", "blue"),
	}
	for missing := range rights {
		t.Run("without the right to "+missing, func(t *testing.T) {
			var granted []rbacv1.PolicyRule
			for name, rule := range rights {
				if name != missing {
					granted = append(granted, rule)
				}
			}
			defer may(t, subject("bob"), granted...)()
			var err error
			eventually(t, patience, func() bool {
				// Until the rights have taken effect another of them may be named.
				err = bob.Create(t.Context(), pat(ns, "for-carol", carol), client.DryRunAll)
				return err != nil && strings.Contains(err.Error(), fmt.Sprintf(`resourceNames: [%q]`, missing))
			}, func() string { return fmt.Sprintf("got %v; want one missing right named", err) })
			wantStatus(t, err, 403, missing, "impersonate")
		})
	}
	t.Run("with verbs that are not the plain one", func(t *testing.T) {
		var others []rbacv1.PolicyRule
		for _, rule := range rights {
			rule.Verbs = []string{"impersonate:user-info", "impersonate-on:user-info:create"}
			others = append(others, rule)
		}
		others = append(others, rbacv1.PolicyRule{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"users", "groups", "uids", "userextras/example.com/team"}, Verbs: []string{"impersonate:user-info"}})
		defer may(t, subject("bob"), others...)()
		wantStatus(t, bob.Create(t.Context(), pat(ns, "for-carol", carol)), 403, "impersonate")
	})
	t.Run("with all of them", func(t *testing.T) {
		var all []rbacv1.PolicyRule
		for _, rule := range rights {
			all = append(all, rule)
		}
		defer may(t, subject("bob"), all...)()
		eventually(t, patience, func() bool { return bob.Create(t.Context(), pat(ns, "for-carol", carol), client.DryRunAll) == nil },
			func() string { return "still refused" })
		plaintext := issued(t, bob, pat(ns, "for-carol", carol))
		got := accepted(t, plaintext)
		if got.Username != "carol" || got.UID != "c-1" || !slices.Equal(got.Groups, []string{"one", "two", "system:authenticated"}) || got.Extra["example.com/team"][0] != "blue" {
			t.Errorf("it is %+v", got)
		}
	})
	t.Run("an empty value", func(t *testing.T) {
		wantStatus(t, bob.Create(t.Context(), pat(ns, "empty", func(s *spec) { s.User = &v1alpha1.UserInfo{Username: ""} })), 422, "spec.user.username")
	})
}

// A group that its user has lost since is nobody's to widen a token with.
func TestCase02_ALostGroupCannotBeKept(t *testing.T) {
	ns := team(t)
	before, err := product.User("dora", "team-devs", "payroll")
	if err != nil {
		t.Fatal(err)
	}
	after, err := product.User("dora", "team-devs")
	if err != nil {
		t.Fatal(err)
	}
	create(t, before, pat(ns, "my-pat", func(s *spec) { s.Suspend = true }))
	waitFor(t, ns, "my-pat", "Active", "False/Suspended")
	wantStatus(t, merge(t, after, ns, "my-pat", `{"spec":{"suspend":false}}`), 403, "payroll", "impersonate")
	if err := merge(t, after, ns, "my-pat", `{"spec":{"expiresInDays":5}}`); err != nil {
		t.Errorf("a shorter life: %v", err)
	}
}

func TestCase07_APATMakesNoPAT(t *testing.T) {
	ns := team(t)
	c := bearer(t, issued(t, alice, pat(ns, "my-pat")))
	accepted(t, take(t, alice, ns, "my-pat"))
	wantStatus(t, c.Create(t.Context(), pat(ns, "child")), 403, "personal access token")
	narrow := func(json string) error {
		return merge(t, c, ns, "my-pat", json)
	}
	wantStatus(t, narrow(`{"spec":{"audiences":["vendor","https://kubernetes.default.svc"]}}`), 403, "personal access token")
	wantStatus(t, narrow(`{"spec":{"expiresInDays":300}}`), 403)
	if err := narrow(`{"spec":{"expiresInDays":5}}`); err != nil {
		t.Errorf("a shorter life: %v", err)
	}
}

// account makes a service account and a client that holds its token, as a pod does.
func account(t *testing.T, ns, name string) (*corev1.ServiceAccount, client.Client) {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	create(t, admin, sa)
	binding := roleBinding(ns)
	binding.Name = name
	binding.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "dev"}
	binding.Subjects = []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: name}}
	create(t, admin, binding)
	request := &authenticationv1.TokenRequest{}
	if err := admin.SubResource("token").Create(t.Context(), sa, request); err != nil {
		t.Fatal(err)
	}
	c := bearer(t, request.Status.Token)
	eventually(t, patience, func() bool { return c.List(t.Context(), &corev1.PodList{}, client.InNamespace(ns)) == nil },
		func() string { return "the account's role does not take effect" })
	return sa, c
}

func TestCase08_ServiceAccounts(t *testing.T) {
	ns := team(t)
	sa, c := account(t, ns, "deployer")
	username := "system:serviceaccount:" + ns + ":deployer"
	self := func(s *spec) { s.User = &v1alpha1.UserInfo{Username: username} }
	wantStatus(t, c.Create(t.Context(), pat(ns, "unnamed")), 403, "spec.user")
	wantStatus(t, c.Create(t.Context(), pat(ns, "self", self)), 403, "serviceaccounts", "impersonate")

	defer may(t, rbacv1.Subject{Kind: "ServiceAccount", Namespace: ns, Name: "deployer"}, impersonate("", "serviceaccounts", "deployer"))()
	eventually(t, patience, func() bool { return c.Create(t.Context(), pat(ns, "self", self), client.DryRunAll) == nil },
		func() string { return "still refused" })
	create(t, c, pat(ns, "self", self))
	plaintext := take(t, alice, ns, "self")
	got := accepted(t, plaintext)
	if want := []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"}; got.Username != username || got.UID != string(sa.UID) || !slices.Equal(got.Groups, want) {
		t.Errorf("it is %+v; want groups %q", got, want)
	}
	for key := range got.Extra {
		if strings.Contains(key, "pod") || strings.Contains(key, "node") {
			t.Errorf("it carries %s", key)
		}
	}

	t.Run("a lie about its uid", func(t *testing.T) {
		lie := pat(ns, "lie", self, func(s *spec) { s.User.UID = "other" })
		if err := c.Create(t.Context(), lie); err == nil || !strings.Contains(err.Error(), "spec.user.uid") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a GitOps controller that impersonates by name", func(t *testing.T) {
		config := rest.CopyConfig(cl.Admin())
		config.Impersonate = rest.ImpersonationConfig{UserName: username}
		tenant, err := client.New(config, client.Options{Scheme: env.Scheme})
		if err != nil {
			t.Fatal(err)
		}
		create(t, tenant, pat(ns, "by-gitops", self))
		waitFor(t, ns, "by-gitops", "Active", "True/Active")
		if got := get(t, ns, "by-gitops").Spec.User.UID; got != string(sa.UID) {
			t.Errorf("pinned to UID %q; want %q", got, sa.UID)
		}
	})
}

func TestCase16_AServiceAccountReCreatedIsAnother(t *testing.T) {
	long.Only(t)
	t.Parallel()
	ns := team(t)
	sa, c := account(t, ns, "deployer")
	defer may(t, rbacv1.Subject{Kind: "ServiceAccount", Namespace: ns, Name: "deployer"}, impersonate("", "serviceaccounts", "deployer"))()
	self := func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "system:serviceaccount:" + ns + ":deployer"} }
	eventually(t, patience, func() bool { return c.Create(t.Context(), pat(ns, "self", self), client.DryRunAll) == nil },
		func() string { return "still refused" })
	create(t, c, pat(ns, "self", self))
	plaintext := take(t, alice, ns, "self")
	accepted(t, plaintext)
	if err := admin.Delete(t.Context(), sa); err != nil {
		t.Fatal(err)
	}
	refused(t, plaintext)
	waitFor(t, ns, "self", "Stalled", "True/OwnerGone")
	create(t, admin, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "deployer"}})
	for range 5 {
		if got := directReview(t, plaintext); got.Authenticated {
			t.Error("the new account's token is the old one's")
		}
	}
	waitFor(t, ns, "self", "Stalled", "True/OwnerGone")
}

// Another user with every right in the namespace may not widen a token; with impersonate they may.
func TestCase10_AnotherUsersUpdate(t *testing.T) {
	ns := team(t)
	create(t, alice, pat(ns, "my-pat", func(s *spec) { s.Suspend = true; s.Audiences = []string{"a"} }))
	waitFor(t, ns, "my-pat", "Active", "False/Suspended")
	for name, patch := range map[string]string{
		"resume":    `{"spec":{"suspend":false}}`,
		"audiences": `{"spec":{"audiences":["a","b"]}}`,
	} {
		err := merge(t, bob, ns, "my-pat", patch)
		t.Log(name)
		wantStatus(t, err, 403, "alice", "impersonate")
	}
	for name, patch := range map[string]string{
		"rename":  `{"spec":{"displayName":"x"}}`,
		"shorten": `{"spec":{"expiresInDays":3}}`,
	} {
		if err := merge(t, bob, ns, "my-pat", patch); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	defer may(t, subject("bob"), impersonate("", "users", "alice"), impersonate("", "groups", "team-devs"))()
	eventually(t, patience, func() bool {
		return merge(t, bob, ns, "my-pat", `{"spec":{"suspend":false}}`) == nil
	}, func() string { return "still refused with the rights" })
}

// A thousand at once by ten people: nobody gets another's name.
func TestCase01_EverybodyIsStampedAsThemselves(t *testing.T) {
	people, each := 10, 6
	if *soak > 0 {
		each = 30
	}
	ns := team(t)
	users := make([]user, people)
	for i := range users {
		var err error
		if users[i], err = product.User(fmt.Sprintf("user-%d", i), "team-devs", fmt.Sprintf("only-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range users {
		for lane := range 2 {
			wg.Go(func() {
				for n := range each / 2 {
					if err := users[i].Create(t.Context(), pat(ns, fmt.Sprintf("%s-%d-%d", users[i].Name, lane, n))); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	start := time.Now()
	wg.Wait()
	created := time.Since(start)
	all := settled(t, ns, people*each)
	t.Logf("%d by %d people created in %v, active after %v", len(all), people, created, time.Since(start))
	for i := range all {
		who := all[i].Name[:strings.LastIndex(all[i].Name[:strings.LastIndex(all[i].Name, "-")], "-")]
		want := []string{"team-devs", "only-" + strings.TrimPrefix(who, "user-")}
		slices.Sort(want)
		if u := all[i].Spec.User; u.Username != who || !slices.Equal(slices.Sorted(slices.Values(u.Groups)), want) {
			t.Errorf("%s is %s's, in %q", all[i].Name, u.Username, u.Groups)
		}
	}
	distinct(t, ns, all)
}
