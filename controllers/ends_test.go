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
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

func TestCase14_ExpiryIsWrittenDownAndNeverTakenBack(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat", func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(10 * time.Minute)}
	})
	if after := w.settle("my-pat"); after <= 0 || after > 10*time.Minute {
		t.Errorf("comes back after %v; want at the expiry", after)
	}
	w.advance(10*time.Minute + time.Second)
	w.settle("my-pat")
	w.expect("my-pat", "False/Expired", "True/Reconciled", "")
	rec := w.record(pat.UID)
	if rec.Current.Digest != "" || rec.EndOf(rec.Current.ID) == nil || len(w.deliveries()) != 0 {
		t.Errorf("digest %q, %d delivery Secrets", rec.Current.Digest, len(w.deliveries()))
	}
	if got := w.events.reasons(); got[len(got)-1] != "Expired" {
		t.Errorf("events %q", got)
	}

	w.advance(-time.Hour)
	w.settle("my-pat")
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.ExpiresAt = &metav1.Time{Time: time.Now().AddDate(0, 1, 0)}
	})
	w.settle("my-pat")
	w.expect("my-pat", "False/Expired", "True/Reconciled", "")
	if got := w.record(pat.UID); got.Current.Digest != "" || len(w.deliveries()) != 0 {
		t.Error("it came back")
	}
}

// The leader's clock is years ahead: nothing is written, whatever time it seems to be.
func TestCase14_AnUnprovenClockWritesNothing(t *testing.T) {
	w := newWorld(t)
	pat := w.create("old")
	w.settle("old")
	w.create("new")
	before := w.recordVersion(pat)
	w.ClockCheck = func() error { return errors.New("three years ahead") }
	w.advance(3 * 365 * 24 * time.Hour)
	for range 3 {
		if _, err := w.reconcile("old"); err != nil {
			t.Fatal(err)
		}
	}
	if w.recordVersion(pat) != before || len(w.deliveries()) != 1 {
		t.Errorf("the record was written, or its delivery deleted (%d left)", len(w.deliveries()))
	}
	if _, err := w.reconcile("new"); err != nil {
		t.Fatal(err)
	}
	if w.condition("new", "Active") != "False/Issuing" || w.record(w.get("new").UID) != nil {
		t.Errorf("new: %s", w.condition("new", "Active"))
	}
}

func (w *world) recordVersion(pat *v1alpha1.PersonalAccessToken) string {
	w.t.Helper()
	secret := &corev1.Secret{}
	if err := admin.Get(w.ctx, types.NamespacedName{Namespace: recordsNamespace, Name: record.SecretName(pat.Namespace, pat.Name)}, secret); err != nil {
		w.t.Fatal(err)
	}
	return secret.ResourceVersion
}

func TestDeletedIsRevoked(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.settle("my-pat")
	w.delete("my-pat")
	w.settle("my-pat")
	if w.record(pat.UID) != nil || len(w.deliveries()) != 0 {
		t.Errorf("record %v, %d delivery Secrets", w.record(pat.UID), len(w.deliveries()))
	}
	if got := w.events.reasons(); !slices.Contains(got, "Revoked") {
		t.Errorf("events %q", got)
	}
}

// Deleted and re-created while the operator was down, or with a cache that still shows the old one.
func TestCase21_AnOldDigestNeverAttachesToANewUID(t *testing.T) {
	w := newWorld(t)
	first := w.create("my-pat")
	w.settle("my-pat")
	old := w.valid(first)
	w.delete("my-pat")
	second := w.create("my-pat")
	w.restart()
	w.settle("my-pat")
	if w.record(first.UID) != nil {
		t.Error("the old record is still there")
	}
	now := w.valid(second)
	if len(now) != 1 || slices.Equal(now, old) {
		t.Errorf("%d valid plaintexts, the old one among them: %v", len(now), slices.Equal(now, old))
	}
	if len(w.deliveries()) != 1 {
		t.Errorf("%d delivery Secrets", len(w.deliveries()))
	}
}

// A resource deleted and created again between our look at it and our write: the new one is not said to have had a token,
// which would keep it from getting one.
func TestCase21_StatusNeverLandsOnANewUID(t *testing.T) {
	w := newWorld(t)
	w.create("my-pat")
	w.settle("my-pat")
	was := w.get("my-pat")
	current, _, err := w.read(w.ctx, w.Live, w.key("my-pat"))
	if err != nil {
		t.Fatal(err)
	}
	w.delete("my-pat")
	w.create("my-pat")
	was.Status.TokenID = ""
	state := lifecycle.Decide(lifecycle.Input{Resource: was, Record: current.record, Now: w.clock.Now(), ClockProven: true, Config: w.Config}).State
	if err := w.applyStatus(w.ctx, was, current, state); !apierrors.IsConflict(err) {
		t.Errorf("got %v; want a conflict", err)
	}
	if got := w.get("my-pat").Status; got.TokenID != "" || len(got.Conditions) > 0 {
		t.Errorf("the new resource's status is %+v", got)
	}
	w.settle("my-pat")
	if got := w.get("my-pat").Status.TokenID; got == "" || got == current.record.Current.ID {
		t.Errorf("its token is %q; want one of its own", got)
	}
}

// A foreign finalizer holds the resource: its token ends as soon as the resource is marked deleted, and stays ended.
func TestCase18_MarkedDeletedIsRevokedAtOnce(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Finalizers = []string{"example.com/hold"} })
	w.settle("my-pat")
	w.delete("my-pat")
	w.settle("my-pat")
	if w.get("my-pat").DeletionTimestamp == nil {
		t.Fatal("the finalizer did not hold")
	}
	if w.record(pat.UID) != nil || len(w.deliveries()) != 0 {
		t.Errorf("record %v, %d delivery Secrets", w.record(pat.UID), len(w.deliveries()))
	}
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Finalizers = nil })
	w.settle("my-pat")
}

// Our own resource has no finalizer, so an uninstalled operator never keeps a namespace from going away.
func TestCase18_NoFinalizers(t *testing.T) {
	w := newWorld(t)
	w.create("my-pat")
	w.settle("my-pat")
	if got := w.get("my-pat").Finalizers; len(got) != 0 {
		t.Errorf("finalizers %q", got)
	}
	if got := w.deliveries()[0].Finalizers; len(got) != 0 {
		t.Errorf("delivery Secret's finalizers %q", got)
	}
}

// A lost record is noted in a new one, so that no status, cleared or forged, has a second token issued.
func TestCase17_ARecordLostIsNotIssuedAgain(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.settle("my-pat")
	id := w.get("my-pat").Status.TokenID
	w.loseRecord(pat)
	w.settle("my-pat")
	w.expect("my-pat", "False/RecordLost", "False/RecordLost", "True/RecordLost")
	if got := w.get("my-pat").Status; got.TokenID != id {
		t.Errorf("status forgot token %s", id)
	}
	for _, step := range []func(){
		func() { w.trigger2("my-pat") },
		func() {
			w.say("my-pat", func(s *v1alpha1.PersonalAccessTokenStatus) { *s = v1alpha1.PersonalAccessTokenStatus{} })
		},
		w.restart,
	} {
		step()
		w.settle("my-pat")
		w.expect("my-pat", "False/RecordLost", "False/RecordLost", "True/RecordLost")
		if len(w.valid(pat)) != 0 {
			t.Error("a second token was issued")
		}
	}
	w.delete("my-pat")
	again := w.create("my-pat")
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if len(w.valid(again)) != 1 {
		t.Error("applied again, it has no token")
	}
}

// A backup tool deletes a resource, makes it again and writes its old status, before or after the operator looks.
func TestCase46_ARestoredStatusKeepsNoTokenBack(t *testing.T) {
	rounds := 6
	if long.Form() {
		rounds = 50
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.create("my-pat")
			w.settle("my-pat")
			saved := w.get("my-pat").Status
			w.delete("my-pat")
			// A restore takes more than the second in which the token was issued.
			env.Eventually(t, env.Patience, func() bool { return !time.Now().Truncate(time.Second).Equal(saved.IssuedAt.Time) },
				func() string { return "the clock stands still" })
			pat := w.create("my-pat")
			if round%2 == 0 {
				w.settle("my-pat")
			}
			w.say("my-pat", func(s *v1alpha1.PersonalAccessTokenStatus) { *s = saved })
			w.settle("my-pat")
			w.expect("my-pat", "True/Active", "True/Reconciled", "")
			if len(w.valid(pat)) != 1 || w.get("my-pat").Status.TokenID == saved.TokenID {
				t.Errorf("%d valid plaintexts, status names %s", len(w.valid(pat)), w.get("my-pat").Status.TokenID)
			}
		})
	}
}

// The operator corrects a forged or cleared status, which never changes the token.
func TestCase05_ForgedStatusIsPutRight(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.settle("my-pat")
	rec := w.record(pat.UID)
	w.advance(2 * time.Hour) // Its delivery is over, so status is to name no Secret.
	w.settle("my-pat")
	forged := ac.PersonalAccessToken("my-pat", w.namespace).WithStatus(ac.PersonalAccessTokenStatus().
		WithTokenID("zzzzzzzzzzzzzzzz").WithExpiresAt(metav1.NewTime(time.Now().AddDate(10, 0, 0))).WithObservedGeneration(0).
		WithDeliverySecretName("pat-zzzzzzzzzzzzzzzz").
		WithConditions(
			metav1ac.Condition().WithType("Stalled").WithStatus("True").WithReason("Forged").WithMessage("x").WithLastTransitionTime(metav1.Now()),
			metav1ac.Condition().WithType("Reconciling").WithStatus("True").WithReason("Forged").WithMessage("x").WithLastTransitionTime(metav1.Now())))
	if err := admin.Status().Apply(w.ctx, forged, client.FieldOwner("mallory"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	w.settle("my-pat")
	got := w.get("my-pat").Status
	if got.TokenID != rec.Current.ID || !got.ExpiresAt.Time.Equal(rec.Current.ExpiresAt) || got.DeliverySecretName != "" {
		t.Errorf("token %s until %v in Secret %q; want %s until %v in none", got.TokenID, got.ExpiresAt, got.DeliverySecretName, rec.Current.ID, rec.Current.ExpiresAt)
	}
	if len(got.Conditions) != 2 {
		t.Errorf("conditions %+v", got.Conditions)
	}
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if got := w.record(pat.UID); got.Current.Digest != rec.Current.Digest {
		t.Error("the token changed")
	}
}

func TestCase19_AnEditedRecordIsRefusedAndLeftAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		edit   func(map[string]any)
		reason string
		event  string
	}{
		"a higher version": {func(r map[string]any) { r["v"] = 3 }, "RecordTooNew", "Upgrade this operator"},
		"an unknown field": {func(r map[string]any) { r["x"] = 1 }, "RecordInvalid", "unknown or repeated fields"},
		"another user":     {func(r map[string]any) { r["user"].(map[string]any)["username"] = "mallory" }, "UserChanged", "issued to (mallory)"},
		"no digest":        {func(r map[string]any) { delete(r["current"].(map[string]any), "digest") }, "RecordInvalid", "current.digest"},
		"another resource": {func(r map[string]any) { r["resource"].(map[string]any)["name"] = "other" }, "RecordInvalid", "Secret's name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pat := w.create("my-pat")
			w.settle("my-pat")
			secret := &corev1.Secret{}
			key := types.NamespacedName{Namespace: recordsNamespace, Name: record.SecretName(pat.Namespace, pat.Name)}
			if err := admin.Get(w.ctx, key, secret); err != nil {
				t.Fatal(err)
			}
			var r map[string]any
			if err := json.Unmarshal(secret.Data["record"], &r); err != nil {
				t.Fatal(err)
			}
			tc.edit(r)
			secret.Data["record"], _ = json.Marshal(r)
			if err := admin.Update(w.ctx, secret); err != nil {
				t.Fatal(err)
			}
			w.settle("my-pat")
			w.expect("my-pat", "False/"+tc.reason, "False/"+tc.reason, "True/"+tc.reason)
			if got := w.events.text(); !strings.Contains(got, "Warning "+tc.reason) || !strings.Contains(got, tc.event) {
				t.Errorf("events:\n%s", got)
			}
			after := &corev1.Secret{}
			if err := admin.Get(w.ctx, key, after); err != nil || after.ResourceVersion != secret.ResourceVersion {
				t.Errorf("the record was touched: %v", err)
			}
			if tc.reason == "UserChanged" {
				return
			}
			w.delete("my-pat")
			_, _ = w.reconcile("my-pat")
			if err := admin.Get(w.ctx, key, after); err != nil {
				t.Errorf("the record was touched after the resource went: %v", err)
			}
		})
	}
}

// Whatever happened, no event, condition or error shows a plaintext or a digest.
func TestCase25_NothingToldHoldsPlaintextOrDigest(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.settle("my-pat")
	secrets := []string{w.valid(pat)[0], w.record(pat.UID).Current.Digest}
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) {
		forRecipients(p)
		p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "2"}
	})
	w.settle("my-pat")
	sealed := w.get("my-pat")
	successor := w.open(sealed.Status.EncryptedToken)
	secrets = append(secrets, successor, w.record(pat.UID).Current.Digest)
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true })
	w.settle("my-pat")
	w.advance(2 * time.Hour)
	w.settle("my-pat")
	w.advance(91 * 24 * time.Hour)
	w.settle("my-pat")
	status, err := json.Marshal([]*v1alpha1.PersonalAccessToken{sealed, w.get("my-pat")})
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"events": w.events.text(), "resource": string(status)} {
		for _, secret := range append(secrets, secrets[0][len("kubepat_")+17:], successor[len("kubepat_")+17:]) {
			if strings.Contains(text, secret) {
				t.Errorf("%s hold it", what)
			}
		}
	}
}

// The token of a service account ends with it, and is not the next one's that has its name.
func TestCase16_AServiceAccountReCreatedIsAnother(t *testing.T) {
	w := newWorld(t)
	account := func() *corev1.ServiceAccount {
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "deployer"}}
		if err := admin.Create(w.ctx, sa); err != nil {
			t.Fatal(err)
		}
		return sa
	}
	first := account()
	w.create("ci", func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.User = &v1alpha1.UserInfo{Username: "system:serviceaccount:" + w.namespace + ":deployer", UID: string(first.UID)}
	})
	w.settle("ci")
	w.expect("ci", "True/Active", "True/Reconciled", "")
	if err := admin.Delete(w.ctx, first); err != nil {
		t.Fatal(err)
	}
	w.settle("ci")
	w.expect("ci", "False/OwnerGone", "False/OwnerGone", "True/OwnerGone")
	account()
	w.settle("ci")
	w.expect("ci", "False/OwnerGone", "False/OwnerGone", "True/OwnerGone")
	if got := w.resourcesOfAccount(w.ctx, first); len(got) != 1 || got[0].Name != "ci" {
		t.Errorf("an event of the account leads to %v", got)
	}
}
