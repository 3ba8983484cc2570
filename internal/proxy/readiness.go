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
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	askEvery   = time.Second
	askTimeout = 2 * time.Second
)

// Readiness says whether clients are better off with another replica. It is a Runnable of every replica.
type Readiness struct {
	fresh func(time.Time) error
	// reach asks the API server whether it is there.
	reach    func(context.Context) error
	leaving  func() bool
	once     atomic.Bool
	answered atomic.Bool
}

// NewReadiness returns the Runnable.
func NewReadiness(fresh func(time.Time) error, reach func(context.Context) error, leaving func() bool) *Readiness {
	return &Readiness{fresh: fresh, reach: reach, leaving: leaving}
}

// NeedLeaderElection is false: every replica has its own.
func (*Readiness) NeedLeaderElection() bool { return false }

// Start asks the API server while what is known is not fresh, until ctx ends.
func (r *Readiness) Start(ctx context.Context) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		if r.fresh(time.Now()) == nil {
			r.once.Store(true)
			r.answered.Store(false)
		} else {
			ask, cancel := context.WithTimeout(ctx, askTimeout)
			r.answered.Store(r.reach(ask) == nil)
			cancel()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Ready returns why this replica is not to be asked, or nil. While the API server does not answer, no replica is better off: then
// this one stays, so that clients get a reason and not a refused connection.
func (r *Readiness) Ready(*http.Request) error {
	if r.leaving() {
		return errors.New("the proxy is going away")
	}
	err := r.fresh(time.Now())
	if err == nil || r.once.Load() && !r.answered.Load() {
		return nil
	}
	return err
}
