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

package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// The console executes a POST only if the browser reports that our own page sent it.
func TestAPostOfAnotherSiteIsRefused(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	pat := made(t, "guarded")
	resource := pathOf(pat)
	for _, origin := range []struct {
		name    string
		headers http.Header
	}{
		{"without an origin", http.Header{}},
		{"without an origin, said to be typed", http.Header{"Sec-Fetch-Site": {"none"}}},
		{"without an origin, said to be ours", http.Header{"Sec-Fetch-Site": {"same-origin"}}},
		{"from null", http.Header{"Origin": {"null"}}},
		{"from elsewhere", http.Header{"Origin": {"https://evil.example"}}},
		{"from our host without TLS", http.Header{"Origin": {strings.Replace(s.origin, "https:", "http:", 1)}}},
		{"from another port", http.Header{"Origin": {s.origin + "1"}}},
		{"from two", http.Header{"Origin": {s.origin, "https://evil.example"}}},
		{"from ours, but across sites", http.Header{"Origin": {s.origin}, "Sec-Fetch-Site": {"cross-site"}}},
	} {
		t.Run(origin.name, func(t *testing.T) {
			for _, path := range []string{
				"/sign-in", "/sign-out", "/new", "/namespaces", resource + "/revoke", resource + "/rotate", resource + "/suspend", resource + "/resume",
			} {
				r := b.request(http.MethodPost, path, url.Values{"uid": {seen(pat)}, "token": {bobBearer}, "name": {"forged"}})
				r.Header.Del("Origin")
				for name, values := range origin.headers {
					r.Header[name] = values
				}
				a := b.do(r)
				if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "another site sent this") || !strings.Contains(a.body, "Open "+s.origin) {
					t.Errorf("POST %s: %s\n%s", path, a.Status, a.body)
				}
				if len(a.Cookies()) > 0 {
					t.Errorf("POST %s sets cookies: %v", path, a.Cookies())
				}
			}
		})
	}
	now := &v1alpha1.PersonalAccessToken{}
	if err := api.admin.Get(t.Context(), client.ObjectKeyFromObject(pat), now); err != nil || now.ResourceVersion != pat.ResourceVersion {
		t.Errorf("the token was changed anyway: %v", err)
	}
	err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: team, Name: "forged"}, now)
	if !apierrors.IsNotFound(err) {
		t.Errorf("a token was made: %v", err)
	}
}

// unread is a body that must not be read.
type unread struct{ *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.Error("the body is read")
	return 0, io.EOF
}

// endless is a body without end that counts what is read.
type endless int

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	*e += endless(len(b))
	return len(b), nil
}

// The console reads no body of an unknown sender, except for signing in, where it reads at most the length of a credential.
func TestBodiesOfUnknownSendersAreNotRead(t *testing.T) {
	s := open(t)
	post := func(path, origin string, body io.Reader) *httptest.ResponseRecorder {
		r, w := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body), httptest.NewRecorder()
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host = strings.TrimPrefix(s.origin, "https://")
		r.Header.Set("Origin", origin)
		s.ServeHTTP(w, r)
		return w
	}
	for _, path := range []string{"/new", "/namespaces", "/tokens/team-a/x/revoke", "/tokens/team-a/x/rotate", "/tokens/team-a/x/suspend", "/sign-out", "/nowhere"} {
		if w := post(path, s.origin, unread{t}); w.Code != http.StatusUnauthorized && w.Code != http.StatusSeeOther && w.Code != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
	if w := post("/sign-in", "https://evil.example", unread{t}); w.Code != http.StatusForbidden {
		t.Errorf("of another site: %d", w.Code)
	}
	var sent endless
	w := post("/sign-in", s.origin, &sent)
	for _, want := range []string{"The form is longer than 32 KiB", "Go back, and paste a bearer token alone."} {
		if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%d, and lacks %q\n%s", w.Code, want, w.Body)
		}
	}
	if sent > 2*maxSignIn {
		t.Errorf("%d bytes are read", sent)
	}
	if w := post("/sign-in", s.origin, strings.NewReader("a=%zz")); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "The form could not be read") {
		t.Errorf("no form: %d\n%s", w.Code, w.Body)
	}
	s = open(t, func(o *Options) { o.ProxyAuthorization = true })
	if w := post("/sign-in", s.origin, unread{t}); w.Code != http.StatusNotFound {
		t.Errorf("where none are pasted: %d", w.Code)
	}
}

// No response may be framed, cached, or load anything from elsewhere. Only GET, HEAD and POST are allowed.
func TestEveryAnswerSaysWhatABrowserMayDo(t *testing.T) {
	s := open(t)
	for _, b := range []*browser{s.browser(t), s.signedIn(t, aliceBearer)} {
		for _, path := range []string{"/", "/table", "/new", "/sign-in", "/nowhere", "/callback", "/tokens/team-a/nothing"} {
			a := b.get(path)
			for name, want := range map[string]string{
				"Content-Security-Policy":      contentPolicy,
				"X-Content-Type-Options":       "nosniff",
				"Referrer-Policy":              "same-origin",
				"Cross-Origin-Opener-Policy":   "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin",
			} {
				if got := a.Header.Get(name); got != want {
					t.Errorf("GET %s: %s is %q", path, name, got)
				}
			}
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("GET %s: Cache-Control is %q", path, got)
			}
		}
	}
	a := s.browser(t).do(s.browser(t).request(http.MethodDelete, "/", nil))
	if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("DELETE: %s, Allow %q", a.Status, a.Header.Get("Allow"))
	}
}

func TestLocalPath(t *testing.T) {
	for path, want := range map[string]string{
		"/":                       "/",
		"/tokens/a/b?x=1":         "/tokens/a/b?x=1",
		"":                        "/",
		"https://evil.example":    "/",
		"//evil.example/x":        "/",
		`/\evil.example`:          "/",
		"/\t/evil.example":        "/",
		"javascript:alert(1)":     "/",
		"evil.example":            "/",
		"https:/evil.example":     "/",
		"/%5cevil.example":        "/%5cevil.example",
		"/%2fevil.example/ ":      "/", // RequestURI decodes its second slash, because of the space
		"/%2f%2fevil.example":     "/",
		"%2f":                     "/",
		"/a b/%2fx":               "/a%20b//x",
		"/x\r\nSet-Cookie: a=b":   "/",
		"/tokens/a/b#https://x/y": "/tokens/a/b",
	} {
		if got := localPath(path); got != want {
			t.Errorf("%q becomes %q, want %q", path, got, want)
		}
	}
}
