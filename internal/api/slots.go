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
	"context"
	"net/netip"
	"sync"
)

// slots bound how many questions of one kind to the API server are under way: all, and those of each source. Callers wait for one.
type slots struct {
	all       chan struct{}
	perSource int

	mu      sync.Mutex
	sources map[netip.Prefix]*sourceSlots
}

// sourceSlots are those of a source. callers counts who waits for one or has one: with the last, it is forgotten.
type sourceSlots struct {
	taken   chan struct{}
	callers int
}

func newSlots(all, perSource int) *slots {
	return &slots{all: make(chan struct{}, all), perSource: perSource, sources: map[netip.Prefix]*sourceSlots{}}
}

// take waits until a source may ask the API server. The context ends the question in time.
func (s *slots) take(ctx context.Context, source netip.Prefix) (asking context.Context, done func(), refused *refusal) {
	asking, cancel := context.WithTimeout(ctx, questionTimeout)
	own := s.enter(source)
	leave := func() {
		s.leave(source, own)
		cancel()
	}
	select {
	case own.taken <- struct{}{}:
	case <-asking.Done():
		leave()
		return nil, nil, refuseBusy
	}
	select {
	case s.all <- struct{}{}:
		return asking, func() { <-s.all; <-own.taken; leave() }, nil
	case <-asking.Done():
		<-own.taken
		leave()
		return nil, nil, refuseBusy
	}
}

func (s *slots) enter(source netip.Prefix) *sourceSlots {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, ok := s.sources[source]
	if !ok {
		own = &sourceSlots{taken: make(chan struct{}, s.perSource)}
		s.sources[source] = own
	}
	own.callers++
	return own
}

func (s *slots) leave(source netip.Prefix, own *sourceSlots) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own.callers--; own.callers == 0 {
		delete(s.sources, source)
	}
}
