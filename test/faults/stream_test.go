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

package faults

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
)

const (
	ofEach = 20 // tokens of each kind
	// streamPeriod is how often each source of the stream asks; it is to be steady and not a load test.
	streamPeriod = 40 * time.Millisecond
	kasRemembers = env.KASRemembers
)

// oneIsCutOff reports whether a replica that kube-apiserver asks is cut off from the API server, and so may be behind.
var oneIsCutOff atomic.Bool

// stream is a steady stream of reviews at the real kube-apiserver: of tokens that live, of which none may be refused, and
// of tokens that are dead, of which none may be accepted.
type stream struct {
	namespace string
	// tokens are good for the API server; vendors' for other audiences, so that each review with another choice of them
	// is one that kube-apiserver does not remember.
	tokens, vendors, dead []string
	audiences             []string

	mu     sync.Mutex
	window window
	worst  time.Duration // the longest time that a token which the churn deleted was still accepted
}

// window is what came of the reviews of some time.
type window struct {
	asked   int
	took    []time.Duration
	refused []refusal
	accept  []string
	// first is how long it took at the longest until a token that had just been issued was accepted.
	first time.Duration
}

// refusal is a token that lives and was refused.
type refusal struct {
	asked time.Time
	after time.Duration
	err   error
}

func (r refusal) String() string {
	return fmt.Sprintf("%s after %v: %v", r.asked.Format(time.TimeOnly), r.after, r.err)
}

func (w *window) quantile(q float64) time.Duration {
	if len(w.took) == 0 {
		return 0
	}
	slices.Sort(w.took)
	return w.took[int(q*float64(len(w.took)-1))].Round(100 * time.Microsecond)
}

func (w *window) String() string {
	return fmt.Sprintf("%d reviews, p50 %v, p99 %v, max %v, %d wrongly refused, %d wrongly accepted; a new token worked within %v",
		w.asked, w.quantile(0.5), w.quantile(0.99), w.quantile(1), len(w.refused), len(w.accept), w.first.Round(time.Millisecond))
}

// streamTokens are issued once for all streams.
var streamTokens = sync.OnceValues(func() (*stream, error) {
	ctx := context.Background()
	s := &stream{}
	var err error
	if s.namespace, err = team(ctx); err != nil {
		return nil, err
	}
	for i := range 16 {
		s.audiences = append(s.audiences, fmt.Sprintf("vendor-%d", i))
	}
	s.tokens, s.vendors, s.dead = make([]string, ofEach), make([]string, ofEach), make([]string, ofEach)
	errs := make([]error, ofEach)
	var issuing sync.WaitGroup
	for i := range ofEach {
		issuing.Go(func() {
			var err error
			if s.tokens[i], err = issue(ctx, pat(s.namespace, fmt.Sprintf("ours-%d", i))); err == nil {
				s.vendors[i], err = issue(ctx, pat(s.namespace, fmt.Sprintf("vendor-%d", i), func(spec *v1alpha1.PersonalAccessTokenSpec) {
					spec.Audiences = s.audiences
				}))
			}
			if err == nil {
				s.dead[i], err = issue(ctx, pat(s.namespace, fmt.Sprintf("dead-%d", i)))
			}
			if err == nil {
				err = alice.Delete(ctx, pat(s.namespace, fmt.Sprintf("dead-%d", i)))
			}
			errs[i] = err
		})
	}
	issuing.Wait()
	return s, errors.Join(append(errs, deletionsAreKnown(ctx, s.namespace))...)
})

// deletionsAreKnown waits until every verifier of the Service knows what was deleted before.
func deletionsAreKnown(ctx context.Context, ns string) error {
	const inARow = 12 // the Service takes turns between four
	last := pat(ns, "the-last")
	plaintext, err := issue(ctx, last)
	if err != nil {
		return err
	}
	say := func(want bool) error {
		return env.Poll(ctx, patience, func() error {
			for range inARow {
				switch status, err := product.Review(ctx, plaintext); {
				case err != nil:
					return err
				case status.Authenticated != want:
					return fmt.Errorf("a verifier authenticates it: %v", status.Authenticated)
				}
			}
			return nil
		})
	}
	if err := say(true); err != nil {
		return err
	}
	if err := client.IgnoreNotFound(alice.Delete(ctx, last)); err != nil {
		return err
	}
	return say(false)
}

// startStream starts asking, until the test ends.
func startStream(t *testing.T) *stream {
	t.Helper()
	all, err := streamTokens()
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{namespace: all.namespace, tokens: all.tokens, vendors: all.vendors, dead: all.dead, audiences: all.audiences}
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		asking.Wait()
	})
	for _, ask := range []func(context.Context, *rand.Rand){
		s.pooled(), s.fresh, s.vendor, s.vendor, s.revoked, s.churn,
	} {
		asking.Go(func() {
			random := rand.New(rand.NewPCG(rand.Uint64(), 0))
			tick := time.NewTicker(streamPeriod)
			defer tick.Stop()
			for ctx.Err() == nil {
				ask(ctx, random)
				<-tick.C
			}
		})
	}
	return s
}

// next ends a window and begins another.
func (s *stream) next() window {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.window
	s.window = window{}
	return was
}

// asked is how many reviews of tokens that live the window has.
func (s *stream) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.asked
}

// note counts a review of a token that lives.
func (s *stream) note(ctx context.Context, start time.Time, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.asked++
	s.window.took = append(s.window.took, time.Since(start))
	if err != nil {
		s.window.refused = append(s.window.refused, refusal{asked: start, after: time.Since(start), err: err})
	}
}

func (s *stream) accepted(ctx context.Context, what string) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.accept = append(s.window.accept, what)
}

func whoami(ctx context.Context, c client.Client) error {
	user, err := env.WhoIs(ctx, c)
	if err == nil && user.Username != "alice" {
		err = fmt.Errorf("it authenticates as %q", user.Username)
	}
	return err
}

// pooled uses one connection for each token, again and again.
func (s *stream) pooled() func(context.Context, *rand.Rand) {
	clients := map[string]client.Client{}
	return func(ctx context.Context, random *rand.Rand) {
		plaintext := s.tokens[random.IntN(len(s.tokens))]
		start := time.Now()
		var err error
		if clients[plaintext] == nil {
			clients[plaintext], err = product.Bearer(plaintext)
		}
		if err == nil {
			err = whoami(ctx, clients[plaintext])
		}
		s.note(ctx, start, err)
	}
}

// fresh uses a connection of its own for each request.
func (s *stream) fresh(ctx context.Context, random *rand.Rand) {
	config := cl.Anonymous()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.CAData)
	hc := &http.Client{Transport: transport.NewBearerAuthRoundTripper(s.tokens[random.IntN(len(s.tokens))], &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	})}
	c, err := client.New(config, client.Options{Scheme: env.Scheme, Mapper: admin.RESTMapper(), HTTPClient: hc})
	start := time.Now()
	if err == nil {
		err = whoami(ctx, c)
	}
	s.note(ctx, start, err)
}

// vendor asks as a vendor's API would, each time for another choice of audiences.
func (s *stream) vendor(ctx context.Context, random *rand.Rand) {
	chosen := slices.Clone(s.audiences)
	random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	chosen = chosen[:1+random.IntN(len(chosen)-1)]
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{
		Token: s.vendors[random.IntN(len(s.vendors))], Audiences: chosen,
	}}
	start := time.Now()
	err := admin.Create(ctx, review)
	if err == nil && (!review.Status.Authenticated || review.Status.User.Username != "alice" || len(review.Status.Audiences) != len(chosen)) {
		err = fmt.Errorf("authenticated %v, error %q", review.Status.Authenticated, review.Status.Error)
	}
	s.note(ctx, start, err)
}

// revoked asks about a token that has been dead from the beginning.
func (s *stream) revoked(ctx context.Context, random *rand.Rand) {
	n := random.IntN(len(s.dead))
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: s.dead[n]}}
	if err := admin.Create(ctx, review); err == nil && review.Status.Authenticated {
		s.accepted(ctx, fmt.Sprintf("dead-%d", n))
	}
}

// churn issues a token, uses it, deletes it, and uses it until kube-apiserver refuses it.
func (s *stream) churn(ctx context.Context, random *rand.Rand) {
	name := fmt.Sprintf("churn-%d", random.Uint64())
	plaintext, err := issue(ctx, pat(s.namespace, name))
	if err != nil {
		return // nobody was there to issue it, as another test has seen to
	}
	c, err := product.Bearer(plaintext)
	start := time.Now()
	if err == nil {
		// A replica that is cut off does not know a new token, and says so for as long as it may be behind.
		err = env.Poll(ctx, maxStaleness+patience, func() error { return whoami(ctx, c) })
	}
	first := time.Since(start)
	if err == nil {
		err = env.Poll(ctx, patience, func() error { return client.IgnoreNotFound(alice.Delete(ctx, pat(s.namespace, name))) })
	}
	s.mu.Lock()
	s.window.first = max(s.window.first, first)
	s.mu.Unlock()
	if err != nil {
		s.note(ctx, start, err)
		return
	}
	deleted, last, bound := time.Now(), time.Now(), kasRemembers
	behind := oneIsCutOff.Load()
	var slowest time.Duration
	_ = env.Poll(ctx, maxStaleness+kasRemembers+patience, func() error {
		asked := time.Now()
		err := whoami(ctx, c)
		slowest = max(slowest, time.Since(asked))
		if err != nil {
			return nil
		}
		last = asked
		return fmt.Errorf("it is accepted")
	})
	bound += 2 * slowest
	s.mu.Lock()
	s.worst = max(s.worst, last.Sub(deleted))
	s.mu.Unlock()
	if behind || oneIsCutOff.Load() { // it may know the token, and not that it is deleted
		bound += maxStaleness
	}
	if last.Sub(deleted) > bound {
		s.accepted(ctx, fmt.Sprintf("%s, %v after it was deleted", name, last.Sub(deleted)))
	}
}

// during is watch, in which no token may be refused wrongly.
func (s *stream) during(t *testing.T, what string, times int, do func()) window {
	t.Helper()
	w := s.watch(t, what, times, do)
	for _, wrong := range w.refused[:min(len(w.refused), 5)] {
		t.Errorf("%s: %s", what, wrong)
	}
	return w
}

// watch begins a window, does something, and reports what the stream has seen meanwhile and some time after. No token may
// be accepted wrongly.
func (s *stream) watch(t *testing.T, what string, times int, do func()) window {
	t.Helper()
	s.next()
	do()
	select { // what it leaves behind counts too
	case <-time.After(time.Second):
	case <-t.Context().Done():
	}
	if err := env.Poll(t.Context(), patience, func() error {
		if s.asked() == 0 {
			return errors.New("nothing was asked")
		}
		return nil
	}); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	w := s.next()
	s.mu.Lock()
	worst := s.worst
	s.worst = 0
	s.mu.Unlock()
	report.Add(Row{Fault: what, Injected: times, Accepted: len(w.accept), Refused: len(w.refused), Staleness: worst})
	t.Logf("%s: %s", what, &w)
	for _, wrong := range w.accept {
		t.Errorf("%s: %s", what, wrong)
	}
	return w
}
