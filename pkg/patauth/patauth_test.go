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

package patauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a Source that answers by a function, and counts.
type fake struct {
	answer func(ctx context.Context, token, audience string) (*Identity, error)
	asked  atomic.Int64
}

func (f *fake) Verify(ctx context.Context, token, audience string) (*Identity, error) {
	f.asked.Add(1)
	return f.answer(ctx, token, audience)
}

// yes accepts every token as alice's.
func yes(_ context.Context, token, _ string) (*Identity, error) {
	id, _ := parse(token)
	return &Identity{TokenID: id, Name: "team-a/reports", Username: "alice", Groups: []string{"team-a-devs"}, Full: true}, nil
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newAuthenticator(t testing.TB, source Source, change ...func(*Options)) *Authenticator {
	t.Helper()
	opts := Options{Source: source, Audience: "list-api", Logger: quiet}
	for _, f := range change {
		f(&opts)
	}
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tokenOf returns a well-formed token, another one for each n.
func tokenOf(n int) string {
	secret := []byte(strings.Repeat("0", secretLength))
	for i := secretLength - 1; n > 0; i-- {
		secret[i], n = base62[n%62], n/62
	}
	body := tokenPrefix + "abcdefghijkl2347_" + string(secret)
	sum := checksum(body)
	return body + string(sum[:])
}

func TestOptionsAreChecked(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	source := &fake{answer: yes}
	for name, tc := range map[string]struct {
		opts Options
		want string
	}{
		"no source":          {Options{Audience: "a"}, "Options.Source is required"},
		"no audience":        {Options{Source: source}, "Options.Audience is required"},
		"realm":              {Options{Source: source, Audience: "a", Realm: `"`}, "Options.Realm"},
		"audience as realm":  {Options{Source: source, Audience: "ä"}, "Options.Realm"},
		"cache size":         {Options{Source: source, Audience: "a", CacheSize: -1}, "Options.CacheSize"},
		"timeout":            {Options{Source: source, Audience: "a", Timeout: -1}, "Options.Timeout"},
		"outside a cluster":  {Options{Source: &TokenReview{}, Audience: "a"}, "TokenReview.URL is required outside of a cluster"},
		"no token file":      {Options{Source: &TokenReview{URL: "https://x"}, Audience: "a"}, "TokenReview.TokenFile is required"},
		"http":               {Options{Source: &TokenReview{URL: "http://x", TokenFile: "t"}, Audience: "a"}, "TokenReview.URL must begin with https://"},
		"no URL":             {Options{Source: &Introspection{}, Audience: "a"}, "Introspection.URL is required"},
		"no credential":      {Options{Source: &Introspection{URL: "https://x"}, Audience: "a"}, "Introspection.TokenFile is required"},
		"introspection http": {Options{Source: &Introspection{URL: "http://127.0.0.1.example/", TokenFile: "t"}, Audience: "a"}, "Introspection.URL must begin with https://"},
		"a password in it":   {Options{Source: &Introspection{URL: "https://a:b@x/", TokenFile: "t"}, Audience: "a"}, "Introspection.URL is not a URL such as"},
		"a query in it":      {Options{Source: &Introspection{URL: "https://x/?a", TokenFile: "t"}, Audience: "a"}, "Introspection.URL is not a URL such as"},
		"a missing file":     {Options{Source: &Introspection{URL: "https://x/", TokenFile: "/does/not/exist"}, Audience: "a"}, "Introspection: cannot read the token file"},
		"a missing CA":       {Options{Source: &Introspection{URL: "https://x/", CAFile: "/does/not/exist", TokenFile: "t"}, Audience: "a"}, "Introspection: cannot read the CA file"},
		"a CA without PEM":   {Options{Source: &Introspection{URL: "https://x/", CAFile: "token.go", TokenFile: "t"}, Audience: "a"}, "has no PEM certificate"},
		"a file of lines":    {Options{Source: &Introspection{URL: "https://x/", TokenFile: "token.go"}, Audience: "a"}, "does not hold one token"},
	} {
		if _, err := New(tc.opts); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

func TestMalformedTokensAreNotAsked(t *testing.T) {
	source := &fake{answer: yes}
	a := newAuthenticator(t, source)
	for _, tc := range readVectors(t).Invalid {
		if identity, err := a.Verify(t.Context(), tc.Token); !errors.Is(err, ErrInvalidToken) || identity != nil {
			t.Errorf("%s: got %v, %v", tc.Why, identity, err)
		}
	}
	if n := source.asked.Load(); n != 0 {
		t.Errorf("%d questions", n)
	}
}

func TestNobodyIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		identity *Identity
		invalid  bool
	}{
		"anonymous":       {&Identity{Username: "system:anonymous", Full: true}, true},
		"unauthenticated": {&Identity{Username: "alice", Groups: []string{"a", "system:unauthenticated"}, Full: true}, true},
		"no user":         {&Identity{Full: true}, true},
		"nil":             {nil, false},
	} {
		a := newAuthenticator(t, &fake{answer: func(context.Context, string, string) (*Identity, error) { return tc.identity, nil }})
		identity, err := a.Verify(t.Context(), tokenOf(1))
		if err == nil || identity != nil || errors.Is(err, ErrInvalidToken) != tc.invalid {
			t.Errorf("%s: got %v, %v", name, identity, err)
		}
	}
}

func TestAnAcceptedTokenIsRememberedForItsTime(t *testing.T) {
	for name, tc := range map[string]struct {
		cacheFor time.Duration
		source   time.Duration // until when the source allows it, from the question on; 0: it says nothing
		takes    time.Duration // the answer
		want     time.Duration
	}{
		"the default":              {want: 10 * time.Second},
		"an option":                {cacheFor: time.Minute, want: time.Minute},
		"off":                      {cacheFor: -1, want: 0},
		"the source allows less":   {source: 3 * time.Second, want: 3 * time.Second},
		"the source allows more":   {source: time.Hour, want: 10 * time.Second},
		"the source allows none":   {source: -time.Second, want: 0},
		"from the question on":     {takes: 4 * time.Second, want: 6 * time.Second},
		"longer than it holds for": {cacheFor: time.Second, takes: 4 * time.Second, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &fake{}
				source.answer = func(ctx context.Context, token, audience string) (*Identity, error) {
					identity, err := yes(ctx, token, audience)
					if tc.source != 0 {
						identity.ValidUntil = time.Now().Add(tc.source)
					}
					time.Sleep(tc.takes)
					return identity, err
				}
				a := newAuthenticator(t, source, func(o *Options) { o.CacheFor = tc.cacheFor })
				ask := func() int64 {
					if _, err := a.Verify(t.Context(), tokenOf(1)); err != nil {
						t.Fatal(err)
					}
					return source.asked.Load()
				}
				ask()
				if tc.want > 0 {
					time.Sleep(tc.want - time.Nanosecond)
					if n := ask(); n != 1 {
						t.Errorf("asked %d times within %v", n, tc.want)
					}
					time.Sleep(time.Nanosecond)
				}
				if n := ask(); n != 2 {
					t.Errorf("asked %d times after %v", n, tc.want)
				}
			})
		})
	}
}

func TestRefusalsAndErrorsAreNotRemembered(t *testing.T) {
	var err error
	source := &fake{answer: func(ctx context.Context, token, audience string) (*Identity, error) {
		if err != nil {
			return nil, err
		}
		return yes(ctx, token, audience)
	}}
	a := newAuthenticator(t, source)
	for _, err = range []error{refuse("suspended"), errors.New("out of reach"), nil} {
		if _, got := a.Verify(t.Context(), tokenOf(1)); !errors.Is(got, err) {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	if len(a.flights) != 0 {
		t.Errorf("%d questions are kept", len(a.flights))
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	source := &fake{answer: yes}
	a := newAuthenticator(t, source, func(o *Options) { o.CacheSize = 3 })
	verify := func(n int) (asked bool) {
		before := source.asked.Load()
		if _, err := a.Verify(t.Context(), tokenOf(n)); err != nil {
			t.Fatal(err)
		}
		if len(a.cache.entries) > 3 || a.cache.recent.Len() != len(a.cache.entries) {
			t.Fatalf("%d entries, %d in the list", len(a.cache.entries), a.cache.recent.Len())
		}
		return source.asked.Load() > before
	}
	for n := 1; n <= 3; n++ {
		verify(n)
	}
	verify(1) // The least recently used is now 2.
	verify(4)
	for n, asked := range map[int]bool{1: false, 3: false, 4: false} {
		if verify(n) != asked {
			t.Errorf("%d: asked again", n)
		}
	}
	if !verify(2) {
		t.Error("the least recently used one is still there")
	}
	// Tokens that are refused, however many, push none out.
	verify(1)
	source.answer = func(context.Context, string, string) (*Identity, error) { return nil, refuse("unknown") }
	for n := 100; n < 200; n++ {
		_, _ = a.Verify(t.Context(), tokenOf(n))
	}
	if verify(1) {
		t.Error("refused tokens have pushed an accepted one out")
	}
}

func TestTheCacheIsBoundedInBytes(t *testing.T) {
	c := newCache(1000, 100_000)
	large := &Identity{Username: "alice", Groups: []string{strings.Repeat("g", 30_000)}}
	until := time.Now().Add(time.Hour)
	for n := range 100 {
		c.put(keyOf(tokenOf(n)), large, until)
		c.put(keyOf(tokenOf(n)), large, until) // again: counted once
	}
	if len(c.entries) != 3 || c.bytes > 100_000 {
		t.Errorf("%d entries of %d bytes", len(c.entries), c.bytes)
	}
	for c.recent.Len() > 0 {
		c.remove(c.recent.Back())
	}
	if c.bytes != 0 || len(c.entries) != 0 {
		t.Errorf("%d bytes of nothing", c.bytes)
	}
	c.put(keyOf(tokenOf(1)), &Identity{Username: strings.Repeat("u", 200_000)}, until)
	if len(c.entries) != 0 || c.bytes != 0 {
		t.Error("an identity that is larger than the cache is kept")
	}
}

func TestTheCacheGoesByBothClocks(t *testing.T) {
	c, k, now := newCache(10, 1<<20), keyOf(tokenOf(1)), time.Now()
	until := now.Add(10 * time.Second)
	for name, later := range map[string]time.Time{
		"the monotonic clock": now.Add(10 * time.Second),
		// A time without a monotonic reading is compared by the wall clock.
		"the wall clock": now.Add(10 * time.Second).Round(0),
	} {
		c.put(k, &Identity{Username: "alice"}, until)
		before, _ := c.get(k, now)
		after, known := c.get(k, later)
		if before == nil || after != nil || !known {
			t.Errorf("%s: before its end %v, after it %v, %v", name, before, after, known)
		}
	}
}

// One token in a thousand requests at once is one question.
func TestRequestsShareAQuestion(t *testing.T) {
	const requests = 1000
	open := make(chan struct{})
	source := &fake{answer: func(ctx context.Context, token, audience string) (*Identity, error) {
		<-open
		return yes(ctx, token, audience)
	}}
	a := newAuthenticator(t, source)
	var all sync.WaitGroup
	identities := make([]*Identity, requests)
	for i := range requests {
		all.Go(func() {
			identity, err := a.Verify(t.Context(), tokenOf(1))
			if err != nil {
				t.Error(err)
			}
			identities[i] = identity
		})
	}
	poll(t, func() bool { return waitingFor(a, tokenOf(1)) == requests })
	close(open)
	all.Wait()
	if n := source.asked.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
	if slices.Contains(identities, nil) {
		t.Error("a request has no identity")
	}
}

func waitingFor(a *Authenticator, token string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.flights[keyOf(token)]; f != nil {
		return f.waiting
	}
	return 0
}

// poll waits for what another goroutine does.
func poll(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute")
		}
	}
}

func TestACallerWhoLeavesTakesNobodyAlong(t *testing.T) {
	open, given := make(chan struct{}), make(chan error, 2)
	source := &fake{answer: func(ctx context.Context, token, audience string) (*Identity, error) {
		select {
		case <-open:
			return yes(ctx, token, audience)
		case <-ctx.Done():
			given <- ctx.Err()
			return nil, ctx.Err()
		}
	}}
	a := newAuthenticator(t, source, func(o *Options) { o.Timeout = time.Hour })
	verify := func(ctx context.Context, token string) chan error {
		before, done := waitingFor(a, token), make(chan error, 1)
		go func() {
			_, err := a.Verify(ctx, token)
			done <- err
		}()
		poll(t, func() bool { return waitingFor(a, token) == before+1 })
		return done
	}
	ctx, leave := context.WithCancel(t.Context())
	first, second := verify(ctx, tokenOf(1)), verify(t.Context(), tokenOf(1))
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) || errors.Is(err, ErrInvalidToken) {
		t.Errorf("who left: %v", err)
	}
	close(open)
	if err := <-second; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	if n := source.asked.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}

	// When all have left, the question is given up, and the next caller starts another.
	open = make(chan struct{})
	ctx, leave = context.WithCancel(t.Context())
	third, fourth := verify(ctx, tokenOf(2)), verify(ctx, tokenOf(2))
	leave()
	if err := errors.Join(<-third, <-fourth); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(open)
	if _, err := a.Verify(t.Context(), tokenOf(2)); err != nil {
		t.Error(err)
	}
}

func TestASourceThatPanicsIsOneThatFails(t *testing.T) {
	for name, misbehave := range map[string]func(){
		"panics":             func() { panic(tokenOf(7)) },
		"ends its goroutine": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &fake{answer: func(context.Context, string, string) (*Identity, error) {
					misbehave()
					return nil, nil
				}}
				var log bytes.Buffer
				a := newAuthenticator(t, source, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
				for range 2 { // It does not stay locked.
					identity, err := a.Verify(t.Context(), tokenOf(7))
					if err == nil || errors.Is(err, ErrInvalidToken) || identity != nil || strings.Contains(err.Error(), tokenOf(7)) {
						t.Errorf("got %v, %v", identity, err)
					}
				}
				synctest.Wait()
				if len(a.flights) != 0 || len(a.unknown) != 0 {
					t.Errorf("%d questions and %d slots are kept", len(a.flights), len(a.unknown))
				}
				if log.Len() == 0 || strings.Contains(log.String(), tokenOf(7)) {
					t.Errorf("the log says %q", log.String())
				}
			})
		})
	}
}

func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		source := &fake{answer: func(ctx context.Context, _, _ string) (*Identity, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		a := newAuthenticator(t, source)
		var all sync.WaitGroup
		for n := range 2 * maxQuestions {
			all.Go(func() {
				began := time.Now()
				if _, err := a.Verify(t.Context(), tokenOf(n)); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if took := time.Since(began); took != DefaultTimeout {
					t.Errorf("took %v", took)
				}
			})
		}
		all.Wait()
		if n := most.Load(); n != maxQuestions {
			t.Errorf("%d at once, want %d", n, maxQuestions)
		}
	})
}

// Made-up tokens that keep all slots do not keep a token that was valid before from being verified again. One that has been refused
// meanwhile waits with the others.
func TestMadeUpTokensDoNotDelayKnownOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		revoked := false
		source := &fake{answer: func(ctx context.Context, token, audience string) (*Identity, error) {
			switch {
			case token == tokenOf(1):
				return yes(ctx, token, audience)
			case token == tokenOf(2) && !revoked:
				return yes(ctx, token, audience)
			case token == tokenOf(2):
				return nil, refuse("revoked")
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		a := newAuthenticator(t, source)
		for n := range 2 {
			if _, err := a.Verify(t.Context(), tokenOf(n+1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(DefaultCacheFor)
		revoked = true
		if _, err := a.Verify(t.Context(), tokenOf(2)); !errors.Is(err, ErrInvalidToken) {
			t.Fatal(err)
		}
		var flood sync.WaitGroup
		for n := range maxQuestions {
			flood.Go(func() { _, _ = a.Verify(t.Context(), tokenOf(100+n)) })
		}
		synctest.Wait()
		began := time.Now()
		if _, err := a.Verify(t.Context(), tokenOf(1)); err != nil || time.Since(began) != 0 {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		asked := source.asked.Load()
		ctx, leave := context.WithCancel(t.Context())
		flood.Go(func() { _, _ = a.Verify(ctx, tokenOf(2)) })
		synctest.Wait()
		if source.asked.Load() != asked {
			t.Error("a refused token takes a slot of the known ones")
		}
		leave()
		flood.Wait()
	})
}

func TestAFailingSourceIsLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		source := &fake{answer: func(context.Context, string, string) (*Identity, error) { return nil, errors.New("out of reach") }}
		a := newAuthenticator(t, source, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for range 25 {
			_, _ = a.Verify(t.Context(), tokenOf(1))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "out of reach"); n != 3 || !strings.Contains(log.String(), "failuresNotLogged=9") {
			t.Errorf("%d lines:\n%s", n, log.String())
		}
		if strings.Contains(log.String(), "kubepat_") {
			t.Error("a token is in the log")
		}
	})
}

// Many callers, with a cache that is too small: for the race detector.
func TestManyAtOnce(t *testing.T) {
	source := &fake{answer: func(ctx context.Context, token, audience string) (*Identity, error) {
		if strings.HasSuffix(token, "0") {
			return nil, refuse("unlucky")
		}
		return yes(ctx, token, audience)
	}}
	a := newAuthenticator(t, source, func(o *Options) { o.CacheSize = 4 })
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for n := range 100 {
				ctx, cancel := context.WithCancel(t.Context())
				if (worker+n)%7 == 0 {
					cancel()
				}
				identity, err := a.Verify(ctx, tokenOf(n%9))
				if (identity == nil) == (err == nil) {
					t.Error(fmt.Errorf("got %v, %w", identity, err))
				}
				cancel()
			}
		})
	}
	all.Wait()
	a.mu.Lock() // A question goes on when the one who asked it has left.
	defer a.mu.Unlock()
	if len(a.cache.entries) > 4 {
		t.Errorf("%d entries", len(a.cache.entries))
	}
}
