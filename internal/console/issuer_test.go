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
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/test/issuer"
)

// withIssuer makes visitors sign in at a real issuer, which the tests' API server does not trust.
func withIssuer(t *testing.T, users ...issuer.User) func(*Options) {
	t.Helper()
	return func(o *Options) {
		var handler http.Handler
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
		t.Cleanup(server.Close)
		i, err := issuer.New(server.URL, o.URL.String()+"/callback", append(users, issuer.People()...)...)
		if err != nil {
			t.Fatal(err)
		}
		i.SetIDTokenLifetime(idTokenLife)
		handler = i
		o.OIDC = &OIDCOptions{
			Issuer: server.URL, ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret, CA: pool(server),
			Scopes: []string{"profile", "email", issuer.GroupsScope},
		}
	}
}

const idTokenLife = 7 * time.Minute

func pool(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return pool
}

// trusting replaces the API server with one that accepts every credential as alice's, and does nothing else.
func trusting(t *testing.T) func(*Options) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/selfsubjectreviews" || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
			http.Error(w, "not for this test", http.StatusTeapot)
			return
		}
		review := authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "alice"}}}
		review.SetGroupVersionKind(authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	return func(o *Options) {
		o.Config = &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	}
}

// begin starts a login that returns to a page, and returns the issuer's address.
func (b *browser) begin(back string) string {
	b.t.Helper()
	a := b.get("/sign-in/oidc?" + url.Values{"return": {back}}.Encode())
	to := a.Header.Get("Location")
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, b.site.oidc.Issuer) {
		b.t.Fatalf("to the issuer: %s to %q\n%s", a.Status, to, a.body)
	}
	return to
}

// signsIn enters name and password at the issuer, and returns the callback.
func (b *browser) signsIn(at, name string) string {
	b.t.Helper()
	back, err := issuer.SignIn(b.t.Context(), b.site.server.Client(), at, name, name)
	if err != nil {
		b.t.Fatal(err)
	}
	if !strings.HasPrefix(back.String(), b.site.origin+"/callback?") {
		b.t.Fatalf("back at %s", back)
	}
	return back.RequestURI()
}

// relogin changes the browser's login cookie.
func (b *browser) relogin(change func(*login)) {
	b.t.Helper()
	at, err := url.Parse(b.site.server.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, cookie := range b.client.Jar.Cookies(at) {
		if cookie.Name != loginCookie {
			continue
		}
		l := &login{}
		if err := b.site.keys.open(b.t.Context(), purposeLogin, cookie.Value, l); err != nil {
			b.t.Fatal(err)
		}
		change(l)
		b.client.Jar.SetCookies(at, []*http.Cookie{{Name: loginCookie, Value: sealedFor(b.t, b.site, purposeLogin, l), Path: "/", Secure: true}})
		return
	}
	b.t.Fatal("the browser keeps no login")
}

// kept returns the session cookies that a response sets.
func kept(a answer) (session []*http.Cookie) {
	for _, cookie := range a.Cookies() {
		if strings.HasPrefix(cookie.Name, sessionCookie) && cookie.MaxAge >= 0 {
			session = append(session, cookie)
		}
	}
	return session
}
