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
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

// valid returns the plaintexts of a resource that its record would match: every delivery Secret's, digested.
func (w *world) valid(pat *v1alpha1.PersonalAccessToken) []string {
	w.t.Helper()
	rec := w.record(pat.UID)
	if rec == nil || rec.Current == nil || rec.Current.Digest == "" {
		return nil
	}
	var valid []string
	for _, s := range w.deliveries() {
		if plaintext := string(s.Data[v1alpha1.SecretKeyToken]); token.NewDigest(pat.Namespace, pat.Name, plaintext).Hex() == rec.Current.Digest {
			valid = append(valid, plaintext)
		}
	}
	return valid
}

func TestIssueBySecret(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat", func(p *v1alpha1.PersonalAccessToken) {
		p.Labels = map[string]string{"app.kubernetes.io/instance": "argo"}
		p.Annotations = map[string]string{"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}
		p.Spec.Delivery = &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{TTLSeconds: ptr.To[int32](600)}}
	})
	if got := pat.Status.ObservedGeneration; got != -1 {
		t.Errorf("observedGeneration %d before the first reconcile; want -1", got)
	}
	if after := w.settle("my-pat"); after <= 0 || after > 10*time.Minute {
		t.Errorf("comes back after %v; want before the delivery Secret's time is over", after)
	}
	w.expect("my-pat", "True/Active", "True/Reconciled", "")

	pat = w.get("my-pat")
	rec := w.record(pat.UID)
	secrets := w.deliveries()
	if len(secrets) != 1 || len(w.valid(pat)) != 1 {
		t.Fatalf("%d delivery Secrets, %d of them valid; want one", len(secrets), len(w.valid(pat)))
	}
	secret := secrets[0]
	if id, err := token.Parse(string(secret.Data["token"])); err != nil || id != rec.Current.ID || secret.Name != "pat-"+id || pat.Status.TokenID != id {
		t.Errorf("token %q (%v), record %q, Secret %q, status %q", id, err, rec.Current.ID, secret.Name, pat.Status.TokenID)
	}
	if !ptr.Deref(secret.Immutable, false) || len(secret.Data) != 1 || pat.Status.DeliverySecretName != secret.Name {
		t.Errorf("immutable %v, %d keys, status names %q", secret.Immutable, len(secret.Data), pat.Status.DeliverySecretName)
	}
	if o := secret.OwnerReferences; len(o) != 1 || o[0].UID != pat.UID || o[0].BlockOwnerDeletion != nil {
		t.Errorf("ownerReferences %+v", o)
	}
	if want := rec.Current.IssuedAt.Add(90 * 24 * time.Hour); !pat.Status.ExpiresAt.Time.Equal(want) || !rec.Current.ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, record %v; want 90 days after it was issued, %v", pat.Status.ExpiresAt, rec.Current.ExpiresAt, want)
	}
	if rec.User.Username != "alice" || rec.AuthorizedAt.IsZero() || rec.Current.Source != record.SourceOperator {
		t.Errorf("record %+v", *rec)
	}
	if got := w.events.reasons(); !slices.Equal(got, []string{"Issued"}) {
		t.Errorf("events %q", got)
	}
	if n := w.api.count(); n > 4 {
		t.Errorf("%d API writes for a token; want at most 4: %q", n, w.api.log)
	}
	t.Logf("API writes for a token delivered in a Secret: %d", w.api.count())
}

func TestCase20_NoMetadataOfTheResourceIsCopied(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat", func(p *v1alpha1.PersonalAccessToken) {
		p.Labels = map[string]string{"app.kubernetes.io/instance": "argo", "kustomize.toolkit.fluxcd.io/name": "apps"}
		p.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "x", "reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}
	})
	w.settle("my-pat")
	all := w.deliveries()
	rec := corev1.Secret{}
	if err := admin.Get(w.ctx, types.NamespacedName{Namespace: recordsNamespace, Name: record.SecretName(pat.Namespace, pat.Name)}, &rec); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(all[0].Labels)+len(all[0].Annotations) != 0 {
		t.Errorf("delivery Secret: labels %v, annotations %v", all[0].Labels, all[0].Annotations)
	}
	if len(rec.Annotations) != 0 || len(rec.Labels) != 3 || rec.Labels["app.kubernetes.io/instance"] != "" {
		t.Errorf("record: labels %v, annotations %v", rec.Labels, rec.Annotations)
	}
}

// The name of the delivery Secret is already taken by a foreign Secret.
func TestCase20_ASecretOfAnotherIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	random := bytes.Repeat([]byte{7}, 42)
	id, _, err := token.New(bytes.NewReader(random))
	if err != nil {
		t.Fatal(err)
	}
	theirs := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "pat-" + id}, StringData: map[string]string{"password": "theirs"},
	}
	if err := admin.Create(w.ctx, theirs); err != nil {
		t.Fatal(err)
	}
	pat := w.create("my-pat")
	w.Random = bytes.NewReader(random)
	if after, err := w.reconcile("my-pat"); err != nil || after <= 0 {
		t.Errorf("comes back after %v (%v)", after, err)
	}
	w.expect("my-pat", "False/Issuing", "False/DeliveryNameTaken", "")
	ready := w.get("my-pat").Status.Conditions[1].Message
	if want := fmt.Sprintf("A Secret named pat-%s already exists in this namespace and does not belong to the operator, which did not modify it; the operator tries again with another name.", id); ready != want {
		t.Errorf("says %q; want %q", ready, want)
	}
	w.Random = rand.Reader
	w.advance(time.Minute)
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	after := &corev1.Secret{}
	if err := admin.Get(w.ctx, client.ObjectKeyFromObject(theirs), after); err != nil || after.ResourceVersion != theirs.ResourceVersion {
		t.Errorf("their Secret: %v, resourceVersion %s; want %s", err, after.ResourceVersion, theirs.ResourceVersion)
	}
	if got := w.record(pat.UID); got.Current.ID == id || len(got.Removals) != 0 {
		t.Errorf("current %s, removals %v", got.Current.ID, got.Removals)
	}
}

func TestHoldersOwnToken(t *testing.T) {
	w := newWorld(t)
	id, plaintext, err := token.New(w.Random)
	if err != nil {
		t.Fatal(err)
	}
	holder := func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(24 * time.Hour).Truncate(time.Second)}
		p.Spec.Token = &v1alpha1.HolderToken{ID: id, SHA256: token.NewDigest(w.namespace, "mine", plaintext).Hex(), BoundTo: w.namespace + "/mine"}
	}
	pat := w.create("mine", holder)
	w.settle("mine")
	w.expect("mine", "True/Active", "True/Reconciled", "")
	if n := w.api.count(); n > 2 {
		t.Errorf("%d API writes; want at most 2: %q", n, w.api.log)
	}
	t.Logf("API writes for a token of the holder's own: %d", w.api.count())
	if rec := w.record(pat.UID); rec.Current.ID != id || rec.Current.Source != record.SourceHolder || len(w.deliveries()) != 0 {
		t.Errorf("record %v, %d delivery Secrets", rec.Current, len(w.deliveries()))
	}

	t.Run("its record lost, it is written again", func(t *testing.T) {
		w.loseRecord(pat)
		w.settle("mine")
		w.expect("mine", "True/Active", "True/Reconciled", "")
	})
	t.Run("deleted, it leaves a tombstone with no digest", func(t *testing.T) {
		w.delete("mine")
		if after := w.settle("mine"); after <= 0 || after > 24*time.Hour {
			t.Errorf("comes back after %v; want at the token's expiry", after)
		}
		if rec := w.record(pat.UID); rec == nil || !rec.Tombstone() || rec.Current != nil || rec.EndOf(id) == nil {
			t.Errorf("record %v", rec)
		}
	})
	t.Run("applied again, it stays revoked", func(t *testing.T) {
		w.create("mine", holder)
		w.settle("mine")
		w.expect("mine", "False/TokenRevoked", "False/TokenRevoked", "True/TokenRevoked")
		if got := w.events.text(); !strings.Contains(got, "Warning TokenRevoked Refuse: Token "+id+" was revoked under this name before") {
			t.Errorf("events:\n%s", got)
		}
		w.delete("mine")
		w.settle("mine")
	})
	t.Run("its time over, the tombstone goes", func(t *testing.T) {
		w.advance(25 * time.Hour)
		w.settle("mine")
		if rec := w.record(pat.UID); rec != nil {
			t.Errorf("record %v is still there", rec)
		}
	})
}

// loseRecord deletes a record behind the operator's back and waits until the cache knows.
func (w *world) loseRecord(pat *v1alpha1.PersonalAccessToken) {
	w.t.Helper()
	if err := admin.Delete(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: recordsNamespace, Name: record.SecretName(pat.Namespace, pat.Name)}}); err != nil {
		w.t.Fatal(err)
	}
}

func TestCase55_AHoldersTokenWithoutRoomIsRefusedForGood(t *testing.T) {
	w := newWorld(t)
	make1 := func(name string) *v1alpha1.PersonalAccessToken {
		id, plaintext, err := token.New(w.Random)
		if err != nil {
			t.Fatal(err)
		}
		return w.create(name, func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(time.Hour)}
			p.Spec.Token = &v1alpha1.HolderToken{ID: id, SHA256: token.NewDigest(w.namespace, name, plaintext).Hex(), BoundTo: w.namespace + "/" + name}
		})
	}
	make1("one")
	w.settle("one")
	w.delete("one")
	w.settle("one")
	w.Config.MaxRemembered = 1
	make1("two")
	w.settle("two")
	w.expect("two", "False/EndedTokensFull", "False/EndedTokensFull", "True/EndedTokensFull")
	// Refused is refused: it does not come true weeks later.
	w.advance(61 * time.Minute)
	w.settle("one")
	w.change("two", func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(time.Hour)}
	})
	w.settle("two")
	w.expect("two", "False/EndedTokensFull", "False/EndedTokensFull", "True/EndedTokensFull")
	w.delete("two")
	w.settle("two")
	make1("two")
	w.settle("two")
	w.expect("two", "True/Active", "True/Reconciled", "")
}

func TestDeliverySecretGoesWhenItsTimeIsOver(t *testing.T) {
	for name, meanwhile := range map[string]func(*world){
		"the operator running": func(*world) {},
		"Case31, restarted":    func(w *world) { w.restart() },
		"suspended":            func(w *world) { w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pat := w.create("my-pat")
			w.settle("my-pat")
			w.advance(time.Hour + time.Second)
			meanwhile(w)
			w.settle("my-pat")
			rec := w.record(pat.UID)
			if got := w.deliveries(); len(got) != 0 || len(rec.Removals) != 0 || rec.Current.Digest == "" {
				t.Errorf("%d delivery Secrets, removals %v", len(got), rec.Removals)
			}
			if got := w.get("my-pat").Status; got.DeliverySecretName != "" || got.TokenID != rec.Current.ID {
				t.Errorf("status names Secret %q, token %q", got.DeliverySecretName, got.TokenID)
			}
			if !slices.Contains(w.events.reasons(), "DeliveryRemoved") {
				t.Errorf("events %q", w.events.reasons())
			}
		})
	}
}

func TestDeliverySwitchedOff(t *testing.T) {
	w := newWorld(t)
	w.Config = lifecycle.Config{MaxLifetime: time.Hour * 24 * 366}
	w.create("my-pat")
	w.settle("my-pat")
	w.expect("my-pat", "False/DeliveryDisabled", "False/DeliveryDisabled", "True/DeliveryDisabled")
	if len(w.deliveries()) != 0 {
		t.Error("a Secret was written")
	}
}

func TestSuspendResumeShorten(t *testing.T) {
	w := newWorld(t)
	w.create("my-pat")
	w.settle("my-pat")
	id := w.get("my-pat").Status.TokenID
	created := w.get("my-pat").Status.ModifiedAt

	w.advance(time.Minute)
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true })
	w.settle("my-pat")
	w.expect("my-pat", "False/Suspended", "True/Reconciled", "")
	if got := w.get("my-pat").Status.ModifiedAt; !got.After(created.Time) {
		t.Errorf("modifiedAt %v, created %v", got, created)
	}
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = false })
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")

	end := metav1.NewTime(w.clock.Now().Add(2 * time.Minute).Truncate(time.Second))
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.ExpiresAt = &end })
	if after := w.settle("my-pat"); after <= 0 || after > 2*time.Minute {
		t.Errorf("comes back after %v; want at the new end", after)
	}
	if got := w.get("my-pat").Status; !got.ExpiresAt.Equal(&end) || got.TokenID != id {
		t.Errorf("expires at %v, token %s; want %v, %s", got.ExpiresAt, got.TokenID, end, id)
	}
	want := []string{"Issued", "Suspended", "Resumed"}
	if got := w.events.reasons(); !slices.Equal(got, want) {
		t.Errorf("events %q; want %q", got, want)
	}
}
