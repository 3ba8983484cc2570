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
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// guarded is a watch that ends when it has been silent for too long, and some time after it has delivered what there was
// at first.
type guarded struct {
	inner  watch.Interface
	cancel context.CancelFunc
	// limit is how long it may be silent, after how long it goes on after the initial events.
	limit, after time.Duration

	events chan watch.Event
	stop   chan struct{}
	once   sync.Once
}

// guard takes over a watch and what cancels its request.
func guard(inner watch.Interface, cancel context.CancelFunc, limit, after time.Duration) watch.Interface {
	g := &guarded{inner: inner, cancel: cancel, limit: limit, after: after, events: make(chan watch.Event), stop: make(chan struct{})}
	go g.pump()
	return g
}

// ResultChan implements watch.Interface. It is not buffered: a receiver of an event has handled the one before.
func (g *guarded) ResultChan() <-chan watch.Event { return g.events }

// Stop implements watch.Interface.
func (g *guarded) Stop() { g.once.Do(func() { close(g.stop) }) }

func (g *guarded) pump() {
	defer close(g.events)
	defer g.cancel()
	defer g.inner.Stop()
	silence := time.NewTimer(g.limit)
	defer silence.Stop()
	var over <-chan time.Time
	for {
		select {
		case <-g.stop:
			return
		case <-over:
			return
		case <-silence.C:
			return
		case event, ok := <-g.inner.ResultChan():
			if !ok {
				return
			}
			silence.Reset(g.limit)
			select {
			case g.events <- event:
			case <-g.stop:
				return
			}
			// The server lets an initial watch go on for minutes; the next one is short, and has a bookmark at its end.
			if initialEventsEnd(event) {
				over = time.After(g.after)
			}
		}
	}
}

func initialEventsEnd(event watch.Event) bool {
	if event.Type != watch.Bookmark {
		return false
	}
	object, err := meta.Accessor(event.Object)
	return err == nil && object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
