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

// RotateOptions are what a rotation is to be. What is left out is as spec has it, or as the present token had it.
type RotateOptions struct {
	// Overlap is how many seconds the present token works beside the new one, at most until its own end.
	Overlap *int32
	// RetireOnFirstUse ends the present token as soon as the new one is first used. It takes an overlap.
	RetireOnFirstUse *bool
	// ExpiresIn is how long the new token lives, at most MaxLife; 0: as long as the present one had, or what spec says.
	ExpiresIn time.Duration
}

// ErrNoOverlap refuses RetireOnFirstUse without an overlap.
var ErrNoOverlap = errors.New("the present token can end at the first use of the new one only where both work for a while: name an overlap, or have it end at once")

// ErrRotated refuses to rotate what is not as it was when it was first read. The text can be followed by what to do then.
var ErrRotated = errors.New("nothing was done: somebody else has rotated it meanwhile, or has changed how its token is made; look at it")

// underWayError is an ErrRotated: spec asks for a token that is not issued yet, and its holder waits for it. Another rotation
// would keep that token from ever working.
type underWayError struct{}

func (underWayError) Error() string {
	return "nothing was done: another rotation of it is under way, whose token the operator has not issued yet; look at it"
}

func (underWayError) Is(target error) bool { return target == ErrRotated }

// EndError refuses a rotation whose token would have no time, or hardly any, before the end that spec names. What helps is
// RotateOptions.ExpiresIn; the text can be followed by how that is given.
type EndError struct {
	// ExpiresAt is spec.expiresAt.
	ExpiresAt metav1.Time
	// Passed: it has, so that there would be no token at all.
	Passed bool
}

// Error implements error.
func (e *EndError) Error() string {
	if e.Passed {
		return fmt.Sprintf("spec.expiresAt, %s, has passed, so no token would be made: say how long the new one lives", Stamp(&e.ExpiresAt))
	}
	return fmt.Sprintf("the new token would end soon, at %s, which spec.expiresAt names: say how long it lives", Stamp(&e.ExpiresAt))
}

// Rotation is one that is being asked for. Edit and Made are for a Change, and Over is for WaitFor afterwards.
type Rotation struct {
	RotateOptions
	Clock clock.PassiveClock
	// Random is what a token is made of.
	Random io.Reader
	// Was is the resource as it was first read.
	Was *v1alpha1.PersonalAccessToken

	// asked is the spec that asks for the new token, as last sent.
	asked     v1alpha1.PersonalAccessTokenSpec
	plaintext string
}

// Edit asks for another token: by one that is made here where its holder made the present one, else by a new trigger.
func (r *Rotation) Edit(pat *v1alpha1.PersonalAccessToken) error {
	switch {
	case !SameToken(&r.Was.Spec, &pat.Spec):
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
		pat.Spec.Rotation.Trigger = NewTrigger(now, pat.Spec.Rotation.Trigger)
		r.asked = *pat.Spec.DeepCopy()
		return nil
	}
	life := r.ExpiresIn
	if life == 0 {
		life = LifeOf(&pat.Status)
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

// Plaintext is the new token, where it was made here: after Edit, and of the last one.
func (r *Rotation) Plaintext() string { return r.plaintext }

// editRotation sets what was asked of the predecessor's end.
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

// editLife sets the end of a token that the operator makes, in the way that spec has, and refuses one that the new token
// would have no time before: an end that stands still.
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
	case pat.Status.IssuedAt != nil && spec.ExpiresAt.Sub(now) < LifeOf(&pat.Status)/10:
		return &EndError{ExpiresAt: *spec.ExpiresAt}
	}
	return nil
}

// endsOverlap tells whether days, which count from the issuing of the present token too, would end it before its overlap is
// over.
func (r *Rotation) endsOverlap(pat *v1alpha1.PersonalAccessToken, now time.Time, life time.Duration) bool {
	overlap := rotationOf(&pat.Spec).OverlapSeconds
	return overlap > 0 && pat.Status.IssuedAt != nil &&
		pat.Status.IssuedAt.Add(life).Before(now.Add(time.Duration(overlap)*time.Second))
}

// LifeOf is how long the present token had from its issuing to its end, to the minute: a token that was made here was
// issued some seconds later, and is not to lose them each time.
func LifeOf(status *v1alpha1.PersonalAccessTokenStatus) time.Duration {
	if status.IssuedAt == nil || status.ExpiresAt == nil || !status.ExpiresAt.After(status.IssuedAt.Time) {
		return v1alpha1.DefaultExpiresInDays * day
	}
	life := status.ExpiresAt.Sub(status.IssuedAt.Time)
	if life > time.Hour {
		life = life.Round(time.Minute)
	}
	return min(life, MaxLife)
}

// NewTrigger is one that people can read, and that was never one before.
func NewTrigger(now time.Time, present string) string {
	for {
		trigger := now.UTC().Format(time.RFC3339Nano)
		if trigger != present {
			return trigger
		}
		now = now.Add(time.Nanosecond)
	}
}

// SameToken tells whether two specs ask for the same token.
func SameToken(a, b *v1alpha1.PersonalAccessTokenSpec) bool {
	return equality.Semantic.DeepEqual(a.Token, b.Token) && equality.Semantic.DeepEqual(a.Delivery, b.Delivery) &&
		rotationOf(a).Trigger == rotationOf(b).Trigger
}

// Made tells whether a resource asks for the token that this rotation asks for.
func (r *Rotation) Made(pat *v1alpha1.PersonalAccessToken) bool {
	return SameToken(&r.asked, &pat.Spec)
}

// Issued tells whether status speaks of the new token.
func (r *Rotation) Issued(pat *v1alpha1.PersonalAccessToken) bool {
	if r.plaintext != "" {
		return pat.Status.TokenID == r.asked.Token.ID
	}
	return r.Made(pat) && pat.Status.TokenID != "" && pat.Status.TokenID != r.Was.Status.TokenID
}

// Over judges whether waiting for the new token is.
func (r *Rotation) Over(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	if !r.Made(pat) {
		return true, errors.New("somebody else has rotated it meanwhile, or Git has put the old spec back")
	}
	done, err = Outcome(pat)
	if done && err == nil && !r.Issued(pat) {
		return false, nil
	}
	return done, err
}

// Undone tells whether Git would undo what is changed for a token that the operator makes.
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

// Predecessor says what has become of the former token.
func (r *Rotation) Predecessor(pat *v1alpha1.PersonalAccessToken) string {
	end := r.PredecessorEnd(pat)
	if end.IsZero() {
		return "The former token works no longer."
	}
	text := "The former token works beside the new one until " + Stamp(&metav1.Time{Time: end})
	if rotationOf(&pat.Spec).RetireOnFirstUse {
		text += ", or until the new one is first used"
	}
	return text + "."
}

// PredecessorEnd is until when the former token works beside the new one at the latest; zero where it works no longer.
func (r *Rotation) PredecessorEnd(pat *v1alpha1.PersonalAccessToken) time.Time {
	was, status := &r.Was.Status, &pat.Status
	if status.PreviousTokenID != was.TokenID || status.IssuedAt == nil {
		return time.Time{}
	}
	end := status.IssuedAt.Add(time.Duration(rotationOf(&pat.Spec).OverlapSeconds) * time.Second)
	if own := was.ExpiresAt; own != nil && own.Time.Before(end) {
		end = own.Time
	}
	if was.IssuedAt != nil { // what spec says now holds for it, too
		if own := lifecycle.End(&pat.Spec, was.IssuedAt.Time); own.Before(end) {
			end = own
		}
	}
	return end
}
