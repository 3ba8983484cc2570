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
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A credential of any length that fits into cookies comes back complete. A longer one is refused with what to do.
func TestASessionIsInAsManyCookiesAsItTakes(t *testing.T) {
	s := open(t)
	for _, length := range []int{10, partSize, 3 * partSize, 20_000} {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
		want := session{Bearer: strings.Repeat("x", length), User: "alice", Expires: s.clock.Now().Add(time.Hour).UTC()}
		if err := s.save(w, r, &want); err != nil {
			t.Fatal(err)
		}
		for _, cookie := range w.Result().Cookies() {
			if !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 3600 {
				t.Errorf("cookie %s: %+v", cookie.Name, cookie)
			}
			if len(cookie.String()) > 4096 {
				t.Errorf("cookie %s has %d bytes", cookie.Name, len(cookie.String()))
			}
			r.AddCookie(cookie)
		}
		got, err := s.load(t.Context(), r)
		if err != nil || got.Bearer != want.Bearer || !got.Expires.Equal(want.Expires) {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
	err := s.save(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil),
		&session{Bearer: strings.Repeat("x", 40_000), Expires: s.clock.Now().Add(time.Hour)})
	if told, ok := errors.AsType[*refusal](err); !ok || told.status != http.StatusBadRequest || !strings.Contains(told.Detail, "too long for cookies") || !strings.Contains(told.Next, "fewer groups") {
		t.Errorf("a credential that is too long: %v", err)
	}
}

// A new session removes the remaining parts of a longer old one, so that they are not read as its own.
func TestAShorterSessionRemovesTheRestOfALongerOne(t *testing.T) {
	s := open(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, part := range []string{"0", "1", "2"} {
		r.AddCookie(&http.Cookie{Name: sessionCookie + part, Value: "old"})
	}
	w := httptest.NewRecorder()
	if err := s.save(w, r, &session{Bearer: "b", Expires: s.clock.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	removed := 0
	for _, cookie := range w.Result().Cookies() {
		if cookie.MaxAge < 0 {
			removed++
		}
	}
	if removed != 2 {
		t.Errorf("%d parts are removed, want 2", removed)
	}
}

// A session ends by the clock. The page then leads to signing in and back to where the visitor was.
func TestASessionEnds(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	if a := b.get("/"); a.StatusCode != http.StatusOK {
		t.Fatalf("%s\n%s", a.Status, a.body)
	}
	s.clock.SetTime(s.clock.Now().Add(sessionLife))
	a := b.get("/tokens/team-a/mine")
	if to := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || to != "/sign-in?over=1&return=%2Ftokens%2Fteam-a%2Fmine" {
		t.Fatalf("%s to %q", a.Status, to)
	}
	if a := b.get(a.Header.Get("Location")); !strings.Contains(a.body, "Your session is over") || !strings.Contains(a.body, `value="/tokens/team-a/mine"`) {
		t.Errorf("signing in again:\n%s", a.body)
	}
	for _, path := range []string{"/table", "/new"} {
		r := b.request(http.MethodGet, path, nil)
		r.Header.Set(fragmentHeader, "1")
		if a := b.do(r); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("a script that asks for %s gets %s", path, a.Status)
		}
	}
}

// Neither a late response to a request of an old session nor a page that another site's link loads removes the cookies of a new
// session. Only signing in replaces them, and signing out removes them.
func TestNoRequestRemovesTheCookiesOfASessionThatIsOver(t *testing.T) {
	s := open(t)
	b := s.signedIn(t, aliceBearer)
	s.clock.SetTime(s.clock.Now().Add(sessionLife))
	script := b.request(http.MethodGet, "/new", nil)
	script.Header.Set(fragmentHeader, "1")
	for what, r := range map[string]*http.Request{
		"the table's poll": b.request(http.MethodGet, "/table", nil), "a dialog": script, "a HEAD": b.request(http.MethodHead, "/", nil),
		"a page": b.request(http.MethodGet, "/new", nil), "a form": b.request(http.MethodPost, "/new", nil),
	} {
		if a := b.do(r); len(a.Cookies()) > 0 {
			t.Errorf("%s: %s, cookies %v", what, a.Status, a.Cookies())
		}
	}
	if a := b.post("/sign-out", nil); len(a.Cookies()) != 2 || a.Cookies()[0].MaxAge >= 0 || a.Cookies()[1].Name != noticeCookie {
		t.Errorf("signing out: %s, cookies %v", a.Status, a.Cookies())
	}
}

// A credential that the API server no longer accepts ends the session, too.
func TestARevokedCredentialEndsTheSession(t *testing.T) {
	s := open(t)
	b := s.browser(t)
	w := httptest.NewRecorder()
	if err := s.save(w, httptest.NewRequest(http.MethodGet, "/", nil), &session{Bearer: "was-taken-once", User: "alice", Expires: s.clock.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	r := b.request(http.MethodGet, "/", nil)
	for _, cookie := range w.Result().Cookies() {
		r.AddCookie(cookie)
	}
	a := b.do(r)
	if to := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || to != "/sign-in?over=1" {
		t.Errorf("%s to %q", a.Status, to)
	}
}

// open refuses values that were sealed for another purpose or by other keys, or that were changed.
func TestOnlyOwnSealedValuesAreOpened(t *testing.T) {
	apiServer(t)
	now := testingclock.NewFakePassiveClock(time.Now())
	ours, theirs := keysIn(t, "ours", now), keysIn(t, "theirs", now)
	sealed, err := ours.seal("one", "value")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := ours.open(t.Context(), "one", sealed, &got); err != nil || got != "value" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := ours.open(t.Context(), "two", sealed, &got); err == nil {
		t.Error("opened for another purpose")
	}
	if err := theirs.open(t.Context(), "one", sealed, &got); err == nil {
		t.Error("opened by other keys")
	}
	for i := range sealed {
		changed := []byte(sealed)
		changed[i] ^= 1
		got = ""
		if err := ours.open(t.Context(), "one", string(changed), &got); err == nil && got != "value" {
			t.Errorf("opened with byte %d changed", i)
		}
		if err := ours.open(t.Context(), "one", sealed[:i], &got); err == nil {
			t.Errorf("opened with %d bytes", i)
		}
	}
}

// Replicas share the key. A new key each day keeps sessions, and a replica that does not know it yet reads the Secret.
func TestReplicasShareTheKeyAndItChanges(t *testing.T) {
	apiServer(t)
	now := testingclock.NewFakePassiveClock(time.Now())
	first := keysIn(t, "shared", now)
	second := NewKeys(api.admin, "shared", now, logr.Discard())
	sync := func(k *Keys) {
		t.Helper()
		if err := k.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sync(second)
	old, err := first.seal("p", "old")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := second.open(t.Context(), "p", old, &got); err != nil || got != "old" {
		t.Errorf("the other replica: %q, %v", got, err)
	}
	now.SetTime(now.Now().Add(keyLife))
	sync(first)
	sealed, err := first.seal("p", "new")
	if err != nil {
		t.Fatal(err)
	}
	if first.keys[0].KeyID == second.keys[0].KeyID {
		t.Fatal("the key is a day old and was not replaced")
	}
	if err := second.open(t.Context(), "p", sealed, &got); err != nil || got != "new" {
		t.Errorf("a replica that has not seen the new key: %q, %v", got, err)
	}
	if err := first.open(t.Context(), "p", old, &got); err != nil || got != "old" {
		t.Errorf("a value of the previous key: %q, %v", got, err)
	}
	now.SetTime(now.Now().Add(keyLife))
	sync(first)
	if err := first.open(t.Context(), "p", old, &got); err == nil {
		t.Error("a value of a key of two days ago is opened")
	}
}

// A Secret without a key is not changed, and the error says what to do.
func TestASecretWithoutAKeyIsLeftAlone(t *testing.T) {
	apiServer(t)
	ns := namespace(t, "keyless")
	if err := api.admin.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: KeySecretName}, Data: map[string][]byte{keyCurrent: []byte("short")},
	}); err != nil {
		t.Fatal(err)
	}
	k := NewKeys(api.admin, ns, testingclock.NewFakePassiveClock(time.Now()), logr.Discard())
	err := k.sync(t.Context())
	if err == nil || !strings.Contains(err.Error(), "delete the Secret, and a new one is created") {
		t.Errorf("%v", err)
	}
	secret := &corev1.Secret{}
	if err := api.admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: KeySecretName}, secret); err != nil || string(secret.Data[keyCurrent]) != "short" {
		t.Errorf("it was changed: %v, %v", secret.Data, err)
	}
	if _, err := k.seal("p", "v"); err == nil {
		t.Error("something was sealed")
	}
}

func namespace(t *testing.T, name string) string {
	t.Helper()
	if err := api.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		t.Fatal(err)
	}
	return name
}

// keysIn returns Keys in a new namespace.
func keysIn(t *testing.T, ns string, clock *testingclock.FakePassiveClock) *Keys {
	t.Helper()
	k := NewKeys(api.admin, namespace(t, ns), clock, logr.Discard())
	if err := k.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}
