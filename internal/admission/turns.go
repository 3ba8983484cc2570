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

package admission

import (
	"context"
	"net/netip"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/serving"
)

// turns bounds how many questions to the API server are under way. Of each source only one question waits for a slot at a
// time, and slots go to those in the order in which they began to wait. So sources take turns, however many questions each has.
type turns struct {
	slots chan struct{}

	mu    sync.Mutex
	lines map[netip.Prefix]*line
}

// line is where the questions of a source wait.
type line struct {
	first  chan struct{}
	length int
}

func newTurns(slots int) *turns {
	return &turns{slots: make(chan struct{}, slots), lines: map[netip.Prefix]*line{}}
}

// do asks when it is the source's turn, unless ctx ends before.
func (t *turns) do(ctx context.Context, question func() error) error {
	if err := t.wait(ctx); err != nil {
		return err
	}
	defer func() { <-t.slots }()
	return question()
}

func (t *turns) wait(ctx context.Context) error {
	l := t.enter(serving.Source(ctx))
	defer t.leave(serving.Source(ctx), l)
	select {
	case l.first <- struct{}{}:
		defer func() { <-l.first }()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turns) enter(source netip.Prefix) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[source]
	if l == nil {
		l = &line{first: make(chan struct{}, 1)}
		t.lines[source] = l
	}
	l.length++
	return l
}

func (t *turns) leave(source netip.Prefix, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.length--; l.length == 0 {
		delete(t.lines, source)
	}
}

// inTurn makes all that cfg asks of the API server wait its turn.
func (cfg Config) inTurn(t *turns) Config {
	read := cfg.Record
	cfg.Client, cfg.ServiceAccounts = creatorInTurn{cfg.Client, t}, readerInTurn{cfg.ServiceAccounts, t}
	cfg.Record = func(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (rec *record.Record, err error) {
		err = t.do(ctx, func() error { rec, err = read(ctx, pat); return err })
		return rec, err
	}
	return cfg
}

type creatorInTurn struct {
	Creator
	turns *turns
}

func (c creatorInTurn) Create(ctx context.Context, object client.Object, options ...client.CreateOption) error {
	return c.turns.do(ctx, func() error { return c.Creator.Create(ctx, object, options...) })
}

type readerInTurn struct {
	client.Reader
	turns *turns
}

func (r readerInTurn) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	return r.turns.do(ctx, func() error { return r.Reader.Get(ctx, key, object, options...) })
}
