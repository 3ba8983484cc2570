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
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

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
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
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
	w.expect("my-pat", "False/Issuing", "False/IssuingFailed", "")
	ready := meta.FindStatusCondition(w.get("my-pat").Status.Conditions, "Ready").Message
	if want := refusedDelivery + `The API server says: secrets "pat-ID" is forbidden: exceeded quota`; ready != want {
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
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
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
