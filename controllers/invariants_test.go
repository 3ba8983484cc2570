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
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/env"
)

// ledger is what has been seen of a world, and what of it must not have been.
type ledger struct {
	// watched: every write is followed by a look at what it has led to.
	watched bool
	// names are those of every resource there ever was, by UID.
	names map[types.UID]string
	// plaintexts are all that were ever in the cluster or with a holder.
	plaintexts []string
	// holdersEnd is when the one that a holder made expires.
	holdersEnd time.Time
	// old are the plaintexts that were valid when a rotation was requested: one of them, or its successor, always is.
	old []string
	// overlap: a predecessor may be valid alongside its successor.
	overlap bool
	// over are plaintexts that have ended for good.
	over map[string]bool
	// theirs are the resourceVersions of foreign Secrets, by name.
	theirs map[string]string
	// account: there is, or was, a service account that a token is for.
	account bool
	// known is what the API server holds, read again when it may have changed.
	known map[types.NamespacedName]client.Object
	// held is a request that has not arrived yet.
	held *late
	// broken is what must not have been.
	broken []string
}

// late is a request that arrives after a number of others, or when its world is at rest.
type late struct {
	call
	api *process
	// after counts down to the write that it arrives before; 0 waits for the rest.
	after int
}

func (w *world) violated(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// sending is told of each write that is about to reach the API server.
func (w *world) sending() {
	if w.held == nil || w.held.after == 0 {
		return
	}
	if w.held.after--; w.held.after == 0 {
		w.deliverLate()
	}
}

func (w *world) deliverLate() {
	if l := w.held; l != nil {
		w.held = nil
		_ = l.api.send(l.call)
	}
}

// sent is told of each write that has reached the API server.
func (w *world) sent(c call, err error) {
	if !w.watched {
		return
	}
	if c.secret == nil {
		w.awaitShown(w.key(thePAT), &v1alpha1.PersonalAccessToken{})
		return // Status, which grants nothing.
	}
	if plaintext := c.secret.StringData[v1alpha1.SecretKeyToken]; err == nil && plaintext != "" {
		w.plaintexts = append(w.plaintexts, plaintext)
	}
	if err == nil && c.secret.Type == record.SecretType {
		if rec, err := record.FromSecret(c.secret); err == nil && rec.Ciphertext != "" && !slices.Contains(w.plaintexts, w.open(rec.Ciphertext)) {
			w.plaintexts = append(w.plaintexts, w.open(rec.Ciphertext))
		}
	}
	if err == nil {
		w.known[client.ObjectKeyFromObject(c.secret)] = c.holds()
	}
	if c.secret.Namespace == recordsNamespace {
		w.awaitCache(c.secret.Name)
	}
	w.step(c.what)
}

// forget has everything read again: it was changed by others than the operator.
func (w *world) forget() {
	w.known = map[types.NamespacedName]client.Object{}
	w.awaitCaches(thePAT)
}

// fetch is what the API server holds under a key, nil where that is nothing.
func fetch[T client.Object](w *world, key types.NamespacedName, o T) (T, bool) {
	w.t.Helper()
	known, ok := w.known[key]
	if !ok {
		if err := admin.Get(w.ctx, key, o); err == nil {
			known = o
		} else if !apierrors.IsNotFound(err) {
			w.t.Fatal(err)
		}
		w.known[key] = known
	}
	found, ok := known.(T)
	return found, ok
}

// awaitCache waits until the cache shows a record as the API server has it, so that the next step is deterministic.
func (w *world) awaitCache(name string) {
	w.t.Helper()
	key := types.NamespacedName{Namespace: recordsNamespace, Name: name}
	seen, version := &corev1.Secret{}, ""
	if live, ok := fetch(w, key, &corev1.Secret{}); ok {
		version = live.ResourceVersion
	}
	env.Eventually(w.t, env.Patience, func() bool {
		if err := cached.Get(w.ctx, key, seen); client.IgnoreNotFound(err) != nil {
			w.t.Fatal(err)
		} else if apierrors.IsNotFound(err) {
			seen.ResourceVersion = ""
		}
		return seen.ResourceVersion == version
	}, func() string { return "the cache does not show " + name })
}

// look asks the verifier which plaintexts are valid, given what the API server holds now.
func (w *world) look() (pat *v1alpha1.PersonalAccessToken, rec *record.Record, valid []string) {
	w.t.Helper()
	index := verifier.NewIndex(logr.Discard())
	index.SetAPIAudiences([]string{"api"})
	pat, ok := fetch(w, w.key(thePAT), &v1alpha1.PersonalAccessToken{})
	if ok {
		index.SetResource(pat)
	}
	if secret, ok := fetch(w, recordKey(w.key(thePAT)), &corev1.Secret{}); ok {
		index.SetRecord(secret)
		var err error
		if rec, err = record.FromSecret(secret); err != nil {
			w.violated("the record is inconsistent: %v", err)
		}
	}
	if w.account {
		if account, ok := fetch(w, w.key(theAccount), &corev1.ServiceAccount{}); ok {
			index.SetServiceAccount(account.Namespace, account.Name, account.UID)
		}
	}
	index.MarkSynced()
	for _, plaintext := range w.plaintexts {
		switch got := index.Verify(plaintext, []string{"api", "vault"}, w.clock.Now()); {
		case got.Verdict == verifier.Authenticated:
			valid = append(valid, plaintext)
		case got.Verdict == verifier.Refused && got.Reason != verifier.ReasonAudience:
			w.end(plaintext)
		}
	}
	return pat, rec, valid
}

func (w *world) end(plaintext string) {
	if w.over == nil {
		w.over = map[string]bool{}
	}
	w.over[plaintext] = true
}

// step checks what must be so at every moment.
func (w *world) step(what string) {
	w.t.Helper()
	pat, rec, valid := w.look()
	fresh := 0
	for _, plaintext := range valid {
		if !slices.Contains(w.old, plaintext) {
			fresh++
		}
	}
	if len(valid) > 1 && !w.overlap || fresh > 1 || len(valid) > 2 {
		w.violated("after %s: %d plaintexts are valid, %d of them new", what, len(valid), fresh)
	}
	if len(w.old) > 0 && len(valid) == 0 {
		w.violated("after %s: neither the token nor its successor is valid", what)
	}
	for _, plaintext := range w.old {
		if !slices.Contains(valid, plaintext) {
			w.end(plaintext)
		}
	}
	for _, plaintext := range valid {
		if w.over[plaintext] {
			w.violated("after %s: a token that was over is valid again", what)
		}
	}
	if pat != nil && pat.DeletionTimestamp.IsZero() && rec != nil && rec.Of(pat) {
		w.onlyCopy(what, pat, rec)
	}
}

// onlyCopy checks that a delivery Secret whose time is not over exists, and holds the valid token.
func (w *world) onlyCopy(what string, pat *v1alpha1.PersonalAccessToken, rec *record.Record) {
	w.t.Helper()
	t := rec.Current
	if t == nil || rec.EndOf(t.ID) != nil {
		return
	}
	if rec.Ciphertext != "" && token.NewDigest(pat.Namespace, pat.Name, w.open(rec.Ciphertext)).Hex() != t.Digest {
		w.violated("after %s: the ciphertext is not of the current token", what)
	}
	until, ok := t.DeliverUntil()
	name := record.DeliverySecretName(t.ID)
	if _, theirs := w.theirs[name]; !ok || theirs || !w.clock.Now().Before(until) || !w.clock.Now().Before(lifecycle.EffectiveEnd(&pat.Spec, t)) {
		return
	}
	secret, ok := fetch(w, w.key(name), &corev1.Secret{})
	if !ok {
		w.violated("after %s: the only copy of the current token is gone", what)
	} else if token.NewDigest(pat.Namespace, pat.Name, string(secret.Data[v1alpha1.SecretKeyToken])).Hex() != t.Digest {
		w.violated("after %s: the delivery Secret does not hold the current token", what)
	}
}

// outcome is what is to be once an operator is at rest.
type outcome struct {
	// active, ready, stalled are the conditions; none where the resource is gone.
	active, ready, stalled string
	// valid is how many plaintexts are valid; delivered, whether the current token's Secret exists.
	valid     int
	delivered bool
	// remembers is how many ids of resources that had the name before must not come back.
	remembers int
}

// atRest checks what must be so once an operator has nothing to do, by what the API server holds now. With garbage,
// Kubernetes' garbage collector may have had something to do.
func (w *world) atRest(want outcome, garbage bool) {
	w.t.Helper()
	w.forget()
	w.step("all")
	pat, rec, valid := w.look()
	if len(valid) != want.valid {
		w.violated("%d plaintexts are valid; want %d", len(valid), want.valid)
	}
	var own *record.Record
	remembers := 0
	if rec != nil {
		switch {
		case pat != nil && pat.DeletionTimestamp.IsZero() && rec.Of(pat):
			own = rec
		case !rec.Tombstone():
			w.violated("%v has no resource", rec)
		}
		if rec.Pending != nil || len(rec.Removals) > 0 {
			w.violated("%v: pending %v, removals %v", rec, rec.Pending, rec.Removals)
		}
		for _, e := range rec.Ended {
			if e.Reason == record.EndedDeleted {
				remembers++
			}
		}
	}
	if remembers != want.remembers {
		w.violated("%d ids are remembered; want %d", remembers, want.remembers)
	}
	w.secretsAtRest(pat, own, want.delivered, garbage)
	switch {
	case pat == nil && want.active != "":
		w.violated("the resource is gone")
	case pat == nil:
	case pat.DeletionTimestamp.IsZero():
		w.statusAtRest(pat, own, want)
	case conditionOf(pat, "Active") != want.active || conditionOf(pat, "Ready") != want.ready:
		w.violated("Active, Ready are %q, %q; want %q, %q", conditionOf(pat, "Active"), conditionOf(pat, "Ready"), want.active, want.ready)
	}
}

// secretsAtRest checks that the namespace holds only the current token's Secret and foreign ones, and that nobody has
// touched the foreign ones.
func (w *world) secretsAtRest(pat *v1alpha1.PersonalAccessToken, own *record.Record, delivered, garbage bool) {
	w.t.Helper()
	current := ""
	if own != nil && own.Current != nil {
		current = record.DeliverySecretName(own.Current.ID)
	}
	var all corev1.SecretList
	if err := admin.List(w.ctx, &all, client.InNamespace(w.namespace)); err != nil {
		w.t.Fatal(err)
	}
	theirs, found := 0, false
	for _, s := range all.Items {
		version, isTheirs := w.theirs[s.Name]
		switch {
		case isTheirs && s.ResourceVersion == version:
			theirs++
		case !isTheirs && s.Name == current:
			found = true
		case garbage && len(s.OwnerReferences) == 1 && (pat == nil || s.OwnerReferences[0].UID != pat.UID):
		default:
			w.violated("Secret %s is left behind", s.Name)
		}
	}
	if theirs != len(w.theirs) || found != delivered {
		w.violated("of %d Secrets of others there are %d; the current token's is there: %v, want %v", len(w.theirs), theirs, found, delivered)
	}
}

// statusAtRest checks that status says what the record does.
func (w *world) statusAtRest(pat *v1alpha1.PersonalAccessToken, own *record.Record, want outcome) {
	w.t.Helper()
	got := []string{conditionOf(pat, "Active"), conditionOf(pat, "Ready"), conditionOf(pat, "Stalled")}
	if conditions := []string{want.active, want.ready, want.stalled}; !slices.Equal(got, conditions) {
		w.violated("Active, Ready, Stalled are %q; want %q", got, conditions)
	}
	s := &pat.Status
	reported := []string{
		s.TokenID, s.PreviousTokenID, s.DeliverySecretName, stampOf(s.IssuedAt), stampOf(s.ExpiresAt), s.EncryptedToken,
		stampOf(s.PreviousTokenExpiresAt),
	}
	says := make([]string, len(reported))
	if own != nil && own.Current != nil {
		t := own.Current
		says = []string{t.ID, "", "", stampOf(&metav1.Time{Time: t.IssuedAt}), stampOf(&metav1.Time{Time: lifecycle.EffectiveEnd(&pat.Spec, t)}), own.Ciphertext, ""}
		if _, ok := t.DeliverUntil(); ok {
			says[2] = record.DeliverySecretName(t.ID)
		}
	}
	if own != nil && own.Previous != nil {
		says[1], says[6] = own.Previous.ID, stampOf(&metav1.Time{Time: lifecycle.EffectiveEnd(&pat.Spec, own.Previous)})
	}
	if !slices.Equal(reported, says) || s.ObservedGeneration != pat.Generation {
		w.violated("status says %s of generation %d; want %s of %d", strings.Join(reported, " "), s.ObservedGeneration, strings.Join(says, " "), pat.Generation)
	}
}

// theVendor is whom tokens are encrypted to.
var theVendor = sync.OnceValue(func() *age.X25519Identity {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return identity
})

// open is what a recipient reads.
func (w *world) open(ciphertext string) string {
	w.t.Helper()
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(ciphertext)), theVendor())
	if err != nil {
		w.t.Fatal(err)
	}
	plaintext, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(plaintext)
}

func stampOf(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
