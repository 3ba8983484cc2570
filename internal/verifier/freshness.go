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

package verifier

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// maxProbes bounds the lists that wait for the watch to reach their revision: the oldest gives way.
const maxProbes = 8

// freshness is what a feed has proven of itself: that it has taken in everything that was written before a moment.
//
// A consistent list that was sent at T answers with a revision R, so whatever was written before T has a revision of at
// most R; once the watch has shown R or later, all of that is in the index. Nothing else is taken for a proof: a stream
// that hangs, a list that is refused, an API server that is cut off from etcd each end in none.
type freshness struct {
	mu sync.Mutex
	// seen is the revision that was taken in last.
	seen    string
	pending []probe

	// proven is T; nil before the first proof.
	proven atomic.Pointer[time.Time]
}

// probe is a consistent list: when it was sent and the revision that it answered with.
type probe struct {
	sent     time.Time
	revision string
}

// revision is the last one that was processed, "" before the first.
func (f *freshness) revision() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// took notes that everything up to a revision is in the index.
func (f *freshness) took(revision string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = revision
	f.settle()
}

// listed notes the answer of a consistent list; seen is what had been taken in when it was sent. It returns false where
// the list is older than that: the collection went back in time, as when etcd is restored, and nothing that is known of
// it counts any more.
func (f *freshness) listed(p probe, seen string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seen != "" && !reached(p.revision, seen) {
		return false
	}
	if len(f.pending) == maxProbes {
		f.pending = f.pending[1:]
	}
	f.pending = append(f.pending, p)
	f.settle()
	return true
}

// forget takes back every proof.
func (f *freshness) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.pending = "", nil
	f.proven.Store(nil)
}

// settle turns the probes whose revision was reached into a proof.
func (f *freshness) settle() {
	waiting := f.pending[:0]
	for _, p := range f.pending {
		if !reached(f.seen, p.revision) {
			waiting = append(waiting, p)
			continue
		}
		if last := f.proven.Load(); last == nil || p.sent.After(*last) {
			f.proven.Store(&p.sent)
		}
	}
	f.pending = waiting
}

// age is how long ago the moment was up to which everything is known. It goes by the clock that ran on further, so that
// neither a clock that is set back nor a machine that was suspended makes it less.
func (f *freshness) age(now time.Time) (age time.Duration, ok bool) {
	proven := f.proven.Load()
	if proven == nil {
		return 0, false
	}
	return max(now.Sub(*proven), now.Round(0).Sub(proven.Round(0))), true
}

// reached reports whether a revision equals another one or is later; one that cannot be compared has reached nothing.
func reached(revision, other string) bool {
	order, err := resourceversion.CompareResourceVersion(revision, other)
	return err == nil && order >= 0
}
