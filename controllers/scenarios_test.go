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
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/env"
)

const (
	thePAT     = "my-pat"
	theAccount = "deployer"
)

// scenario is something that happens to a resource, and what it is to lead to, wherever the operator is stopped.
type scenario struct {
	name string
	// before brings about what was; after it, the operator is at rest or gone.
	before func(*world)
	// trigger is what makes the operator act.
	trigger func(*world)
	want    outcome
}

var (
	active      = outcome{active: "True/Active", ready: "True/Reconciled", valid: 1, delivered: true}
	holders     = outcome{active: "True/Active", ready: "True/Reconciled", valid: 1}
	expired     = outcome{active: "False/Expired", ready: "True/Reconciled"}
	suspended   = outcome{active: "False/Suspended", ready: "True/Reconciled", delivered: true}
	revoked     = outcome{active: "False/TokenRevoked", ready: "False/TokenRevoked", stalled: "True/TokenRevoked", remembers: 1}
	ownerGone   = outcome{active: "False/OwnerGone", ready: "False/OwnerGone", stalled: "True/OwnerGone", delivered: true}
	unissued    = outcome{active: "False/Issuing", ready: "False/IssuingFailed"}
	reverted    = outcome{active: "True/Active", ready: "False/TokenRevoked", stalled: "True/TokenRevoked", valid: 1}
	revokedKept = outcome{active: "False/Revoked", ready: "True/Reconciled"}
	nothing     = outcome{}
	heldBack    = outcome{active: "False/Deleting", ready: "False/Deleting"}
	userMissing = outcome{active: "False/UserMissing", ready: "False/UserMissing", stalled: "True/UserMissing"}
	// holdersAgain remembers what the resource before it had.
	holdersAgain = outcome{active: "True/Active", ready: "True/Reconciled", valid: 1, remembers: 1}
	remembered   = outcome{remembers: 1}
)

var scenarios = []scenario{
	{"issuing", nop, create, active},
	{"issuing while suspended", nop, createSuspended, suspended},
	{"issuing to recipients", nop, createForRecipients, holders},
	{"taking a holder's token", nop, createHolders, holders},
	{"a holder's record lost", issuedHolders, loseIt, holders},
	{"pending found", stoppedIssuing(3), nop, active},
	{"pending found, recipients asked for", then(stoppedIssuing(3), toRecipients), nop, holders},
	{"pending found too late", stoppedIssuing(3), expire, outcome{active: "False/Expired", ready: "True/Reconciled"}},
	{"name taken", nop, createUnderTakenName, active},
	{"quota", quota, create, unissued},
	{"pending found, and quota", then(stoppedIssuing(3), quota), nop, unissued},
	{"delivery over", issued, pass(time.Hour), holders},
	{"delivery over, its Secret another's", deliveryReplaced, pass(time.Hour), holders},
	{"expiry", issuedForShort, pass(30 * time.Minute), expired},
	{"expiry and delivery over", issued, pass(91 * 24 * time.Hour), expired},
	{"expiry of a recipient's", settled(createForRecipients), pass(91 * 24 * time.Hour), expired},
	{"expiry of a holder's", issuedHolders, pass(24 * time.Hour), expired},
	{"suspension", issued, suspend, suspended},
	{"audiences", issued, audiences, active},
	{"rotation", issued, rotate, active},
	{"rotation, with an overlap", issued, overlap(rotate), two(active)},
	{"a predecessor's time is over", settled(issued, overlap(rotate)), pass(24 * time.Hour), holders},
	{"rotation of what has expired", settled(issued, pass(91*24*time.Hour)), rotate, active},
	{"rotating found", then(issued, stoppedRotating(2)), nop, active},
	{"rotating found, and quota", then(issued, stoppedRotating(2), quota), nop, outcome{active: "True/Active", ready: "False/IssuingFailed", valid: 1, delivered: true}},
	{"rotation, from a Secret to recipients", issued, then(toRecipients, rotate), holders},
	{"rotation to recipients, with an overlap", settled(createForRecipients), overlap(rotate), two(holders)},
	{"automatic rotation", settled(createForRecipients, everyDays), pass(30 * 24 * time.Hour), holders},
	{"rotation of a holder's", issuedHolders, anotherHolders, holders},
	{"rotation of a holder's, with an overlap", issuedHolders, overlap(anotherHolders), two(holders)},
	{"a holder's replaced, then back in Git", settled(issuedHolders, anotherHolders), revert, reverted},
	{"a holder's replaced, back in Git within the overlap", settled(issuedHolders, overlap(anotherHolders)), revert, two(reverted)},
	{"deletion of a holder's that was replaced", settled(issuedHolders, anotherHolders), remove, outcome{remembers: 2}},
	{"revocation", issued, revokeCurrent, revokedKept},
	{"revocation within an overlap", settled(issued, overlap(rotate)), revokeCurrent, revokedKept},
	{"revocation of a predecessor", settled(issued, overlap(rotate)), revokePrevious, active},
	{"revocation of a holder's", issuedHolders, revokeCurrent, revokedKept},
	{"revocation of a recipient's", settled(createForRecipients), revokeCurrent, revokedKept},
	{"revocation while it is rotated", then(issued, stoppedRotating(2)), revokeCurrent, active},
	{"rotation of what was revoked", settled(issued, revokeCurrent), anew, active},
	{"deletion of a holder's that was revoked", settled(issuedHolders, revokeCurrent), remove, remembered},
	{"deletion after a revocation within an overlap", settled(issued, overlap(rotate), revokeCurrent), remove, nothing},
	{"a predecessor retires on first use", settled(issued, onFirstUse(overlap(rotate))), use, active},
	{"owner gone", issuedToAccount, accountGone, ownerGone},
	{"deletion", issued, remove, nothing},
	{"deletion of a recipient's", settled(createForRecipients), remove, nothing},
	{"deletion while issuing", stoppedIssuing(3), remove, nothing},
	{"deletion held back", issuedHeldBack, remove, heldBack},
	{"deletion of a holder's", issuedHolders, remove, remembered},
	{"tombstone's end", tombstone, pass(24 * time.Hour), nothing},
	{"made again", issued, then(remove, create), active},
	{"made again, a holder's", issuedHolders, then(remove, createHolders), revoked},
	{"made again, for recipients", issued, then(remove, createForRecipients), holders},
	{"made again, another holder's", issuedHolders, then(remove, createOthers), holdersAgain},
	{"made again, of nobody", issued, then(remove, createOfNobody), userMissing},
	{"made again, a holder's, of nobody", issuedHolders, then(remove, createOfNobody), outcome{userMissing.active, userMissing.ready, userMissing.stalled, 0, false, 1}},
	{"made again while issuing", stoppedIssuing(3), then(remove, create), active},
	{"made again and again, then the first holder's", settled(issuedHolders, remove, createOthers), then(remove, createHolders), outcome{revoked.active, revoked.ready, revoked.stalled, 0, false, 2}},
	{"made again, a holder's, after its tombstone", tombstone, createHolders, revoked},
}

func nop(*world) {}

func then(steps ...func(*world)) func(*world) {
	return func(w *world) {
		for _, step := range steps {
			step(w)
		}
	}
}

func settled(steps ...func(*world)) func(*world) {
	return then(then(steps...), func(w *world) { w.comeToRest(w.operator) })
}

func pass(d time.Duration) func(*world) { return func(w *world) { w.advance(d + time.Second) } }

func create(w *world) { w.create(thePAT) }

func createSuspended(w *world) {
	w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true })
}

func createForRecipients(w *world) { w.create(thePAT, forRecipients) }

func toRecipients(w *world) { w.change(thePAT, forRecipients) }

func forRecipients(p *v1alpha1.PersonalAccessToken) {
	p.Spec.Delivery = &v1alpha1.Delivery{Recipients: []string{theVendor().Recipient().String()}}
}

// two is an outcome where the predecessor is valid, too.
func two(o outcome) outcome {
	o.valid = 2
	return o
}

// succeeds remembers the valid tokens, which are about to get a successor.
func succeeds(w *world) { _, _, w.old = w.look() }

func rotate(w *world) {
	succeeds(w)
	w.trigger("2")
}

func rotateAgain(w *world) { w.trigger("3") }

func (w *world) trigger(word string) {
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) {
		if p.Spec.Rotation == nil {
			p.Spec.Rotation = &v1alpha1.Rotation{}
		}
		p.Spec.Rotation.Trigger = word
	})
}

// overlap has a day of it with what follows.
func overlap(step func(*world)) func(*world) {
	return func(w *world) {
		w.overlap = true
		w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation = &v1alpha1.Rotation{OverlapSeconds: 24 * 3600} })
		step(w)
	}
}

func everyDays(w *world) {
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.Rotation = &v1alpha1.Rotation{EveryDays: ptr.To[int32](30)}
	})
	w.comeToRest(w.operator)
	w.forget()
	succeeds(w)
}

// anotherHolders puts another token of the holder's into spec, with a longer life than the first.
func anotherHolders(w *world) {
	succeeds(w)
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	w.plaintexts = append(w.plaintexts, plaintext)
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.Token.ID, p.Spec.Token.SHA256 = id, token.NewDigest(w.namespace, thePAT, plaintext).Hex()
		p.Spec.ExpiresAt = &metav1.Time{Time: w.holdersEnd.Add(24 * time.Hour)}
	})
}

// revert puts the first token of the holder's back into spec.
func revert(w *world) {
	id, err := token.Parse(w.plaintexts[0])
	if err != nil {
		w.t.Fatal(err)
	}
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.Token.ID, p.Spec.Token.SHA256 = id, token.NewDigest(w.namespace, thePAT, w.plaintexts[0]).Hex()
	})
}

// stoppedRotating is an operator that was killed before this write of a rotation.
func stoppedRotating(n int) func(*world) {
	return func(w *world) {
		rotate(w)
		w.restart()
		w.api.cutOff(n, false)
		if _, err := w.reconcile(thePAT); err == nil {
			w.t.Fatal("nothing was cut off")
		}
	}
}

func createOfNobody(w *world) {
	w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.User = nil })
}

// createHolders creates a resource with a token that its holder made: the same one each time in a world.
func createHolders(w *world) { w.createTheir(0) }

// createOthers does so with another token, the same one each time too.
func createOthers(w *world) { w.createTheir(1) }

func (w *world) createTheir(n int) {
	for len(w.plaintexts) <= n {
		_, plaintext, err := token.New(rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		w.plaintexts = append(w.plaintexts, plaintext)
		w.holdersEnd = w.clock.Now().Add(24 * time.Hour).Truncate(time.Second)
	}
	plaintext := w.plaintexts[n]
	id, err := token.Parse(plaintext)
	if err != nil {
		w.t.Fatal(err)
	}
	w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.ExpiresAt = &metav1.Time{Time: w.holdersEnd}
		p.Spec.Token = &v1alpha1.HolderToken{
			ID: id, SHA256: token.NewDigest(w.namespace, thePAT, plaintext).Hex(), BoundTo: w.namespace + "/" + thePAT,
		}
	})
}

// createUnderTakenName creates a resource whose first delivery Secret would have the name of a foreign Secret.
func createUnderTakenName(w *world) {
	first := bytes.Repeat([]byte{7}, 42)
	id, _, err := token.New(bytes.NewReader(first))
	if err != nil {
		w.t.Fatal(err)
	}
	w.putTheirs(record.DeliverySecretName(id), corev1.SecretTypeOpaque)
	w.Random = io.MultiReader(bytes.NewReader(first), rand.Reader)
	w.create(thePAT)
}

func (w *world) putTheirs(name string, kind corev1.SecretType) {
	w.t.Helper()
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Type: kind, StringData: map[string]string{"password": "theirs"},
	}
	if err := admin.Create(w.ctx, s); err != nil {
		w.t.Fatal(err)
	}
	w.theirs = map[string]string{name: s.ResourceVersion}
}

var (
	issued         = settled(create)
	issuedHolders  = settled(createHolders)
	tombstone      = settled(issuedHolders, remove)
	issuedForShort = settled(func(w *world) {
		w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(30 * time.Minute)}
		})
	})
	issuedHeldBack = settled(func(w *world) {
		w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Finalizers = []string{"example.com/hold"} })
	})
	holdBack = func(w *world) {
		w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Finalizers = []string{"example.com/hold"} })
	}
	issuedToAccount = settled(func(w *world) {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: theAccount}}
		if err := admin.Create(w.ctx, account); err != nil {
			w.t.Fatal(err)
		}
		w.account = true
		w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.User = &v1alpha1.UserInfo{Username: "system:serviceaccount:" + w.namespace + ":" + theAccount, UID: string(account.UID)}
		})
	})
)

// stoppedIssuing is an operator that was killed before this write of issuing.
func stoppedIssuing(n int) func(*world) {
	return func(w *world) {
		w.create(thePAT, func(p *v1alpha1.PersonalAccessToken) {
			p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(3 * time.Hour)}
		})
		w.api.cutOff(n, false)
		if _, err := w.reconcile(thePAT); err == nil {
			w.t.Fatal("nothing was cut off")
		}
	}
}

// deliveryReplaced: the holder has taken the delivery Secret away, and put one of his own in its place.
func deliveryReplaced(w *world) {
	issued(w)
	for _, s := range w.deliveries() {
		if err := admin.Delete(w.ctx, &s); err != nil {
			w.t.Fatal(err)
		}
		w.putTheirs(s.Name, v1alpha1.SecretTypeToken)
	}
}

// quota lets no Secret be created in the namespace.
func quota(w *world) {
	none := corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("0")}
	q := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "none"}, Spec: corev1.ResourceQuotaSpec{Hard: none},
	}
	if err := admin.Create(w.ctx, q); err != nil {
		w.t.Fatal(err)
	}
	// What its controller would write.
	q.Status = corev1.ResourceQuotaStatus{Hard: none, Used: none}
	if err := admin.Status().Update(w.ctx, q); err != nil {
		w.t.Fatal(err)
	}
	var err error
	env.Eventually(w.t, env.Patience, func() bool {
		probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "probe"}}
		err = admin.Create(w.ctx, probe, client.DryRunAll)
		return apierrors.IsForbidden(err)
	}, func() string { return fmt.Sprintf("the quota does not hold: %v", err) })
}

func suspend(w *world) {
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true })
}

func audiences(w *world) {
	w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"vault"} })
}

func expire(w *world) { w.advance(3*time.Hour + time.Second) }

// remove deletes the resource; its valid tokens have ended from then on.
func remove(w *world) {
	_, _, valid := w.look()
	w.delete(thePAT)
	w.forget()
	w.old = nil
	for _, plaintext := range valid {
		w.end(plaintext)
	}
}

func loseIt(w *world) {
	pat := w.get(thePAT)
	w.loseRecord(pat)
	w.forget()
	w.awaitCache(record.SecretName(pat.Namespace, pat.Name))
}

func accountGone(w *world) {
	if err := admin.Delete(w.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: theAccount}}); err != nil {
		w.t.Fatal(err)
	}
}
