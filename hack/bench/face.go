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

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/lastused"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/fleet"
)

// serve serves TokenReviews by an index on a free port; used, unless it is nil, is told of each.
func serve(ctx context.Context, x *indexed, used func(*verifier.Result, time.Time)) (target abuse.Target, stop func() error, err error) {
	server, client, err := abuse.Certificate()
	if err != nil {
		return target, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return target, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	handler := authn.NewTokenReviewHandler(x, authn.Options{Used: used})
	go func() {
		stopped <- serving.NewServer(handler, server, authn.Limits, logr.Discard()).Run(ctx, listener, nil, 0)
	}()
	return abuse.Target{Address: listener.Addr().String(), TLS: client}, func() error { cancel(); return <-stopped }, nil
}

// benchFace measures TokenReviews over TLS, by HTTP/2 and HTTP/1.1.
func benchFace(ctx context.Context, o options, out io.Writer, large *indexed) error {
	small, _, err := newIndex(1)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n  %-52s %10s %10s   ratio of each\n", "TokenReview over TLS", "p50", "p99")
	review := func(x *indexed, used func(*verifier.Result, time.Time)) (abuse.Latencies, error) {
		target, stop, err := serve(ctx, x, used)
		if err != nil {
			return nil, err
		}
		client := abuse.NewClient(target, x.bearers, fleet.Username)
		if _, err := client.Review(ctx, 100*time.Millisecond); err != nil { // opens the connections
			return nil, err
		}
		latencies, err := client.Review(ctx, o.duration)
		client.Close()
		if err != nil {
			return nil, err
		}
		return latencies, stop()
	}
	base, err := review(small, nil)
	if err != nil {
		return err
	}
	show := func(name string, l, base abuse.Latencies) {
		row(out, name, round(l.Quantile(.5)), round(l.Quantile(.99)), base.Quantile(.5), base.Quantile(.99))
	}
	show("an index of 1 (baseline)", base, base)
	quiet, err := review(large, nil)
	if err != nil {
		return err
	}
	show(fmt.Sprintf("%d tokens", o.tokens), quiet, base)
	stop := churn(ctx, large.Index, o.tokens)
	churned, err := review(large, nil)
	changes := stop()
	if err != nil {
		return err
	}
	show(fmt.Sprintf("%d tokens, %d changes/s meanwhile", o.tokens, int(float64(changes)/o.duration.Seconds())), churned, base)

	written := &countingWriter{}
	tracker := lastused.NewTracker(large, written, mostWrites, clock.RealClock{}, logr.Discard())
	tracking, done := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = tracker.Start(tracking) })
	noted, err := review(large, tracker.Used)
	during := written.Load()
	done()
	running.Wait()
	if err != nil {
		return err
	}
	again, err := review(large, nil)
	if err != nil {
		return err
	}
	show(fmt.Sprintf("%d tokens, once more (baseline)", o.tokens), again, again)
	show(fmt.Sprintf("the same, last use noted, %d writes/s meanwhile", int(float64(during)/o.duration.Seconds())), noted, again)
	return nil
}

// mostWrites is a hundred times what a verifier writes of last use unless it is told otherwise.
const mostWrites = 1000

// countingWriter takes writes of status and does nothing with them.
type countingWriter struct {
	client.SubResourceWriter
	atomic.Int64
}

func (w *countingWriter) Apply(context.Context, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
	w.Add(1)
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

// benchAbuse measures how much slower a well-behaved client gets during each kind of abuse.
func benchAbuse(ctx context.Context, o options, out io.Writer) error {
	x, _, err := newIndex(1000)
	if err != nil {
		return err
	}
	target, stop, err := serve(ctx, x, nil)
	if err != nil {
		return err
	}
	attacker, err := abuse.NewAttacker()
	if err != nil {
		return err
	}
	client := abuse.NewClient(target, x.bearers, fleet.Username)
	target.Sources = 14
	trial := abuse.Trial{Target: target, Client: client, Attacker: attacker, Quiet: o.duration / 2, Abused: o.duration}
	fmt.Fprintf(out, "\nTokenReviews of valid tokens during abuse from another process; factor is of p99\n%s\n", abuse.Head)
	worst := 0.0
	for _, attack := range append(abuse.Floods(), abuse.Others()...) {
		if o.only != "" && o.only != attack.Name {
			continue
		}
		r, err := trial.Run(ctx, attack)
		if err != nil {
			return fmt.Errorf("%s: %w", attack.Name, err)
		}
		fmt.Fprintln(out, r)
		worst = max(worst, ratio(r.Abused.Quantile(.99), r.Quiet.Quantile(.99)))
	}
	fmt.Fprintf(out, "worst factor %.1f; no wrong answer, no failure\n", worst)
	client.Close()
	if err := attacker.Close(); err != nil {
		return err
	}
	return stop()
}
