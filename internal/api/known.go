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

package api

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
)

const (
	// knownFor is how long a caller that the API server has vouched for is known by its credential, with the audiences that it was
	// allowed to ask about. It comes on top of what Delegate remembers.
	knownFor = 10 * time.Second
	// maxKnown and maxAllowed bound how many callers are known, and how many audiences of each.
	maxKnown, maxAllowed = 1024, 64
)

// known are the callers that are known, by the digest of their credential. The caches of k8s.io/apiserver, which Delegate has, cost
// more for each question than all the rest of its answer.
type known struct{ callers *cache.LRUExpireCache }

// clock is that of the cache.
type clock func() time.Time

func (c clock) Now() time.Time { return c() }

func newKnown(now func() time.Time) known {
	return known{cache.NewLRUExpireCacheWithClock(maxKnown, clock(now))}
}

// get returns a caller that is known, or nil.
func (k known) get(credential string) *caller {
	found, ok := k.callers.Get(digest(credential))
	if !ok {
		return nil
	}
	return found.(*caller)
}

// add makes a caller known, at most until its credential expires.
func (k known) add(credential string, c *caller, expiresIn time.Duration) {
	c.allowed = &allowed{}
	k.callers.Add(digest(credential), c, min(knownFor, expiresIn))
}

func digest(credential string) [sha256.Size]byte { return sha256.Sum256([]byte(credential)) }

// allowed are the audiences that a known caller may ask about. Nil are those of a caller that is not known: none.
type allowed struct {
	mu        sync.Mutex
	audiences []string
}

func (a *allowed) all(audiences []string) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return !slices.ContainsFunc(audiences, func(audience string) bool { return !slices.Contains(a.audiences, audience) })
}

func (a *allowed) add(audience string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.audiences) < maxAllowed && !slices.Contains(a.audiences, audience) {
		a.audiences = append(a.audiences, audience)
	}
}
