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
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/test/long"
)

// atEnd: a late request arrives when its world is at rest.
const atEnd = -1

// mode is what becomes of a write, and of the process that asked for it.
type mode struct {
	name string
	// done: the write has its effect at once.
	done bool
	// dies: nothing that the process asks from then on has an effect. Otherwise it goes on, without an answer.
	dies bool
	// late: the write takes effect after this many further writes, or at the end.
	late int
	// grants: only for writes that grant or take something, which those of status do not.
	grants bool
	// long: only in the long form.
	long bool
}

var modes = []mode{
	{name: "stopped before it", dies: true},
	{name: "stopped after it", dies: true, done: true},
	{name: "answer lost", done: true},
	{name: "request lost", long: true},
	{name: "late by a write", late: 1, grants: true, long: true},
	{name: "late, at the end", late: atEnd, grants: true},
	{name: "stopped, late by a write", dies: true, late: 1, grants: true, long: true},
	{name: "stopped, late, at the end", dies: true, late: atEnd},
}

// interrupt makes write n of an operator fail in the given mode. fired reports whether that write was reached.
func (w *world) interrupt(o operator, n int, m mode) (fired *bool) {
	fired = new(bool)
	o.api.at = func(c call) error {
		if !c.write || c.n != n {
			return o.api.send(c)
		}
		*fired = true
		if m.done {
			_ = o.api.send(c)
		}
		if m.late != 0 {
			w.held = &late{call: c, api: o.api, after: max(m.late, 0)}
		}
		o.api.mu.Lock()
		defer o.api.mu.Unlock()
		o.api.dead = m.dies
		return errCutOff
	}
	return fired
}

// begin brings about what was before a scenario, and then what makes the operator act.
func begin(t *testing.T, s *scenario, mutate mutation) *world {
	t.Helper()
	w := newWorld(t)
	w.watched = true
	w.forget()
	s.before(w)
	w.mutate = mutate.client
	if mutate.live != nil {
		w.mutateLive = mutate.live(w)
	}
	w.restart()
	s.trigger(w)
	w.forget()
	return w
}

// play lets a scenario happen with write n taking the way that a mode says, 0 for none, and returns the
// writes there were, and what must not have been.
func play(t *testing.T, s *scenario, n int, m mode, mutate mutation) (writes, broken []string) {
	t.Helper()
	w := begin(t, s, mutate)
	first := w.operator
	fired := w.interrupt(first, n, m)
	w.comeToRest(first)
	if !first.api.dead {
		w.passWindow()
	}
	writes = slices.Clone(first.api.log)
	if n != 0 && !*fired {
		w.violated("it did not come to write %d", n)
	}
	w.step("the cut")
	if first.api.dead {
		w.restart()
		w.comeToRest(w.operator)
		w.passMissing()
	}
	if w.held != nil {
		w.deliverLate()
		w.comeToRest(w.operator)
	}
	w.finish(m.late != 0, s.want)
	return writes, w.broken
}

// comeToRest lets an operator come to rest, or die.
func (w *world) comeToRest(o operator) {
	if _, err := w.rest(o, thePAT, 1); err != nil && !o.api.dead {
		w.violated("%v", err)
	}
}

// passWindow lets so much time pass that what is on a removal list is deleted for the last time.
func (w *world) passWindow() {
	w.advance(lifecycle.RemovalWindow + time.Second)
	w.comeToRest(w.operator)
}

// passMissing lets so much time pass that a resource whose deletion no process has seen is taken for deleted.
func (w *world) passMissing() {
	w.forget()
	if _, rec, _ := w.look(); rec == nil || rec.MissingSince == nil {
		return
	}
	w.advance(lifecycle.MissingFor + time.Second)
	w.comeToRest(w.operator)
}

// finish lets time pass and looks at what is left. Where a request came late, or there were two leaders, the garbage
// collector may have something to do.
func (w *world) finish(garbage bool, want ...outcome) {
	w.passWindow()
	if _, rec, _ := w.look(); rec != nil && len(rec.Removals) > 0 {
		w.passWindow() // Put there when the first had passed.
	}
	// Where the order of things is left open, one of several is to be.
	before := slices.Clip(w.broken)
	for i := range want {
		w.broken = before
		if w.atRest(want[i], garbage); len(w.broken) == len(before) {
			return
		}
	}
}

// The operator is stopped at each write of everything that it does: before the write, after it, with its answer lost,
// and with the request arriving late. Whatever the next process finds, only an overlap has two valid plaintexts at once,
// ended tokens stay ended, and the final state is the same as without the fault.
func TestCase30_StoppedAtEveryWrite(t *testing.T) {
	for i := range scenarios {
		s := &scenarios[i]
		if !*soak && slices.Contains(variants, s.name) || !long.Form() && !slices.Contains(basics, s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			runs := 0
			explore(t, s, mutation{}, func(at string, broken []string) (stop bool) {
				runs++
				for _, what := range broken {
					t.Errorf("%s: %s", at, what)
				}
				return false
			})
			t.Logf("%d runs", runs)
		})
	}
}

// explore plays a scenario without a fault, and then with each at each write, until found says stop.
func explore(t *testing.T, s *scenario, mutate mutation, found func(at string, broken []string) (stop bool)) (stopped bool) {
	t.Helper()
	writes, broken := play(t, s, 0, mode{}, mutate)
	if found("uninterrupted", broken) {
		return true
	}
	for i, write := range writes {
		for _, m := range modes {
			if m.grants && write == "apply status" || m.long && !*soak && !mutate.is() {
				continue
			}
			_, broken := play(t, s, i+1, m, mutate)
			if found(fmt.Sprintf("write %d (%s), %s", i+1, write, m.name), broken) {
				return true
			}
		}
	}
	return false
}

// A leader was paused before it created a delivery Secret and wakes after another has taken over: what it creates goes.
func TestCase30_APausedLeadersLateSecretIsRemoved(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.api.cutOff(2, false) // The record says pending; the Secret was never created.
	_, _ = w.reconcile("my-pat")
	late := w.record(pat.UID).Pending.ID
	w.restart()
	if after := w.settle("my-pat"); after <= 0 || after > time.Minute {
		t.Errorf("comes back after %v; want soon, to delete again", after)
	}
	if err := admin.Create(w.ctx, deliverySecret(pat, late, "late")); err != nil {
		t.Fatal(err)
	}
	w.advance(time.Minute)
	w.settle("my-pat")
	if got := w.deliveries(); len(got) != 1 || len(w.valid(pat)) != 1 {
		t.Errorf("%d delivery Secrets, %d of them valid; want one", len(got), len(w.valid(pat)))
	}
}
