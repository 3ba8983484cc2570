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
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// allGone waits out the removal window and reports delivery Secrets that are not the current token's.
func (w *world) orphans(pat *v1alpha1.PersonalAccessToken) []string {
	w.t.Helper()
	rec := w.record(pat.UID)
	var orphans []string
	for _, s := range w.deliveries() {
		if rec == nil || rec.Current == nil || s.Name != "pat-"+rec.Current.ID {
			orphans = append(orphans, s.Name)
		}
	}
	return orphans
}

// The process is killed at each write of issuing: before the write, and after it with its answer lost. Whatever a new
// process finds, one plaintext is valid in the end, and nothing else is left.
func TestCase30_KilledAtEachWriteOfIssuing(t *testing.T) {
	const steps = 4
	for n := 1; n <= steps; n++ {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d, done %v", n, lost), func(t *testing.T) {
				w := newWorld(t)
				pat := w.create("my-pat")
				w.writes.cutOff(n, lost)
				if _, err := w.reconcile("my-pat"); err == nil {
					t.Fatal("nothing was cut off")
				}
				if got := w.valid(pat); len(got) > 1 {
					t.Fatalf("%d valid plaintexts while it is down", len(got))
				}
				before := w.valid(pat)

				w.writes.cutOff(0, false)
				w.restart()
				w.settle("my-pat")
				w.advance(lifecycle.RemovalWindow + time.Second)
				w.settle("my-pat")

				w.expect("my-pat", "True/Active", "True/Reconciled", "")
				after := w.valid(pat)
				if len(after) != 1 {
					t.Fatalf("%d valid plaintexts; want one", len(after))
				}
				if len(before) == 1 && before[0] != after[0] {
					t.Error("the token that was valid before was replaced")
				}
				if got := w.orphans(pat); len(got) != 0 {
					t.Errorf("left behind: %q", got)
				}
				if rec := w.record(pat.UID); rec.Pending != nil || len(rec.Removals) != 0 {
					t.Errorf("pending %v, removals %v", rec.Pending, rec.Removals)
				}
			})
		}
	}
}

// The same at each write of ending a token: by its time, its delivery's time, and its resource's deletion.
func TestCase30_KilledAtEachWriteOfEnding(t *testing.T) {
	for name, tc := range map[string]struct {
		writes int
		end    func(*world)
	}{
		"expiry":   {5, func(w *world) { w.advance(91 * 24 * time.Hour) }}, // both ends at once: each is written down
		"delivery": {5, func(w *world) { w.advance(2 * time.Hour) }},
		"deletion": {2, func(w *world) { w.delete("my-pat") }},
	} {
		for n := 1; n <= tc.writes; n++ {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, write %d, done %v", name, n, lost), func(t *testing.T) {
					w := newWorld(t)
					pat := w.create("my-pat")
					w.settle("my-pat")
					tc.end(w)
					w.writes.cutOff(n, lost)
					if _, err := w.reconcile("my-pat"); w.writes.count() < n {
						t.Fatalf("nothing was cut off (%v): %q", err, w.writes.log)
					}
					w.writes.cutOff(0, false)
					w.restart()
					w.settle("my-pat")
					if got := w.deliveries(); len(got) != 0 {
						t.Errorf("%d delivery Secrets are left", len(got))
					}
					rec := w.record(pat.UID)
					switch name {
					case "expiry":
						if rec.EndOf(rec.Current.ID) == nil || rec.Current.Digest != "" {
							t.Errorf("not written down as expired")
						}
						w.expect("my-pat", "False/Expired", "True/Reconciled", "")
					case "delivery":
						if rec.Current.Digest == "" || len(rec.Removals) != 0 {
							t.Errorf("the token went with its delivery, or removals %v are left", rec.Removals)
						}
					case "deletion":
						if rec != nil {
							t.Errorf("%v is left", rec)
						}
					}
				})
			}
		}
	}
}

// The update that makes a token current gets no answer, and arrives only after the operator has looked: the token is
// not left honoured with its only copy deleted.
func TestCase30_ALateUpdateFindsTheRecordMovedOn(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	var late *corev1.Secret
	w.Client = interceptor.NewClient(cached, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if late == nil {
				late = o.DeepCopyObject().(*corev1.Secret)
				return errCutOff
			}
			return c.Update(ctx, o, opts...)
		},
	})
	if _, err := w.reconcile("my-pat"); err == nil || late == nil {
		t.Fatalf("reconcile: %v", err)
	}
	if err := admin.Update(w.ctx, late); !apierrors.IsConflict(err) {
		t.Errorf("the late update: %v; want a conflict", err)
	}
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if got := w.valid(pat); len(got) != 1 || len(w.orphans(pat)) != 0 {
		t.Errorf("%d valid plaintexts, orphans %q", len(got), w.orphans(pat))
	}
}

// Two leaders for a minute: one is paused at each of its writes while the other does all of its own.
func TestCase34_TwoLeadersIssueOneToken(t *testing.T) {
	for n := 1; n <= 4; n++ {
		t.Run(fmt.Sprintf("paused before write %d", n), func(t *testing.T) {
			w := newWorld(t)
			pat := w.create("my-pat")
			other := &Reconciler{
				Client: cached, Live: admin, Recorder: w.events, Clock: w.clock, ClockCheck: w.ClockCheck, Random: w.Random,
				RecordsNamespace: recordsNamespace, Config: w.Config,
			}
			w.writes.hook = func(i int, _ string) {
				if i == n {
					second := world{t: t, ctx: w.ctx, namespace: w.namespace, clock: w.clock, events: w.events, writes: &writes{}, Reconciler: other}
					second.settle("my-pat")
				}
			}
			_, _ = w.reconcile("my-pat")
			w.writes.hook = nil
			w.settle("my-pat")
			w.advance(lifecycle.RemovalWindow + time.Second)
			w.settle("my-pat")
			if got := w.valid(pat); len(got) != 1 {
				t.Errorf("%d valid plaintexts; want one", len(got))
			}
			if got := w.orphans(pat); len(got) != 0 {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

// A leader was paused before it created a delivery Secret and wakes after another has taken over: what it creates goes.
func TestCase30_APausedLeadersLateSecretIsRemoved(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.writes.cutOff(2, false) // The record says pending; the Secret was never created.
	_, _ = w.reconcile("my-pat")
	late := w.record(pat.UID).Pending.ID
	w.writes.cutOff(0, false)
	w.restart()
	if after := w.settle("my-pat"); after <= 0 || after > time.Minute {
		t.Errorf("comes back after %v; want soon, to delete again", after)
	}
	if err := admin.Create(w.ctx, deliverySecret(pat, late, "late")); err != nil {
		t.Fatal(err)
	}
	w.advance(time.Minute)
	w.settle("my-pat")
	if got := w.orphans(pat); len(got) != 0 {
		t.Errorf("the late Secret %q is still there", got)
	}
}

// Nothing is issued without randomness, and nothing half-done is left of trying.
func TestNoRandomnessNoToken(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.Random = failing{}
	if _, err := w.reconcile("my-pat"); err == nil || !strings.Contains(err.Error(), "reading randomness") {
		t.Errorf("reconcile: %v", err)
	}
	if w.record(pat.UID) != nil || len(w.deliveries()) != 0 {
		t.Error("something was written")
	}
}

// A namespace whose quota refuses the delivery Secret: status says so, attempts grow rarer although each of them wakes
// the queue, nothing piles up, and once the quota allows it works.
func TestDeliveryRefusedByTheNamespace(t *testing.T) {
	w := newWorld(t)
	refusing := true
	w.Client = interceptor.NewClient(interceptor.NewClient(cached, w.writes.funcs()), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if refusing && o.GetNamespace() == w.namespace {
				return apierrors.NewForbidden(corev1.Resource("secrets"), o.GetName(), errors.New("exceeded quota"))
			}
			return c.Create(ctx, o, opts...)
		},
	})
	pat := w.create("my-pat")
	var waits []time.Duration
	for range 100 {
		after, err := w.reconcile("my-pat")
		if err != nil {
			t.Fatal(err)
		}
		if after > 0 && (len(waits) == 0 || after > waits[len(waits)-1]) {
			waits = append(waits, after)
		}
		w.advance(100 * time.Millisecond)
	}
	if len(waits) < 3 || len(waits) > 5 {
		t.Errorf("in ten seconds there were attempts that were followed by waits of %v; want 1 s, 2 s, 4 s and perhaps 8 s", waits)
	}
	w.expect("my-pat", "False/Issuing", "False/Issuing", "")
	ready := meta.FindStatusCondition(w.get("my-pat").Status.Conditions, "Ready").Message
	if want := "The delivery Secret could not be created (Forbidden); check this namespace's quota and admission policies. The operator tries again."; ready != want {
		t.Errorf("says %q; want %q", ready, want)
	}
	if rec := w.record(pat.UID); rec.Pending != nil || len(rec.Removals) != 0 {
		t.Errorf("pending %v, removals %v", rec.Pending, rec.Removals)
	}
	refusing = false
	w.advance(time.Hour)
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if got := w.valid(pat); len(got) != 1 {
		t.Errorf("%d valid plaintexts", len(got))
	}
}

// A delivery Secret that may not be deleted holds nothing else up: not its token's end, not its successor's beginning.
func TestADeletionRefusedHoldsNothingUp(t *testing.T) {
	w := newWorld(t)
	w.Client = interceptor.NewClient(interceptor.NewClient(cached, w.writes.funcs()), interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if o.GetNamespace() == w.namespace {
				return apierrors.NewForbidden(corev1.Resource("secrets"), o.GetName(), errors.New("no such right"))
			}
			return c.Delete(ctx, o, opts...)
		},
	})
	first := w.create("my-pat")
	w.settle("my-pat")
	w.advance(91 * 24 * time.Hour)
	if after := w.settle("my-pat"); after <= 0 {
		t.Error("it does not come back to delete the Secret")
	}
	w.expect("my-pat", "False/Expired", "True/Reconciled", "")
	w.delete("my-pat")
	second := w.create("my-pat")
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if w.record(first.UID) != nil || len(w.valid(second)) != 1 {
		t.Errorf("the first record %v, %d valid plaintexts", w.record(first.UID), len(w.valid(second)))
	}
}
