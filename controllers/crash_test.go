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
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// The same at each write of ending a token by its time and by its resource's deletion.
func TestCase30_KilledAtEachWriteOfEnding(t *testing.T) {
	for name, end := range map[string]func(*world){
		"expiry":   func(w *world) { w.advance(91 * 24 * time.Hour) },
		"delivery": func(w *world) { w.advance(2 * time.Hour) },
		"deletion": func(w *world) { w.delete("my-pat") },
	} {
		for n := 1; n <= 3; n++ {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, write %d, done %v", name, n, lost), func(t *testing.T) {
					w := newWorld(t)
					pat := w.create("my-pat")
					w.settle("my-pat")
					end(w)
					w.writes.cutOff(n, lost)
					_, _ = w.reconcile("my-pat")
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
						if rec.Current.Digest == "" {
							t.Error("the token went with its delivery")
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

// Two leaders for a minute: one is paused at each of its writes while the other does all of its own.
func TestCase34_TwoLeadersIssueOneToken(t *testing.T) {
	for n := 1; n <= 4; n++ {
		t.Run(fmt.Sprintf("paused before write %d", n), func(t *testing.T) {
			w := newWorld(t)
			pat := w.create("my-pat")
			other := *w.Reconciler
			other.Client = cached
			w.writes.hook = func(i int, _ string) {
				if i == n {
					second := world{t: t, ctx: w.ctx, namespace: w.namespace, clock: w.clock, events: w.events, writes: &writes{}, Reconciler: &other}
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

// A namespace whose quota or policies refuse the delivery Secret: status says so, and once they agree it works.
func TestDeliveryRefusedByTheNamespace(t *testing.T) {
	w := newWorld(t)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": *zero()}},
	}
	if err := admin.Create(w.ctx, quota); err != nil {
		t.Fatal(err)
	}
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard}
	if err := admin.Status().Update(w.ctx, quota); err != nil {
		t.Fatal(err)
	}
	pat := w.create("my-pat")
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err := w.reconcile("my-pat")
		if err != nil && w.condition("my-pat", "Ready") == "False/Issuing" && strings.Contains(err.Error(), "check this namespace's quota and admission policies") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("reconcile: %v, Ready %s", err, w.condition("my-pat", "Ready"))
		}
	}
	if err := admin.Delete(w.ctx, quota); err != nil {
		t.Fatal(err)
	}
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if got := w.valid(pat); len(got) != 1 {
		t.Errorf("%d valid plaintexts", len(got))
	}
}
