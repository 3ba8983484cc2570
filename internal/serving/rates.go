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

package serving

import (
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// rememberedSources is how many sources have a rate of their own at a time.
const rememberedSources = 4096

// Rates limit how often each source may do something.
type Rates struct {
	perSecond rate.Limit
	burst     int

	mu      sync.Mutex
	sources *lru.Cache
}

// NewRates returns a limit for each source.
func NewRates(perSecond rate.Limit, burst int) *Rates {
	return &Rates{perSecond: perSecond, burst: burst, sources: lru.New(rememberedSources)}
}

// Of returns the limiter of a source.
func (r *Rates) Of(source netip.Prefix) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limit, ok := r.sources.Get(source); ok {
		return limit.(*rate.Limiter)
	}
	limit := rate.NewLimiter(r.perSecond, r.burst)
	r.sources.Add(source, limit)
	return limit
}
