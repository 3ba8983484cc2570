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
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSigningInByAPastedToken(t *testing.T) {
	s := open(t)
	b := s.browser(t)
	if a := b.get("/?q=x"); a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/sign-in") {
		t.Fatalf("nobody: %s to %q", a.Status, a.Header.Get("Location"))
	}
	for pasted, want := range map[string]string{
		"":              "Paste a bearer token: one line without white space.",
		"two words":     "Paste a bearer token: one line without white space.",
		"nobody-s-good": "The API server does not accept this token",
	} {
		a := b.post("/sign-in", url.Values{"token": {pasted}})
		if a.StatusCode < 400 || !strings.Contains(a.body, want) || len(a.Cookies()) > 0 {
			t.Errorf("%q: %s\n%s", pasted, a.Status, a.body)
		}
		if pasted != "" && strings.Contains(a.body, pasted) {
			t.Errorf("the page shows the pasted text: %q", pasted)
		}
	}
	a := b.post("/sign-in", url.Values{"token": {" " + aliceBearer + "\n"}, "return": {"//evil.example"}})
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" {
		t.Fatalf("%s to %q\n%s", a.Status, a.Header.Get("Location"), a.body)
	}
	for _, cookie := range a.Cookies() {
		if strings.Contains(cookie.Value, aliceBearer) {
			t.Error("the credential is in a cookie in clear text")
		}
	}
	if a := b.get("/"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "alice") {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	if a := b.get("/sign-in/oidc"); a.StatusCode != http.StatusNotFound {
		t.Errorf("OpenID Connect, which is not set up: %s", a.Status)
	}
	if a := b.post("/sign-out", nil); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/sign-in" {
		t.Errorf("%s to %q", a.Status, a.Header.Get("Location"))
	}
	if a := b.get("/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("after signing out: %s", a.Status)
	}
	if a := b.get("/sign-in"); !strings.Contains(a.body, "You are signed out.") {
		t.Errorf("it does not say so:\n%s", a.body)
	}
}

// Behind a proxy only its Authorization counts, in each request.
func TestBehindAProxyItsAuthorizationCounts(t *testing.T) {
	s := open(t, func(o *Options) { o.ProxyAuthorization = true })
	b := s.browser(t)
	ask := func(headers ...string) answer {
		r := b.request(http.MethodGet, "/", nil)
		r.Header["Authorization"] = headers
		return b.do(r)
	}
	if a := ask("Bearer " + aliceBearer); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "alice") || strings.Contains(a.body, "/sign-out") || len(a.Cookies()) > 0 {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	for _, headers := range [][]string{
		nil, {"Bearer"}, {"Bearer "}, {"Basic YWxpY2U6YWxpY2U="}, {"Bearer nobody"}, {"Bearer " + aliceBearer, "Bearer " + bobBearer},
	} {
		if a := ask(headers...); a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.body, "Sign in at the proxy") {
			t.Errorf("%q: %s\n%s", headers, a.Status, a.body)
		}
	}
	if a := b.post("/sign-in", url.Values{"token": {aliceBearer}}); a.StatusCode != http.StatusNotFound || len(a.Cookies()) > 0 {
		t.Errorf("a pasted token: %s", a.Status)
	}
}

// A visitor with a renewed session at the proxy goes on. One without a valid credential does not enter a redirect loop.
func TestBehindAProxyTheSignInPageLeadsOn(t *testing.T) {
	s := open(t, func(o *Options) { o.ProxyAuthorization = true })
	b := s.browser(t)
	for path, want := range map[string]string{
		"/sign-in?over=1&return=%2Fnew%3Fns%3Da": "/new?ns=a",
		"/sign-in?over=1":                        "/",
		"/sign-in?return=%2F%2Fevil.example":     "/",
	} {
		r := b.request(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+aliceBearer)
		if a := b.do(r); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != want {
			t.Errorf("GET %s: %s to %q, want %q", path, a.Status, a.Header.Get("Location"), want)
		}
	}
	for name, tc := range map[string]struct {
		headers []string
		status  int
		want    string
	}{
		"a bad credential": {[]string{"Bearer nobody"}, http.StatusUnauthorized, "Sign in at the proxy, and load this page again."},
		"none":             {nil, http.StatusOK, "it sent no credential"},
		"two":              {[]string{"Bearer a", "Bearer b"}, http.StatusOK, "it sent no credential"},
	} {
		path, a := "/sign-in?over=1&return=%2Fsign-in%3Fover%3D1", answer{}
		for hops := 0; hops < 5 && path != ""; hops++ {
			r := b.request(http.MethodGet, path, nil)
			r.Header["Authorization"] = tc.headers
			a = b.do(r)
			path = a.Header.Get("Location")
		}
		if a.StatusCode != tc.status || !strings.Contains(a.body, tc.want) {
			t.Errorf("%s: ends at %s\n%s", name, a.Status, a.body)
		}
	}
}

// Browsers do not send Strict cookies with a link of another site. The console then answers with a page of its own that loads the
// address again, once.
func TestALinkOfAnotherSiteLeadsToThePageThatItNames(t *testing.T) {
	const path = "/tokens/team-a/nothing?x=1&y=2"
	from := func(site, mode string) http.Header {
		return http.Header{"Sec-Fetch-Site": {site}, "Sec-Fetch-Mode": {mode}}
	}
	s := open(t)
	alice := s.signedIn(t, aliceBearer)
	for name, tc := range map[string]struct {
		browser *browser
		method  string
		headers http.Header
		want    int
	}{
		"a link":                         {s.browser(t), http.MethodGet, from("cross-site", "navigate"), http.StatusOK},
		"the page that asks again":       {s.browser(t), http.MethodGet, from("same-origin", "navigate"), http.StatusSeeOther},
		"a link of our own site":         {s.browser(t), http.MethodGet, from("same-site", "navigate"), http.StatusSeeOther},
		"typed":                          {s.browser(t), http.MethodGet, from("none", "navigate"), http.StatusSeeOther},
		"a browser that does not say":    {s.browser(t), http.MethodGet, http.Header{}, http.StatusSeeOther},
		"a picture":                      {s.browser(t), http.MethodGet, from("cross-site", "no-cors"), http.StatusSeeOther},
		"HEAD":                           {s.browser(t), http.MethodHead, from("cross-site", "navigate"), http.StatusSeeOther},
		"a link, and cookies came along": {alice, http.MethodGet, from("cross-site", "navigate"), http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			r := tc.browser.request(tc.method, path, nil)
			for header, values := range tc.headers {
				r.Header[header] = values
			}
			a := tc.browser.do(r)
			if again := strings.Contains(a.body, `content="0;url=/tokens/team-a/nothing?x=1&amp;y=2"`); a.StatusCode != tc.want || again != (tc.want == http.StatusOK) {
				t.Errorf("%s, asks again: %v\n%s", a.Status, again, a.body)
			}
		})
	}
	proxied := open(t, func(o *Options) { o.ProxyAuthorization = true }).browser(t)
	r := proxied.request(http.MethodGet, path, nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if a := proxied.do(r); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("behind a proxy: %s\n%s", a.Status, a.body)
	}
}

func TestTheIssuerIsCalledByItsName(t *testing.T) {
	for name, want := range map[string]string{"": "https://login.example.com", "Example Login": "Example Login"} {
		c := &Console{oidc: &provider{OIDCOptions: OIDCOptions{Issuer: "https://login.example.com", Name: name}}}
		if got := c.signInView("/").Issuer; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
