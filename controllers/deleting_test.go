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
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

func heldBy(finalizers ...string) func(*v1alpha1.PersonalAccessToken) {
	return func(p *v1alpha1.PersonalAccessToken) { p.Finalizers = finalizers }
}

// A foreign finalizer holds the resource: its record ends first, then status says so, with one event.
func TestCase59_AResourceThatIsHeldSaysDeleting(t *testing.T) {
	w := newWorld(t)
	pat := w.create(thePAT, heldBy("example.com/hold", "example.com/audit"))
	w.settle(thePAT)
	was := w.get(thePAT).Status
	w.delete(thePAT)
	w.settle(thePAT)
	if w.record(pat.UID) != nil || len(w.deliveries()) != 0 {
		t.Errorf("record %v, %d delivery Secrets", w.record(pat.UID), len(w.deliveries()))
	}
	w.expect(thePAT, "False/Deleting", "False/Deleting", "")
	now := w.get(thePAT)
	if s := now.Status; s.ObservedGeneration != now.Generation || s.TokenID != was.TokenID || s.DeliverySecretName != "" || !s.ModifiedAt.Equal(was.ModifiedAt) {
		t.Errorf("status %+v; it was %+v", s, was)
	}
	active := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionActive)
	if face := holder.Active(now); active.Message != face.Message || active.Reason != face.Reason || active.Status != face.Status {
		t.Errorf("status says %v, and the faces say %v", active, face)
	}
	if !strings.Contains(active.Message, "example.com/hold, example.com/audit") {
		t.Errorf("the finalizers are not named: %s", active.Message)
	}
	warning := "Warning Deleting Delete: " + active.Message

	// One finalizer goes: status follows, without another event. Then the process starts again.
	w.change(thePAT, heldBy("example.com/audit"))
	w.settle(thePAT)
	w.restart()
	w.settle(thePAT)
	if got := meta.FindStatusCondition(w.get(thePAT).Status.Conditions, v1alpha1.ConditionActive).Message; strings.Contains(got, "example.com/hold") {
		t.Errorf("status still names a finalizer that is gone: %s", got)
	}
	if got := w.events.text(); strings.Count(got, " Deleting ") != 1 || !strings.Contains(got, warning) || strings.Count(got, " Revoked ") != 1 {
		t.Errorf("events:\n%s", got)
	}

	w.change(thePAT, heldBy())
	w.settle(thePAT)
	if err := admin.Get(w.ctx, w.key(thePAT), &v1alpha1.PersonalAccessToken{}); !apierrors.IsNotFound(err) {
		t.Errorf("the resource is still there: %v", err)
	}
}

// A deletion that waits only for the garbage collector needs no action, so the operator emits no event.
func TestCase59_AForegroundDeletionWarnsNobody(t *testing.T) {
	w := newWorld(t)
	w.create(thePAT)
	w.settle(thePAT)
	if err := admin.Delete(w.ctx, w.get(thePAT), client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	w.settle(thePAT)
	w.expect(thePAT, "False/Deleting", "False/Deleting", "")
	if slices.Contains(w.events.reasons(), v1alpha1.ReasonDeleting) {
		t.Errorf("events:\n%s", w.events.text())
	}
}

// A holder's id stays remembered while the resource is held, and its predecessor's too.
func TestCase59_AHeldResourceOfAHolderIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.forget()
	settled(issuedHolders, holdBack, overlap(anotherHolders))(w)
	if w.get(thePAT).Status.PreviousTokenID == "" {
		t.Fatal("the token has no predecessor")
	}
	w.forget()
	settled(remove)(w)
	w.expect(thePAT, "False/Deleting", "False/Deleting", "")
	if s := w.get(thePAT).Status; s.PreviousTokenID != "" || s.TokenID == "" {
		t.Errorf("status names the token %q and its predecessor %q", s.TokenID, s.PreviousTokenID)
	}
	w.change(thePAT, heldBy())
	w.settle(thePAT)
	createHolders(w)
	w.settle(thePAT)
	w.expect(thePAT, "False/TokenRevoked", "False/TokenRevoked", "True/TokenRevoked")
}

// While the record cannot be ended, verifiers refuse the token all the same, so status says it.
func TestCase59_ARecordThatCannotBeEndedHidesNothing(t *testing.T) {
	w := newWorld(t)
	w.create(thePAT, heldBy("example.com/hold"))
	w.settle(thePAT)
	w.delete(thePAT)
	refusing := true
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if refusing {
				return apierrors.NewInternalError(errors.New("no"))
			}
			return c.Delete(ctx, o, opts...)
		},
	})
	for range 3 {
		if _, err := w.reconcile(thePAT); err == nil {
			t.Error("no error")
		}
	}
	w.expect(thePAT, "False/Deleting", "False/Deleting", "")
	refusing = false
	w.settle(thePAT)
	if got := w.events.text(); strings.Count(got, " Deleting ") != 1 {
		t.Errorf("events:\n%s", got)
	}
	w.advance(time.Minute)
	w.settle(thePAT)
}
