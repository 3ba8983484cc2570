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

// Package record is the only truth that verification trusts: what was issued, to whom, and what has ended.
//
// There is one record for each namespace and name, kept as one JSON payload in a Secret of the records namespace, so that
// every step is one atomic update under its resourceVersion, the one from a resource to the next of its name included. A
// record that is inconsistent is refused, never repaired.
package record

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Version is the highest payload version that this code reads and writes. A new field raises it. A record is written in the
// lowest version that can express it, so that a rollback of the operator ends only the tokens that need the newer one.
const Version = 2

// MaxEnded is how many ended ids a record remembers. At 32 bytes each they fit into a Secret many times over.
const MaxEnded = 2048

// Source says who made a token.
type Source string

// Sources of a token.
const (
	// SourceOperator: the operator made the token and delivered it.
	SourceOperator Source = "operator"
	// SourceHolder: the holder made it; only id and digest were ever in the cluster.
	SourceHolder Source = "holder"
)

// Record is what was issued for a resource, and what of it and of those that had its name before must not come back.
type Record struct {
	V        int      `json:"v"`
	Resource Resource `json:"resource"`
	// User is whose authority the tokens carry; empty where nothing is granted.
	User v1alpha1.UserInfo `json:"user"`
	// Granted is spec as the guards of admission last judged it, and as spec has narrowed it since, without user and
	// displayName. Everything that is carried out comes from it. Nil: no wish of this resource was ever granted.
	Granted *v1alpha1.PersonalAccessTokenSpec `json:"granted,omitempty"`
	// Refused is why nothing more is granted until spec asks for no more than Granted.
	Refused Refusal `json:"refused,omitempty"`
	// MissingSince is when a list first lacked the resource although nothing says that it was deleted.
	MissingSince *time.Time `json:"missingSince,omitempty"`
	// Current is the valid token, or the last one that was.
	Current *Token `json:"current,omitempty"`
	// Pending is being issued; it is never valid, and a later reconcile that finds it gives it up.
	Pending *Token `json:"pending,omitempty"`
	// Previous is the token that current has replaced; it stays valid for the overlap.
	Previous *Token `json:"previous,omitempty"`
	// AuthorizedAt is when the guards last judged a wish for a token; zero where nothing is granted.
	AuthorizedAt time.Time `json:"authorizedAt,omitzero"`
	// Ciphertext is the age file that status.encryptedToken mirrors: the current token, for its recipients.
	Ciphertext string `json:"ciphertext,omitempty"`
	// Ended are ids that must not come back under this name; Deleted are those of resources that had it before.
	Ended []Ended `json:"ended,omitempty"`
	// Removals are delivery Secrets that are to go.
	Removals []Removal `json:"removals,omitempty"`
}

// Refusal is why a wish is never carried out, though it is still in spec.
type Refusal string

// Reasons of a refusal.
const (
	// RefusedNotJudged: the wish was made while the guards of admission were not in force.
	RefusedNotJudged Refusal = "NotJudged"
	// RefusedNoRoom: the list of ended ids, of the record or the namespace, had no room for another holder's token.
	RefusedNoRoom Refusal = "NoRoom"
	// RefusedRecordLost: a token had been issued, and its record was gone.
	RefusedRecordLost Refusal = "RecordLost"
)

// Resource names the PersonalAccessToken that the record belongs to; without a UID the record is a tombstone.
type Resource struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid,omitempty"`
}

// Token is one token of a record.
type Token struct {
	ID string `json:"id"`
	// Digest is 64 lower-case hex digits; erased once the id has ended.
	Digest string `json:"digest,omitempty"`
	Source Source `json:"source"`
	// Trigger is spec.rotation.trigger when the token was issued.
	Trigger   string    `json:"trigger,omitempty"`
	Delivery  *Delivery `json:"delivery,omitempty"`
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	// RetiresAt is when a token ends before ExpiresAt: it was shortened, or makes way for its successor.
	RetiresAt *time.Time `json:"retiresAt,omitempty"`
}

// EndsAt is when a token ends by the record alone.
func (t *Token) EndsAt() time.Time {
	if t.RetiresAt != nil && t.RetiresAt.Before(t.ExpiresAt) {
		return *t.RetiresAt
	}
	return t.ExpiresAt
}

// Delivery says how a token that the operator made reaches its holder.
type Delivery struct {
	Secret     *SecretDelivery `json:"secret,omitempty"`
	Recipients []string        `json:"recipients,omitempty"`
}

// SecretDelivery is a delivery Secret and its time.
type SecretDelivery struct {
	TTLSeconds int32 `json:"ttlSeconds"`
	// UID is the Secret's, known once its creation was confirmed.
	UID types.UID `json:"uid,omitempty"`
	// Removed: its time to live had passed and it was deleted.
	Removed bool `json:"removed,omitempty"`
}

// Removal is a delivery Secret that is deleted again and again until until; with a uid, once.
type Removal struct {
	Secret string    `json:"secret"`
	UID    types.UID `json:"uid,omitempty"`
	Until  time.Time `json:"until"`
}

// New is the record of a resource whose spec is granted.
func New(pat *v1alpha1.PersonalAccessToken, now time.Time) *Record {
	r := Empty(pat)
	r.Grant(&pat.Spec)
	r.AuthorizedAt = now
	return r
}

// Empty is the record of a resource of which nothing is granted.
func Empty(pat *v1alpha1.PersonalAccessToken) *Record {
	return &Record{V: 1, Resource: Resource{Namespace: pat.Namespace, Name: pat.Name, UID: pat.UID}}
}

// Grant notes that the guards have judged a spec. Its user stays the first one that was granted.
func (r *Record) Grant(spec *v1alpha1.PersonalAccessTokenSpec) {
	if r.Granted == nil {
		r.User = *spec.User.DeepCopy()
	}
	granted := *spec
	granted.User, granted.DisplayName = nil, ""
	r.Granted, r.Refused = granted.DeepCopy(), ""
}

// lowestVersion is the first payload version that can express the record.
func (r *Record) lowestVersion() int {
	if r.Granted != nil && (len(r.Granted.From) > 0 || slices.ContainsFunc(r.Granted.Scopes, func(s v1alpha1.Scope) bool {
		return s.API != "" || len(s.Namespaces) > 0
	})) {
		return 2
	}
	return 1
}

// Of reports whether the record belongs to this resource and not to another of its name.
func (r *Record) Of(pat *v1alpha1.PersonalAccessToken) bool {
	return r.Resource == Resource{Namespace: pat.Namespace, Name: pat.Name, UID: pat.UID}
}

// EndOf returns why and until when an id has ended, or nil.
func (r *Record) EndOf(id string) *Ended {
	for i := range r.Ended {
		if r.Ended[i].ID == id {
			return &r.Ended[i]
		}
	}
	return nil
}

// Knows reports whether an id is, or ever was, a token of this record.
func (r *Record) Knows(id string) bool {
	for _, t := range []*Token{r.Current, r.Pending, r.Previous} {
		if t != nil && t.ID == id {
			return true
		}
	}
	return r.EndOf(id) != nil
}

// Remembers is how many ids the record remembers as ended, or will once its tokens end: those that holders made.
func (r *Record) Remembers() int {
	n := len(r.Ended)
	for _, t := range []*Token{r.Current, r.Previous} {
		if t != nil && t.Source == SourceHolder && r.EndOf(t.ID) == nil {
			n++
		}
	}
	return n
}

// Tombstone reports whether the record belongs to no resource, and only remembers the ended tokens of its name.
func (r *Record) Tombstone() bool { return r.Resource.UID == "" }

// End notes that the id of a token has ended and erases its digest, and with the current one's what delivers it.
func (r *Record) End(t *Token, reason string) {
	t.Digest = ""
	if t == r.Current {
		r.Ciphertext = ""
	}
	if r.EndOf(t.ID) == nil {
		r.Ended = append(r.Ended, Ended{ID: t.ID, Reason: reason, Until: t.ExpiresAt})
	}
}

// Remove puts the delivery Secret of a token, if it may still be there, on the removal list.
func (r *Record) Remove(t *Token, until time.Time) {
	if t.Delivery == nil || t.Delivery.Secret == nil || t.Delivery.Secret.Removed {
		return
	}
	t.Delivery.Secret.Removed = true
	r.Removals = append(r.Removals, Removal{Secret: DeliverySecretName(t.ID), UID: t.Delivery.Secret.UID, Until: until})
}

// DeliverySecretName is the name of the Secret that delivers the token with this id.
func DeliverySecretName(id string) string { return "pat-" + id }

// DeliverUntil is when the delivery Secret of a token is due for removal; ok is false if the token has none (any more).
func (t *Token) DeliverUntil() (until time.Time, ok bool) {
	if t.Delivery == nil || t.Delivery.Secret == nil || t.Delivery.Secret.Removed {
		return time.Time{}, false
	}
	return t.IssuedAt.Add(time.Duration(t.Delivery.Secret.TTLSeconds) * time.Second), true
}

// DeepCopy returns a record that shares nothing with this one.
func (r *Record) DeepCopy() *Record {
	out := *r
	out.User = *r.User.DeepCopy()
	out.Granted = r.Granted.DeepCopy()
	if r.MissingSince != nil {
		at := *r.MissingSince
		out.MissingSince = &at
	}
	out.Current, out.Pending, out.Previous = r.Current.deepCopy(), r.Pending.deepCopy(), r.Previous.deepCopy()
	out.Ended = slices.Clone(r.Ended)
	out.Removals = slices.Clone(r.Removals)
	return &out
}

func (t *Token) deepCopy() *Token {
	if t == nil {
		return nil
	}
	out := *t
	if t.RetiresAt != nil {
		at := *t.RetiresAt
		out.RetiresAt = &at
	}
	if t.Delivery != nil {
		d := *t.Delivery
		if t.Delivery.Secret != nil {
			s := *t.Delivery.Secret
			d.Secret = &s
		}
		d.Recipients = slices.Clone(t.Delivery.Recipients)
		out.Delivery = &d
	}
	return &out
}

// Format keeps digests out of logs and errors.
func (r *Record) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "record of %s/%s (%s)", r.Resource.Namespace, r.Resource.Name, r.Resource.UID)
}

// Format keeps digests out of logs and errors.
func (t *Token) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "token %s", t.ID) }
