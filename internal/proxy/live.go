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
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/pat-operator/pat-operator/internal/verifier"
)

// sweepEvery is how often everything that is open is asked about again: no event says that the index went stale.
const sweepEvery = time.Second

// session is a request that is open.
type session struct {
	result *verifier.Result
	source netip.Prefix
	// watch reports that clients open it again by themselves.
	watch bool
	cut   context.CancelCauseFunc
}

// live are the open requests, by the id of their token and by their source.
type live struct {
	maxRequests, maxPerToken int

	mu       sync.Mutex
	count    int
	ofToken  map[string]map[*session]struct{}
	ofSource map[netip.Prefix]map[*session]struct{}
}

func newLive(maxRequests, maxPerToken int) *live {
	return &live{maxRequests: maxRequests, maxPerToken: maxPerToken,
		ofToken: map[string]map[*session]struct{}{}, ofSource: map[netip.Prefix]map[*session]struct{}{}}
}

// entry is what becomes of a request.
type entry int

const (
	entered entry = iota
	tokenIsFull
	proxyIsFull
)

// enter counts a request. A source gets half of what there is at most. Where nothing is left, the source with the most requests
// loses one to a source that has fewer, so a newcomer is always served.
func (l *live) enter(s *session) entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ofToken[s.result.ID]) >= l.maxPerToken {
		return tokenIsFull
	}
	held := len(l.ofSource[s.source])
	if held >= (l.maxRequests+1)/2 {
		return proxyIsFull
	}
	if l.count >= l.maxRequests {
		var most map[*session]struct{}
		for _, sessions := range l.ofSource {
			if len(sessions) > len(most) {
				most = sessions
			}
		}
		if len(most) <= held+1 {
			return proxyIsFull
		}
		for victim := range most {
			l.remove(victim)
			victim.cut(cutLoad)
			break
		}
	}
	l.count++
	add(l.ofToken, s.result.ID, s)
	add(l.ofSource, s.source, s)
	return entered
}

func (l *live) leave(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(s)
}

func (l *live) remove(s *session) {
	if _, ok := l.ofToken[s.result.ID][s]; !ok {
		return
	}
	l.count--
	drop(l.ofToken, s.result.ID, s)
	drop(l.ofSource, s.source, s)
}

func add[K comparable](m map[K]map[*session]struct{}, key K, s *session) {
	if m[key] == nil {
		m[key] = map[*session]struct{}{}
	}
	m[key][s] = struct{}{}
}

func drop[K comparable](m map[K]map[*session]struct{}, key K, s *session) {
	delete(m[key], s)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// of returns the requests that are open under an id.
func (l *live) of(id string) []*session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ofToken[id]) == 0 {
		return nil
	}
	all := make([]*session, 0, len(l.ofToken[id]))
	for s := range l.ofToken[id] {
		all = append(all, s)
	}
	return all
}

func (l *live) all() []*session {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*session, 0, l.count)
	for _, sessions := range l.ofToken {
		for s := range sessions {
			all = append(all, s)
		}
	}
	return all
}

// Recheck cuts what is open under an id and may not go on. The index calls it when the id changes.
func (p *Proxy) Recheck(id string) { p.recheck(p.live.of(id)) }

func (p *Proxy) recheck(sessions []*session) {
	if len(sessions) == 0 {
		return
	}
	now := p.Now()
	for _, s := range sessions {
		if reason, ok := p.Index.Stands(s.result, now); !ok {
			s.cut(cutFor(reason))
		}
	}
}

// Sweep checks everything that is open each second, until ctx ends.
func (p *Proxy) Sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			all := p.live.all()
			open.Set(float64(len(all)))
			p.recheck(all)
		}
	}
}

// Open is how many requests are open.
func (p *Proxy) Open() int {
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	return p.live.count
}
