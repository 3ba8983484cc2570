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
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/faults/proxy"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	// tolerance is what polling, and a machine that is busy, may add to the bound.
	tolerance = 5 * time.Second
	// prompt is how soon a healthy replica follows.
	prompt = 5 * time.Second
	// recovery is how soon a replica must be ready again once its fault is over: a proof takes up to half of
	// --max-staleness, and a feed that failed retries after up to five seconds.
	recovery = maxStaleness + 2*tolerance
)

// fault is one way to come between a replica and the API server.
type fault struct {
	mode proxy.Mode
	// harmless: the replica must not notice.
	harmless bool
	// sees: the deletion is still seen, at once.
	sees bool
}

func faults() []fault {
	return []fault{
		{mode: proxy.Pass, harmless: true, sees: true},
		{mode: proxy.Slow(500 * time.Millisecond), harmless: true, sees: true},
		{mode: proxy.Cut},
		{mode: proxy.Stall},
		{mode: proxy.HangWatches},
		{mode: proxy.Refuse(http.StatusForbidden)},
		{mode: proxy.Refuse(http.StatusNotFound)},
		{mode: proxy.Refuse(http.StatusGone)},
		{mode: proxy.Refuse(http.StatusTooManyRequests)},
		{mode: proxy.Refuse(http.StatusForbidden).AndWatches()},
	}
}

// A replica for each fault, all at the same time: whatever comes between it and the API server, it accepts a deleted token for at
// most --max-staleness. A token that lives is accepted, or the replica says that it cannot tell. When the fault is over,
// the replica becomes ready again without help.
func TestCase33_NoReplicaIsStaleForLongerThanSaid(t *testing.T) {
	long.Only(t)
	t.Parallel()
	all := faults()
	var names []string
	for i := range all {
		names = append(names, fmt.Sprint(i))
	}
	// Not endpoints of the Service: what parallel tests ask must not be answered by those that are behind.
	replicas, err := startReplicas(t.Context(), true, names...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range replicas {
			r.end()
		}
	})
	end := time.Now().Add(share(50, 0))
	for round := 0; round == 0 || time.Now().Before(end); round++ {
		var running sync.WaitGroup
		for i := range replicas {
			// In later rounds each replica meets another fault than before.
			f := all[(i+round)%len(all)]
			running.Go(func() {
				t.Run(fmt.Sprintf("round %d, %v", round+1, f.mode), func(t *testing.T) {
					suffer(t, replicas[i], f)
				})
			})
		}
		running.Wait()
	}
}

// suffer is one fault at one replica.
func suffer(t *testing.T, r *replica, f fault) {
	ctx := t.Context()
	row := Row{Fault: f.mode.String(), Injected: 1}
	defer func() { report.Add(row) }()
	lives, dies := aToken(t), aToken(t)
	kept, gone := lives.plaintext, dies.plaintext
	ask := &verdicts{t: t, face: r.face}
	ask.want("before the fault", kept, true)
	ask.want("before the fault", gone, true)

	o := observe(ctx, r, kept, gone)
	if err := r.proxy.Set(f.mode); err != nil {
		t.Fatal(err)
	}
	if err := dies.delete(ctx); err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	// Beyond the bound, whatever it says meanwhile: a no may become a yes again.
	select {
	case <-time.After(maxStaleness + tolerance + 2*time.Second):
	case <-ctx.Done():
	}
	if err := env.Poll(ctx, patience, func() error {
		if !f.harmless && o.sofar().firstUnready.IsZero() {
			return errors.New("it stays ready")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	healed := time.Now()
	if err := r.proxy.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	readyAgain := env.Poll(ctx, patience, func() error { return r.Ready(ctx) })
	took := time.Since(healed)
	ask.want("the token that lives, after the fault", kept, true)
	ask.want("the token that was deleted, after the fault", gone, false)
	seen := o.stop()

	row.Staleness = max(0, seen.accepted.Sub(deleted))
	row.Accepted, row.Refused = ask.accepted, ask.refused+seen.refused
	bound := maxStaleness + tolerance
	if f.sees {
		bound = prompt
	}
	bound += 2 * seen.slowest
	if row.Staleness > bound {
		row.Accepted++
		t.Errorf("a deleted token was accepted for %v; want %v at most, where asking took up to %v", row.Staleness, bound, seen.slowest)
	}
	if seen.refused > 0 {
		t.Errorf("a token that lives was refused %d times: %v", seen.refused, seen.wrong)
	}
	if readyAgain != nil {
		t.Errorf("it does not recover: %v", readyAgain)
	}
	switch {
	case f.harmless && seen.unready > 0 && seen.slowest < tolerance:
		t.Errorf("it was unready %d times: %v", seen.unready, seen.reason)
	case !f.harmless && (seen.firstUnready.IsZero() || seen.firstUnready.Sub(deleted) > bound):
		t.Errorf("unready after %s; want %v at most", since(seen.firstUnready, deleted), bound)
	}
	t.Logf("accepted for %v; unready after %v; ready again %v after the fault; the proxy: %+v",
		row.Staleness.Round(time.Millisecond), since(seen.firstUnready, deleted), took.Round(time.Millisecond), r.proxy.Counts())
}

func since(at, start time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Sub(start).Round(time.Millisecond).String()
}

// observation is what a replica has said over some time.
type observation struct {
	// accepted is when it was last asked about the deleted token and accepted it.
	accepted time.Time
	// slowest is the longest time from one question to the next.
	slowest time.Duration
	// refused counts the plain refusals of the token that lives; wrong is the last of them.
	refused int
	wrong   error
	// unready counts the times that readiness was denied; reason is the first.
	unready      int
	firstUnready time.Time
	reason       error
}

type observer struct {
	observation
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
}

// observe asks a replica again and again about both tokens and its readiness, until it is stopped.
func observe(ctx context.Context, r *replica, kept, gone string) *observer {
	ctx, cancel := context.WithCancel(ctx)
	o := &observer{cancel: cancel}
	again := func(ask func()) {
		o.done.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for last := time.Now(); ctx.Err() == nil; {
				now := time.Now()
				o.note(func() { o.slowest = max(o.slowest, now.Sub(last)) })
				last = now
				ask()
				<-tick.C
			}
		})
	}
	again(func() {
		asked := time.Now()
		if yes, _ := r.face.accepts(ctx, gone); yes {
			o.note(func() { o.accepted = asked })
		}
	})
	again(func() {
		if err := keeps(ctx, r.face, kept); err != nil && ctx.Err() == nil {
			o.note(func() { o.refused, o.wrong = o.refused+1, err })
		}
	})
	again(func() {
		if err := deniesReadiness(ctx, r); err != nil {
			o.note(func() {
				if o.unready++; o.unready == 1 {
					o.firstUnready, o.reason = time.Now(), err
				}
			})
		}
	})
	return o
}

// deniesReadiness returns why a replica says that it is not ready. No answer within a second does not count: the machine
// may be busy, and kubelet too asks three times.
func deniesReadiness(ctx context.Context, r *replica) error {
	err := r.Ready(ctx)
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

func (o *observer) note(what func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	what()
}

func (o *observer) sofar() observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.observation
}

func (o *observer) stop() observation {
	o.cancel()
	o.done.Wait()
	return o.observation
}

// keeps returns how a replica treated a living token wrongly: it may accept it, or refer to another replica.
func keeps(ctx context.Context, f *face, plaintext string) error {
	status, err := f.review(ctx, plaintext)
	if errors.Is(err, env.ErrNotReady) {
		return nil
	}
	if err == nil && !status.Authenticated {
		err = fmt.Errorf("not authenticated, error %q", status.Error)
	}
	return err
}
