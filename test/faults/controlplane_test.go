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

package faults

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// The API server lives and is cut off from etcd, or stands still itself, for all replicas at once: they go on for
// --max-staleness, then say that they cannot tell, and recover by themselves. No token that lives is refused.
func TestCase32_TheControlPlaneStandsStill(t *testing.T) {
	long.Only(t)
	for what, pid := range map[string]int{"etcd": cl.EtcdPID(), "kube-apiserver": cl.APIServerPID()} {
		if what != "etcd" && *soak == 0 {
			continue // costs half a minute, and to a replica it is the black hole of case 33
		}
		t.Run(what, func(t *testing.T) { standStill(t, what, pid) })
	}
}

func standStill(t *testing.T, what string, pid int) {
	ctx := t.Context()
	replicas := append([]*replica{untouched.replica}, verifiers...)
	lives, dies := aToken(t), aToken(t)
	kept, gone := lives.plaintext, dies.plaintext
	for _, r := range replicas {
		ask := &verdicts{t: t, face: r.face}
		ask.want("before the fault", kept, true)
		ask.want("before the fault", gone, true)
	}
	if t.Failed() {
		return
	}

	clusterFault.Add(1)
	defer clusterFault.Add(-1)
	observers := make([]*observer, len(replicas))
	for i, r := range replicas {
		observers[i] = observe(ctx, r, kept, gone)
	}
	start := time.Now()
	sendSignal(t, pid, syscall.SIGSTOP)
	// Requested meanwhile; it takes effect once a process is there to execute it.
	deletion := make(chan error, 1)
	go func() {
		deletion <- env.Poll(ctx, 2*patience, func() error { return dies.delete(ctx) })
	}()
	for _, r := range replicas {
		if err := env.Within(ctx, max(0, maxStaleness+tolerance-time.Since(start)), func() error {
			if err := r.Ready(ctx); err == nil {
				return fmt.Errorf("replica %s is ready without %s", r.name, what)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	t.Logf("all are unready %v after %s stood still", time.Since(start).Round(time.Millisecond), what)
	sendSignal(t, pid, syscall.SIGCONT)
	healed := time.Now()
	if err := <-deletion; err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	for _, r := range replicas {
		if err := env.Poll(ctx, patience, func() error { return r.Ready(ctx) }); err != nil {
			t.Errorf("replica %s does not recover: %v", r.name, err)
		}
	}
	t.Logf("all are ready again %v after", time.Since(healed).Round(time.Millisecond))
	row := Row{Fault: what + " stands still, for all replicas", Injected: 1}
	var slowest time.Duration
	for i, r := range replicas {
		ask := &verdicts{t: t, face: r.face}
		ask.want("the token that lives", kept, true)
		ask.want("the token that was deleted", gone, false)
		seen := observers[i].stop()
		if seen.refused > 0 {
			t.Errorf("replica %s refused a token that lives %d times: %v", r.name, seen.refused, seen.wrong)
		}
		slowest = max(slowest, seen.slowest)
		row.Accepted += ask.accepted
		row.Refused += ask.refused + seen.refused
		row.Staleness = max(row.Staleness, seen.accepted.Sub(deleted))
	}
	report.Add(row)
	if row.Staleness > maxStaleness+tolerance+2*slowest {
		t.Errorf("a deleted token was accepted for %v, where asking took up to %v", row.Staleness, slowest)
	}
	reviveOperator(t)
}

// clusterFault counts the faults that all replicas suffer from.
var clusterFault atomic.Int32

// quiet is a replica that nobody touches.
type quiet struct {
	*replica
	cancel  context.CancelFunc
	done    sync.WaitGroup
	looks   int
	flapped []string
}

// watchQuiet watches the readiness of a replica that nobody touches. It counts as a fault where it is unready while the
// control plane is well.
func watchQuiet(ctx context.Context, r *replica) *quiet {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	q := &quiet{replica: r, cancel: cancel}
	q.done.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		var well time.Time
		for last := time.Now(); ctx.Err() == nil; {
			err := deniesReadiness(ctx, r)
			now := time.Now()
			stoodStill := now.Sub(last) > tolerance // the machine, and with it what proves freshness
			last = now
			switch {
			case clusterFault.Load() > 0, stoodStill:
				well = now.Add(recovery)
			case now.Before(well):
			case err != nil:
				q.flapped = append(q.flapped, fmt.Sprintf("%s: %v", now.Format(time.TimeOnly), err))
			default:
				q.looks++
			}
			<-tick.C
		}
	})
	return q
}

// stop reports what was seen.
func (q *quiet) stop() error {
	q.cancel()
	q.done.Wait()
	q.end()
	report.Add(Row{Fault: fmt.Sprintf("none: a quiet replica, looked at %d times", q.looks), Refused: len(q.flapped)})
	if len(q.flapped) > 0 {
		return fmt.Errorf("a replica that nobody touched was unready %d times, first at %s", len(q.flapped), q.flapped[0])
	}
	return nil
}

// TestAQuietReplicaDoesNotFlap gives the quiet replica some time in which nothing else happens; it is watched all along.
func TestAQuietReplicaDoesNotFlap(t *testing.T) {
	long.Only(t)
	select {
	case <-time.After(min(10*time.Minute, share(40, 0))):
	case <-t.Context().Done():
	}
}

func sendSignal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
	if s == syscall.SIGSTOP {
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	}
}
