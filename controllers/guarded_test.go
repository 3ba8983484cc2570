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
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/env"
)

// absent are guards that are not in force.
type absent struct{}

var errAbsent = errors.New("ValidatingWebhookConfiguration pat-operator does not exist")

func (absent) Judged(context.Context) error { return errAbsent }
func (absent) Accepted() error              { return errAbsent }

// unguarded lets something happen while no guard is in force, and accepts them again, as a new process does.
func (w *world) unguarded(happens func()) {
	w.t.Helper()
	w.restart()
	w.Guards = absent{}
	happens()
	w.settle(thePAT)
	w.accept()
}

func (w *world) accept() {
	w.t.Helper()
	w.restart()
	if err := w.RefuseUncovered(w.ctx); err != nil {
		w.t.Fatal(err)
	}
	w.settle(thePAT)
}

// A resource that was planted while no guard was in force gets no token, whatever is done to it afterwards; applied again,
// it gets one.
func TestCase51_APlantedResourceGetsNoToken(t *testing.T) {
	for name, create := range map[string]func(*world){"in a Secret": create, "a holder's": createHolders, "to recipients": createForRecipients} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.forget()
			w.unguarded(func() {
				create(w)
				w.settle(thePAT)
				w.expect(thePAT, "False/Issuing", "False/GuardsMissing", "")
			})
			for _, later := range []func(*v1alpha1.PersonalAccessToken){
				func(*v1alpha1.PersonalAccessToken) {},
				func(p *v1alpha1.PersonalAccessToken) { p.Labels = map[string]string{"a": "b"} },
				func(p *v1alpha1.PersonalAccessToken) { p.Spec.DisplayName = "x" },
				func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "2"} },
			} {
				w.change(thePAT, later)
				w.settle(thePAT)
				w.expect(thePAT, "False/NotAuthorized", "False/NotAuthorized", "True/NotAuthorized")
				w.forget()
				if _, rec, valid := w.look(); rec.Current != nil || rec.Pending != nil || len(valid) != 0 || len(w.deliveries()) != 0 {
					t.Fatalf("current %v, pending %v, %d plaintexts valid", rec.Current, rec.Pending, len(valid))
				}
			}
			w.delete(thePAT)
			w.settle(thePAT)
			create(w)
			w.settle(thePAT)
			w.expect(thePAT, "True/Active", "True/Reconciled", "")
		})
	}
}

// A wish that was planted in a resource that has a token is not carried out; put back and made again, it is.
func TestCase51_APlantedWishIsRefusedUntilItIsPutBack(t *testing.T) {
	for name, tc := range map[string]struct {
		plant, back func(*v1alpha1.PersonalAccessToken)
	}{
		"a trigger": {
			func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "2"} },
			func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation = nil },
		},
		"recipients": {forRecipients, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Delivery = nil }},
		"an audience": {
			func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"vault"} },
			func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = nil },
		},
		"a longer life": {
			func(p *v1alpha1.PersonalAccessToken) { p.Spec.ExpiresInDays = ptr.To[int32](300) },
			func(p *v1alpha1.PersonalAccessToken) { p.Spec.ExpiresInDays = nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pat := w.create(thePAT)
			w.settle(thePAT)
			before := w.record(pat.UID)
			w.unguarded(func() { w.change(thePAT, tc.plant) })
			refused := func() {
				t.Helper()
				w.expect(thePAT, "True/Active", "False/NotAuthorized", "True/NotAuthorized")
				if rec := w.record(pat.UID); rec.Current.ID != before.Current.ID || rec.Refused != record.RefusedNotJudged || rec.Current.Digest != before.Current.Digest {
					t.Fatalf("current %v, refused %q", rec.Current, rec.Refused)
				}
			}
			refused()
			w.advance(24 * time.Hour)
			w.settle(thePAT)
			refused()
			w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true })
			w.settle(thePAT)
			w.expect(thePAT, "False/Suspended", "False/NotAuthorized", "True/NotAuthorized")
			w.change(thePAT, tc.back)
			w.settle(thePAT)
			w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = false })
			w.settle(thePAT)
			w.expect(thePAT, "True/Active", "True/Reconciled", "")
			w.change(thePAT, tc.plant)
			w.settle(thePAT)
			w.expect(thePAT, "True/Active", "True/Reconciled", "")
			if rec := w.record(pat.UID); rec.Refused != "" {
				t.Errorf("made again, it is refused: %v", rec.Refused)
			}
		})
	}
}

// What narrows counts although nothing judges it, and is not widened back.
func TestCase51_NarrowedWithGuardsWidenedWithout(t *testing.T) {
	w := newWorld(t)
	pat := w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"api", "vault"} })
	w.settle(thePAT)
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences, p.Spec.Suspend = []string{"vault"}, true })
	w.settle(thePAT)
	w.unguarded(func() {
		w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.Audiences, p.Spec.Suspend = []string{"api", "vault"}, false
		})
		w.settle(thePAT)
		w.expect(thePAT, "False/Suspended", "False/GuardsMissing", "")
	})
	w.expect(thePAT, "False/Suspended", "False/NotAuthorized", "True/NotAuthorized")
	if g := w.record(pat.UID).Granted; !g.Suspend || len(g.Audiences) != 1 {
		t.Errorf("granted %+v", g)
	}
}

// The cache still shows a record from before it was narrowed, which would cover a wish that was planted since.
func TestCase51_AStaleRecordHidesNoWish(t *testing.T) {
	w := newWorld(t)
	pat := w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"api", "vault"} })
	w.settle(thePAT)
	stale := &corev1.Secret{}
	if err := admin.Get(w.ctx, recordKey(w.key(thePAT)), stale); err != nil {
		t.Fatal(err)
	}
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"vault"} })
	w.settle(thePAT)
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"api", "vault"} })
	w.mutate = func(c client.WithWatch) client.WithWatch {
		return interceptor.NewClient(c, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if s, ok := o.(*corev1.Secret); ok && key == recordKey(w.key(thePAT)) {
					stale.DeepCopyInto(s)
					return nil
				}
				return c.Get(ctx, key, o, opts...)
			},
		})
	}
	w.restart()
	if err := w.RefuseUncovered(w.ctx); err != nil {
		t.Fatal(err)
	}
	if rec := w.record(pat.UID); rec.Refused != record.RefusedNotJudged {
		t.Errorf("refused %q", rec.Refused)
	}
}

// A judged wish that waits for quota is carried out, once, whatever becomes of the guards, of its spec, and of the operator.
func TestCase51_AJudgedWishWaitsForQuota(t *testing.T) {
	w := newWorld(t)
	quota(w)
	pat := w.create(thePAT)
	w.settle(thePAT)
	if rec := w.record(pat.UID); rec == nil || rec.Granted == nil {
		t.Fatalf("record %v is not granted", rec)
	}
	w.unguarded(func() {})
	w.Guards = absent{}
	if err := admin.Delete(w.ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "none"}}); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, env.Patience, func() bool {
		w.advance(10 * time.Minute)
		w.settle(thePAT)
		return w.condition(thePAT, "Active") == "True/Active"
	}, func() string { return "Active is " + w.condition(thePAT, "Active") })
	if len(w.valid(pat)) != 1 {
		t.Errorf("%d valid plaintexts", len(w.valid(pat)))
	}
}

// A thief's patch follows each revocation at once, so that no read ever shows it: the watch does.
func TestCase44_ARevocationThatIsTakenBackAtOnceCounts(t *testing.T) {
	for name, restarted := range map[string]bool{"the operator running": false, "restarted after it was written down": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pat := w.create(thePAT)
			w.settle(thePAT)
			id := w.record(pat.UID).Current.ID
			for range 10 { // Other ids first, and again and again.
				w.revoke(thePAT, "zzzzzzzzzzzzzzzz")
				w.say(thePAT, func(s *v1alpha1.PersonalAccessTokenStatus) { s.Revoked = nil })
			}
			w.revoke(thePAT, id)
			w.say(thePAT, func(s *v1alpha1.PersonalAccessTokenStatus) { s.Revoked = nil })
			w.settle(thePAT)
			if restarted {
				w.restart()
				w.settle(thePAT)
			}
			w.expect(thePAT, "False/Revoked", "True/Reconciled", "")
			if rec := w.record(pat.UID); rec.EndOf(id) == nil || len(w.valid(pat)) != 0 {
				t.Errorf("end %v", rec.EndOf(id))
			}
			if w.sightings.seen[types.NamespacedName{Namespace: w.namespace, Name: thePAT}] != nil {
				t.Error("the sighting is kept although the record has the revocation")
			}
		})
	}
}

// A first use that status forgets again still ends the predecessor.
func TestCase44_AFirstUseThatIsTakenBackCounts(t *testing.T) {
	w := newWorld(t)
	w.forget()
	settled(issued, onFirstUse(overlap(rotate)))(w)
	pat := w.get(thePAT)
	if w.record(pat.UID).Previous == nil {
		t.Fatal("the token has no predecessor")
	}
	use(w)
	w.say(thePAT, func(s *v1alpha1.PersonalAccessTokenStatus) { s.FirstUsedAt = nil })
	w.settle(thePAT)
	if rec := w.record(pat.UID); rec.Previous != nil {
		t.Errorf("predecessor %v", rec.Previous)
	}
}

// Whatever status says, nothing is issued, prolonged or kept alive by it.
func TestCase45_StatusGrantsNothing(t *testing.T) {
	at := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	for name, forge := range map[string]func(*v1alpha1.PersonalAccessTokenStatus){
		"cleared":        func(s *v1alpha1.PersonalAccessTokenStatus) { *s = v1alpha1.PersonalAccessTokenStatus{} },
		"no tokenID":     func(s *v1alpha1.PersonalAccessTokenStatus) { s.TokenID = "" },
		"no issuedAt":    func(s *v1alpha1.PersonalAccessTokenStatus) { s.IssuedAt = nil },
		"issued earlier": func(s *v1alpha1.PersonalAccessTokenStatus) { s.IssuedAt = &at },
		"used":           func(s *v1alpha1.PersonalAccessTokenStatus) { s.FirstUsedAt = &at },
		"foreign ids": func(s *v1alpha1.PersonalAccessTokenStatus) {
			for _, c := range "abcdefg" {
				s.Revoked = append(s.Revoked, v1alpha1.RevokedToken{TokenID: "zzzzzzzzzzzzzzz" + string(c)})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pat := w.create(thePAT)
			w.settle(thePAT)
			before := w.record(pat.UID)
			w.say(thePAT, forge)
			w.settle(thePAT)
			w.expect(thePAT, "True/Active", "True/Reconciled", "")
			if rec := w.record(pat.UID); rec.Current.ID != before.Current.ID || !rec.Current.EndsAt().Equal(before.Current.EndsAt()) || len(w.deliveries()) != 1 {
				t.Errorf("current %v until %v, %d delivery Secrets", rec.Current, rec.Current.EndsAt(), len(w.deliveries()))
			}
			w.loseRecord(pat)
			w.settle(thePAT)
			w.say(thePAT, forge)
			w.settle(thePAT)
			w.expect(thePAT, "False/RecordLost", "False/RecordLost", "True/RecordLost")
		})
	}
}

// An acceptance that races with the operator's own writes, and with deletions, comes through.
func TestCase51_AcceptanceIsNotHeldUpByRaces(t *testing.T) {
	w := newWorld(t)
	w.Guards = absent{}
	w.create(thePAT)
	raced := false
	w.mutate = func(c client.WithWatch) client.WithWatch {
		return interceptor.NewClient(c, interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if isRecord(o) && !raced {
					raced = true
					return apierrors.NewAlreadyExists(corev1.Resource("secrets"), o.GetName())
				}
				return c.Create(ctx, o, opts...)
			},
		})
	}
	w.accept()
	w.expect(thePAT, "False/NotAuthorized", "False/NotAuthorized", "True/NotAuthorized")
	if !raced {
		t.Error("nothing raced")
	}
}
