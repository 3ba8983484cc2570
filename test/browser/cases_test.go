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

package browser

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// visitor sends requests that a browser would not send, to a console where tokens are pasted.
type visitor struct {
	*testing.T
	url    string
	client *http.Client
}

// pastedConsole starts a verifier with such a console, and returns where it is.
func pastedConsole(t *testing.T) (at string, m *cluster.Manager) {
	t.Helper()
	needBrowser(t)
	at, _, err := cl.Address()
	if err != nil {
		t.Fatal(err)
	}
	m, err = cl.StartManager(t.Context(), cluster.ManagerOptions{
		Command: "verifier", Apart: true, Args: append([]string{"--console-bind-address=" + at, "--console-url=https://" + at}, verbose...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return "https://" + at, m
}

// visit signs a visitor in with a bearer token.
func visit(t *testing.T, at, bearer string) *visitor {
	t.Helper()
	hc, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: cl.AuthnCAFile}})
	if err != nil {
		t.Fatal(err)
	}
	if hc.Jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	v := &visitor{t, at, hc}
	eventually(t, "signing in", func() bool { // the key of sessions is made when the first console starts
		status, _ := v.post("/sign-in", url.Values{"token": {bearer}})
		return status == http.StatusSeeOther
	})
	return v
}

func (v *visitor) do(method, path string, form url.Values) (status int, body string) {
	v.Helper()
	r, err := http.NewRequestWithContext(v.Context(), method, v.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", v.url)
	}
	response, err := v.client.Do(r)
	if err != nil {
		v.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		v.Fatal(err)
	}
	return response.StatusCode, string(all)
}

func (v *visitor) get(path string) (status int, body string) {
	v.Helper()
	return v.do(http.MethodGet, path, nil)
}

func (v *visitor) post(path string, form url.Values) (status int, body string) {
	v.Helper()
	return v.do(http.MethodPost, path, form)
}

// refusedAs tells that an answer is a refusal, which says why.
func (v *visitor) refusedAs(what string, status int, body string, want ...string) {
	v.Helper()
	if status != http.StatusForbidden || shown.MatchString(body) {
		v.Errorf("%s: HTTP %d\n%s", what, status, body)
	}
	for _, text := range want {
		if !strings.Contains(body, text) {
			v.Errorf("%s: it does not say %q:\n%s", what, text, body)
		}
	}
}

func form(namespace, resource string) url.Values {
	return url.Values{"resource": {resource}, "name": {"by hand"}, "days": {"9"}, "namespace": {namespace}}
}

func of(pat *v1alpha1.PersonalAccessToken) (path string, form url.Values) {
	return "/tokens/" + pat.Namespace + "/" + pat.Name, url.Values{"uid": {fmt.Sprintf("%s.%d", pat.UID, pat.Generation)}, "overlap": {"0"}}
}

// bearerOf is a token of a service account: a credential that may be pasted, but not a PAT.
func bearerOf(t *testing.T, namespace, name string) string {
	t.Helper()
	out, _, err := cl.Kubectl(t.Context(), cl.AdminKubeconfig, "", "create", "serviceaccount", name, "-n", namespace, "-o", "name")
	if err == nil {
		out, _, err = cl.Kubectl(t.Context(), cl.AdminKubeconfig, "", "create", "token", name, "-n", namespace)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// grant gives a subject the rights of edit in a namespace.
func grant(t *testing.T, namespace string, who rbacv1.Subject) {
	t.Helper()
	create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "edit-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{who},
	})
}

// An editor of alice's namespace who may not impersonate her cannot make tokens for her on the page: not with any field of
// the form, and not by rotating or resuming hers.
func TestCase02_NoTokenOfAnotherUserThroughThePage(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	at, _ := pastedConsole(t)
	v := visit(t, at, bearerOf(t, namespace, "robot"))
	grant(t, namespace, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "robot"})
	pat := hers(t, namespace, "Hers")
	path, fields := of(pat)
	eventually(t, "robot may look", func() bool {
		status, _ := v.get(path)
		return status == http.StatusOK
	})

	lie := form(namespace, "token-aaaaaaaaaaaa")
	lie.Set("user", "alice")
	lie.Set("spec.user.username", "alice")
	status, body := v.post("/new", lie)
	v.refusedAs("a service account creates", status, body, "impersonate")
	status, body = v.post(path+"/rotate", fields)
	v.refusedAs("rotating", status, body, "impersonate")
	status, _ = v.post(path+"/suspend", fields)
	if status != http.StatusSeeOther {
		t.Fatalf("suspending, which narrows: HTTP %d", status)
	}
	status, body = v.post(path+"/resume", fields)
	v.refusedAs("resuming", status, body, "impersonate")
	if pats := tokens(t, namespace); len(pats) != 1 || !pats[0].Spec.Suspend || pats[0].Spec.User.Username != "alice" || pats[0].Spec.Rotation != nil {
		t.Errorf("what is there now: %+v", pats)
	}
}

// A visitor who signed in with a PAT can look and revoke. The page says why the rest is missing, and admission refuses
// requests for it.
func TestCase07_APATMakesNoPATThroughThePage(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	at, _ := pastedConsole(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	plaintext := made(b, "Signs in")
	v := visit(t, at, plaintext)

	const why = "You are signed in with a personal access token."
	status, body := v.get("/?ns=" + namespace)
	if status != http.StatusOK || !strings.Contains(body, why) || strings.Contains(body, `href="/new`) || !strings.Contains(body, "Signs in") {
		t.Errorf("the page: HTTP %d\n%s", status, body)
	}
	status, body = v.get("/new")
	v.refusedAs("the dialog", status, body, why)
	status, body = v.post("/new", form(namespace, "token-bbbbbbbbbbbb"))
	v.refusedAs("creating by hand", status, body, "personal access token")
	path, fields := of(&tokens(t, namespace)[0])
	status, body = v.get(path + "/rotate")
	v.refusedAs("the dialog to rotate", status, body, why)
	status, body = v.post(path+"/rotate", fields)
	v.refusedAs("rotating by hand", status, body, "personal access token")
	path, fields = of(hers(t, namespace, "Another"))
	if status, body := v.post(path+"/revoke", fields); status != http.StatusSeeOther {
		t.Errorf("revoking: HTTP %d\n%s", status, body)
	}
	if pats := tokens(t, namespace); len(pats) != 1 {
		t.Errorf("there are %d tokens, want the one that signed in", len(pats))
	}
}

// A token that the page makes is in the one answer that shows it: in no other page, no cookie, no log at its most verbose,
// and neither it nor its digest is in the cluster where people look.
func TestCase25_ATokenOfThePageIsInOneAnswerOnly(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	plaintext := made(b, "Canary")
	secret := plaintext[len(token.Prefix)+17:] // what follows the public id
	pat := tokens(t, namespace)[0]
	digest := pat.Spec.Token.SHA256
	path, _ := of(&pat)
	for _, page := range []string{"/", "/table", "/new", path, path + "/rotate", path + "/revoke", "/sign-in"} {
		b.open(page)
		if html := b.html(); strings.Contains(html, secret) || strings.Contains(html, digest) {
			t.Errorf("%s has the token, or its digest", page)
		}
	}
	for _, cookie := range b.cookies() {
		if strings.Contains(cookie.Value, secret) {
			t.Errorf("the cookie %s has the token", cookie.Name)
		}
	}
	for _, m := range managers {
		if log := m.Log(); strings.Contains(log, secret) || strings.Contains(log, digest) {
			t.Errorf("the log of the %s has the token, or its digest", m.Command)
		} else if strings.Contains(log, "eyJ") { // as an ID token begins, and what is sealed in a cookie
			t.Errorf("the log of the %s has the credential of a session", m.Command)
		}
	}
	events, _, err := cl.Kubectl(t.Context(), cl.AdminKubeconfig, "", "get", "events", "-A", "-o", "yaml")
	if err != nil || strings.Contains(events, secret) || strings.Contains(events, digest) {
		t.Errorf("an event has the token, or its digest (%v)", err)
	}
	held := &v1alpha1.PersonalAccessToken{}
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(&pat), held); err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", held.Status); strings.Contains(text, secret) || strings.Contains(text, digest) {
		t.Error("the status has the token, or its digest")
	}
}
