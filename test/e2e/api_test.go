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
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const listAPI = "list-api"

func forAudience(audiences ...string) func(*v1alpha1.PersonalAccessTokenSpec) {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.Audiences = audiences }
}

// apiFace is the API face, as the other API that asks it sees it.
type apiFace struct {
	*cluster.Manager
	client *http.Client
	ca     string
}

// startAPI starts the API face with its own account and rights.
func startAPI(t *testing.T, args ...string) *apiFace {
	t.Helper()
	withAPI(t)
	m, err := cl.StartManager(t.Context(), cluster.ManagerOptions{Command: cluster.API, Args: append(args, verbose...), Apart: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	published := &corev1.ConfigMap{}
	eventually(t, patience, func() bool {
		err := admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-api"}, published)
		return err == nil && published.Data["ca.crt"] != ""
	}, func() string { return "the ConfigMap pat-operator-api is empty" })
	if got := published.Data["url"]; got != m.APIURL() {
		t.Errorf("the ConfigMap says %s; want %s", got, m.APIURL())
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(published.Data["ca.crt"]))
	return &apiFace{m, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12}}}, published.Data["ca.crt"]}
}

// post sends a form, and returns the status and the JSON that comes back.
func (f *apiFace) post(t *testing.T, path, credential string, form url.Values) (int, map[string]any) {
	t.Helper()
	r := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, f.APIURL()+path, strings.NewReader(form.Encode())))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return f.send(t, r, credential)
}

func (f *apiFace) send(t *testing.T, r *http.Request, credential string) (int, map[string]any) {
	t.Helper()
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	response, err := f.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body := env.Must[[]byte](t)(io.ReadAll(response.Body))
	got := map[string]any{}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("HTTP %d %s", response.StatusCode, body)
	}
	return response.StatusCode, got
}

// auth asks as a reverse proxy does.
func (f *apiFace) auth(t *testing.T, options, credential string) int {
	t.Helper()
	code, _ := f.send(t, env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, f.APIURL()+"/auth"+options, nil)), credential)
	return code
}

// A token for another API works there and is worthless at kube-apiserver. The other API asks by the token of its service account,
// and about nothing that RBAC does not allow. Who has the token ends it.
func TestCase27_AnotherAPIVerifiesTokens(t *testing.T) {
	f, ns := startAPI(t), team(t)
	create(t, admin, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "lists"}})
	create(t, admin, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "introspect-" + ns},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"pat-operator.io"}, Resources: []string{"audiences"}, ResourceNames: []string{listAPI}, Verbs: []string{"introspect"}}},
	})
	create(t, admin, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "introspect-" + ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "introspect-" + ns},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "lists"}},
	})
	t.Cleanup(func() {
		for _, o := range []client.Object{&rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}} {
			o.SetName("introspect-" + ns)
			_ = admin.Delete(context.Background(), o)
		}
	})
	account := func(audience string) string { return serviceAccountToken(t, ns, "lists", audience) }
	caller := account("pat-operator-api")
	lists, own, other := issued(t, alice, pat(ns, "lists", forAudience(listAPI))), issued(t, alice, pat(ns, "own")), issued(t, alice, pat(ns, "other", forAudience("other-api")))
	introspect := func(credential, token string) (int, map[string]any) {
		return f.post(t, "/oauth2/introspect", credential, url.Values{"token": {token}})
	}
	var got map[string]any
	eventually(t, patience, func() bool { _, got = introspect(caller, lists); return got["active"] == true }, func() string { return fmt.Sprintf("never active: %v", got) })
	if got["username"] != "alice" || got["client_id"] != ns+"/lists" || got["scope"] != "full" || fmt.Sprint(got["aud"]) != "["+listAPI+"]" || got["iss"] != f.APIURL() {
		t.Errorf("introspection says %v", got)
	}
	for name, tc := range map[string]struct {
		credential, token string
		code              int
	}{
		"a token for kube-apiserver":                {caller, own, 200},
		"a token for an API that it may not ask of": {caller, other, 200},
		"nobody asks":                         {"", lists, 401},
		"asked by the account's other token":  {account("https://kubernetes.default.svc.cluster.local"), lists, 401},
		"asked by a token for kube-apiserver": {own, lists, 401},
	} {
		if code, got := introspect(tc.credential, tc.token); code != tc.code || code == http.StatusOK && (len(got) != 1 || got["active"] != false) {
			t.Errorf("%s: HTTP %d %v", name, code, got)
		}
	}
	if code, got := introspect(lists, lists); code != http.StatusOK || got["active"] != true {
		t.Errorf("asked by the token itself: HTTP %d %v", code, got)
	}
	inGo := runListAPI(t, caller, "--introspection="+f.APIURL()+"/oauth2/introspect", "--ca="+fileOf(t, f.ca))
	for name, tc := range map[string]struct {
		token string
		want  int
	}{"its own": {lists, 200}, "kube-apiserver's": {own, 401}, "another's": {other, 401}} {
		if got := ask(t, inGo, http.MethodGet, "Bearer "+tc.token); got.status != tc.want {
			t.Errorf("an API in Go, a token of %s: %+v", name, got)
		}
	}
	if code, _ := raw(t, lists, http.MethodGet, "/api/v1/namespaces/"+ns+"/pods", ""); code != http.StatusUnauthorized {
		t.Errorf("at kube-apiserver the token for another API gets HTTP %d", code)
	}
	for options, want := range map[string][3]int{"": {401, 200, 401}, "?audience=" + listAPI: {200, 401, 401}} {
		if got := [3]int{f.auth(t, options, lists), f.auth(t, options, own), f.auth(t, options, other)}; got != want {
			t.Errorf("/auth%s: HTTP %v, want %v", options, got, want)
		}
	}

	if code, got := f.post(t, "/oauth2/revoke", "", url.Values{"token": {lists}}); code != http.StatusOK {
		t.Fatalf("the revocation: HTTP %d %v", code, got)
	}
	eventually(t, patience, func() bool { _, got = introspect(caller, lists); return len(got) == 1 && got["active"] == false },
		func() string { return fmt.Sprintf("a revoked token: %v", got) })
	if code := f.auth(t, "?audience="+listAPI, lists); code != http.StatusUnauthorized {
		t.Errorf("a revoked token at /auth: HTTP %d", code)
	}
	eventually(t, patience, func() bool { return ask(t, inGo, http.MethodGet, "Bearer "+lists).status == http.StatusUnauthorized },
		func() string { return "the API in Go takes a revoked token" })
	waitFor(t, ns, "lists", v1alpha1.ConditionActive, "False/"+v1alpha1.ReasonRevoked)
	if code, got := f.post(t, "/v1/revoke", "", url.Values{"tokens": {lists + " " + own}}); code != http.StatusOK || !strings.Contains(fmt.Sprint(got), "result:ended") || !strings.Contains(fmt.Sprint(got), "result:revoked") {
		t.Errorf("two more: HTTP %d %v", code, got)
	}
	refused(t, own)
}
