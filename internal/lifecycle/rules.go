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

package lifecycle

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/recipients"
	"github.com/pat-operator/pat-operator/internal/record"
)

// recordUnreadable leaves a record alone that this program cannot or must not read.
func recordUnreadable(in Input) *Decision {
	if in.RecordErr == nil {
		return nil
	}
	ways := fmt.Sprintf("make a new token under another name, or have an administrator delete the Secret %s in the records namespace and then delete this resource and apply it again.",
		record.SecretName(in.Resource.Namespace, in.Resource.Name))
	if errors.Is(in.RecordErr, record.ErrTooNew) {
		return stalled(v1alpha1.ReasonRecordTooNew,
			"A newer version of the operator wrote the record of this token. The record was not modified. Upgrade this operator; else "+ways)
	}
	return stalled(v1alpha1.ReasonRecordInvalid, fmt.Sprintf(
		"The record of this token is inconsistent (%v) and was not modified. Find out who wrote to the records namespace; then %s", in.RecordErr, ways))
}

// userUnfit refuses a user whom no token may carry, and one that is not whom the token was issued to.
func userUnfit(in Input) *Decision {
	user := in.Resource.Spec.User
	if user == nil {
		return stalled(v1alpha1.ReasonUserMissing,
			"spec.user is missing, so the admission webhook was not asked; restore the webhook configuration, then delete this resource and apply it again.")
	}
	if errs := identity.Check(field.NewPath("spec", "user"), user); len(errs) > 0 {
		return stalled(v1alpha1.ReasonUserRefused, errs.ToAggregate().Error())
	}
	if in.Record != nil && in.Record.Granted != nil && !identity.Equal(user, &in.Record.User) {
		return stalled(v1alpha1.ReasonUserChanged, fmt.Sprintf(
			"spec.user differs from the user this token was issued to (%s), so it does not work; put the user back, or make a new PersonalAccessToken.", in.Record.User.Username))
	}
	return nil
}

// ownerGone refuses the token of a service account that is gone, or has only the name of the one that it was made for.
func ownerGone(in Input) *Decision {
	user := in.Resource.Spec.User
	account, ok := identity.ServiceAccount(user.Username)
	switch {
	case !ok:
		return nil
	case user.UID == "":
		return stalled(v1alpha1.ReasonUserMissing,
			"spec.user.uid is missing, so the admission webhook was not asked; restore the webhook configuration, then delete this resource and apply it again.")
	case string(in.Owner.UID) == user.UID:
		return nil
	}
	return stalled(v1alpha1.ReasonOwnerGone, fmt.Sprintf(
		"Service account %s was deleted or re-created, so its token does not work; delete this resource, and apply it again for the present account.", account))
}

// ended tells of a token that has ended for good.
func ended(in Input) *Decision {
	if in.Record == nil || in.Record.Current == nil {
		return nil
	}
	if in.Record.EndOf(in.Record.Current.ID) == nil || successor(in) {
		return nil
	}
	return &Decision{Action: Nothing, State: &State{Active: activity(in), Ready: reconciled}}
}

// expire writes an expiry down, and issues nothing if the end comes first.
func expire(in Input) *Decision {
	var current *record.Token
	if in.Record != nil {
		current = in.Record.Current
	}
	if current != nil && in.Record.EndOf(current.ID) != nil {
		return nil // Written down, and a successor is asked for.
	}
	var end time.Time
	if current != nil {
		end = EffectiveEnd(&in.Resource.Spec, current)
	} else {
		end = End(&in.Resource.Spec, in.Now)
	}
	switch {
	case in.Now.Before(end):
		return nil
	case !in.ClockProven:
		return &Decision{Action: Nothing, After: waitForClock}
	case current == nil:
		return expired(fmt.Sprintf("spec.expiresAt (%s) has passed, so no token is issued; set a later one.", Stamp(end)))
	}
	next := in.Record.DeepCopy()
	dropPending(next, in.Now)
	next.Remove(next.Current, in.Now.Add(RemovalWindow))
	next.Current.RetiresAt = &end
	prune(next, in.Now)
	next.End(next.Current, record.EndedExpired)
	return &Decision{Action: Write, Reason: writeExpired, Next: next}
}

var recipientsPath = field.NewPath("spec", "delivery", "recipients")

// lost notes that the record of a token is gone, so that no second one is issued whatever becomes of status. A status that
// speaks of a token older than its resource was restored with it, and nothing is lost.
func lost(in Input) *Decision {
	status, created := &in.Resource.Status, &in.Resource.CreationTimestamp
	if in.Record != nil || status.TokenID == "" || status.IssuedAt == nil || status.IssuedAt.Before(created) || in.Resource.Spec.Token != nil {
		return nil
	}
	return &Decision{Action: Write, Reason: writeRefused, Next: Refuse(in, record.RefusedRecordLost)}
}

// unissued issues the first token, or says why not.
func unissued(in Input) *Decision {
	if in.Record != nil && in.Record.Current != nil {
		return nil
	}
	return issue(in)
}

// issue issues a token as spec asks, or says why not.
func issue(in Input) *Decision {
	spec := &in.Resource.Spec
	now := in.Now.Truncate(time.Second)
	if life := End(spec, now).Sub(now); life > in.Config.MaxLifetime {
		return stalled(v1alpha1.ReasonLifetimeTooLong, fmt.Sprintf(
			"The token would live longer than this operator allows (%d days); set a lesser spec.expiresInDays or an earlier spec.expiresAt.", int(in.Config.MaxLifetime/v1alpha1.Day)))
	}
	if d := notAllowed(in, now); d != nil {
		return d
	}
	if spec.Token != nil {
		return adopt(in, now)
	}
	switch delivery := record.DeliveryOf(spec); {
	case delivery.Secret != nil && !in.Config.SecretDelivery:
		return stalled(v1alpha1.ReasonDeliveryDisabled,
			"Delivery in a Secret is switched off on this operator; set spec.delivery.recipients, or make the token on your own machine and set spec.token.")
	case len(delivery.Recipients) > 0:
		if errs := recipients.Check(recipientsPath, delivery.Recipients); len(errs) > 0 {
			return stalled(v1alpha1.ReasonRecipientsRefused, errs.ToAggregate().Error())
		}
	}
	if !in.ClockProven {
		return &Decision{Action: Nothing, After: waitForClock, State: issuing("Waiting for the operator's clock to be proven against the API server's.")}
	}
	return &Decision{Action: Issue, State: issuing("The token is being issued.")}
}

// adopt takes the digest of a token that its holder made.
func adopt(in Input, now time.Time) *Decision {
	spec := &in.Resource.Spec
	if here := in.Resource.Namespace + "/" + in.Resource.Name; spec.Token.BoundTo != here {
		return stalled(v1alpha1.ReasonBindingMismatch, fmt.Sprintf(
			"spec.token.boundTo is %q and this resource is %q, so the token could never match; make a new token for %s.", spec.Token.BoundTo, here, here))
	}
	replaced := in.Record != nil && in.Record.Current != nil && in.Record.Knows(spec.Token.ID)
	known := in.Record != nil && in.Record.Knows(spec.Token.ID) || in.former != nil && in.former.Knows(spec.Token.ID)
	switch {
	case namesRevoked(in, spec.Token.ID):
		return stalled(v1alpha1.ReasonTokenRevoked, fmt.Sprintf(
			"Token %s was revoked, as status.revoked says, and stays revoked; make a new token and put its id and digest into spec.token.", spec.Token.ID))
	case replaced && in.Record.Previous != nil && in.Record.Previous.ID == spec.Token.ID:
		return stalled(v1alpha1.ReasonTokenRevoked, fmt.Sprintf(
			"Token %s was replaced by %s: it works until %s, the end of the overlap, and never again; make a new token and put its id and digest into spec.token.",
			spec.Token.ID, in.Record.Current.ID, Stamp(*previousEnd(in))))
	case replaced:
		return stalled(v1alpha1.ReasonTokenRevoked, fmt.Sprintf(
			"Token %s was replaced by another, %s, and stays ended; make a new token and put its id and digest into spec.token.", spec.Token.ID, in.Record.Current.ID))
	case known:
		return stalled(v1alpha1.ReasonTokenRevoked, fmt.Sprintf(
			"Token %s was revoked under this name before, and stays revoked; make a new token and put its id and digest into spec.token.", spec.Token.ID))
	case HistoryFull(in):
		return &Decision{Action: Write, Reason: writeRefused, Next: Refuse(in, record.RefusedNoRoom)}
	case !in.ClockProven:
		return &Decision{Action: Nothing, After: waitForClock, State: issuing("Waiting for the operator's clock to be proven against the API server's.")}
	}
	next := Base(in, now)
	dropPending(next, in.Now)
	reason := WriteAdopted
	switch {
	case next.Current != nil:
		reason = WriteRotated
		next.AuthorizedAt = now
	case in.Resource.Status.TokenID != "":
		reason = WriteRestored
	}
	succeed(next, spec, &record.Token{
		ID: spec.Token.ID, Digest: spec.Token.SHA256, Source: record.SourceHolder, Trigger: TriggerOf(spec, in.Record),
		IssuedAt: now, ExpiresAt: spec.ExpiresAt.Time,
	}, in.Now)
	return &Decision{Action: Write, Reason: reason, Next: next}
}

// shortened writes down a shorter life, so that no later spec gives it back.
func shortened(in Input) *Decision {
	if in.Record == nil || in.Record.Current == nil {
		return nil
	}
	spec, next := &in.Resource.Spec, in.Record.DeepCopy()
	changed := false
	for _, t := range []*record.Token{next.Current, next.Previous} {
		if t == nil || next.EndOf(t.ID) != nil {
			continue
		}
		if end := End(spec, t.IssuedAt); end.Before(t.EndsAt()) {
			t.RetiresAt, changed = &end, true
		}
	}
	if !changed {
		return nil
	}
	return &Decision{Action: Write, Reason: writeShortened, Next: next}
}

// active reports the state of a token that was issued and has not ended.
func active(in Input) *Decision {
	state := &State{Active: activity(in), Ready: reconciled}
	if c := specMismatch(in); c != nil {
		state.Ready = *c
		stalled := *c
		stalled.Status = true
		state.Stalled = &stalled
	}
	return &Decision{Action: Nothing, State: state}
}

// specMismatch is the condition of a spec that asks for another token than the current one, but in no way that makes one.
func specMismatch(in Input) *Condition {
	spec, t := &in.Resource.Spec, in.Record.Current
	switch holder := spec.Token; {
	case holder == nil && t.Source == record.SourceHolder:
		return &Condition{Reason: v1alpha1.ReasonRotationNeeded, Message: "spec.token was removed, and spec asks for no other token; put it back, or set a new spec.rotation.trigger for one that the operator makes."}
	case holder != nil && t.Source != record.SourceHolder:
		return &Condition{Reason: v1alpha1.ReasonBindingMismatch, Message: fmt.Sprintf(
			"spec.token names token %s, which the operator made; take spec.token away, or make a new token: it has another id.", t.ID)}
	case holder != nil && holder.SHA256 != t.Digest:
		return &Condition{Reason: v1alpha1.ReasonBindingMismatch, Message: fmt.Sprintf(
			"spec.token.sha256 differs from the digest that token %s was registered with, and the token keeps working; put it back, or make a new token: it has another id.", t.ID)}
	}
	return nil
}

// expiringSoon warns that the current token's end is near: by the shortest warning whose time has come.
func expiringSoon(in Input) *Condition {
	var within time.Duration
	end := currentEnd(in)
	for _, w := range warnings(in) {
		if !in.Now.Before(end.Add(-w)) && (within == 0 || w < within) {
			within = w
		}
	}
	if within == 0 {
		return nil
	}
	return &Condition{Status: true, Reason: v1alpha1.ReasonExpiringSoon, Message: fmt.Sprintf(
		"Token %s expires at %s, in less than %s; %s.", in.Record.Current.ID, Stamp(end), duration.HumanDuration(within), again(in))}
}

// warnings are how long before its end the current token is warned of. It leaves out tokens that are rotated automatically
// before policies or anything else stops them, and warnings that would show from the token's first day.
func warnings(in Input) []time.Duration {
	t := in.Record.Current
	if due, ok := rotationDue(in); ok && in.Now.Before(due) && due.Before(currentEnd(in)) || in.Record.EndOf(t.ID) != nil {
		return nil
	}
	var out []time.Duration
	for _, w := range in.Config.ExpiryWarnings {
		if w < currentEnd(in).Sub(t.IssuedAt) {
			out = append(out, w)
		}
	}
	return out
}

func issuing(message string) *State {
	c := Condition{Reason: v1alpha1.ReasonIssuing, Message: message}
	return &State{Active: c, Ready: c}
}

var reconciled = Condition{Status: true, Reason: v1alpha1.ReasonReconciled, Message: "The operator has done what spec asks."}

// expired is a state that may sit in Git quietly: Ready, not Active.
func expired(message string) *Decision {
	return &Decision{Action: Nothing, State: &State{Active: Condition{Reason: v1alpha1.ReasonExpired, Message: message}, Ready: reconciled}}
}

// stalled is a state that only a change by the user ends.
func stalled(reason, message string) *Decision {
	c := Condition{Reason: reason, Message: message}
	s := c
	s.Status = true
	return &Decision{Action: Nothing, State: &State{Active: c, Ready: c, Stalled: &s}}
}

// Stamp is how messages write a moment: RFC 3339, in UTC.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
