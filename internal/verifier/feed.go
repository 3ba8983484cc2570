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

package verifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// hungAfter is how much longer than it was asked for a watch may last, or an initial one may be silent.
	hungAfter = 10 * time.Second
	// listTimeout bounds a page of an initial list.
	listTimeout = time.Minute
)

// retry is soon: a feed that fails costs every token of this replica before long.
var retry = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 5, Cap: 5 * time.Second}

// feed keeps the index up to date with one collection, and proves it. It is a reflector whose store is the index itself,
// and not an informer: an informer's handlers run some time after its watch, which would prove nothing of the index,
// and its store would keep every object a second time.
type feed struct {
	name      string
	client    client.WithWatch
	namespace string
	newList   func() client.ObjectList
	interval  time.Duration
	clock     clock.PassiveClock
	log       logr.Logger

	// sink is the collection's part of the index.
	sink      sink
	freshness freshness
}

// sink is what a feed does to the index.
type sink struct {
	set       func(any)
	remove    func(types.NamespacedName)
	keys      func() []types.NamespacedName
	transform toolscache.TransformFunc
	// narrows reports that objects only take away, so that of a list what is there counts before what is gone ceases to.
	narrows bool
}

// run feeds the index until ctx ends.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		// Before the reflector's first list, whose answer then is a proof already.
		_ = f.probe(ctx)
		f.reflect(ctx)
	}
}

// reflect runs a reflector, which starts with a list, until ctx ends or the collection goes back in time.
func (f *feed) reflect(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	probed := make(chan struct{})
	go func() {
		defer close(probed)
		defer stop()
		tick := time.NewTicker(f.interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if !f.probe(ctx) {
				return
			}
		}
	}()
	logger := f.log
	r := toolscache.NewReflectorWithOptions(f, nil, store{f}, toolscache.ReflectorOptions{
		Logger: &logger, Name: f.name, TypeDescription: f.name, Backoff: ptr.To(retry),
	})
	r.RunWithContext(klog.NewContext(ctx, logger))
	<-probed
}

// probe sends a consistent list. It returns false where the collection went back in time.
func (f *feed) probe(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, f.interval)
	defer cancel()
	seen, p := f.freshness.revision(), probe{sent: f.clock.Now()}
	list := f.newList()
	// No resourceVersion: as new as etcd. One item: only the revision is needed.
	if err := f.client.List(ctx, list, client.InNamespace(f.namespace), client.Limit(1)); err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			f.log.Info("Cannot prove that the feed is up to date; trying again", "reason", err.Error(), "after", f.interval.String())
		}
		return true
	}
	if p.revision = list.GetResourceVersion(); f.freshness.listed(p, seen) {
		return true
	}
	f.log.Info("The API server's data went back in time, as after a restore of etcd; starting over", "seen", seen, "listed", p.revision)
	f.freshness.forget()
	return false
}

// ListWithContext implements cache.ListerWatcherWithContext, for API servers that have no initial watch lists.
func (f *feed) ListWithContext(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list := f.newList()
	return list, f.client.List(ctx, list, &client.ListOptions{
		Namespace: f.namespace, Limit: opts.Limit, Continue: opts.Continue, Raw: &opts, // Raw's own two are passed over
	})
}

// WatchWithContext implements cache.ListerWatcherWithContext. A watch is short, since kube-apiserver sends a bookmark two
// seconds before it ends a watch, also where nothing changed: with it the probes before are proven.
func (f *feed) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	if opts.SendInitialEvents == nil {
		opts.TimeoutSeconds = ptr.To(int64(f.interval / time.Second))
	}
	ctx, cancel := context.WithCancel(ctx)
	limit := f.interval + hungAfter
	hung := time.AfterFunc(limit, cancel)
	inner, err := f.client.Watch(ctx, f.newList(), &client.ListOptions{Namespace: f.namespace, Raw: &opts})
	if !hung.Stop() && err == nil {
		inner.Stop()
		err = fmt.Errorf("watching %s: no answer within %v", f.name, limit)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return guard(inner, cancel, limit, f.interval), nil
}

// List implements cache.ListerWatcher, which the reflector's constructor asks for and never calls.
func (f *feed) List(opts metav1.ListOptions) (runtime.Object, error) {
	return f.ListWithContext(context.Background(), opts)
}

// Watch implements cache.ListerWatcher as List does.
func (f *feed) Watch(opts metav1.ListOptions) (watch.Interface, error) {
	return f.WatchWithContext(context.Background(), opts)
}

// store is the index as a reflector's store. The reflector calls it in the order of events and waits for it, so a
// revision that it reports has been taken in.
type store struct{ feed *feed }

var (
	_ toolscache.TransformingStore      = store{}
	_ toolscache.ResourceVersionUpdater = store{}
)

func (s store) Add(obj any) error { return s.Update(obj) }

func (s store) Update(obj any) error {
	obj, err := s.feed.sink.transform(obj)
	if err == nil {
		s.feed.sink.set(obj)
	}
	return err
}

func (s store) Delete(obj any) error {
	key, err := toolscache.DeletionHandlingObjectToName(obj)
	if err == nil {
		s.feed.sink.remove(types.NamespacedName(key))
	}
	return err
}

// Replace makes the index hold what a list says and nothing else: a watch that broke off may have missed deletions.
func (s store) Replace(objs []any, revision string) error {
	listed := make(map[types.NamespacedName]struct{}, len(objs))
	for _, obj := range objs {
		key, err := toolscache.ObjectToName(obj)
		if err != nil {
			return err
		}
		listed[types.NamespacedName(key)] = struct{}{}
	}
	known := s.feed.sink.keys()
	remove := func() {
		for _, key := range known {
			if _, ok := listed[key]; !ok {
				s.feed.sink.remove(key)
			}
		}
	}
	if !s.feed.sink.narrows {
		remove()
	}
	for _, obj := range objs {
		if err := s.Update(obj); err != nil {
			return err
		}
	}
	if s.feed.sink.narrows {
		remove()
	}
	s.feed.freshness.took(revision)
	return nil
}

func (store) Resync() error { return nil }

func (s store) Transformer() toolscache.TransformFunc { return s.feed.sink.transform }

func (s store) UpdateResourceVersion(revision string) { s.feed.freshness.took(revision) }
