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

package holder

import (
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// RotateOptions override what spec says about a rotation, or what the current token has.
type RotateOptions struct {
	// Overlap is how many seconds the current token keeps working, at most until its own end.
	Overlap *int32
	// RetireOnFirstUse ends the current token when the new one is first used. It needs an overlap.
	RetireOnFirstUse *bool
	// ExpiresIn is the lifetime of the new token, at most MaxLife; 0 takes the current token's, or what spec says.
	ExpiresIn time.Duration
}

// ErrNoOverlap refuses RetireOnFirstUse without an overlap.
var ErrNoOverlap = errors.New("only an overlap lets the old token work until the new one is first used: set an overlap, or end the old token at once")

// ErrRotated refuses to rotate a resource that has changed since it was first read. Callers can append the next step.
var ErrRotated = errors.New("nothing was changed: the token was rotated, or its delivery was changed, in the meantime; look at it")

// underWayError is an ErrRotated: spec asks for a token that is not issued yet. Another rotation would prevent that token from
// ever working.
type underWayError struct{}

func (underWayError) Error() string {
	return "nothing was changed: another rotation is in progress, and the operator has not issued its token yet; look at it"
}

func (underWayError) Is(target error) bool { return target == ErrRotated }

// EndError refuses a rotation whose token would expire at once or soon, because spec.expiresAt is fixed. RotateOptions.ExpiresIn
// helps; callers can append how to set it.
type EndError struct {
	// ExpiresAt is spec.expiresAt.
	ExpiresAt metav1.Time
	// Passed reports that ExpiresAt is in the past.
	Passed bool
}

// Error implements error.
func (e *EndError) Error() string {
	if e.Passed {
		return fmt.Sprintf("spec.expiresAt (%s) has passed, so no token would be issued: set the lifetime of the new token", Stamp(&e.ExpiresAt))
	}
	return fmt.Sprintf("the new token would expire soon, at %s (spec.expiresAt): set its lifetime", Stamp(&e.ExpiresAt))
}

// Rotation is a request for a new token. Edit and Made are for a Change, and Over is for WaitFor afterwards.
type Rotation struct {
	RotateOptions
	Clock clock.PassiveClock
	// Random is the source of tokens that are made here.
	Random io.Reader
	// Was is the resource as first read.
	Was *v1alpha1.PersonalAccessToken

	// asked is the spec that requests the new token, as last edited.
	asked     v1alpha1.PersonalAccessTokenSpec
	plaintext string
}

// Edit requests a new token. If the holder made the current one, Edit makes the new one; else it sets a new trigger.
func (r *Rotation) Edit(pat *v1alpha1.PersonalAccessToken) error {
	switch {
	case !sameToken(&r.Was.Spec, &pat.Spec):
		return ErrRotated
	case underWay(pat):
		return underWayError{}
	}
	if err := r.editRotation(&pat.Spec); err != nil {
		return err
	}
	now := r.Clock.Now()
	if pat.Spec.Token == nil {
		if err := r.editLife(pat, now); err != nil {
			return err
		}
		pat.Spec.Rotation = rotationOf(&pat.Spec)
		pat.Spec.Rotation.Trigger = newTrigger(now, pat.Spec.Rotation.Trigger)
		r.asked = *pat.Spec.DeepCopy()
		return nil
	}
	life := r.ExpiresIn
	if life == 0 {
		life = lifeOf(&pat.Status)
	}
	plaintext, err := MakeToken(pat, r.Random, EndAfter(now, life))
	if err != nil {
		return err
	}
	r.plaintext, r.asked = plaintext, *pat.Spec.DeepCopy()
	return nil
}

// underWay reports whether spec asks for another token than the one that was issued, and the operator is about to issue it.
func underWay(pat *v1alpha1.PersonalAccessToken) bool {
	if pat.Status.TokenID == "" || HasStatus(Condition(pat, v1alpha1.ConditionStalled), metav1.ConditionTrue) {
		return false
	}
	if pat.Spec.Token != nil {
		return pat.Spec.Token.ID != pat.Status.TokenID
	}
	ready := meta.FindStatusCondition(Conditions(pat), v1alpha1.ConditionReady)
	return ready != nil && (ready.ObservedGeneration < pat.Generation || ready.Reason == v1alpha1.ReasonRotating)
}

// Plaintext returns the new token if the last Edit made one, else "".
func (r *Rotation) Plaintext() string { return r.plaintext }

// editRotation writes Overlap and RetireOnFirstUse into spec.
func (r *Rotation) editRotation(spec *v1alpha1.PersonalAccessTokenSpec) error {
	is := rotationOf(spec)
	if r.Overlap != nil {
		is.OverlapSeconds = *r.Overlap
	}
	if r.RetireOnFirstUse != nil {
		is.RetireOnFirstUse = *r.RetireOnFirstUse
	}
	if is.RetireOnFirstUse && is.OverlapSeconds <= 0 {
		return ErrNoOverlap
	}
	if spec.Rotation != nil || *is != (v1alpha1.Rotation{}) {
		spec.Rotation = is
	}
	return nil
}

func rotationOf(spec *v1alpha1.PersonalAccessTokenSpec) *v1alpha1.Rotation {
	if spec.Rotation == nil {
		return &v1alpha1.Rotation{}
	}
	return spec.Rotation.DeepCopy()
}

// editLife sets the lifetime of a token that the operator makes, in days or as a date as in spec. It refuses a fixed end that
// leaves the new token little or no time.
func (r *Rotation) editLife(pat *v1alpha1.PersonalAccessToken, now time.Time) error {
	spec, life := &pat.Spec, r.ExpiresIn
	switch {
	case life > 0 && spec.ExpiresAt == nil && life%day == 0 && !r.endsOverlap(pat, now, life):
		days := int32(life / day) // #nosec G115 -- at most MaxLife
		spec.ExpiresInDays = &days
	case life > 0:
		end := EndAfter(now, life)
		spec.ExpiresInDays, spec.ExpiresAt = nil, &end
	case spec.ExpiresAt == nil:
	case !spec.ExpiresAt.After(now):
		return &EndError{ExpiresAt: *spec.ExpiresAt, Passed: true}
	case pat.Status.IssuedAt != nil && spec.ExpiresAt.Sub(now) < lifeOf(&pat.Status)/10:
		return &EndError{ExpiresAt: *spec.ExpiresAt}
	}
	return nil
}

// endsOverlap reports whether a lifetime in days, which applies to the current token too, would end that before its overlap
// ends, and before its own end.
func (r *Rotation) endsOverlap(pat *v1alpha1.PersonalAccessToken, now time.Time, life time.Duration) bool {
	overlap, status := rotationOf(&pat.Spec).OverlapSeconds, &pat.Status
	if overlap <= 0 || status.IssuedAt == nil {
		return false
	}
	end := status.IssuedAt.Add(life)
	return end.Before(now.Add(time.Duration(overlap)*time.Second)) && (status.ExpiresAt == nil || end.Before(status.ExpiresAt.Time))
}

// lifeOf returns the lifetime of the current token. It rounds to minutes: a token that was made here is issued some seconds
// later, and must not lose these seconds at each rotation.
func lifeOf(status *v1alpha1.PersonalAccessTokenStatus) time.Duration {
	if status.IssuedAt == nil || status.ExpiresAt == nil || !status.ExpiresAt.After(status.IssuedAt.Time) {
		return v1alpha1.DefaultExpiresInDays * day
	}
	life := status.ExpiresAt.Sub(status.IssuedAt.Time)
	if life > time.Hour {
		life = life.Round(time.Minute)
	}
	return min(life, MaxLife)
}

// newTrigger returns the time as a trigger that differs from the present one.
func newTrigger(now time.Time, present string) string {
	for {
		trigger := now.UTC().Format(time.RFC3339Nano)
		if trigger != present {
			return trigger
		}
		now = now.Add(time.Nanosecond)
	}
}

// sameToken reports whether two specs ask for the same token.
func sameToken(a, b *v1alpha1.PersonalAccessTokenSpec) bool {
	return equality.Semantic.DeepEqual(a.Token, b.Token) && equality.Semantic.DeepEqual(a.Delivery, b.Delivery) &&
		rotationOf(a).Trigger == rotationOf(b).Trigger
}

// Made reports whether pat asks for the token of this rotation.
func (r *Rotation) Made(pat *v1alpha1.PersonalAccessToken) bool {
	return sameToken(&r.asked, &pat.Spec)
}

// Issued reports whether status is about the new token.
func (r *Rotation) Issued(pat *v1alpha1.PersonalAccessToken) bool {
	if r.plaintext != "" {
		return pat.Status.TokenID == r.asked.Token.ID
	}
	return r.Made(pat) && pat.Status.TokenID != "" && pat.Status.TokenID != r.Was.Status.TokenID
}

// Over is a Judge: done when the operator has issued the new token or cannot.
func (r *Rotation) Over(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	if !r.Made(pat) {
		return true, errors.New("the token was rotated again, or Git restored the old spec")
	}
	done, err = outcome(pat)
	if done && err == nil && !r.Issued(pat) {
		return false, nil
	}
	return done, err
}

// Undone reports whether Git would revert the changes to spec, for a token that the operator makes.
func (r *Rotation) Undone() bool {
	was, is := &r.Was.Spec, &r.asked
	for _, field := range []struct {
		path    []string
		changed bool
	}{
		{[]string{"rotation", "trigger"}, true},
		{[]string{"rotation", "overlapSeconds"}, rotationOf(was).OverlapSeconds != rotationOf(is).OverlapSeconds},
		{[]string{"rotation", "retireOnFirstUse"}, rotationOf(was).RetireOnFirstUse != rotationOf(is).RetireOnFirstUse},
		{[]string{"expiresInDays"}, !equality.Semantic.DeepEqual(was.ExpiresInDays, is.ExpiresInDays)},
		{[]string{"expiresAt"}, !equality.Semantic.DeepEqual(was.ExpiresAt, is.ExpiresAt)},
	} {
		if field.changed && inGit(r.Was, field.path...) {
			return true
		}
	}
	return false
}

// Predecessor says when the old token ends, for people.
func (r *Rotation) Predecessor(pat *v1alpha1.PersonalAccessToken) string {
	end := r.PredecessorEnd(pat)
	if end.IsZero() {
		return "The old token no longer works."
	}
	text := "The old token keeps working until " + Stamp(&metav1.Time{Time: end})
	if rotationOf(&pat.Spec).RetireOnFirstUse {
		text += ", or until the new one is first used"
	}
	return text + "."
}

// PredecessorEnd returns when the old token ends at the latest; zero if it has ended.
func (r *Rotation) PredecessorEnd(pat *v1alpha1.PersonalAccessToken) time.Time {
	was, status := &r.Was.Status, &pat.Status
	if status.PreviousTokenID != was.TokenID || status.IssuedAt == nil {
		return time.Time{}
	}
	end := status.IssuedAt.Add(time.Duration(rotationOf(&pat.Spec).OverlapSeconds) * time.Second)
	if own := was.ExpiresAt; own != nil && own.Time.Before(end) {
		end = own.Time
	}
	if was.IssuedAt != nil { // the new spec applies to it, too
		if own := lifecycle.End(&pat.Spec, was.IssuedAt.Time); own.Before(end) {
			end = own
		}
	}
	if !end.After(status.IssuedAt.Time) {
		return time.Time{} // A TokenPolicy had stopped it before.
	}
	return end
}
