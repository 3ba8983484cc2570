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
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

// An API in Go behind pkg/patauth, which asks a real kube-apiserver.
func TestCase26_AnAPIInGoTakesTokensOfItsAudience(t *testing.T) {
	t.Parallel()
	ns := team(t)
	api, binding := startListAPI(t, ns)
	token := func(name string, scopes []v1alpha1.Scope, audiences ...string) string {
		return issued(t, alice, pat(ns, name, func(s *v1alpha1.PersonalAccessTokenSpec) { s.Audiences, s.Scopes = audiences, scopes }))
	}
	full := token("full", nil, "list-api", "other")
	reader := token("reader", []v1alpha1.Scope{{API: "lists:read"}}, "list-api")
	writer := token("writer", []v1alpha1.Scope{{API: "lists:read"}, {API: "lists:write"}}, "list-api")
	kubernetes := token("kubernetes", nil)
	another := token("another", nil, "other")
	unknown, _ := holder(t, ns, "never", time.Hour)

	// A verifier learns of a token a moment after it is issued. No refusal is remembered.
	for _, plaintext := range []string{full, reader, writer} {
		eventually(t, patience, func() bool { return ask(t, api, http.MethodGet, "Bearer "+plaintext).status == http.StatusOK },
			func() string { return "the API does not take a token" })
	}
	accepted(t, kubernetes)
	if _, err := env.WhoIs(t.Context(), bearer(t, full)); !apierrors.IsUnauthorized(err) {
		t.Errorf("kube-apiserver, which is not in the audiences: %v", err)
	}
	for name, tc := range map[string]struct {
		method, authorization, code string
		status                      int
	}{
		"full":                          {http.MethodPost, "Bearer " + full, "", http.StatusCreated},
		"writer":                        {http.MethodPost, "Bearer " + writer, "", http.StatusCreated},
		"reader":                        {http.MethodPost, "Bearer " + reader, "insufficient_scope", http.StatusForbidden},
		"for Kubernetes":                {http.MethodGet, "Bearer " + kubernetes, "invalid_token", http.StatusUnauthorized},
		"for another API":               {http.MethodGet, "Bearer " + another, "invalid_token", http.StatusUnauthorized},
		"unknown":                       {http.MethodGet, "Bearer " + unknown, "invalid_token", http.StatusUnauthorized},
		"a service account":             {http.MethodGet, "Bearer " + serviceAccountToken(t, ns, "list-api"), "invalid_token", http.StatusUnauthorized},
		"its own audience, not a token": {http.MethodGet, "Bearer " + serviceAccountToken(t, ns, "list-api", "list-api"), "invalid_token", http.StatusUnauthorized},
		"nothing":                       {http.MethodGet, "", "", http.StatusUnauthorized},
	} {
		got := ask(t, api, tc.method, tc.authorization)
		if got.status != tc.status || tc.code != "" && !strings.Contains(got.challenge, `error="`+tc.code+`"`) {
			t.Errorf("%s: %+v, want %d %s", name, got, tc.status, tc.code)
		}
	}
	if got := ask(t, api, http.MethodGet, "Bearer "+reader); !strings.Contains(got.body, `"owner":"alice"`) {
		t.Errorf("alice's list is not there: %+v", got)
	}

	// Whatever ends a token ends it here, too: as an answer that is final for its client.
	ends := map[string]struct {
		plaintext string
		end       func() error
	}{
		"deleted":   {full, func() error { return alice.Delete(t.Context(), pat(ns, "full")) }},
		"suspended": {reader, func() error { return merge(t, alice, ns, "reader", `{"spec":{"suspend":true}}`) }},
	}
	for name, tc := range ends {
		if err := tc.end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		eventually(t, patience, func() bool { return !directReview(t, tc.plaintext, "list-api").Authenticated },
			func() string { return "the verifier still takes a token that is " + name })
	}
	for name, tc := range ends {
		within(t, kasRemembers+cluster.ListAPICacheFor, func() bool {
			got := ask(t, api, http.MethodGet, "Bearer "+tc.plaintext)
			if got.status == http.StatusServiceUnavailable {
				t.Errorf("%s: %+v", name, got)
			}
			return got.status == http.StatusUnauthorized
		}, "the API still takes a token that is "+name)
	}

	// An API that may not ask refuses nobody for good.
	if err := admin.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool {
		return ask(t, api, http.MethodGet, "Bearer "+writer).status == http.StatusServiceUnavailable
	},
		func() string { return "the API goes on without the right to ask" })
}

// startListAPI runs the example with the account list-api, and returns its URL and the binding that lets it ask.
func startListAPI(t *testing.T, ns string) (string, *rbacv1.ClusterRoleBinding) {
	t.Helper()
	create(t, admin, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "list-api"}})
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns + "-list-api"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "list-api"}},
	}
	create(t, admin, binding)
	t.Cleanup(func() { _ = admin.Delete(context.Background(), binding) })
	return runListAPI(t, serviceAccountToken(t, ns, "list-api")), binding
}

// runListAPI runs the example with a token of its own and further flags, and returns its URL.
func runListAPI(t *testing.T, own string, args ...string) string {
	t.Helper()
	api, err := cl.StartListAPI(t.Context(), fileOf(t, own), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Stop(); err != nil {
			t.Error(err)
		}
	})
	return api.URL
}

// fileOf is a file with a text.
func fileOf(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func serviceAccountToken(t *testing.T, ns, name string, audiences ...string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := admin.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// answer is what an API answers.
type answer struct {
	status          int
	challenge, body string
}

// ask sends a request to the API of lists.
func ask(t *testing.T, api, method, authorization string) answer {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(`{"name":"tea","items":["green","black"]}`)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, api+"/lists", body)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header.Get("WWW-Authenticate"), string(text)}
}
