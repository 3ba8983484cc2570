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

package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// recorder collects events.
type recorder struct {
	mu  sync.Mutex
	all []string
}

func (r *recorder) Eventf(_, _ runtime.Object, eventType, reason, action, note string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprintf("%s %s %s: %s", eventType, reason, action, fmt.Sprintf(note, args...)))
}

func (r *recorder) reasons() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var reasons []string
	for _, e := range r.all {
		reasons = append(reasons, strings.Fields(e)[1])
	}
	return reasons
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.all, "\n")
}

// writes counts the writes of a reconciler and, at one of them, cuts the process off: nothing that it does from there
// on has an effect that it hears of.
type writes struct {
	mu  sync.Mutex
	n   int
	log []string
	// changes are the writes that had an effect: deleting again what is gone has none.
	changes int
	stop    int  // the write to be cut off at, from 1; 0 for none
	lost    bool // the write itself happens, and its answer is lost
	// hook, where set, runs before each write.
	hook func(n int, what string)
}

var errCutOff = errors.New("cut off")

func (f *writes) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *writes) effects() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes
}

func (f *writes) do(what string, write func() error) error {
	f.mu.Lock()
	f.n++
	n, stop, lost, hook := f.n, f.stop, f.lost, f.hook
	f.log = append(f.log, what)
	f.mu.Unlock()
	if hook != nil {
		hook(n, what)
	}
	if stop != 0 && (n > stop || (n == stop && !lost)) {
		return errCutOff
	}
	err := write()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !apierrors.IsNotFound(err) {
		f.changes++
	}
	if n == stop {
		return errCutOff
	}
	return err
}

// cutOff lets everything up to write n of what comes next happen, n itself only with lost.
func (f *writes) cutOff(n int, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.stop, f.lost, f.log = 0, n, lost, nil
}

func (f *writes) funcs() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return f.do(fmt.Sprintf("create %s", o.GetName()), func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return f.do(fmt.Sprintf("update %s", o.GetName()), func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return f.do(fmt.Sprintf("delete %s", o.GetName()), func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			return f.do("patch status", func() error { return c.SubResource(sub).Patch(ctx, o, p, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return f.do("apply status", func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	}
}

// failing is a source of randomness that is not there.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
