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

package guards

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/env"
)

// slow is an API server that counts, and takes its time where a test says how long. The guards' generation is that of the world
// when it is asked.
type slow struct {
	client.Reader
	takes   func()
	world   atomic.Int64
	reads   atomic.Int64
	running atomic.Int64
}

func (s *slow) Get(ctx context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if key.Name == webhookName {
		s.reads.Add(1)
		if s.running.Add(1) > 1 {
			return errors.New("two reads at once")
		}
		defer s.running.Add(-1)
	}
	o.SetUID(types.UID(key.Name))
	o.SetGeneration(s.world.Load())
	s.takes()
	return ctx.Err()
}

// shared returns reads whose pauses take no time.
func (s *slow) shared() *sharedReads {
	return &sharedReads{from: s, clock: testingclock.NewFakeClock(time.Now())}
}

func TestCase51_AThousandWishesShareAFewReads(t *testing.T) {
	const all, most = 1000, 100
	called := make(chan struct{}, all)
	first := sync.OnceFunc(func() {
		for range all {
			<-called
		}
	})
	s := &slow{takes: first}
	reads := s.shared()
	var wishes sync.WaitGroup
	for range all {
		wishes.Go(func() {
			called <- struct{}{}
			if _, err := reads.read(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wishes.Wait()
	// Two, and a few for wishes that were about to call.
	if got := s.reads.Load(); got > most {
		t.Errorf("%d reads; want %d at most", got, most)
	}
	t.Logf("1,000 wishes: %d reads", s.reads.Load())
}

func TestReadsKeepTheirDistance(t *testing.T) {
	s := &slow{takes: func() {}}
	reads := s.shared()
	start := reads.clock.Now()
	for range 11 {
		if _, err := reads.read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if took := reads.clock.Since(start); took < 10*readInterval {
		t.Errorf("11 reads within %v; want %v at least", took, 10*readInterval)
	}
}

// A read that began before the call could miss that the guards were weakened before the resource was read.
func TestCase51_AReadBeginsAfterTheCall(t *testing.T) {
	s := &slow{takes: func() {
		for range 100 {
			runtime.Gosched()
		}
	}}
	s.world.Store(1)
	reads := s.shared()
	var wishes sync.WaitGroup
	for range 8 {
		wishes.Go(func() {
			for range 20 {
				called := s.world.Add(1)
				f, err := reads.read(t.Context())
				if err != nil || f[0].Generation < called {
					t.Errorf("called at %d, read %d, %v", called, f[0].Generation, err)
				}
			}
		})
	}
	wishes.Wait()
}

func TestAWishThatEndsDoesNotEndTheReadOfOthers(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	s := &slow{takes: sync.OnceFunc(func() { close(began); <-release })}
	reads := s.shared()
	var wishes sync.WaitGroup
	succeeds := func() {
		if _, err := reads.read(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wishes.Go(succeeds)
	<-began
	ended, end := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := reads.read(ended)
		gone <- err
	}()
	env.Eventually(t, env.Patience, func() bool {
		reads.mu.Lock()
		defer reads.mu.Unlock()
		return reads.next != nil
	}, func() string { return "no read waits for its turn" })
	wishes.Go(succeeds) // shares it
	end()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want the caller's own end", err)
	}
	close(release)
	wishes.Wait()
}

// heldBack is a cache that stands still once it is told to.
type heldBack struct {
	cache.Cache
	mu   sync.Mutex
	seen map[string]client.Object
}

func (h *heldBack) hold(t *testing.T) {
	t.Helper()
	seen := map[string]client.Object{}
	os, err := read(t.Context(), h.Cache)
	if err != nil {
		t.Fatal(err)
	}
	k, err := readKept(t.Context(), h.Cache, records)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range append(os[:], k.secret) {
		seen[reflect.TypeOf(o).String()] = o
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = seen
}

func (h *heldBack) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil {
		return h.Cache.Get(ctx, key, o, opts...)
	}
	reflect.ValueOf(o).Elem().Set(reflect.ValueOf(h.seen[reflect.TypeOf(o).String()]).Elem())
	return nil
}

// What the watch does not show yet is seen by the live read: weakened, put back exactly, accepted by another leader.
func TestCase51_TheWatchOfTheGuardsIsHeldBack(t *testing.T) {
	w := newWorld(t)
	held := &heldBack{}
	p := w.start(func(o *Options) { held.Cache, o.Cache = o.Cache, held })
	p.accepts()
	held.hold(t)
	p.settled(nil)
	judged := func(want string) {
		t.Helper()
		if err := p.Accepted(); err != nil {
			t.Errorf("the cache is not held back: %v", err)
		}
		if err := p.Judged(t.Context()); err == nil || err.Error() != want {
			t.Errorf("got %v; want %s", err, want)
		}
	}
	ignore, fail := admissionregistrationv1.Ignore, admissionregistrationv1.Fail
	w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &ignore })
	judged(errAccepting.Error())
	w.change(func(s *shipped) { s.webhook.Webhooks[0].FailurePolicy = &fail })
	judged(errAccepting.Error())
	w.start().accepts()
	judged(errAccepting.Error())
	w.uninstall()
	judged("ValidatingWebhookConfiguration pat-operator does not exist; apply the manifests of this release again")
	w.install()
	judged(errAccepting.Error())
	select {
	case <-p.woken:
	default:
		t.Error("a live read that shows another fingerprint does not wake the acceptance")
	}
}

// A read that fails is neither a yes nor an absence.
func TestCase51_ALiveReadFails(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.accepts()
	p.live.from = failing{}
	err := p.Judged(t.Context())
	if missing := (*Missing)(nil); err == nil || errors.As(err, &missing) || errors.Is(err, errAccepting) || !errors.Is(err, errUnavailable) {
		t.Errorf("got %v; want the cause", err)
	}
	if err := p.Accepted(); err != nil {
		t.Error(err)
	}
}

type failing struct{ client.Reader }

func (failing) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errUnavailable
}

// With nothing changed, asking the cache examines nothing again.
func TestAcceptedIsCheap(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	p.accepts()
	allocations := testing.AllocsPerRun(100, func() {
		if err := p.Accepted(); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 200 {
		t.Errorf("%v allocations", allocations)
	}
}

func TestTheMetricSaysWhetherGuardsAreAccepted(t *testing.T) {
	w := newWorld(t)
	p := w.start()
	registry := prometheus.NewRegistry()
	registry.MustRegister(p)
	value := func() float64 {
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "pat_operator_guards_accepted" {
			t.Fatalf("%v, %v", families, err)
		}
		return families[0].Metric[0].GetGauge().GetValue()
	}
	if value() != 0 {
		t.Error("accepted before anything was")
	}
	p.accepts()
	if value() != 1 {
		t.Error("not accepted after it was")
	}
}

func TestNewWantsEveryOption(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no option is required")
	}
}
