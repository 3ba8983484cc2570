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
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// refresh matches the redirect in a page.
var refresh = regexp.MustCompile(`http-equiv="refresh" content="0;url=([^"]*)"`)

// surfer follows links as browsers do: redirects and pages that lead on, with the cookies that SameSite lets come along, and with
// Sec-Fetch-Site, which stays what it was along a chain of redirects.
type surfer struct {
	*browser
	cookies map[string]*http.Cookie
}

// surf returns a browser without cookies.
func (s *site) surf(t *testing.T) *surfer {
	t.Helper()
	b := s.browser(t)
	b.client.Jar = nil
	return &surfer{b, map[string]*http.Cookie{}}
}

// send sends one request of a navigation that began at another site, at one of the same registrable domain, in another program,
// or on a page of ours.
func (s *surfer) send(site, method, path string, form url.Values) answer {
	s.t.Helper()
	r := s.request(method, path, form)
	r.Header.Set("Sec-Fetch-Site", site)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	for _, cookie := range s.cookies {
		if site == "cross-site" && (cookie.SameSite == http.SameSiteStrictMode || method != http.MethodGet) {
			continue
		}
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	a := s.do(r)
	for _, cookie := range a.Cookies() {
		if cookie.MaxAge < 0 {
			delete(s.cookies, cookie.Name)
		} else {
			s.cookies[cookie.Name] = cookie
		}
	}
	return a
}

// follow follows a link to where it ends: a page, or another server.
func (s *surfer) follow(site, path string) (last answer) {
	s.t.Helper()
	for range 10 {
		last = s.send(site, http.MethodGet, path, nil)
		led := refresh.FindStringSubmatch(last.body)
		switch to := last.Header.Get("Location"); {
		case led != nil:
			site, path = "same-origin", html.UnescapeString(led[1])
		case strings.HasPrefix(to, "/"):
			path = to
		default:
			return last
		}
	}
	s.t.Fatalf("%s leads round in a circle", path)
	return last
}

// kept returns the cookies by name.
func (s *surfer) kept() map[string]string {
	kept := map[string]string{}
	for name, cookie := range s.cookies {
		kept[name] = cookie.Value
	}
	return kept
}

// No link adds, removes or changes a cookie, wherever it is and for each kind of visitor.
func TestCase53_ALinkOfAnotherSiteChangesNoCookie(t *testing.T) {
	const evil = "/?ns=kube-system&remember=1"
	back := url.Values{"return": {evil}}.Encode()
	links := []string{
		evil, "/?ns=&remember=1", "/table?ns=kube-system&remember=1", "/new?ns=kube-system&remember=1", "/tokens/team-a/nothing/revoke",
		"/namespaces", "/namespaces?ns=kube-system", "/sign-out", "/sign-in?" + back, "/sign-in?over=1&" + back, "/sign-in/oidc", "/sign-in/oidc?" + back,
		"/callback", "/callback?state=x&code=y", "/callback?error=access_denied&state=x",
	}
	pasted, oidc := open(t), open(t, withIssuer(t), trusting(t))
	proxied := open(t, func(o *Options) { o.ProxyAuthorization = true })
	remembering := func(s *surfer) *surfer {
		if a := s.send("same-origin", http.MethodPost, "/namespaces", url.Values{"ns": {team}}); a.StatusCode != http.StatusSeeOther || s.cookies[namespacesCookie] == nil {
			t.Fatalf("choosing a namespace: %s", a.Status)
		}
		return s
	}
	pastes := func(t *testing.T) *surfer {
		s := pasted.surf(t)
		if a := s.send("same-origin", http.MethodPost, "/sign-in", url.Values{"token": {aliceBearer}}); a.StatusCode != http.StatusSeeOther {
			t.Fatalf("signing in: %s", a.Status)
		}
		return remembering(s)
	}
	for name, visitor := range map[string]func(*testing.T) *surfer{
		"signed in": pastes,
		"whose session is over": func(t *testing.T) *surfer {
			s := pastes(t)
			s.cookies[sessionCookie+"0"].Value = sealedFor(t, pasted, purposeSession, session{Bearer: aliceBearer, User: "alice", Expires: pasted.clock.Now()})
			return s
		},
		"whose credential has ended": func(t *testing.T) *surfer {
			s := pastes(t)
			s.cookies[sessionCookie+"0"].Value = sealedFor(t, pasted, purposeSession, session{Bearer: "nobody", User: "alice", Expires: pasted.clock.Now().Add(time.Hour)})
			return s
		},
		"nobody": oidc.surf,
		"who is at the issuer": func(t *testing.T) *surfer {
			s := oidc.surf(t)
			if s.send("same-origin", http.MethodGet, "/sign-in/oidc", nil); s.cookies[loginCookie] == nil {
				t.Fatal("no login is kept")
			}
			return s
		},
		"behind a proxy": proxied.surf,
	} {
		for _, site := range []string{"cross-site", "same-site", "none"} {
			t.Run(name+", "+site, func(t *testing.T) {
				for _, link := range links {
					s := visitor(t)
					before := s.kept()
					s.follow(site, link)
					if diff := cmp.Diff(before, s.kept()); diff != "" {
						t.Errorf("following %s: cookies (-before +after):\n%s", link, diff)
					}
				}
			})
		}
	}
}

// A link affects neither the user nor the choices of a visitor who signs in after following it.
func TestCase53_SigningInAfterALinkRemembersNothingOfIt(t *testing.T) {
	const evil = "/?ns=kube-system&remember=1"
	s := open(t).surf(t)
	if a := s.follow("cross-site", evil); !strings.Contains(a.body, `name="return"`) {
		t.Fatalf("the page to sign in is not shown: %s\n%s", a.Status, a.body)
	}
	a := s.send("same-origin", http.MethodPost, "/sign-in", url.Values{"token": {aliceBearer}, "return": {evil}})
	if a = s.follow("same-origin", a.Header.Get("Location")); !strings.Contains(a.body, "You may not list tokens in kube-system") {
		t.Errorf("the link's namespaces are not shown: %s\n%s", a.Status, a.body)
	}
	if s.cookies[namespacesCookie] != nil {
		t.Error("a pasted token: the link's namespaces are remembered")
	}

	s = open(t, withIssuer(t), trusting(t)).surf(t)
	a = s.follow("cross-site", "/sign-in/oidc?"+url.Values{"return": {evil}}.Encode())
	begin := regexp.MustCompile(`href="(/sign-in/oidc\?[^"]*)"`).FindStringSubmatch(a.body)
	if begin == nil {
		t.Fatalf("the page to sign in is not shown: %s\n%s", a.Status, a.body)
	}
	a = s.send("same-origin", http.MethodGet, html.UnescapeString(begin[1]), nil)
	// The browser sent its cookie with the issuer's redirect, which is cross-site.
	a = s.follow("cross-site", s.signsIn(a.Header.Get("Location"), "alice"))
	if s.cookies[sessionCookie+"0"] == nil || s.cookies[loginCookie] != nil {
		t.Errorf("nobody is signed in: %s\n%s", a.Status, a.body)
	}
	if s.cookies[namespacesCookie] != nil {
		t.Error("at the issuer: the link's namespaces are remembered")
	}
}
