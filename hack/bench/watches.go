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
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/env"
)

const (
	// watched is how many watches one client has, and weighed by kube-apiserver's memory.
	watched, weighedWatches = 600, 1000
	// eventsOfWatch is how many events each of them gets.
	eventsOfWatch = 5
	// heapOfWatch is how much of the proxy's heap a watch may take, and cutWithin how long the last one may outlive the token.
	heapOfWatch, cutWithin = 80 << 10, 50 * time.Millisecond
)

// Metrics of the proxy's Go runtime.
const (
	collections = "go_gc_cycles_total_gc_cycles_total"
	liveHeap    = "go_gc_heap_live_bytes"
	stackMemory = "go_memory_classes_heap_stacks_bytes"
)

// footprint is what the proxy holds: what the last garbage collection has found alive, stacks, and what Linux says. In bytes.
type footprint struct{ heap, stacks, resident int }

// footprint waits for a garbage collection that begins after now. Each scrape brings it nearer.
func (b *proxied) footprint(ctx context.Context) (f footprint, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*env.Patience)
	defer cancel()
	for before := -1.0; ; {
		values, err := b.scrape(ctx, collections, liveHeap, stackMemory)
		if err != nil {
			return f, err
		}
		if before < 0 {
			before = values[0]
		}
		if values[0] >= before+2 { // the first of them may have begun before
			f.heap, f.stacks = int(values[1]), int(values[2])
			f.resident, err = resident(b.front.PID)
			return f, err
		}
	}
}

// watching is some watches of one object by one client.
type watching struct {
	events, asError, inOrder atomic.Int64

	all  sync.WaitGroup
	mu   sync.Mutex
	last time.Time // when the last one ended
	stop func()
}

// watch opens watches of the small object, and returns when all are open.
func (b *proxied) watch(ctx context.Context, w *way, n int) (*watching, error) {
	object := &corev1.ConfigMap{}
	if err := b.Admin.Get(ctx, client.ObjectKey{Namespace: b.small, Name: smallName}, object); err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/configmaps?watch=1&fieldSelector=metadata.name%%3D%s&resourceVersion=%s", b.small, smallName, object.ResourceVersion)
	ctx, cancel := context.WithCancel(ctx)
	o := &watching{stop: cancel}
	answers := make([]*http.Response, n)
	if err := each(n, func(i int) (err error) {
		answers[i], err = w.open(ctx, path) //nolint:bodyclose // read closes it
		return err
	}); err != nil {
		cancel()
		return nil, err
	}
	for _, answer := range answers {
		o.all.Go(func() { o.read(answer.Body) })
	}
	return o, nil
}

func (o *watching) read(body io.ReadCloser) {
	defer func() { _ = body.Close() }()
	lines := bufio.NewReader(body)
	for {
		_, err := lines.ReadString('\n')
		if err == nil {
			o.events.Add(1)
			continue
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			o.inOrder.Add(1)
		} else {
			o.asError.Add(1)
		}
		o.mu.Lock()
		o.last = time.Now()
		o.mu.Unlock()
		return
	}
}

// watch600 opens watches by one token, sends events, and ends the token.
func (b *proxied) watch600(ctx context.Context) error {
	w, pat, err := b.through(ctx, b.front)
	if err != nil {
		return err
	}
	before, err := b.footprint(ctx)
	if err != nil {
		return err
	}
	o, err := b.watch(ctx, w, watched)
	if err != nil {
		return err
	}
	defer o.stop()
	after, err := b.footprint(ctx)
	if err != nil {
		return err
	}
	kib := func(before, after int) float64 { return float64(after-before) / watched / (1 << 10) }
	b.figures.count(fmt.Sprintf("%d watches of one client: heap of each", watched),
		fmt.Sprintf("%.0f KiB; stacks %.0f KiB, resident memory %.0f KiB", kib(before.heap, after.heap), kib(before.stacks, after.stacks), kib(before.resident, after.resident)),
		"≤ 80 KiB", after.heap-before.heap <= watched*heapOfWatch)

	var took []float64
	for i := range eventsOfWatch {
		object := &corev1.ConfigMap{}
		object.Namespace, object.Name = b.small, smallName
		sent := time.Now()
		if err := b.Admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"data":{"a":"%d"}}`, i))); err != nil {
			return err
		}
		want := int64(watched * (i + 1))
		_ = env.Poll(ctx, env.Patience, func() error { // what is missing is counted below
			if got := o.events.Load(); got < want {
				return fmt.Errorf("%d of %d events", got, want)
			}
			return nil
		})
		took = append(took, milliseconds(time.Since(sent)))
	}
	b.figures.count("the same: events delivered", fmt.Sprintf("%d; all %d of one change within %s ms", o.events.Load(), watched, spread(took)),
		fmt.Sprintf("%d", watched*eventsOfWatch), o.events.Load() == watched*eventsOfWatch)

	if err := b.Admin.Get(ctx, client.ObjectKeyFromObject(pat), pat); err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"status":{"revoked":[{"tokenID":%q}]}}`, pat.Status.TokenID)
	if err := b.alice.Status().Patch(ctx, pat, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return err
	}
	ended := time.Now()
	if err := env.Poll(ctx, env.Patience, func() error {
		if got := o.asError.Load() + o.inOrder.Load(); got < watched {
			return fmt.Errorf("%d of %d watches have ended", got, watched)
		}
		return nil
	}); err != nil {
		o.stop()
	}
	cut := o.asError.Load()
	o.all.Wait()
	last := max(o.last.Sub(ended), 0)
	b.figures.count("the same, the token is revoked: watches cut, as an error", fmt.Sprintf("%d", cut), fmt.Sprintf("%d", watched), cut == watched)
	b.figures.add("the same: the last one, after the revocation was answered", fmt.Sprintf("%.0f ms", milliseconds(last)), "≤ 50 ms", last <= cutWithin)
	return nil
}

// weighWatches compares kube-apiserver's memory with as many watches by each way, each from a new start, since what it has once
// taken it does not soon give back.
func (b *proxied) weighWatches(ctx context.Context, direct *way) error {
	ways := [2][]*way{{direct}}
	for range 2 { // a token may have as many open requests as there are watches, and its other requests are some
		w, _, err := b.through(ctx, b.front)
		if err != nil {
			return err
		}
		ways[1] = append(ways[1], w)
	}
	var without, with [2]int
	for i := range ways {
		if err := b.RestartAPIServer(ctx); err != nil {
			return err
		}
		for _, w := range ways[i] {
			w.CloseIdleConnections()
			if err := eventually(ctx, func() error { _, err := w.get(ctx, b.smallPath()); return err }); err != nil {
				return err
			}
		}
		var err error
		if without[i], err = settledResident(ctx, b.APIServerPID()); err != nil {
			return err
		}
		var open []*watching
		for _, w := range ways[i] {
			o, err := b.watch(ctx, w, weighedWatches/len(ways[i]))
			if err != nil {
				return err
			}
			open = append(open, o)
		}
		if with[i], err = settledResident(ctx, b.APIServerPID()); err != nil {
			return err
		}
		for _, o := range open {
			o.stop()
			o.all.Wait()
		}
	}
	b.figures.add(fmt.Sprintf("kube-apiserver's resident memory with %d watches", weighedWatches),
		fmt.Sprintf("%.0f MiB (%.0f before), direct %.0f MiB (%.0f before)", mib(with[1]), mib(without[1]), mib(with[0]), mib(without[0])), "", true)
	return nil
}

// settledResident is how much memory a process has once that has not changed much for three seconds.
func settledResident(ctx context.Context, pid int) (int, error) {
	was, err := resident(pid)
	for same, looks := 0, 0; err == nil && same < 3 && looks < 60; looks++ {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Second):
		}
		var now int
		now, err = resident(pid)
		same++
		if max(now-was, was-now) > 1<<20 {
			same, was = 0, now
		}
	}
	return was, err
}
