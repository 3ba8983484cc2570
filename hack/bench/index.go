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
	"crypto/rand"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/fleet"
)

// indexed is an index with the plaintexts of its tokens.
type indexed struct {
	*verifier.Index
	bearers []string
}

func newIndex(tokens int) (x *indexed, took time.Duration, err error) {
	x = &indexed{Index: verifier.NewIndex(logr.Discard())}
	x.SetAPIAudiences([]string{fleet.Audience})
	x.MarkSynced()
	x.bearers, took, err = fleet.Feed(x, 0, tokens, time.Now())
	return x, took, err
}

// benchIndex measures memory, building and Verify.
func benchIndex(ctx context.Context, o options, out io.Writer) (*indexed, error) {
	small, _, err := newIndex(1)
	if err != nil {
		return nil, err
	}
	before := abuse.Measure()
	large, took, err := newIndex(o.tokens)
	if err != nil {
		return nil, err
	}
	const bearerBytes = 80 + 16 // what this program itself keeps of a token
	heap := abuse.Measure().Heap - before.Heap - o.tokens*bearerBytes
	fmt.Fprintf(out, "\nAn index of %d tokens\n", o.tokens)
	fmt.Fprintf(out, "  heap %d bytes per token, %.1f MiB together; built in %v from decoded objects, %v per token\n",
		heap/o.tokens, float64(heap)/(1<<20), took.Round(time.Millisecond), took/time.Duration(o.tokens))

	unknown := make([]string, 1000)
	for i := range unknown {
		if _, unknown[i], err = token.New(rand.Reader); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(out, "\n  %-52s %10s %10s   ratio of each\n", "Verify", "p50", "p99")
	for _, kind := range []struct {
		name   string
		base   []string
		bearer []string
		want   verifier.Verdict
	}{
		{"valid", small.bearers, large.bearers, verifier.Authenticated},
		{"unknown", unknown, unknown, verifier.Unknown},
	} {
		base, err := verify(small.Index, kind.base, kind.want, o.duration)
		if err != nil {
			return nil, err
		}
		row(out, kind.name+", an index of 1 (baseline)", base.Quantile(.5), base.Quantile(.99), base.Quantile(.5), base.Quantile(.99))
		quiet, err := verify(large.Index, kind.bearer, kind.want, o.duration)
		if err != nil {
			return nil, err
		}
		row(out, fmt.Sprintf("%s, %d tokens", kind.name, o.tokens), quiet.Quantile(.5), quiet.Quantile(.99), base.Quantile(.5), base.Quantile(.99))
		stop := churn(ctx, large.Index, o.tokens)
		churned, err := verify(large.Index, kind.bearer, kind.want, o.duration)
		changes := stop()
		if err != nil {
			return nil, err
		}
		row(out, fmt.Sprintf("%s, %d tokens, %d changes/s meanwhile", kind.name, o.tokens, int(float64(changes)/o.duration.Seconds())),
			churned.Quantile(.5), churned.Quantile(.99), base.Quantile(.5), base.Quantile(.99))
	}
	return large, nil
}

// verify times single calls, up to a million of them, in an order that no cache of the processor foresees.
func verify(x *verifier.Index, bearers []string, want verifier.Verdict, d time.Duration) (abuse.Latencies, error) {
	const most = 1_000_000
	latencies := make(abuse.Latencies, 0, most)
	now := time.Now()
	for end, i := now.Add(d), 0; len(latencies) < most; i += 7919 {
		begun := time.Now()
		r := x.Verify(bearers[i%len(bearers)], nil, now)
		latencies = append(latencies, time.Since(begun))
		if r.Verdict != want {
			return nil, fmt.Errorf("%s/%s of a token that should be %s", r.Verdict, r.Reason, want)
		}
		if begun.After(end) {
			break
		}
	}
	slices.Sort(latencies)
	return latencies, nil
}

// churn adds and deletes tokens beyond those that there are, until it is stopped, and tells how often.
func churn(ctx context.Context, x *verifier.Index, first int) (stop func() int64) {
	ctx, cancel := context.WithCancel(ctx)
	var changes atomic.Int64
	var running sync.WaitGroup
	running.Go(func() {
		const pool = 100
		members := make([]*fleet.Member, 0, pool)
		for i := range pool {
			m, err := fleet.New(first+i, time.Now())
			if err != nil {
				panic(err)
			}
			members = append(members, m)
		}
		for ctx.Err() == nil {
			for _, m := range members {
				x.SetResource(m.Resource)
				x.SetRecord(m.Record)
				x.DeleteResource(m.Resource.Namespace, m.Resource.Name)
				x.DeleteRecord(m.Record.Name)
				changes.Add(4)
				runtime.Gosched()
			}
		}
	})
	return func() int64 { cancel(); running.Wait(); return changes.Load() }
}
