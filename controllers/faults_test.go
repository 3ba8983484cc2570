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
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
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

// call is one request of a process to the API server. do may be called later, when the process has moved on.
type call struct {
	write bool
	// n is the number of the request among the writes of its process, from 1.
	n    int
	what string
	do   func() error
	// secret is what a write of a Secret sends, as it stood; holds, what the API server has answered that it holds then.
	secret *corev1.Secret
	holds  func() client.Object
}

// process is one process of the operator as the API server knows it: the requests that it makes.
type process struct {
	mu sync.Mutex
	// calls counts requests, writes those of them that are to change something.
	calls, writes int
	// live counts reads of the API server itself.
	live atomic.Int64
	log  []string
	// changes are the writes that had an effect: deleting again what is gone has none.
	changes int
	// dead: whatever it still asks has no effect, and no answer.
	dead bool
	// at decides what becomes of a request.
	at func(call) error
	// sending is told of each write that is about to reach the API server, sent of each that has.
	sending func()
	sent    func(call, error)
}

var errCutOff = errors.New("cut off")

func (p *process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

func (p *process) effects() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// request is every request of the process on its way.
func (p *process) request(c call) error {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return errCutOff
	}
	p.calls++
	if c.write {
		p.writes++
		c.n = p.writes
		p.log = append(p.log, c.what)
	}
	at := p.at
	p.mu.Unlock()
	if at != nil {
		return at(c)
	}
	return p.send(c)
}

// send lets a request reach the API server.
func (p *process) send(c call) error {
	if !c.write {
		return c.do()
	}
	p.sending()
	err := c.do()
	if err == nil {
		p.mu.Lock()
		p.changes++
		p.mu.Unlock()
	}
	p.sent(c, err)
	return err
}

// cutOff kills the process at write n of what comes next; with done, that write still has its effect.
func (p *process) cutOff(n int, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes, p.log = 0, nil
	p.at = func(c call) error {
		if !c.write || c.n != n {
			return p.send(c)
		}
		if done {
			_ = p.send(c)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dead = true
		return errCutOff
	}
}

// counted counts what is read.
func counted(to client.WithWatch, n *atomic.Int64) client.WithWatch {
	return interceptor.NewClient(to, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			n.Add(1)
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			n.Add(1)
			return c.List(ctx, l, opts...)
		},
	})
}

// client is a client whose requests go by way of the process.
func (p *process) client(to client.WithWatch) client.WithWatch {
	read := func(what string, do func() error) error { return p.request(call{what: what, do: do}) }
	write := func(what string, o client.Object, do func(client.Object) error) error {
		c := call{write: true, what: fmt.Sprintf("%s %s", what, o.GetName())}
		// The code goes on with its object, and a late request carries what was asked.
		late, asked := o.DeepCopyObject().(client.Object), false
		c.secret, _ = late.(*corev1.Secret)
		sent := o
		c.do = func() error {
			if asked {
				sent = late
			}
			return do(sent)
		}
		c.holds = func() client.Object {
			if what == "delete" {
				return nil
			}
			return sent.DeepCopyObject().(client.Object)
		}
		err := p.request(c)
		asked = true
		return err
	}
	return interceptor.NewClient(to, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return read(fmt.Sprintf("get %T %s", o, key.Name), func() error { return c.Get(ctx, key, o, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
			return read(fmt.Sprintf("list %T", l), func() error { return c.List(ctx, l, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return write("create", o, func(o client.Object) error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return write("update", o, func(o client.Object) error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return write("delete", o, func(o client.Object) error { return c.Delete(ctx, o, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return write("patch "+sub+" of", o, func(o client.Object) error { return c.SubResource(sub).Patch(ctx, o, patch, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return p.request(call{write: true, what: "apply " + sub, do: func() error { return c.SubResource(sub).Apply(ctx, o, opts...) }})
		},
	})
}

// failing is a source of randomness that is not there.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
