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

// Package lifecycle decides what happens next to a token, and why. It is pure: it reads no clock, calls no API and writes
// nothing. The controller executes its decisions.
package lifecycle

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	// RemovalWindow is for how long the operator repeats the deletion of a delivery Secret whose creation was never confirmed.
	// It is longer than a leader's lease plus a request, since a paused leader may still create the Secret.
	RemovalWindow = 10 * time.Minute

	// waitForClock is how soon to look again while the clock is not proven.
	waitForClock = 10 * time.Second
	// MissingFor is how long a resource must be missing from lists before its absence alone ends its tokens.
	MissingFor = time.Hour
	// missingForAll replaces MissingFor while the breaker is open.
	missingForAll = 7 * 24 * time.Hour
	// waitForBreaker is how soon to look again while too many resources are missing.
	waitForBreaker = 10 * time.Minute
)

// Config is what the operator's flags say.
type Config struct {
	// MaxLifetime is the longest life of a token.
	MaxLifetime time.Duration
	// SecretDelivery reports whether tokens may be delivered in Secrets.
	SecretDelivery bool
	// ExpiryWarnings are how long before a token's end ExpiringSoon warns.
	ExpiryWarnings []time.Duration
	// MaxRemembered bounds the ended ids that a namespace remembers, those that its tokens will leave included. At the bound no
	// more holder-made tokens are accepted.
	MaxRemembered int
}

// Input is everything that a decision depends on.
type Input struct {
	// Resource is the live resource, nil if it was not found. It is read after Record.
	Resource *v1alpha1.PersonalAccessToken
	// Deleted is the UID of a resource of this name whose deletion a watch has reported.
	Deleted types.UID
	// Listed reports that Resource is nil and a consistent list proves its absence.
	Listed bool
	// BreakerOpen reports that too many resources are missing for any of them to count as deleted.
	BreakerOpen bool
	// Record is the live record under the resource's name, nil if none exists. It may belong to a former resource.
	Record *record.Record
	// RecordErr is why an existing record cannot be read.
	RecordErr error
	// Owner is the present service account that spec.user names.
	Owner Owner
	// Guards is why wishes cannot be granted now; nil if the guards of admission, read after Resource, are the accepted ones.
	Guards error
	// Revoked and Used are ids that status has named as revoked, or as used, whether or not it still does.
	Revoked, Used []string
	// Remembered is how many ended ids the resource's namespace remembers, those that its tokens will leave included.
	Remembered int
	// Now is the time. ClockProven reports whether it was just compared with the API server's clock.
	Now         time.Time
	ClockProven bool
	Config      Config
	// Policies are what TokenPolicies ask.
	Policies Policies

	// former is Record if it belongs to a former resource of this name; the rules then see no record.
	former *record.Record
	// wishes are the fields by which spec asks for more than was granted; grants reports that the next write grants them.
	wishes []string
	grants bool
	// ungranted reports that nothing is granted, nor will be now.
	ungranted bool
}

// Owner is the service account that a token belongs to; zero if spec.user is a person, or the account does not exist.
type Owner struct {
	UID types.UID
}

// Action is what to do to the record.
type Action string

const (
	// Nothing leaves the record unchanged.
	Nothing Action = "Nothing"
	// Issue makes a token and delivers it as spec asks.
	Issue Action = "Issue"
	// Write creates the record, or updates it, to be Decision.Next.
	Write Action = "Write"
	// Delete deletes the record, after its delivery Secrets.
	Delete Action = "Delete"
)

// Reasons of a decision to write or delete.
const (
	WriteAdopted         = "Adopted"
	WriteRestored        = "Restored"
	writeExpired         = "Expired"
	WriteDeliveryOver    = "DeliveryOver"
	writePendingDropped  = "PendingDropped"
	writeNarrowed        = "Narrowed"
	writeGranted         = "Granted"
	writeRefused         = "Refused"
	writeMissing         = "Missing"
	writeFound           = "Found"
	writeShortened       = "Shortened"
	WriteRotated         = "Rotated"
	WriteRetired         = "Retired"
	WriteRevoked         = "Revoked"
	WriteTombstone       = "Tombstone"
	deleteResourceGone   = "ResourceGone"
	deleteTombstoneEnded = "TombstoneEnded"
)

// Decision is what to do next and why.
type Decision struct {
	Action Action
	Reason string
	// Next is the new record; set with Write.
	Next *record.Record
	// Base is the record that receives the token, and Spec what the token is issued for; set with Issue.
	Base *record.Record
	Spec *v1alpha1.PersonalAccessTokenSpec
	// State is the content of status; nil leaves status unchanged.
	State *State
	// After is when to look again, 0 for never.
	After time.Duration
}

// State is the content of the conditions.
type State struct {
	Active, Ready Condition
	// Stalled is nil unless only a change by the user helps.
	Stalled *Condition
	// ExpiringSoon is nil unless the end of a valid token is near.
	ExpiringSoon *Condition
	// PolicyEnd is when TokenPolicies stop the current token; nil where they do not.
	PolicyEnd *time.Time
	// PreviousEnd is when the predecessor stops; nil without one.
	PreviousEnd *time.Time
}

// WithReady is a state that says the same of the tokens, and of the attempt to issue one what ready says.
func (s *State) WithReady(ready Condition) *State {
	out := *s
	out.Ready, out.Stalled = ready, nil
	return &out
}

// Condition is the content of one condition.
type Condition struct {
	Status          bool
	Reason, Message string
}

// Decide returns the next step for a resource and its record.
func Decide(in Input) Decision {
	if in.Resource == nil {
		return missing(in)
	}
	if !in.Resource.DeletionTimestamp.IsZero() {
		d := orphaned(in, in.Record)
		c := DeletingCondition(in.Resource)
		d.State = &State{Active: c, Ready: c}
		return d
	}
	in = own(in)
	if in.RecordErr == nil && in.Record != nil {
		if in.Record.MissingSince != nil {
			next := in.Record.DeepCopy()
			next.MissingSince = nil
			return Decision{Action: Write, Reason: writeFound, Next: next}
		}
		if next := persistNarrowing(in); next != nil {
			return Decision{Action: Write, Reason: writeNarrowed, Next: next}
		}
	}
	in = judged(in)
	if in.RecordErr == nil && in.Record != nil {
		if next := deliveryOver(in); next != nil {
			return Decision{Action: Write, Reason: WriteDeliveryOver, Next: next}
		}
		if next := previousOver(in); next != nil {
			return Decision{Action: Write, Reason: WriteRetired, Next: next}
		}
	}
	for _, rule := range rules {
		d := rule(in)
		if d == nil {
			continue
		}
		if d.Action == Nothing && in.Record != nil && in.Record.Pending != nil {
			// Its plaintext is lost, and no other token replaces it.
			next := in.Record.DeepCopy()
			dropPending(next, in.Now)
			return Decision{Action: Write, Reason: writePendingDropped, Next: next}
		}
		if d.Action == Nothing {
			d = answer(in, d)
		}
		if d.Action == Issue {
			d.Base, d.Spec = Base(in, in.Now.Truncate(time.Second)), &in.Resource.Spec
		}
		if d.State != nil {
			d.State.PolicyEnd, d.State.PreviousEnd = policyEnd(in), previousEnd(in)
			if d.State.Active.Status {
				d.State.ExpiringSoon = expiringSoon(in)
			}
		}
		if d.Action == Nothing {
			// The record of a former resource ends even if this resource writes none.
			end := orphaned(in, in.former)
			if end.Action != Nothing {
				return end
			}
			d.After = Sooner(Sooner(d.After, end.After), Wake(in))
			if in.Policies.Unknown != nil && HoldsToken(in.Record) {
				// Nobody knows whether it works: status stays as it was, until the policies are known.
				d.State, d.After = nil, Sooner(d.After, waitForPolicies)
			}
		}
		return *d
	}
	panic("lifecycle: no rule decided") // unreachable: the last rule always does
}

// rules are asked in order; the first decision counts.
var rules = []func(Input) *Decision{
	recordUnreadable,
	revoked,
	ended,
	expire,
	shortened,
	userUnfit,
	revokedUntaken,
	ownerGone,
	lost,
	unjudged,
	unissued,
	rotating,
	active,
}

// own separates the resource's record from a former resource's. Record was read before Resource, so a record with another UID
// belongs to a resource that no longer exists: one resource has a name at a time, and no UID returns.
func own(in Input) Input {
	if in.Record != nil && !in.Record.Of(in.Resource) {
		in.former, in.Record = in.Record, nil
	}
	return in
}

// Base is the record to extend: the resource's own, or a new one that remembers the ids that ended under its name. A write of
// it over a former resource's record ends that record in the same step.
func Base(in Input, now time.Time) *record.Record {
	in = own(in)
	next := record.Empty(in.Resource)
	switch {
	case in.Record != nil:
		next = in.Record.DeepCopy()
	case in.former != nil:
		next.Ended = tombstone(in.former).Ended
	}
	if in.grants {
		next.Grant(&in.Resource.Spec)
		if next.AuthorizedAt.IsZero() {
			next.AuthorizedAt = now
		}
	}
	return next
}

// missing decides for a record whose resource was not found. Only evidence ends its tokens: a watch reported the deletion, or
// lists have lacked the resource for MissingFor.
func missing(in Input) Decision {
	rec := in.Record
	if in.RecordErr != nil || rec == nil || rec.Tombstone() || rec.Resource.UID == in.Deleted {
		return orphaned(in, rec)
	}
	switch {
	case !in.Listed:
		return Decision{Action: Nothing}
	case !in.ClockProven:
		return Decision{Action: Nothing, After: waitForClock}
	case rec.MissingSince == nil:
		next := rec.DeepCopy()
		next.MissingSince = &in.Now
		return Decision{Action: Write, Reason: writeMissing, Next: next}
	}
	switch since := in.Now.Sub(*rec.MissingSince); {
	case since < MissingFor:
		return Decision{Action: Nothing, After: MissingFor - since}
	case in.BreakerOpen && since < missingForAll:
		return Decision{Action: Nothing, After: waitForBreaker}
	}
	return orphaned(in, rec)
}

// orphaned decides for a record whose resource is gone: deleted, being deleted, or of another UID.
func orphaned(in Input, rec *record.Record) Decision {
	if in.RecordErr != nil || rec == nil {
		return Decision{Action: Nothing}
	}
	var until time.Time
	for _, e := range tombstone(rec).Ended {
		if e.Until.After(until) {
			until = e.Until
		}
	}
	switch {
	case until.IsZero():
		return Decision{Action: Delete, Reason: deleteResourceGone}
	case !rec.Tombstone():
		return Decision{Action: Write, Reason: WriteTombstone, Next: tombstone(rec)}
	case in.Now.Before(until):
		return Decision{Action: Nothing, After: until.Sub(in.Now)}
	case !in.ClockProven:
		return Decision{Action: Nothing, After: waitForClock}
	}
	return Decision{Action: Delete, Reason: deleteTombstoneEnded}
}

// tombstone is what remains of a record without its resource: the ids of holder-made tokens, and no user.
func tombstone(rec *record.Record) *record.Record {
	next := rec.DeepCopy()
	for _, t := range []*record.Token{next.Current, next.Previous} {
		if t != nil && t.Source == record.SourceHolder {
			reason := record.EndedDeleted
			if e := next.EndOf(t.ID); e != nil {
				reason = e.Reason
			}
			next.End(t, reason)
		}
	}
	keep := next.Ended[:0]
	for _, e := range next.Ended {
		if operatorMade(rec, e.ID) {
			continue
		}
		e.Reason = record.EndedDeleted
		keep = append(keep, e)
	}
	return &record.Record{
		V: record.Version, Resource: record.Resource{Namespace: rec.Resource.Namespace, Name: rec.Resource.Name}, Ended: keep,
	}
}

func operatorMade(rec *record.Record, id string) bool {
	for _, t := range []*record.Token{rec.Current, rec.Previous} {
		if t != nil && t.ID == id {
			return t.Source == record.SourceOperator
		}
	}
	return false
}

// deliveryOver returns the record without a delivery Secret whose time to live has passed, else nil.
func deliveryOver(in Input) *record.Record {
	t := in.Record.Current
	if t == nil {
		return nil
	}
	if until, ok := t.DeliverUntil(); !ok || in.Now.Before(until) || !in.ClockProven {
		return nil
	}
	next := in.Record.DeepCopy()
	next.Remove(next.Current, in.Now.Add(RemovalWindow))
	return next
}

// dropPending puts the delivery Secret of a pending token on the removal list and forgets the token.
func dropPending(rec *record.Record, now time.Time) {
	if rec.Pending != nil {
		rec.Remove(rec.Pending, now.Add(RemovalWindow))
		rec.Pending = nil
	}
}

// Begin returns the record with a token that is being issued, in place of a former pending one.
func Begin(rec *record.Record, pending *record.Token, now time.Time) *record.Record {
	next := rec.DeepCopy()
	dropPending(next, now)
	next.Pending = pending
	return next
}

// Promote returns the record after the delivery Secret with this UID is confirmed: pending becomes current, current previous.
func Promote(rec *record.Record, spec *v1alpha1.PersonalAccessTokenSpec, secret *record.SecretDelivery, now time.Time) *record.Record {
	next := rec.DeepCopy()
	t := next.Pending
	next.Pending = nil
	t.Delivery.Secret = secret
	succeed(next, spec, t, now)
	return next
}

// Seal returns the record after a token was encrypted to its recipients. The token is current at once, in the same write as
// its ciphertext, so neither exists without the other.
func Seal(rec *record.Record, spec *v1alpha1.PersonalAccessTokenSpec, t *record.Token, ciphertext string, now time.Time) *record.Record {
	next := rec.DeepCopy()
	dropPending(next, now)
	succeed(next, spec, t, now)
	next.Ciphertext = ciphertext
	return next
}

// End is when a token that was issued at issuedAt ends by the present spec.
func End(spec *v1alpha1.PersonalAccessTokenSpec, issuedAt time.Time) time.Time {
	if spec.ExpiresAt != nil {
		return spec.ExpiresAt.Time
	}
	days := int32(v1alpha1.DefaultExpiresInDays)
	if spec.ExpiresInDays != nil {
		days = *spec.ExpiresInDays
	}
	return issuedAt.Add(time.Duration(days) * v1alpha1.Day)
}

// EffectiveEnd is when a token of the record ends: by record or spec, whichever is earlier.
func EffectiveEnd(spec *v1alpha1.PersonalAccessTokenSpec, t *record.Token) time.Time {
	if end := End(spec, t.IssuedAt); end.Before(t.EndsAt()) {
		return end
	}
	return t.EndsAt()
}

// StopsAt is when a token of the record stops: by record, spec or policies, whichever is earliest.
func StopsAt(spec *v1alpha1.PersonalAccessTokenSpec, t *record.Token, limits policy.Limits) time.Time {
	end := EffectiveEnd(spec, t)
	if by, p := limits.End(t.IssuedAt); p != nil && by.Before(end) {
		return by
	}
	return end
}

// Wake is how long it is until time alone requires a decision, 0 for never.
func Wake(in Input) time.Duration {
	var after time.Duration
	if in.Record == nil || in.Record.Current == nil {
		return 0
	}
	t := in.Record.Current
	if in.Record.EndOf(t.ID) == nil {
		after = until(in.Now, EffectiveEnd(&in.Resource.Spec, t))
	}
	if end := policyEnd(in); end != nil {
		after = Sooner(after, until(in.Now, *end))
	}
	for _, w := range warnings(in) {
		after = Sooner(after, until(in.Now, currentEnd(in).Add(-w)))
	}
	if end, ok := t.DeliverUntil(); ok {
		after = Sooner(after, until(in.Now, end))
	}
	if previous := in.Record.Previous; previous != nil {
		// Policies stop it in what status says; only at its own end does it leave the record.
		after = Sooner(after, until(in.Now, *previousEnd(in)))
		after = Sooner(after, until(in.Now, EffectiveEnd(&in.Resource.Spec, previous)))
	}
	if due, ok := rotationDue(in); ok {
		after = Sooner(after, until(in.Now, due))
	}
	if !in.ClockProven {
		after = Sooner(after, waitForClock)
	}
	return after
}

// until is how long it is until then; 0, which means never, if it has passed.
func until(now, then time.Time) time.Duration { return max(then.Sub(now), 0) }

// Sooner is the shorter of two waits, of which 0 means never.
func Sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
