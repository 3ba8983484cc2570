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

package proxy

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/lru"

	"github.com/pat-operator/pat-operator/internal/serving"
)

const (
	rememberedTokens = 1024
	// A source may fail so often; beyond that it loses its connection without an answer.
	failuresPerSecond = 10
	failuresBurst     = 100
	// quietFor is how long further lines about the same are held back.
	quietFor = time.Minute
	hour     = time.Hour
)

// failures count credentials that were refused, by their source. A valid token is never counted, and so never waits.
type failures struct {
	sources *serving.Rates

	mu      sync.Mutex
	refused int
	said    time.Time
}

func newFailures() *failures {
	return &failures{sources: serving.NewRates(failuresPerSecond, failuresBurst)}
}

// fail counts a failure. Beyond what its source may, the connection is closed, which costs less than an answer. The connection of
// a trusted proxy carries others, too, so it stays.
func (p *Proxy) fail(r *http.Request, x *exchange) {
	f, source := p.failures, x.origin.Source()
	if f.sources.Of(source).Allow() {
		return
	}
	f.mu.Lock()
	f.refused++
	count, speak := f.refused, x.began.Sub(f.said) >= quietFor
	if speak {
		f.refused, f.said = 0, x.began
	}
	f.mu.Unlock()
	if speak {
		p.Log.Info("Closing connections of clients that send too many invalid credentials", "source", source.String(), "connections", count)
	}
	throttled.Inc()
	x.reason = reasonCredentials
	if !x.origin.ByTrusted {
		serving.HangUp(r.Context())
	}
	panic(http.ErrAbortHandler)
}

// crowds remember which tokens were reported as having too many open requests.
type crowds struct {
	mu     sync.Mutex
	tokens *lru.Cache
}

func newCrowds() *crowds { return &crowds{tokens: lru.New(rememberedTokens)} }

// first reports whether a token was not reported within the hour.
func (c *crowds) first(id string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.tokens.Get(id); ok && now.Sub(at.(time.Time)) < hour {
		return false
	}
	c.tokens.Add(id, now)
	return true
}

// RefusedConnections returns what counts the connections that --proxy-protocol closes, and logs some: a load balancer that is not
// set up as the proxy is would show nothing else.
func RefusedConnections(log logr.Logger) func(peer netip.Addr, reason string) {
	var mu sync.Mutex
	said, counts := map[string]time.Time{}, map[string]int{}
	return func(peer netip.Addr, reason string) {
		refusedConnections.WithLabelValues(reason).Inc()
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if counts[reason]++; now.Sub(said[reason]) < quietFor {
			return
		}
		log.Info("Closing connections without a PROXY protocol header of a trusted proxy", "reason", reason, "peer", peer.String(), "connections", counts[reason])
		said[reason], counts[reason] = now, 0
	}
}
