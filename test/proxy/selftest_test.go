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

package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/proxy"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

func TestTheSelfTestNamesWhatIsWrong(t *testing.T) {
	long.Only(t)
	start(t)
	without := func(i int, resource string) []rbacv1.PolicyRule {
		rules := listed()
		var left []string
		for _, r := range rules[i].Resources {
			if r != resource {
				left = append(left, r)
			}
		}
		rules[i].Resources = left
		if len(left) == 0 {
			return append(rules[:i:i], rules[i+1:]...)
		}
		return rules
	}
	and := func(group, resource, verb string) []rbacv1.PolicyRule {
		return append(listed(), rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}})
	}
	for i, tc := range []struct {
		name      string
		rules     []rbacv1.PolicyRule
		unlimited bool
		problem   string
	}{
		{"as it must be", listed(), false, ""},
		{"no users", without(0, "users"), false, "resources: [users]"},
		{"no UIDs", without(2, "uids"), false, "resources: [uids]"},
		{"no ids of credentials", without(2, "userextras/authentication.kubernetes.io/credential-id"), false, "resources: [userextras/authentication.kubernetes.io/credential-id]"},
		{"no names", without(2, "userextras/pat-operator.io/name"), false, "resources: [userextras/pat-operator.io/name]"},
		{"no scopes", without(2, "userextras/pat-operator.io/scopes"), false, "resources: [userextras/pat-operator.io/scopes]"},
		{"reads Secrets", and("", "secrets", "get"), false, "may read Secrets"},
		{"every user", and("", "users", "impersonate"), false, "set --proxy-allow-unlimited-impersonation"},
		{"every group", and("", "groups", "impersonate"), false, "set --proxy-allow-unlimited-impersonation"},
		{"every user, as allowed", and("", "users", "impersonate"), true, ""},
		{"every user, constrained", append(and("authentication.k8s.io", "users", "impersonate:user-info"), rbacv1.PolicyRule{
			APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"impersonate-on:user-info:list"},
		}), false, "set --proxy-allow-unlimited-impersonation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name := fmt.Sprintf("impersonator-%d", i)
			impersonator(t, admin, name, tc.rules)
			config := apiServer.Config(t)
			transport := env.Must[*proxy.Transport](t)(proxy.NewTransport(config))
			account := proxy.NewImpersonator(admin, client.ObjectKey{Namespace: system, Name: name}, logr.Discard())
			test := env.Must[*proxy.SelfTest](t)(proxy.NewSelfTest(httpsURL(config.Host), transport, account, tc.unlimited, logr.Discard()))
			if test.Ready(nil) == nil {
				t.Error("ready before the first test")
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go func() { _ = account.Start(ctx) }()
			go func() { _ = test.Start(ctx) }()
			if err := env.Poll(ctx, env.Patience, func() error {
				err := test.Ready(nil)
				if (err == nil) != (tc.problem == "") || err != nil && !strings.Contains(err.Error(), tc.problem) {
					return fmt.Errorf("it says %q; want %q", fmt.Sprint(err), tc.problem)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

// The API server says which groups the account may name, by the plain verb or by that of constrained impersonation.
func TestTheAPIServerKnowsTheListedGroups(t *testing.T) {
	start(t)
	const name = "impersonator-of-groups"
	impersonator(t, admin, name, []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"groups"}, Verbs: []string{"impersonate"}, ResourceNames: []string{"plain"}},
		{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: []string{"user"}},
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"groups"}, Verbs: []string{"impersonate:user-info"}, ResourceNames: []string{"constrained"}},
	})
	config := apiServer.Config(t)
	transport := env.Must[*proxy.Transport](t)(proxy.NewTransport(config))
	account := proxy.NewImpersonator(admin, client.ObjectKey{Namespace: system, Name: name}, logr.Discard())
	groups := proxy.NewGroups(env.Must[*proxy.SelfTest](t)(proxy.NewSelfTest(httpsURL(config.Host), transport, account, false, logr.Discard())))
	if _, err := groups.Unlisted(t.Context(), []string{"plain"}); err == nil {
		t.Error("an answer without a credential")
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = account.Start(ctx) }()
	if err := env.Poll(ctx, env.Patience, func() error {
		unlisted, err := groups.Unlisted(ctx, []string{"plain", "other", "constrained", "user"})
		if err == nil && !slices.Equal(unlisted, []string{"other", "user"}) {
			err = fmt.Errorf("unlisted are %q", unlisted)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// An account that was deleted and made again is another one: its token is replaced long before it would have been.
func TestTheImpersonatorIsMadeAgain(t *testing.T) {
	long.Only(t) // a token is kept for ten seconds at least
	start(t)
	const name = "impersonator-made-again"
	impersonator(t, admin, name, listed())
	config := apiServer.Config(t)
	transport := env.Must[*proxy.Transport](t)(proxy.NewTransport(config))
	account := proxy.NewImpersonator(admin, client.ObjectKey{Namespace: system, Name: name}, logr.Discard())
	go func() { _ = account.Start(t.Context()) }()
	asAlice := &http.Client{Transport: transport.As(account.Token, account.Refused), Timeout: env.Patience}
	ask := func() (int, error) {
		request := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(httpsURL(config.Host), "/")+"/version", nil))
		request.Header.Set("Impersonate-User", alice.Username)
		response, err := asAlice.Do(request)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	becomes := func(want int) {
		t.Helper()
		if err := env.Poll(t.Context(), env.Patience, func() error {
			code, err := ask()
			if err == nil && code != want {
				err = fmt.Errorf("HTTP %d; want %d", code, want)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	becomes(http.StatusOK)
	again := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name}}
	if err := admin.Delete(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	becomes(http.StatusUnauthorized)
	again.ResourceVersion, again.UID = "", ""
	create(t, admin, again)
	becomes(http.StatusOK)
}
