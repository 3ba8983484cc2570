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

// Package lastused writes into status when a token was first and last used.
//
// The verifier calls Used, which only remembers. A loop in every replica writes at a limited rate, and for each token at most
// once in ten minutes. A write names the revision that it is based on: of two replicas the later time stays, and no time is
// written to the successor of a token. Only the two times and the address of the last use are applied.
package lastused

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// FieldOwner owns status.firstUsedAt, status.lastUsedAt and status.lastUsedFrom.
const FieldOwner = client.FieldOwner("pat-operator-last-used")

const (
	// window bounds how far status.lastUsedAt may lag.
	window = 10 * time.Minute
	// tick is how soon a first use is written, since it may end a predecessor.
	tick = time.Second
	// timeout bounds each write, and the writes at the end of the process.
	timeout = 5 * time.Second
	// pause is how long a token waits after a failed write, and all tokens if the failure concerns every token.
	pause = 10 * time.Second
)

var (
	writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_last_used_writes_total",
		Help: "Writes of when a token was used, by result: written, conflict (tried again), failed (tried again).",
	}, []string{"result"})
	waiting = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pat_operator_last_used_waiting",
		Help: "Tokens whose use waits to be written. Where it grows, --last-used-rate is too low.",
	})
)

func init() {
	metrics.Registry.MustRegister(writes, waiting)
	for _, result := range []string{"written", "conflict", "failed"} {
		writes.WithLabelValues(result)
	}
}

// Index returns the use that status reports; verifier.Index implements it.
type Index interface {
	Use(namespace, name, id string) (verifier.Use, bool)
}

// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens/status,verbs=patch

// Tracker remembers uses and writes them. It is a Runnable of every replica.
type Tracker struct {
	// Audit takes the first use of each token; nil is allowed.
	Audit *audit.Log

	index  Index
	status client.SubResourceWriter
	limit  flowcontrol.PassiveRateLimiter
	clock  clock.PassiveClock
	log    logr.Logger

	mu   sync.Mutex
	uses map[key]use
	// paused is the end of a pause of all writes; quiet is until when failures are not logged.
	paused, quiet time.Time
}

type key struct{ namespace, name, id string }

// use is the first and last use of a token since the last write; last is zero if only the first use is to be written. from is
// the address of the last use, where it is known. retry is the end of its wait after a failed write, else zero.
type use struct {
	first, last, retry time.Time
	from               string
}

// NewTracker makes a tracker that writes at most rate times a second.
func NewTracker(index Index, status client.SubResourceWriter, rate int, clock clock.PassiveClock, log logr.Logger) *Tracker {
	return &Tracker{
		index: index, status: status, clock: clock, log: log, uses: map[key]use{},
		limit: flowcontrol.NewTokenBucketPassiveRateLimiter(float32(rate), rate),
	}
}

// Used remembers that a token was used. It waits only for other calls of Used.
func (t *Tracker) Used(r *verifier.Result, at time.Time) { t.UsedFrom(r, at, "") }

// UsedFrom remembers that a token was used from an address; empty where that is not known.
func (t *Tracker) UsedFrom(r *verifier.Result, at time.Time, from string) {
	t.remember(key{r.Namespace, r.Name, r.ID}, use{first: at, last: at, from: from})
}

func (t *Tracker) remember(k key, u use) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if had, ok := t.uses[k]; ok {
		if had.first.Before(u.first) {
			u.first = had.first
		}
		if had.last.After(u.last) {
			u.last, u.from = had.last, had.from
		}
		if had.retry.After(u.retry) {
			u.retry = had.retry
		}
	}
	t.uses[k] = u
}

// NeedLeaderElection is false: every replica sees uses of its own.
func (*Tracker) NeedLeaderElection() bool { return false }

// Start writes uses until ctx ends, and then those that wait, within timeout.
func (t *Tracker) Start(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
			defer cancel()
			t.flush(last)
			return nil
		}
	}
}

// write is a planned write for one token.
type write struct {
	key
	use
	revision string
	// firstUse reports that status does not show yet that the token is in use.
	firstUse                bool
	firstUsedAt, lastUsedAt time.Time
	lastUsedFrom            string
}

// flush writes what is due, first uses first, for about a tick. Failed writes wait behind all others, so tokens whose writes are
// always refused delay nobody.
func (t *Tracker) flush(ctx context.Context) {
	began := t.clock.Now()
	if began.Before(t.paused) {
		return
	}
	t.mu.Lock()
	uses := t.uses
	t.uses = make(map[key]use)
	t.mu.Unlock()

	var due []write
	for k, u := range uses {
		if began.Before(u.retry) {
			t.remember(k, u)
			continue
		}
		said, ok := t.index.Use(k.namespace, k.name, k.id)
		if !ok {
			continue
		}
		if w := plan(k, u, said, began); w != nil {
			due = append(due, *w)
		}
		if said.Current && said.TokenID != k.id {
			t.remember(k, use{first: u.first, retry: u.retry}) // Written once status names the token.
		}
	}
	slices.SortFunc(due, func(a, b write) int {
		return cmp.Or(first(a.retry.IsZero(), b.retry.IsZero()), first(a.firstUse, b.firstUse), a.last.Compare(b.last), cmp.Compare(a.id, b.id))
	})
	for i := range due {
		now, w := t.clock.Now(), &due[i]
		if ctx.Err() != nil || now.Sub(began) > tick || now.Before(t.paused) || !t.limit.TryAccept() || !t.write(ctx, w) {
			t.remember(w.key, w.use)
		}
	}
	t.mu.Lock()
	waiting.Set(float64(len(t.uses)))
	t.mu.Unlock()
}

// first orders true before false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// plan returns what to write for a use, nil if status is recent enough. It never replaces a last use with an earlier one,
// except one so far in the future that no clock explains it.
func plan(k key, u use, said verifier.Use, now time.Time) *write {
	last := said.LastUsedAt
	if last.After(now.Add(window)) {
		last = time.Time{}
	}
	w := &write{key: k, use: u, revision: said.ResourceVersion, firstUsedAt: said.FirstUsedAt, lastUsedAt: last, lastUsedFrom: said.LastUsedFrom}
	if w.firstUse = said.Current && said.TokenID == k.id && said.FirstUsedAt.IsZero(); w.firstUse {
		w.firstUsedAt = u.first
		u.last = cmp.Or(u.last, u.first)
	} else if u.last.Sub(last) < window {
		return nil
	}
	if u.last.After(last) {
		w.lastUsedAt, w.lastUsedFrom = u.last, u.from
	}
	return w
}

// write reports whether the write is done; false asks for another attempt.
func (t *Tracker) write(ctx context.Context, w *write) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status := ac.PersonalAccessTokenStatus().WithLastUsedAt(stamp(w.lastUsedAt))
	if w.lastUsedFrom != "" {
		status.WithLastUsedFrom(w.lastUsedFrom)
	}
	if !w.firstUsedAt.IsZero() {
		status.WithFirstUsedAt(stamp(w.firstUsedAt)) // An apply removes the fields that it leaves out.
	}
	err := t.status.Apply(ctx, ac.PersonalAccessToken(w.name, w.namespace).WithResourceVersion(w.revision).WithStatus(status),
		FieldOwner, client.ForceOwnership)
	switch {
	case err == nil:
		writes.WithLabelValues("written").Inc()
		if w.firstUse {
			t.Audit.Write(audit.Event{Event: "FirstUsed", Namespace: w.namespace, Name: w.name, TokenID: w.id})
		}
	case apierrors.IsNotFound(err):
	case apierrors.IsConflict(err):
		writes.WithLabelValues("conflict").Inc() // Another client has written; the index will show it.
		return false
	default:
		writes.WithLabelValues("failed").Inc()
		now := t.clock.Now()
		if !now.Before(t.quiet) {
			t.quiet = now.Add(window)
			t.log.Info("Cannot write when a token was used; trying again", "namespace", w.namespace, "name", w.name, "reason", err.Error())
		}
		w.retry = now.Add(pause)
		if everyones(err) {
			t.paused = w.retry
		}
		return false
	}
	return true
}

// everyones reports whether a failure concerns every token: the API server did not answer, or was unable to. Any other failure
// may concern one token: a policy that denies a namespace, a webhook that fails for one, or a resource that is too large.
func everyones(err error) bool {
	_, answered := errors.AsType[*apierrors.StatusError](err)
	return !answered || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) ||
		apierrors.IsServerTimeout(err)
}

func stamp(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }
