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

// Package clock compares this machine's clock with the API server's, by the Date header of its answers.
package clock

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// fresh is how long an answer proves the clock.
const fresh = time.Minute

// Skew watches the answers of the API server.
type Skew struct {
	clock clock.PassiveClock
	max   time.Duration

	mu   sync.Mutex
	seen time.Time
	skew time.Duration
}

// NewSkew allows a skew of at most max.
func NewSkew(c clock.PassiveClock, maxSkew time.Duration) *Skew {
	return &Skew{clock: c, max: maxSkew}
}

// Wrap observes every answer that passes; for rest.Config.Wrap.
func (s *Skew) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		sent := s.clock.Now()
		resp, err := next.RoundTrip(r)
		if err == nil {
			s.observe(sent, s.clock.Now(), resp.Header.Get("Date"))
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// observe takes the least skew that the answer allows: Date counts whole seconds, and was written somewhere between
// sending and receiving.
func (s *Skew) observe(sent, received time.Time, date string) {
	server, err := http.ParseTime(date)
	if err != nil {
		return
	}
	var skew time.Duration
	switch {
	case server.After(received):
		skew = received.Sub(server)
	case server.Add(time.Second).Before(sent):
		skew = sent.Sub(server.Add(time.Second))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.skew = received, skew
}

// Check returns why the clock is not proven: no answer within the last minute, or one too far off.
func (s *Skew) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch age := s.clock.Since(s.seen); {
	case s.seen.IsZero() || age > fresh || age < 0:
		return fmt.Errorf("the API server has not answered within %v, so this clock is not proven", fresh)
	case s.skew.Abs() > s.max:
		return fmt.Errorf("this clock is %v off the API server's, more than --max-clock-skew (%v); set the clock", s.skew.Round(time.Second), s.max)
	}
	return nil
}

// Ready is a healthz.Checker that fails while the clock is known to be off.
func (s *Skew) Ready(*http.Request) error {
	s.mu.Lock()
	off := s.skew.Abs() > s.max
	s.mu.Unlock()
	if off {
		return s.Check()
	}
	return nil
}
