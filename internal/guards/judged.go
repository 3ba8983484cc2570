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

package guards

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// readInterval is the least time between two live reads of the guards.
	readInterval = 20 * time.Millisecond
	// readTimeout bounds one live read.
	readTimeout = 10 * time.Second
)

// Judged proves that the guards are in force now and accepted. It reads their metadata live, and the read begins after the
// call: a resource that the caller read before has been judged, or was there when the guards were accepted. Concurrent
// callers share a read. The error is a *Missing or errAccepting, unless the read failed.
//
// The accepted fingerprint comes from the cache, which may be old: another leader may have accepted other guards since.
// That is safe. UIDs and generations never return, so guards that still have an old accepted fingerprint have not changed
// since it was accepted.
func (g *Guards) Judged(ctx context.Context) error {
	live, err := g.live.read(ctx)
	missing := (*Missing)(nil)
	if err != nil && !errors.As(err, &missing) {
		return fmt.Errorf("cannot read the guards: %w", err)
	}
	cached, verdict := g.cached()
	if live == cached {
		return verdict
	}
	g.wake() // the watch is behind
	if err != nil {
		return err
	}
	return errAccepting
}

// sharedReads reads the guards' metadata live, once for all callers that wait.
type sharedReads struct {
	from  client.Reader
	clock clock.Clock

	// turn is held by the read that runs.
	turn  sync.Mutex
	began time.Time

	mu sync.Mutex
	// next has not begun.
	next *sharedRead
}

type sharedRead struct {
	done        chan struct{}
	fingerprint fingerprint
	err         error
}

// read returns the result of a read that begins after the call.
func (s *sharedReads) read(ctx context.Context) (fingerprint, error) {
	s.mu.Lock()
	r := s.next
	if r == nil {
		r = &sharedRead{done: make(chan struct{})}
		s.next = r
		go s.run(r) //nolint:gosec // no caller's context: the read is for all of them
	}
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return fingerprint{}, ctx.Err()
	case <-r.done:
		return r.fingerprint, r.err
	}
}

func (s *sharedReads) run(r *sharedRead) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if wait := readInterval - s.clock.Since(s.began); wait > 0 {
		s.clock.Sleep(wait)
	}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	s.began = s.clock.Now()
	// No caller's context: the read is for all of them.
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	r.fingerprint, r.err = readFingerprint(ctx, s.from)
	close(r.done)
}

func readFingerprint(ctx context.Context, from client.Reader) (fingerprint, error) {
	var f fingerprint
	for i, g := range guards {
		o := metadata(g.kind, g.name)
		if err := from.Get(ctx, client.ObjectKey{Name: g.name}, o); apierrors.IsNotFound(err) {
			return fingerprint{}, absent(g.kind, g.name)
		} else if err != nil {
			return fingerprint{}, err
		}
		f[i] = versionOf(g.kind, o)
	}
	return f, nil
}
