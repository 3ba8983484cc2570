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
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
)

// clusterAdmin is a person who may do anything, by RBAC.
func clusterAdmin(t *testing.T, name string) user {
	t.Helper()
	u := env.Must[user](t)(product.User(name))
	create(t, admin, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	})
	return u
}

func scoped(scopes ...v1alpha1.Scope) func(*v1alpha1.PersonalAccessTokenSpec) {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.Scopes = scopes }
}

// raw sends a request with a token, as a client writes it, and returns what the API server says.
func raw(t *testing.T, plaintext, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	config := cl.Anonymous()
	config.Host = cl.Server
	return rawAt(t, config, plaintext, method, path, body, headers...)
}

// rawAt is raw at a server of your choice.
func rawAt(t *testing.T, config *rest.Config, plaintext, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	response := send(t, config, plaintext, method, path, body, headers...)
	defer func() { _ = response.Body.Close() }()
	var text strings.Builder
	if err := response.Write(&text); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, text.String()
}

func send(t *testing.T, config *rest.Config, plaintext, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	config = rest.CopyConfig(config)
	config.BearerToken = plaintext
	c := env.Must[*http.Client](t)(rest.HTTPClientFor(config))
	request := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), method, config.Host+path, strings.NewReader(body)))
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestCase29_AReadOnlyTokenOfAClusterAdministrator(t *testing.T) {
	t.Parallel()
	ns := team(t)
	root := clusterAdmin(t, "root-of-"+ns)
	create(t, admin, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a-secret"}})
	create(t, admin, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "a-config"}})
	full := issued(t, root, pat(ns, "full"))
	plaintext := issued(t, root, pat(ns, "read-only", scoped(v1alpha1.Scope{Preset: "read-only"})))
	info := accepted(t, plaintext)
	if got := strings.Join(info.Extra["pat-operator.io/scopes"], " "); got != "limited kubernetes:read-only" || info.Username != root.Name {
		t.Errorf("%s with scopes %q", info.Username, got)
	}
	pods, secrets := "/api/v1/namespaces/"+ns+"/pods", "/api/v1/namespaces/"+ns+"/secrets"
	websocket := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol", "v5.channel.k8s.io"}
	for name, tc := range map[string]struct {
		method, path, body string
		headers            []string
		inside             bool
	}{
		"list pods":                 {"GET", pods, "", nil, true},
		"list pods everywhere":      {"GET", "/api/v1/pods", "", nil, true},
		"get a ConfigMap":           {"GET", "/api/v1/namespaces/" + ns + "/configmaps/a-config", "", nil, true},
		"list nodes":                {"GET", "/api/v1/nodes", "", nil, true},
		"list CRDs":                 {"GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "", nil, true},
		"discovery":                 {"GET", "/apis", "", nil, true},
		"who am I":                  {"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`, nil, true},
		"delete a ConfigMap":        {"DELETE", "/api/v1/namespaces/" + ns + "/configmaps/a-config", "", nil, false},
		"delete, as a dry run":      {"DELETE", "/api/v1/namespaces/" + ns + "/configmaps/a-config?dryRun=All", "", nil, false},
		"get a Secret":              {"GET", secrets + "/a-secret", "", nil, false},
		"list Secrets":              {"GET", "/api/v1/secrets", "", nil, false},
		"watch Secrets":             {"GET", secrets + "?watch=1&timeoutSeconds=1", "", nil, false},
		"watch, the old way":        {"GET", "/api/v1/watch/namespaces/" + ns + "/secrets?timeoutSeconds=1", "", nil, false},
		"exec over SPDY":            {"POST", pods + "/x/exec?command=id", "", nil, false},
		"exec over WebSocket":       {"GET", pods + "/x/exec?command=id", "", websocket, false},
		"attach over WebSocket":     {"GET", pods + "/x/attach", "", websocket, false},
		"port-forward":              {"GET", pods + "/x/portforward", "", websocket, false},
		"a pod's proxy":             {"GET", pods + "/x/proxy/", "", nil, false},
		"a Service's proxy":         {"GET", "/api/v1/namespaces/" + ns + "/services/x/proxy/", "", nil, false},
		"a node's proxy":            {"GET", "/api/v1/nodes/x/proxy/logs/", "", nil, false},
		"impersonate":               {"GET", pods, "", []string{"Impersonate-User", "bob"}, false},
		"impersonate a group":       {"GET", pods, "", []string{"Impersonate-User", root.Name, "Impersonate-Group", "system:masters"}, false},
		"a service account's token": {"POST", "/api/v1/namespaces/" + ns + "/serviceaccounts/default/token", `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{}}`, nil, false},
		"a certificate":             {"POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", `{"kind":"CertificateSigningRequest","apiVersion":"certificates.k8s.io/v1","metadata":{"name":"x"},"spec":{"request":"eA==","signerName":"a.b/c","usages":["client auth"]}}`, nil, false},
		"a role":                    {"POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", `{"kind":"ClusterRole","apiVersion":"rbac.authorization.k8s.io/v1","metadata":{"name":"x"}}`, nil, false},
		"another PAT":               {"POST", "/apis/pat-operator.io/v1alpha1/namespaces/" + ns + "/personalaccesstokens", `{"kind":"PersonalAccessToken","apiVersion":"pat-operator.io/v1alpha1","metadata":{"name":"x"},"spec":{}}`, nil, false},
		"its own status":            {"PATCH", "/apis/pat-operator.io/v1alpha1/namespaces/" + ns + "/personalaccesstokens/read-only/status", `{}`, []string{"Content-Type", "application/merge-patch+json"}, false},
		"a TokenReview":             {"POST", "/apis/authentication.k8s.io/v1/tokenreviews", `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","spec":{"token":"x"}}`, nil, false},
		"metrics":                   {"GET", "/metrics", "", nil, false},
		"profiles":                  {"GET", "/debug/pprof/", "", nil, false},
		"an unknown resource":       {"POST", "/apis/nothing.example.com/v1/things", `{}`, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			var code int
			var text string
			want := "outside of the scopes of the personal access token " + ns + "/read-only"
			// More than once only where the authorizer had no time to answer, or the rights of its user are too new.
			eventually(t, patience, func() bool {
				code, text = raw(t, plaintext, tc.method, tc.path, tc.body, tc.headers...)
				denied := code == http.StatusForbidden && strings.Contains(text, want)
				return tc.inside && code < 300 || !tc.inside && denied
			}, func() string { return fmt.Sprintf("inside: %v; got %d %s", tc.inside, code, text) })
			if tc.method != "GET" {
				return // The other token would do it.
			}
			if code, text := raw(t, full, tc.method, tc.path, tc.body, tc.headers...); strings.Contains(text, "outside of the scopes") {
				t.Errorf("without scopes: %d %s", code, text)
			}
		})
	}
}

// A scope that is added to a token counts as soon as kube-apiserver asks about the token again; taking it away needs the
// authority to create.
func TestCase29_ScopesAreNarrowedAtOnceAndWidenedByRight(t *testing.T) {
	t.Parallel()
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "mine"))
	c := bearer(t, plaintext)
	accepted(t, plaintext)
	list := func() error { return c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(ns)) }
	if err := list(); err != nil {
		t.Fatal(err)
	}
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", "mine", "--type=merge", "-p", `{"spec":{"scopes":[{"preset":"read-only"}]}}`)
	t.Logf("narrowed after %v", within(t, kasRemembers, func() bool { return apierrors.IsForbidden(list()) }, "the token still reads Secrets"))
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", "mine", "--type=json", "-p", `[{"op":"remove","path":"/spec/scopes"}]`)
	t.Logf("widened after %v", eventually(t, kasRemembers+patience, func() bool { return list() == nil },
		func() string { return "the token does not read Secrets again" }))
	kubectl(t, alice.Kubeconfig, "", "-n", ns, "patch", "pat", "mine", "--type=merge", "-p", `{"spec":{"scopes":[{"preset":"read-only"}]}}`)
	patch := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}}
	err := bob.Patch(t.Context(), patch, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"scopes":null}}`)))
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "This hands over, renews or widens the token") {
		t.Errorf("bob takes the scopes of alice's token away: %v", err)
	}
}

// With --require-scopes a token without scopes is not made, not renewed, and no token loses its scopes. What exists goes on.
func TestCase29_OnlyTokensWithScopesAreMade(t *testing.T) {
	ns := team(t)
	full := issued(t, alice, pat(ns, "full"))
	restartOperator(t, "--require-scopes")
	defer restartOperator(t)
	const says = "this cluster allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]"
	wantStatus(t, alice.Create(t.Context(), pat(ns, "another")), http.StatusUnprocessableEntity, "spec.scopes", says)
	accepted(t, issued(t, alice, pat(ns, "limited", scoped(v1alpha1.Scope{Preset: "read-only"}))))
	wantStatus(t, merge(t, alice, ns, "limited", `{"spec":{"scopes":null}}`), http.StatusForbidden, "spec.scopes", says)
	wantStatus(t, merge(t, alice, ns, "full", `{"spec":{"rotation":{"trigger":"now"}}}`), http.StatusForbidden, "spec.scopes", says)
	if err := merge(t, alice, ns, "full", `{"spec":{"displayName":"goes on"}}`); err != nil {
		t.Error(err)
	}
	accepted(t, full)
}
