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
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/pat-operator/pat-operator/test/issuer"
)

func TestSigningInByOIDC(t *testing.T) {
	s := open(t, withIssuer(t), trusting(t))
	b := s.browser(t)
	at := b.begin("/tokens/team-a/mine?x=1")
	asked, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	query := asked.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": issuer.ClientID, "redirect_uri": s.origin + "/callback",
		"scope": "openid profile email groups", "code_challenge_method": "S256",
	} {
		if got := query.Get(name); got != want {
			t.Errorf("the issuer gets %s=%q; want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(query.Get(name)) < 20 {
			t.Errorf("the issuer gets %s=%q", name, query.Get(name))
		}
	}
	a := b.get(b.signsIn(at, "alice"))
	if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `content="0;url=/tokens/team-a/mine?x=1"`) {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	session := kept(a)
	if len(session) == 0 {
		t.Fatalf("no session is kept: %v", a.Cookies())
	}
	for _, cookie := range session {
		if life := time.Duration(cookie.MaxAge) * time.Second; life > idTokenLife || life < idTokenLife-time.Minute || cookie.SameSite != http.SameSiteStrictMode {
			t.Errorf("%s lasts for %v, an ID token for %v; SameSite %v", cookie.Name, life, idTokenLife, cookie.SameSite)
		}
	}
	if again := b.get("/callback?" + asked.RawQuery); again.StatusCode != http.StatusBadRequest {
		t.Errorf("the login is still kept: %s", again.Status)
	}
}

// No credential is in the log, even at its most verbose level. ID tokens and sealed values begin with eyJ, the base64 of JSON.
func TestNoCredentialIsInTheLog(t *testing.T) {
	var mu sync.Mutex
	var log strings.Builder
	logging := func(o *Options) {
		o.Log = funcr.New(func(prefix, args string) {
			mu.Lock()
			defer mu.Unlock()
			log.WriteString(prefix + " " + args + "\n")
		}, funcr.Options{Verbosity: 127})
	}
	for name, s := range map[string]*site{
		"taken": open(t, withIssuer(t), trusting(t), logging), "refused": open(t, withIssuer(t), logging), "pasted": open(t, logging),
	} {
		b := s.browser(t)
		if s.oidc == nil {
			b.post("/sign-in", url.Values{"token": {"eyJhbGciOiJub25lIn0.e30."}})
			b = s.signedIn(t, aliceBearer)
		} else {
			callback := b.signsIn(b.begin("/"), "alice")
			a := b.get(callback)
			for _, cookie := range kept(a) {
				if !strings.HasPrefix(cookie.Value, "eyJ") {
					t.Errorf("%s: the sealed value begins with %.3q", name, cookie.Value)
				}
			}
			if (len(kept(a)) > 0) != (name == "taken") {
				t.Errorf("%s: %s\n%s", name, a.Status, a.body)
			}
			b.get(callback)
			b.get(b.signsIn(b.begin("/"), "alice") + "x")
		}
		for _, path := range []string{"/", "/table", "/new", "/tokens/team-a/nothing"} {
			b.get(path)
		}
		b.post("/tokens/team-a/nothing/suspend", url.Values{"uid": {"x"}})
		r := b.request(http.MethodGet, "/", nil)
		r.AddCookie(&http.Cookie{Name: sessionCookie + "0", Value: "eyJub3QiOiJvdXJzIn0"})
		b.do(r)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, secret := range []string{"eyJ", aliceBearer} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), "The API server does not accept ID tokens") {
		t.Errorf("the log lacks the error:\n%s", log.String())
	}
}

func TestAForgedCallbackSignsNobodyIn(t *testing.T) {
	s := open(t, withIssuer(t), trusting(t))
	const over = "This sign-in was already used, or the issuer no longer accepts it."
	const notHere = "This sign-in did not start in this browser, or started more than ten minutes ago."
	with := func(callback, name, value string) string {
		path, raw, _ := strings.Cut(callback, "?")
		query, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatal(err)
		}
		query.Set(name, value)
		return path + "?" + query.Encode()
	}
	for name, tc := range map[string]struct {
		get    func(t *testing.T, b *browser, callback string) answer
		status int
		want   []string
	}{
		"a wrong state": {
			func(_ *testing.T, b *browser, callback string) answer { return b.get(with(callback, "state", "x")) },
			http.StatusBadRequest, []string{notHere},
		},
		"no state": {
			func(_ *testing.T, b *browser, callback string) answer { return b.get(with(callback, "state", "")) },
			http.StatusBadRequest, []string{notHere},
		},
		"a login of another browser": {
			func(t *testing.T, _ *browser, callback string) answer { return s.browser(t).get(callback) },
			http.StatusBadRequest, []string{notHere},
		},
		"a login of another browser, in one that has begun its own": {
			func(t *testing.T, _ *browser, callback string) answer {
				other := s.browser(t)
				other.begin("/")
				return other.get(callback)
			},
			http.StatusBadRequest, []string{notHere},
		},
		"a login that took too long": {
			func(_ *testing.T, b *browser, callback string) answer {
				b.relogin(func(l *login) { l.Expires = s.clock.Now() })
				return b.get(callback)
			},
			http.StatusBadRequest, []string{notHere},
		},
		"a session instead of a login": {
			func(t *testing.T, b *browser, callback string) answer {
				r := s.browser(t).request(http.MethodGet, callback, nil)
				var l login
				b.relogin(func(kept *login) { l = *kept })
				r.AddCookie(&http.Cookie{Name: loginCookie, Value: sealedFor(t, s, purposeSession, l)})
				return s.browser(t).do(r)
			},
			http.StatusBadRequest, []string{notHere},
		},
		"an error of the issuer": {
			func(_ *testing.T, b *browser, callback string) answer {
				return b.get(with(with(callback, "error", "access_denied"), "error_description", "not <b>you</b>\u202e"))
			},
			http.StatusForbidden, []string{"The issuer says: access_denied: not &lt;b&gt;you&lt;/b&gt;"},
		},
		"an error in another site's link": {
			func(t *testing.T, _ *browser, callback string) answer {
				return s.browser(t).get(with(callback, "error", "call-0800-1234"))
			},
			http.StatusBadRequest, []string{notHere},
		},
		"a wrong nonce": {
			func(_ *testing.T, b *browser, callback string) answer {
				b.relogin(func(l *login) { l.Nonce += "x" })
				return b.get(callback)
			},
			http.StatusBadRequest, []string{over},
		},
		"a wrong PKCE verifier": {
			func(_ *testing.T, b *browser, callback string) answer {
				b.relogin(func(l *login) { l.Verifier += "x" })
				return b.get(callback)
			},
			http.StatusBadRequest, []string{over},
		},
		"a wrong code": {
			func(_ *testing.T, b *browser, callback string) answer { return b.get(with(callback, "code", "x")) },
			http.StatusBadRequest, []string{over},
		},
		"a code for the second time": {
			func(t *testing.T, b *browser, callback string) answer {
				var l login
				b.relogin(func(kept *login) { l = *kept })
				if a := b.get(callback); a.StatusCode != http.StatusOK {
					t.Fatalf("the first time: %s\n%s", a.Status, a.body)
				}
				r := s.browser(t).request(http.MethodGet, callback, nil)
				r.AddCookie(&http.Cookie{Name: loginCookie, Value: sealedFor(t, s, purposeLogin, l)})
				return s.browser(t).do(r)
			},
			http.StatusBadRequest, []string{over},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := s.browser(t)
			callback := b.signsIn(b.begin("/"), "alice")
			a := tc.get(t, b, callback)
			if a.StatusCode != tc.status {
				t.Errorf("%s\n%s", a.Status, a.body)
			}
			for _, want := range tc.want {
				if !strings.Contains(a.body, want) {
					t.Errorf("it does not say %q:\n%s", want, a.body)
				}
			}
			if strings.Contains(a.body, "\u202e") || strings.Contains(a.body, "0800") {
				t.Errorf("it shows what it must not:\n%s", a.body)
			}
			if session := kept(a); len(session) > 0 {
				t.Errorf("a session is kept: %v", session)
			}
		})
	}
}

// If the API server does not trust the issuer, the page says what to do.
func TestAnIDTokenThatTheAPIServerDoesNotTake(t *testing.T) {
	s := open(t, withIssuer(t))
	b := s.browser(t)
	a := b.get(b.signsIn(b.begin("/"), "alice"))
	want := fmt.Sprintf("to make it trust %s for the client &#34;%s&#34;", s.oidc.Issuer, issuer.ClientID)
	if a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "the API server does not accept its ID token") || !strings.Contains(a.body, want) || len(kept(a)) > 0 {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
}

// A login always returns to a page of this site, whatever a link names, and fits into a cookie.
func TestALoginComesBackToAPageOfOurs(t *testing.T) {
	s := open(t, withIssuer(t), trusting(t))
	for back, want := range map[string]string{
		"":                                 "/",
		"//evil.example":                   "/",
		"https://evil.example/":            "/",
		`/\evil.example`:                   "/",
		"/new":                             "/new",
		"/?q=" + strings.Repeat("a", 1000): "/?q=" + strings.Repeat("a", 1000),
		"/?q=" + strings.Repeat("a", 4000): "/",
		"/?q=" + strings.Repeat("&", 1000): "/", // six bytes each, in JSON
	} {
		b := s.browser(t)
		a := b.get(b.signsIn(b.begin(back), "alice"))
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `content="0;url=`+want+`"`) {
			t.Errorf("from %.40q: %s\n%s", back, a.Status, a.body)
		}
	}
	for _, length := range []int{10, 1000, 2000, 3000, 10_000} {
		a := s.browser(t).get("/sign-in/oidc?return=/" + strings.Repeat("a", length))
		if cookies := a.Cookies(); len(cookies) != 1 || len(cookies[0].Raw) > 4096 {
			t.Errorf("a way back of %d bytes: %d cookies, the first of %d bytes", length, len(cookies), len(cookies[0].Raw))
		}
	}
}

// Link scanners send HEAD, which must not use up a login.
func TestHEADDoesNotUseALoginUp(t *testing.T) {
	s := open(t, withIssuer(t), trusting(t))
	b := s.browser(t)
	callback := b.signsIn(b.begin("/"), "alice")
	for _, path := range []string{callback, "/sign-in/oidc"} {
		a := b.do(b.request(http.MethodHead, path, nil))
		if a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != http.MethodGet || len(a.Cookies()) > 0 {
			t.Errorf("HEAD: %s, Allow %q, cookies %v", a.Status, a.Header.Get("Allow"), a.Cookies())
		}
	}
	if a := b.get(callback); a.StatusCode != http.StatusOK || len(kept(a)) == 0 {
		t.Errorf("afterwards: %s\n%s", a.Status, a.body)
	}
}

// A credential that is too long for cookies is a permanent error: the page says what to do.
func TestAnIDTokenThatIsTooLong(t *testing.T) {
	many := issuer.User{Name: "many", Password: "many"}
	for i := range 1500 {
		many.Groups = append(many.Groups, fmt.Sprintf("a-group-with-a-name-%d", i))
	}
	s := open(t, withIssuer(t, many), trusting(t))
	b := s.browser(t)
	a := b.get(b.signsIn(b.begin("/"), "many"))
	if a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "too long for cookies") || !strings.Contains(a.body, "fewer groups") || len(kept(a)) > 0 {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
}

// With an issuer that does not respond, each visitor waits no longer than their request, all share one attempt, and the next attempt
// comes after a pause.
func TestAnIssuerThatHangs(t *testing.T) {
	var asked atomic.Int32
	begun, release := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		begun <- struct{}{}
		<-release
		http.Error(w, "no", http.StatusInternalServerError)
	}))
	t.Cleanup(server.Close)
	s := open(t, func(o *Options) {
		o.OIDC = &OIDCOptions{Issuer: server.URL, ClientID: "c", CA: pool(server)}
	})
	now := testingclock.NewFakePassiveClock(time.Now())
	s.oidc.clock = now
	ask := func(done chan<- int) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sign-in/oidc", nil))
		done <- w.Code
	}
	const several = 5
	done := make(chan int, several)
	for range several {
		go ask(done)
	}
	<-begun
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, _, err := s.oidc.discover(ctx)
		left <- err
	}()
	leave()
	if err := <-left; err == nil {
		t.Error("a visitor who leaves gets no error")
	}
	close(release)
	for range several {
		if status := <-done; status != http.StatusBadGateway {
			t.Errorf("HTTP %d", status)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the issuer was asked %d times", asked.Load())
	}
	now.SetTime(now.Now().Add(issuerRetry))
	ask(done)
	<-done
	if asked.Load() != 2 {
		t.Errorf("after a while, the issuer was asked %d times", asked.Load())
	}
}
