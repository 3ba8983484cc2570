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

package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// rotationFlags are what a rotation is to be.
type rotationFlags struct {
	overlap   overlap
	retire    bool
	expiresIn period
	given     *pflag.FlagSet
}

func (f *rotationFlags) bind(flags *pflag.FlagSet) {
	f.given = flags
	flags.Var(&f.overlap, "overlap", "how long the present token works beside the new one, at most until its own end: 24h, 7d, 0 (default: what spec says, else 0)")
	flags.BoolVar(&f.retire, "retire-on-first-use", false, "end the present token as soon as the new one is first used; takes an overlap (default: what spec says)")
	flags.Var(&f.expiresIn, "expires-in", "how long the new token lives: 90d, 12h, 1d12h (default: as long as the present one had, or what spec says)")
}

// overlap is a period that may be none, in seconds.
type overlap int32

// maxOverlap is the longest that the API knows.
const maxOverlap = 366 * day

// Set implements pflag.Value.
func (o *overlap) Set(s string) error {
	if s == "0" || s == "0s" {
		*o = 0
		return nil
	}
	d, err := parsePeriod(s)
	switch {
	case err != nil:
		return err
	case d > maxOverlap:
		return fmt.Errorf("an overlap is at most %dd", maxOverlap/day)
	}
	*o = overlap(d / time.Second) // #nosec G115 -- at most maxOverlap
	return nil
}

// String implements pflag.Value.
func (o *overlap) String() string {
	p := period(*o) * period(time.Second)
	return p.String()
}

// Type implements pflag.Value.
func (*overlap) Type() string { return "PERIOD" }

// rotation is one that is being asked for.
type rotation struct {
	rotationFlags
	*session
	// was is the resource as it was first read.
	was *v1alpha1.PersonalAccessToken
	// asked is the spec that asks for the new token, as last sent.
	asked v1alpha1.PersonalAccessTokenSpec
	// plaintext is the new token, where it was made here.
	plaintext string
}

// edit asks for another token: by one that is made here where its holder made the present one, else by a new trigger.
func (r *rotation) edit(pat *v1alpha1.PersonalAccessToken) error {
	if !sameToken(&r.was.Spec, &pat.Spec) {
		return errors.New("nothing was done: somebody else has rotated it meanwhile, or has changed how its token is made; look at it, then run this again")
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
	life := r.expiresIn
	if life == 0 {
		life = lifeOf(&pat.Status)
	}
	plaintext, err := r.makeToken(pat, life)
	if err != nil {
		return err
	}
	r.plaintext, r.asked = plaintext, *pat.Spec.DeepCopy()
	return nil
}

// editRotation sets what flags say of the predecessor's end.
func (r *rotation) editRotation(spec *v1alpha1.PersonalAccessTokenSpec) error {
	is := rotationOf(spec)
	if r.given.Changed("overlap") {
		is.OverlapSeconds = int32(r.overlap)
	}
	if r.given.Changed("retire-on-first-use") {
		is.RetireOnFirstUse = r.retire
	}
	switch {
	case !is.RetireOnFirstUse || is.OverlapSeconds > 0:
	case r.given.Changed("overlap"):
		return usagef("without an overlap the present token ends at once, used or not, and spec.rotation.retireOnFirstUse has nothing to do: add --retire-on-first-use=false, or a longer --overlap")
	default:
		return usagef("--retire-on-first-use takes an overlap, in which both tokens work: add --overlap 24h")
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
func (r *rotation) editLife(pat *v1alpha1.PersonalAccessToken, now time.Time) error {
	spec, life := &pat.Spec, time.Duration(r.expiresIn)
	switch {
	case life > 0 && spec.ExpiresAt == nil && life%day == 0:
		days := int32(life / day) // #nosec G115 -- at most maxPeriod
		spec.ExpiresInDays = &days
	case life > 0:
		spec.ExpiresInDays, spec.ExpiresAt = nil, r.after(r.expiresIn)
	case spec.ExpiresAt == nil:
	case !spec.ExpiresAt.After(now):
		return fmt.Errorf("spec.expiresAt, %s, has passed, so no token would be made: say how long the new one lives by --expires-in 90d", stamp(spec.ExpiresAt))
	case pat.Status.IssuedAt != nil && spec.ExpiresAt.Sub(now) < time.Duration(lifeOf(&pat.Status))/10:
		return fmt.Errorf("the new token would end soon, at %s, which spec.expiresAt names: say how long it lives by --expires-in 90d", stamp(spec.ExpiresAt))
	}
	return nil
}

// lifeOf is how long the present token had from its issuing to its end, to the minute: a token that was made here was
// issued some seconds later, and is not to lose them each time.
func lifeOf(status *v1alpha1.PersonalAccessTokenStatus) period {
	if status.IssuedAt == nil || status.ExpiresAt == nil || !status.ExpiresAt.After(status.IssuedAt.Time) {
		return period(v1alpha1.DefaultExpiresInDays * day)
	}
	life := status.ExpiresAt.Sub(status.IssuedAt.Time)
	if life > time.Hour {
		life = life.Round(time.Minute)
	}
	return period(min(life, maxPeriod))
}

// newTrigger is one that people can read, and that was never one before.
func newTrigger(now time.Time, present string) string {
	for {
		trigger := now.UTC().Format(time.RFC3339Nano)
		if trigger != present {
			return trigger
		}
		now = now.Add(time.Nanosecond)
	}
}

// sameToken tells whether two specs ask for the same token.
func sameToken(a, b *v1alpha1.PersonalAccessTokenSpec) bool {
	return equality.Semantic.DeepEqual(a.Token, b.Token) && equality.Semantic.DeepEqual(a.Delivery, b.Delivery) &&
		rotationOf(a).Trigger == rotationOf(b).Trigger
}

// made tells whether a resource asks for the token that this rotation asks for.
func (r *rotation) made(pat *v1alpha1.PersonalAccessToken) bool {
	return sameToken(&r.asked, &pat.Spec)
}

// issued tells whether status speaks of the new token.
func (r *rotation) issued(pat *v1alpha1.PersonalAccessToken) bool {
	if r.plaintext != "" {
		return pat.Status.TokenID == r.asked.Token.ID
	}
	return r.made(pat) && pat.Status.TokenID != "" && pat.Status.TokenID != r.was.Status.TokenID
}

// over judges whether waiting for the new token is.
func (r *rotation) over(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	if !r.made(pat) {
		return true, errors.New("somebody else has rotated it meanwhile, or Git has put the old spec back")
	}
	done, err = outcome(pat)
	if done && err == nil && !r.issued(pat) {
		return false, nil
	}
	return done, err
}

// undone tells whether Git would undo what is changed for a token that the operator makes.
func (r *rotation) undone() bool {
	was, is := &r.was.Spec, &r.asked
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
		if field.changed && inGit(r.was, field.path...) {
			return true
		}
	}
	return false
}

// predecessor says what has become of the former token.
func (r *rotation) predecessor(pat *v1alpha1.PersonalAccessToken) string {
	was, status := &r.was.Status, &pat.Status
	if status.PreviousTokenID != was.TokenID || status.IssuedAt == nil {
		return "The former token works no longer."
	}
	end := status.IssuedAt.Add(time.Duration(rotationOf(&pat.Spec).OverlapSeconds) * time.Second)
	if own := was.ExpiresAt; own != nil && own.Time.Before(end) {
		end = own.Time
	}
	text := "The former token works beside the new one until " + stamp(&metav1.Time{Time: end})
	if rotationOf(&pat.Spec).RetireOnFirstUse {
		text += ", or until the new one is first used"
	}
	return text + "."
}
