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

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	proxyAccount = "pat-operator-proxy"
	impersonator = "pat-operator-impersonator"
	selfTest     = "pat-operator.io:self-test"
)

// impersonates is a client of the impersonator that acts for another, with a token that the proxy's account has asked for.
type impersonates struct {
	t     *testing.T
	token string
}

// proxied installs the proxy's accounts and a form.
func proxied(t *testing.T, form string, with ...client.Object) impersonates {
	t.Helper()
	for _, file := range []string{"service_account.yaml", "role.yaml", "role_binding.yaml", "impersonator.yaml"} {
		installed(t, manifests(t, "rbac", "proxy", file)...)
	}
	files := map[string]string{"managed": "users.yaml", "listed": "users.yaml", "namespaces": "constrained.yaml", "unlimited": "users.yaml"}
	installed(t, manifests(t, "rbac", "proxy", form, files[form])...)
	installed(t, with...)
	c := api.As(t, "system:serviceaccount:"+cluster.OperatorNamespace+":"+proxyAccount, "system:serviceaccounts", "system:authenticated")
	account := func(name string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: name}}
	}
	request := &authenticationv1.TokenRequest{}
	var last error
	env.Eventually(t, env.Patience, func() bool { // RBAC takes effect.
		last = c.SubResource("token").Create(t.Context(), account(impersonator), request)
		return last == nil
	}, func() string { return fmt.Sprint(last) })
	if err := c.SubResource("token").Create(t.Context(), account(proxyAccount), &authenticationv1.TokenRequest{}); !apierrors.IsForbidden(err) {
		t.Errorf("the proxy's account gets a token of its own account: %v", err)
	}
	i := impersonates{t, request.Status.Token}
	env.Eventually(t, env.Patience, func() bool {
		_, err := i.whoami(rest.ImpersonationConfig{UserName: selfTest, UID: "1"})
		return err == nil
	},
		func() string { return "the form does not take effect" })
	return i
}

func (i impersonates) as(whom rest.ImpersonationConfig) client.Client {
	i.t.Helper()
	config := rest.AnonymousClientConfig(api.Config(i.t))
	config.BearerToken, config.Impersonate, config.QPS = i.token, whom, -1
	return env.Must[client.WithWatch](i.t)(client.NewWithWatch(config, client.Options{Scheme: env.Scheme, Mapper: api.Client(i.t).RESTMapper()}))
}

func (i impersonates) whoami(whom rest.ImpersonationConfig) (string, error) {
	review := &authenticationv1.SelfSubjectReview{}
	err := i.as(whom).Create(context.Background(), review)
	return review.Status.UserInfo.Username, err
}

// ofAToken are the extra values that the proxy sends.
var ofAToken = map[string][]string{
	"authentication.kubernetes.io/credential-id": {"PAT=x"}, "pat-operator.io/name": {"team-a/my-pat"}, "pat-operator.io/scopes": {"true"},
}

// Whom the impersonator may act for, in each form, by a real API server.
func TestEachFormActsForWhomItSays(t *testing.T) {
	alice := rest.ImpersonationConfig{UserName: "alice", UID: "u1", Groups: []string{"devs"}, Extra: ofAToken}
	with := func(change func(*rest.ImpersonationConfig)) rest.ImpersonationConfig {
		whom := alice
		change(&whom)
		return whom
	}
	attempts := map[string]rest.ImpersonationConfig{
		"alice":              alice,
		"bob":                with(func(w *rest.ImpersonationConfig) { w.UserName = "bob" }),
		"another group":      with(func(w *rest.ImpersonationConfig) { w.Groups = []string{"devs", "ops"} }),
		"another extra":      with(func(w *rest.ImpersonationConfig) { w.Extra = map[string][]string{"example.com/tenant": {"a"}} }),
		"system:masters":     with(func(w *rest.ImpersonationConfig) { w.Groups = []string{"system:masters"} }),
		"controller manager": {UserName: "system:kube-controller-manager"},
		"a node":             {UserName: "system:node:n1", Groups: []string{"system:nodes"}},
		"ci of team-a":       {UserName: "system:serviceaccount:team-a:ci", UID: "s1", Extra: ofAToken},
		"ci of team-b":       {UserName: "system:serviceaccount:team-b:ci", UID: "s1", Extra: ofAToken},
		"the operator":       {UserName: cluster.OperatorUser},
		"self-test":          {UserName: selfTest, UID: "1", Extra: ofAToken},
	}
	bound := func(role string) client.Object {
		return &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: cluster.OperatorNamespace, Name: impersonator}},
		}
	}
	for _, tc := range []struct {
		form string
		may  []string
	}{
		{"managed", []string{"alice", "ci of team-a", "self-test"}},
		{"listed", []string{"alice", "ci of team-a", "self-test"}},
		{"namespaces", []string{"alice", "bob", "another group", "controller manager", "ci of team-a", "self-test"}},
		{"unlimited", []string{"alice", "bob", "another group", "system:masters", "controller manager", "a node", "ci of team-a", "self-test"}},
	} {
		t.Run(tc.form, func(t *testing.T) {
			c := api.Client(t)
			objects := []client.Object{bound("pat-operator-impersonator-service-accounts")}
			if tc.form == "namespaces" {
				objects = append(objects, bound("pat-operator-impersonator-actions"))
			}
			i := proxied(t, tc.form, objects...)
			if list := map[string]string{"managed": RoleName, "listed": "pat-operator-impersonator-listed"}[tc.form]; list != "" {
				role := &rbacv1.ClusterRole{}
				if err := c.Get(t.Context(), client.ObjectKey{Name: list}, role); err != nil {
					t.Fatal(err)
				}
				role.Rules = []rbacv1.PolicyRule{impersonate("users", "alice"), impersonate("groups", "devs")}
				if err := c.Update(t.Context(), role); err != nil {
					t.Fatal(err)
				}
				env.Eventually(t, env.Patience, func() bool { _, err := i.whoami(alice); return err == nil }, func() string { return "the list does not take effect" })
			}
			may := map[string]bool{}
			for _, name := range tc.may {
				may[name] = true
			}
			for name, whom := range attempts {
				who, err := i.whoami(whom)
				switch {
				case may[name] && (err != nil || who != whom.UserName):
					t.Errorf("%s: %q, %v", name, who, err)
				case !may[name] && !apierrors.IsForbidden(err):
					t.Errorf("%s: %q, %v; want 403", name, who, err)
				}
			}
			if !may["bob"] {
				_, err := i.whoami(attempts["bob"])
				_, groups := i.whoami(attempts["another group"])
				for text, err := range map[string]error{`cannot impersonate resource "users"`: err, `cannot impersonate resource "groups"`: groups} {
					if !strings.Contains(fmt.Sprint(err), text) { // docs/install/proxy.md quotes it
						t.Errorf("error %v; want %q", err, text)
					}
				}
			}
			// As itself it reads nothing.
			own := i.as(rest.ImpersonationConfig{})
			for what, list := range map[string]client.ObjectList{"secrets": &corev1.SecretList{}, "config maps": &corev1.ConfigMapList{}, "roles": &rbacv1.ClusterRoleList{}} {
				if err := own.List(t.Context(), list); !apierrors.IsForbidden(err) {
					t.Errorf("it lists %s: %v", what, err)
				}
			}
			if err := own.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "x"}}, client.DryRunAll); !apierrors.IsForbidden(err) {
				t.Errorf("it creates a Secret: %v", err)
			}
		})
	}
}

// In the form namespaces, the same user with the same rights gets through in the namespace that opted in alone.
func TestTheFormNamespacesStopsAtItsNamespaces(t *testing.T) {
	long.Only(t)
	reader := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads-config-maps"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "create"}},
	}}
	toAlice := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "alice-reads-config-maps"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: reader.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
	}
	actions := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "pat-operator-impersonator-actions"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pat-operator-impersonator-actions"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: cluster.OperatorNamespace, Name: impersonator}},
	}
	c := proxied(t, "namespaces", reader, toAlice, actions).as(rest.ImpersonationConfig{UserName: "alice", UID: "u1", Groups: []string{"devs"}, Extra: ofAToken})
	var last error
	env.Eventually(t, env.Patience, func() bool {
		last = c.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("team-a"))
		return last == nil
	},
		func() string { return fmt.Sprint(last) })
	made := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "made"}}
	if err := c.Create(t.Context(), made, client.DryRunAll); err != nil {
		t.Error(err)
	}
	for _, namespace := range []string{"team-b", cluster.OperatorNamespace, ""} {
		if err := c.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(namespace)); !apierrors.IsForbidden(err) {
			t.Errorf("in %q: %v; want 403", namespace, err)
		}
	}
	if err := api.As(t, "alice").List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("team-b")); err != nil {
		t.Errorf("alice herself: %v", err)
	}
}

// The emergency stop: without its account, the impersonator's token is refused.
func TestDeletingTheImpersonatorStopsTheProxy(t *testing.T) {
	i := proxied(t, "unlimited")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: impersonator}}
	if err := api.Client(t).Delete(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	var last error
	env.Eventually(t, env.Patience, func() bool { // kube-apiserver remembers tokens for 10 seconds.
		_, last = i.whoami(rest.ImpersonationConfig{UserName: "alice"})
		return apierrors.IsUnauthorized(last)
	}, func() string { return fmt.Sprint(last) })
}

// The proxy's own account: it reads records, and neither acts for others nor writes a role.
func TestTheProxysAccountIsNobody(t *testing.T) {
	proxied(t, "unlimited")
	account := "system:serviceaccount:" + cluster.OperatorNamespace + ":" + proxyAccount
	c := api.As(t, account, "system:serviceaccounts", "system:authenticated")
	if err := c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(records)); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"lists Secrets of others":       c.List(t.Context(), &corev1.SecretList{}, client.InNamespace("team-a")),
		"lists Secrets of the operator": c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(cluster.OperatorNamespace)),
		"reads the operator's CA":       c.Get(t.Context(), client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-ca"}, &corev1.Secret{}),
		"writes a record":               c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: records, Name: "x"}}, client.DryRunAll),
		"reads a role":                  c.Get(t.Context(), client.ObjectKey{Name: RoleName}, &rbacv1.ClusterRole{}),
		"writes a role":                 c.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, client.DryRunAll),
		"writes a binding": c.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "x"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		}, client.DryRunAll),
		"makes an account": c.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "x"}}, client.DryRunAll),
	} {
		if !apierrors.IsForbidden(err) {
			t.Errorf("it %s: %v; want 403", what, err)
		}
	}
	// As a token of its own, it cannot act for anybody.
	request := &authenticationv1.TokenRequest{}
	own := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: proxyAccount}}
	if err := api.Client(t).SubResource("token").Create(t.Context(), own, request); err != nil {
		t.Fatal(err)
	}
	for _, whom := range []string{"alice", selfTest, "system:serviceaccount:" + cluster.OperatorNamespace + ":" + impersonator} {
		if _, err := (impersonates{t, request.Status.Token}).whoami(rest.ImpersonationConfig{UserName: whom}); err == nil || !strings.Contains(err.Error(), "cannot impersonate") {
			t.Errorf("it acts for %s: %v", whom, err)
		}
	}
}
