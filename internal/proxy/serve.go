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
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/pat-operator/pat-operator/internal/serving"
)

// Drain is how a proxy goes away.
type Drain struct {
	// Delay is how long it goes on as before, unready, so that load balancers send clients elsewhere. Time is how long open requests
	// have after that.
	Delay, Time time.Duration
}

// goodbye is how long the last words may take.
const goodbye = 5 * time.Second

// Serve serves on a listener until ctx ends. Then it stays until the delay has passed, takes no more connections, and ends
// what is open: watches spread over the first half of the time, since each begins again elsewhere, and sessions at its end.
func (p *Proxy) Serve(ctx context.Context, server *serving.Server, listener net.Listener, drain Drain) error {
	failed := make(chan error, 1)
	listener = server.Limit(listener)
	go func() { failed <- server.HTTP.ServeTLS(listener, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("cannot serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	p.leaving.Store(true)
	select {
	case err := <-failed:
		return fmt.Errorf("cannot serve on %s: %w", listener.Addr(), err)
	case <-time.After(drain.Delay):
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain.Time)
	defer cancel()
	closing := make(chan error, 1)
	go func() { closing <- server.HTTP.Shutdown(end) }() // Closes idle connections, and sends GOAWAY by the others.
	p.cutWatches(end, drain.Time/2)
	p.await(end)
	for _, s := range p.live.all() {
		s.cut(cutDrain)
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer stop()
	p.await(last)
	if err := <-closing; err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.HTTP.Close()
}

// Leaving reports that the proxy is about to go.
func (p *Proxy) Leaving() bool { return p.leaving.Load() }

// cutWatches cuts the watches one after the other, within a time.
func (p *Proxy) cutWatches(ctx context.Context, within time.Duration) {
	watches := slices.DeleteFunc(p.live.all(), func(s *session) bool { return !s.watch })
	if len(watches) == 0 {
		return
	}
	tick := time.NewTicker(max(within/time.Duration(len(watches)), time.Microsecond))
	defer tick.Stop()
	for _, s := range watches {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.cut(cutDrain)
		}
	}
}

// await waits until nothing is open.
func (p *Proxy) await(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for p.Open() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
