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
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// fresh is how long an answer proves the clock.
const fresh = time.Minute

// Skew watches the answers of the API server.
type Skew struct {
	clock clock.PassiveClock
	max   time.Duration

	// last is the newest answer; nil before the first.
	last atomic.Pointer[answer]
}

// answer is when the API server answered, by the monotonic clock and by the wall's, and how far the latter is ahead of its.
type answer struct {
	at, wall time.Time
	skew     time.Duration
}

var skewSeconds = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "pat_operator_clock_skew_seconds",
	Help: "How far this clock is ahead of the API server's by its last answer; 0 where the answer allows for none.",
})

func init() { metrics.Registry.MustRegister(skewSeconds) }

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
	s.last.Store(&answer{at: received, wall: received.Round(0), skew: skew})
	skewSeconds.Set(skew.Seconds())
}

// Check returns why the clock is not proven: no answer within the last minute, or one too far off.
func (s *Skew) Check() error {
	last := s.last.Load()
	if last == nil {
		return errNotProven
	}
	if age := s.clock.Since(last.at); age > fresh || age < 0 {
		return errNotProven
	}
	return s.Off()
}

var errNotProven = fmt.Errorf("the API server has not answered within %v, so this clock is not proven", fresh)

// Off returns that the clock is known to be too far off: by the last answer, however long ago that was, and by what it was
// set ahead or back since, which is where it parts from the monotonic clock.
func (s *Skew) Off() error {
	last := s.last.Load()
	if last == nil {
		return nil
	}
	now := s.clock.Now()
	skew := last.skew + now.Round(0).Sub(last.wall) - now.Sub(last.at)
	if skew.Abs() <= s.max {
		return nil
	}
	return &offError{skew, s.max}
}

// offError formats its text only when it is read, because the verifier checks the clock for every token.
type offError struct{ skew, max time.Duration }

func (e *offError) Error() string {
	return fmt.Sprintf("this clock is %v off the API server's, more than --max-clock-skew (%v); set the clock", e.skew.Round(time.Second), e.max)
}

// Ready is a healthz.Checker that fails while the clock is known to be off.
func (s *Skew) Ready(*http.Request) error { return s.Off() }
