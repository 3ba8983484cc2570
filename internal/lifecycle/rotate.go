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
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// roomForEnds is kept free in what a record remembers as ended: for the ends of its current and previous token, one that is
// revoked before it is taken, and one more where a token of the operator's follows them, of the next resource too.
const roomForEnds = 4

// successor reports whether spec asks for another token than the current one: by another spec.token, a new trigger, or
// because spec.rotation.everyDays have passed. A successor that would end at once does not count.
func successor(in Input) bool {
	if in.Record == nil || in.Record.Current == nil || !in.Now.Before(End(&in.Resource.Spec, in.Now)) {
		return false
	}
	t := in.Record.Current
	if holder := in.Resource.Spec.Token; holder != nil {
		return holder.ID != t.ID
	}
	due, ok := rotationDue(in)
	return TriggerOf(&in.Resource.Spec, in.Record) != t.Trigger || ok && !in.Now.Before(due)
}

// TriggerOf is the trigger that a token issued now goes with: an empty one asks for nothing, so the last one goes on.
func TriggerOf(spec *v1alpha1.PersonalAccessTokenSpec, rec *record.Record) string {
	switch {
	case spec.Rotation != nil && spec.Rotation.Trigger != "":
		return spec.Rotation.Trigger
	case rec != nil && rec.Current != nil:
		return rec.Current.Trigger
	}
	return ""
}

// rotationDue is when the current token is due for automatic rotation: only with recipients, never once it has ended, and
// not beyond MaxLifetime after a user last asked for a token.
func rotationDue(in Input) (due time.Time, ok bool) {
	spec, rec := &in.Resource.Spec, in.Record
	if spec.Rotation == nil || spec.Rotation.EveryDays == nil || spec.Token != nil || len(record.DeliveryOf(spec).Recipients) == 0 {
		return time.Time{}, false
	}
	t := rec.Current
	due = t.IssuedAt.Add(time.Duration(*spec.Rotation.EveryDays) * v1alpha1.Day)
	ok = rec.EndOf(t.ID) == nil && due.Before(EffectiveEnd(spec, t)) && in.Now.Before(EffectiveEnd(spec, t)) &&
		due.Before(rec.AuthorizedAt.Add(in.Config.MaxLifetime)) && in.Now.Before(rec.AuthorizedAt.Add(in.Config.MaxLifetime))
	return due, ok
}

// Renews reports whether the current token of a record is rotated automatically before it ends, by what is granted.
func Renews(rec *record.Record, maxLifetime time.Duration) bool {
	if rec.Granted == nil || rec.Current == nil {
		return false
	}
	_, ok := rotationDue(Input{
		Resource: &v1alpha1.PersonalAccessToken{Spec: *rec.Granted}, Record: rec, Now: rec.Current.IssuedAt, Config: Config{MaxLifetime: maxLifetime},
	})
	return ok
}

// rotating issues a successor, or says why not; the current token goes on meanwhile.
func rotating(in Input) *Decision {
	if !successor(in) {
		return nil
	}
	d := issue(in)
	if d.State == nil {
		return d
	}
	d.State.Active = activity(in)
	if d.State.Ready.Reason == v1alpha1.ReasonIssuing {
		d.State.Ready = Condition{Reason: v1alpha1.ReasonRotating, Message: "A successor of the token is being issued."}
	}
	return d
}

// HistoryFull reports whether another holder's token finds no room among the ids that have to be remembered: under its name, or
// in its namespace. The rotation of a token that was taken already may use a tenth more than its namespace has.
func HistoryFull(in Input) bool {
	next := Base(in, in.Now)
	ends := next.Current != nil
	succeed(next, &in.Resource.Spec, &record.Token{}, in.Now)
	return full(next) || in.namespaceFull(ends)
}

// namespaceFull reports whether the namespace remembers as many ids as it may: a tenth more for what ends a token.
func (in Input) namespaceFull(ends bool) bool {
	limit := in.Config.MaxRemembered
	if ends {
		limit += limit / 10
	}
	return in.Remembered >= limit
}

// activity is the Active condition of the current token: whether it is valid, and what to do about it.
func activity(in Input) Condition {
	spec, t := &in.Resource.Spec, in.Record.Current
	end := EffectiveEnd(spec, t)
	switch e := in.Record.EndOf(t.ID); {
	case e != nil && e.Reason != record.EndedExpired:
		return Condition{Reason: v1alpha1.ReasonRevoked, Message: fmt.Sprintf("Token %s was revoked; %s.", t.ID, again(in))}
	case e != nil, !in.Now.Before(end):
		return Condition{Reason: v1alpha1.ReasonExpired, Message: fmt.Sprintf("Token %s expired at %s; %s.", t.ID, Stamp(end), again(in))}
	case stopped(in) != nil:
		return *stopped(in)
	case spec.Suspend:
		return Condition{Reason: v1alpha1.ReasonSuspended, Message: fmt.Sprintf("Token %s is suspended; set spec.suspend to false to resume it.", t.ID)}
	}
	predecessor := ""
	if until := previousEnd(in); until != nil && in.Now.Before(*until) {
		predecessor = fmt.Sprintf(", and so does its predecessor %s until %s", in.Record.Previous.ID, Stamp(*until))
		if retiresOnFirstUse(spec) {
			predecessor += ", or until the new one is first used"
		}
	}
	networks := ""
	if len(spec.From) > 0 {
		networks = fmt.Sprintf(" It works only through the proxy and only from %s; the API server's webhook refuses it.", strings.Join(spec.From, ", "))
	}
	return Condition{Status: true, Reason: v1alpha1.ReasonActive, Message: fmt.Sprintf(
		"Token %s authenticates as %s until %s%s; delete this resource to revoke it.%s", t.ID, in.Record.User.Username, Stamp(currentEnd(in)), predecessor, networks+narrowed(in))}
}

// again is how one gets another token, of a life that policies allow.
func again(in Input) string {
	spec := &in.Resource.Spec
	how := "set a new spec.rotation.trigger for a new one"
	if spec.Token != nil {
		how = "put a new one into spec.token"
	}
	latest, by := in.Policies.Limits.End(in.Now)
	switch {
	case spec.ExpiresAt != nil && by != nil:
		how += fmt.Sprintf(", and set spec.expiresAt to at most %s ahead", days(*by.Spec.MaxLifetimeDays))
	case spec.ExpiresAt != nil:
		how += ", with a later spec.expiresAt"
	case by != nil && End(spec, in.Now).After(latest):
		how += fmt.Sprintf(", and set spec.expiresInDays to %d or less", *by.Spec.MaxLifetimeDays)
	}
	return how
}

func days(n int32) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// succeed makes t the current token of a record. Its predecessor goes on as the previous one for the overlap that spec asks
// for, never past its own end; what was previous before that ends.
func succeed(rec *record.Record, spec *v1alpha1.PersonalAccessTokenSpec, t *record.Token, now time.Time) {
	prune(rec, now)
	was := rec.Current
	forget(rec, rec.Previous)
	rec.Previous, rec.Current, rec.Ciphertext = nil, t, ""
	if was == nil {
		return
	}
	rec.Remove(was, now.Add(RemovalWindow))
	retires := now
	if spec.Rotation != nil {
		retires = now.Add(time.Duration(spec.Rotation.OverlapSeconds) * time.Second)
	}
	if rec.EndOf(was.ID) == nil && now.Before(retires) && now.Before(EffectiveEnd(spec, was)) {
		if retires.Before(was.EndsAt()) {
			was.RetiresAt = &retires
		}
		rec.Previous = was
		return
	}
	forget(rec, was)
}

// prune forgets ends that have passed, except the current token's, which status reports.
func prune(rec *record.Record, now time.Time) {
	rec.Ended = slices.DeleteFunc(rec.Ended, func(e record.Ended) bool {
		return !now.Before(e.Until) && (rec.Current == nil || e.ID != rec.Current.ID)
	})
}

// forget ends a token that has left the record. A holder's id stays remembered, so that no old manifest revives it; one
// that the operator made is in no manifest.
func forget(rec *record.Record, t *record.Token) {
	switch {
	case t == nil:
	case t.Source == record.SourceHolder:
		rec.End(t, record.EndedReplaced)
	default:
		rec.Ended = slices.DeleteFunc(rec.Ended, func(e record.Ended) bool { return e.ID == t.ID })
	}
}

// previousOver returns the record without a previous token whose time is over, or whose successor is in use.
func previousOver(in Input) *record.Record {
	p := in.Record.Previous
	if p == nil || !successorUsed(in) && (in.Now.Before(EffectiveEnd(&in.Resource.Spec, p)) || !in.ClockProven) {
		return nil
	}
	next := in.Record.DeepCopy()
	if in.ClockProven {
		prune(next, in.Now)
	}
	forget(next, next.Previous)
	next.Previous = nil
	return next
}

// successorUsed reports whether a predecessor has to end because the current token has been used. The times in status
// belong to the current token only if status names it.
func successorUsed(in Input) bool {
	status := &in.Resource.Status
	id := in.Record.Current.ID
	return retiresOnFirstUse(&in.Resource.Spec) &&
		(status.FirstUsedAt != nil && status.TokenID == id || slices.Contains(in.Used, id))
}

func retiresOnFirstUse(spec *v1alpha1.PersonalAccessTokenSpec) bool {
	return spec.Rotation != nil && spec.Rotation.RetireOnFirstUse
}
