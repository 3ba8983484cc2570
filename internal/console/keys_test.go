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
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// reading is a client of the API server that reads Secrets as a test says.
func reading(read func(ctx context.Context, get func() error) error) client.Client {
	return interceptor.NewClient(api.admin, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			return read(ctx, func() error { return c.Get(ctx, key, o, options...) })
		},
	})
}

// An error of the API server about the verifier's own Secret is not shown to visitors and ends no session.
func TestErrorsOfTheKeyAreNotShown(t *testing.T) {
	apiServer(t)
	for name, trouble := range map[string]error{
		"forbidden":    apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, KeySecretName, errors.New("the-cause")),
		"unauthorized": apierrors.NewUnauthorized("the-cause"),
		"no answer":    errors.New("the-cause"),
	} {
		t.Run(name, func(t *testing.T) {
			elsewhere := open(t)
			sealed := httptest.NewRecorder()
			if err := elsewhere.save(sealed, httptest.NewRequest(http.MethodGet, "/", nil), &session{Bearer: aliceBearer, User: "alice", Expires: elsewhere.clock.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			failing := reading(func(context.Context, func() error) error { return trouble })
			keyless := func(o *Options) { o.Keys = NewKeys(failing, operatorNamespace, o.Clock, logr.Discard()) }
			pasted, issuer := open(t, keyless), open(t, keyless, withIssuer(t))
			asks := func(b *browser, path string, cookies ...*http.Cookie) *http.Request {
				r := b.request(http.MethodGet, path, nil)
				for _, cookie := range cookies {
					r.AddCookie(cookie)
				}
				return r
			}
			b, o := pasted.browser(t), issuer.browser(t)
			begun := &http.Cookie{Name: loginCookie, Value: sealedFor(t, elsewhere, purposeLogin, login{})}
			for what, r := range map[string]*http.Request{
				"with a session":       asks(b, "/", sealed.Result().Cookies()...),
				"signing in":           b.request(http.MethodPost, "/sign-in", url.Values{"token": {aliceBearer}}),
				"going to the issuer":  asks(o, "/sign-in/oidc"),
				"back from the issuer": asks(o, "/callback?state=s&code=c", begun),
			} {
				a := b.do(r)
				if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "You cannot be signed in now") || strings.Contains(a.body, "the-cause") {
					t.Errorf("%s: %s\n%s", what, a.Status, a.body)
				}
				if len(a.Cookies()) > 0 {
					t.Errorf("%s: cookies are changed: %v", what, a.Cookies())
				}
			}
		})
	}
}

// sealedFor seals a value for a purpose with the keys of a site.
func sealedFor(t *testing.T, s *site, purpose string, value any) string {
	t.Helper()
	sealed, err := s.keys.seal(purpose, value)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// A visitor who leaves during a reading of the Secret does not prevent the others from getting its result.
func TestOneReadingIsSharedAndOutlivesItsCaller(t *testing.T) {
	apiServer(t)
	now := testingclock.NewFakePassiveClock(time.Now())
	first := keysIn(t, "aborted", now)
	var reads atomic.Int32
	begun, release := make(chan struct{}, 10), make(chan struct{})
	second := NewKeys(reading(func(ctx context.Context, get func() error) error {
		reads.Add(1)
		begun <- struct{}{}
		<-release
		if err := ctx.Err(); err != nil {
			return err
		}
		return get()
	}), "aborted", now, logr.Discard())
	sealed, err := first.seal("p", "value")
	if err != nil {
		t.Fatal(err)
	}

	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- second.open(leaving, "p", sealed, new(string)) }()
	<-begun
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who leaves gets %v", err)
	}
	var got string
	opened := make(chan error)
	go func() { opened <- second.open(t.Context(), "p", sealed, &got) }()
	close(release)
	if err := <-opened; err != nil || got != "value" {
		t.Errorf("the caller who stays gets %q, %v", got, err)
	}
	if reads.Load() != 1 {
		t.Errorf("the Secret was read %d times", reads.Load())
	}
}

// open reports that a value was not sealed here only after a fresh reading of the Secret.
func TestAnUnknownKeyIsRefusedAfterAFreshReading(t *testing.T) {
	apiServer(t)
	now := testingclock.NewFakePassiveClock(time.Now())
	theirs := keysIn(t, "judged-theirs", now)
	namespace(t, "judged")
	var fails atomic.Bool
	trouble := apierrors.NewServiceUnavailable("for a test")
	ours := NewKeys(reading(func(_ context.Context, get func() error) error {
		if fails.Load() {
			return trouble
		}
		return get()
	}), "judged", now, logr.Discard())
	if err := ours.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	mine, err := ours.seal("p", "mine")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := theirs.seal("p", "value")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	fails.Store(true)
	now.SetTime(now.Now().Add(keyRetry))
	for range 2 { // the second finds the reading of the first
		if err := ours.open(t.Context(), "p", sealed, &got); !errors.Is(err, trouble) {
			t.Errorf("without a reading: %v", err)
		}
	}
	if err := ours.open(t.Context(), "p", mine, &got); err != nil || got != "mine" {
		t.Errorf("a value of a known key: %q, %v", got, err)
	}
	fails.Store(false)
	now.SetTime(now.Now().Add(keyRetry))
	if err := ours.open(t.Context(), "p", sealed, &got); !errors.Is(err, errNotOpened) {
		t.Errorf("after a reading: %v", err)
	}
}

// Deleting the Secret signs all visitors out at its next reading.
func TestDeletingTheSecretSignsEverybodyOut(t *testing.T) {
	apiServer(t)
	k := keysIn(t, "deleted", testingclock.NewFakePassiveClock(time.Now()))
	sealed, err := k.seal("p", "value")
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = "deleted", KeySecretName
	if err := api.admin.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if err := k.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := k.open(t.Context(), "p", sealed, new(string)); !errors.Is(err, errNotOpened) {
		t.Errorf("got %v", err)
	}
	if keyInterval > time.Minute {
		t.Errorf("it is looked at every %v", keyInterval)
	}
}
