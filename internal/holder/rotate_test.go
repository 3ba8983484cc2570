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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// rotationAsked returns a rotation of was, at start.
func rotationAsked(was *v1alpha1.PersonalAccessToken, options RotateOptions) *Rotation {
	return &Rotation{RotateOptions: options, Clock: clocktesting.NewFakePassiveClock(start), Random: zeros{}, Was: was}
}

func seconds(n int32) *int32 { return &n }

func yes(is bool) *bool { return &is }

func TestRotationEdit(t *testing.T) {
	const now = "2026-11-24T12:00:00Z"
	type spec = v1alpha1.PersonalAccessTokenSpec
	issued := v1alpha1.PersonalAccessTokenStatus{TokenID: "a", IssuedAt: after(-10 * day), ExpiresAt: after(20 * day)}
	vendor := &v1alpha1.Delivery{Recipients: []string{"age1"}}
	for name, tc := range map[string]struct {
		was    spec
		status v1alpha1.PersonalAccessTokenStatus
		asked  RotateOptions
		want   spec
		err    string
	}{
		"by a trigger": {
			want: spec{Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
		"spec.rotation stays": {
			was:  spec{ExpiresInDays: days(30), Rotation: &v1alpha1.Rotation{Trigger: "1", OverlapSeconds: 60, RetireOnFirstUse: true, EveryDays: days(7)}},
			want: spec{ExpiresInDays: days(30), Rotation: &v1alpha1.Rotation{Trigger: now, OverlapSeconds: 60, RetireOnFirstUse: true, EveryDays: days(7)}},
		},
		"never by the same trigger": {
			was:  spec{Rotation: &v1alpha1.Rotation{Trigger: now}},
			want: spec{Rotation: &v1alpha1.Rotation{Trigger: "2026-11-24T12:00:00.000000001Z"}},
		},
		"overlap": {
			asked: RotateOptions{Overlap: seconds(86400), RetireOnFirstUse: yes(true)},
			want:  spec{Rotation: &v1alpha1.Rotation{Trigger: now, OverlapSeconds: 86400, RetireOnFirstUse: true}},
		},
		"no overlap any more": {
			was:   spec{Rotation: &v1alpha1.Rotation{Trigger: "1", OverlapSeconds: 60, RetireOnFirstUse: true}},
			asked: RotateOptions{Overlap: seconds(0), RetireOnFirstUse: yes(false)},
			want:  spec{Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
		"first use without an overlap": {
			asked: RotateOptions{RetireOnFirstUse: yes(true)},
			err:   ErrNoOverlap.Error(),
		},
		"no overlap, but first use": {
			was:   spec{Rotation: &v1alpha1.Rotation{OverlapSeconds: 60, RetireOnFirstUse: true}},
			asked: RotateOptions{Overlap: seconds(0)},
			err:   ErrNoOverlap.Error(),
		},
		"a life in days": {
			asked: RotateOptions{ExpiresIn: 30 * day},
			want:  spec{ExpiresInDays: days(30), Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
		"a lifetime in days that the current token has behind it": {
			was: spec{ExpiresInDays: days(30)}, status: issued,
			asked: RotateOptions{ExpiresIn: 10 * day},
			want:  spec{ExpiresInDays: days(10), Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
		"and that would end it within its overlap": {
			was: spec{ExpiresInDays: days(30)}, status: issued,
			asked: RotateOptions{ExpiresIn: 10 * day, Overlap: seconds(60)},
			want:  spec{ExpiresAt: after(10 * day), Rotation: &v1alpha1.Rotation{Trigger: now, OverlapSeconds: 60}},
		},
		"and that would not end it before its own end": {
			was: spec{ExpiresInDays: days(90)}, status: v1alpha1.PersonalAccessTokenStatus{TokenID: issued.TokenID, IssuedAt: issued.IssuedAt, ExpiresAt: &metav1.Time{Time: issued.IssuedAt.Add(10 * day)}},
			asked: RotateOptions{ExpiresIn: 10 * day, Overlap: seconds(60)},
			want:  spec{ExpiresInDays: days(10), Rotation: &v1alpha1.Rotation{Trigger: now, OverlapSeconds: 60}},
		},
		"a life in hours": {
			was:   spec{ExpiresInDays: days(30)},
			asked: RotateOptions{ExpiresIn: 36 * time.Hour},
			want:  spec{ExpiresAt: after(36 * time.Hour), Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
		"an end, where spec has one": {
			was:   spec{ExpiresAt: after(-day)},
			asked: RotateOptions{ExpiresIn: 30 * day},
			want:  spec{ExpiresAt: after(30 * day), Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
		"an end that is far": {
			was: spec{ExpiresAt: after(20 * day)}, status: issued,
			want: spec{ExpiresAt: after(20 * day), Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
		"an end that is near": {
			was:    spec{ExpiresAt: after(2 * day)},
			status: v1alpha1.PersonalAccessTokenStatus{IssuedAt: after(-28 * day), ExpiresAt: after(2 * day)},
			err:    "the new token would expire soon, at 2026-11-26T12:00:00Z (spec.expiresAt): set its lifetime",
		},
		"an end that has passed": {
			was: spec{ExpiresAt: after(0)},
			err: "spec.expiresAt (2026-11-24T12:00:00Z) has passed, so no token would be issued: set the lifetime of the new token",
		},
		"recipients stay": {
			was:  spec{Delivery: vendor},
			want: spec{Delivery: vendor, Rotation: &v1alpha1.Rotation{Trigger: now}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := withConditions(1)
			was.Spec, was.Status = tc.was, tc.status
			r := rotationAsked(was, tc.asked)
			pat := was.DeepCopy()
			switch err := r.Edit(pat); {
			case tc.err != "" && (err == nil || err.Error() != tc.err):
				t.Errorf("got %v; want %s", err, tc.err)
			case tc.err == "" && err != nil:
				t.Error(err)
			case tc.err == "":
				if diff := cmp.Diff(tc.want, pat.Spec); diff != "" {
					t.Errorf("spec (-want +got):\n%s", diff)
				}
				if !r.Made(pat) || r.Made(was) {
					t.Error("Made is true for the old spec")
				}
			}
		})
	}
}

func TestRotationOfAHolderMadeToken(t *testing.T) {
	was := withConditions(1)
	was.Spec.Token, was.Spec.ExpiresAt = &v1alpha1.HolderToken{ID: "former", BoundTo: "team-a/ci"}, after(-day)
	was.Status = v1alpha1.PersonalAccessTokenStatus{TokenID: "former", IssuedAt: after(-31*day + 3*time.Second), ExpiresAt: after(-day)}
	r := rotationAsked(was, RotateOptions{})
	pat := was.DeepCopy()
	if err := r.Edit(pat); err != nil {
		t.Fatal(err)
	}
	if pat.Spec.Token.ID != "aaaaaaaaaaaaaaaa" || pat.Spec.Token.BoundTo != "team-a/ci" || !pat.Spec.ExpiresAt.Equal(after(30*day)) || pat.Spec.Rotation != nil {
		t.Errorf("spec: %+v, until %v", pat.Spec.Token, pat.Spec.ExpiresAt)
	}
	if r.Issued(was) {
		t.Error("the former one is taken for the new one")
	}
	pat.Status.TokenID = pat.Spec.Token.ID
	if !r.Issued(pat) {
		t.Error("the new one is not seen")
	}
	other := was.DeepCopy()
	other.Spec.Token.ID = "another"
	const want = "nothing was changed: the token was rotated, or its delivery was changed, in the meantime; look at it"
	if err := r.Edit(other); err == nil || err.Error() != want {
		t.Errorf("rotated by another: %v", err)
	}
}

func TestRotationOver(t *testing.T) {
	was := withConditions(1, isReady, isActive)
	was.Status.TokenID = "former"
	r := rotationAsked(was, RotateOptions{})
	asked := was.DeepCopy()
	if err := r.Edit(asked); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		trigger, id string
		done        bool
		err         string
	}{
		"not yet":         {trigger: asked.Spec.Rotation.Trigger, id: "former"},
		"issued":          {trigger: asked.Spec.Rotation.Trigger, id: "new", done: true},
		"another trigger": {trigger: "theirs", id: "theirs", done: true, err: "the token was rotated again, or Git restored the old spec"},
	} {
		pat := asked.DeepCopy()
		pat.Spec.Rotation.Trigger, pat.Status.TokenID = tc.trigger, tc.id
		done, err := r.Over(pat)
		if done != tc.done || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("%s: %v, %v", name, done, err)
		}
		if r.Issued(pat) != (name == "issued") { // another's token is not ours to take
			t.Errorf("%s: issued %v", name, r.Issued(pat))
		}
	}
}

func TestPredecessorEnd(t *testing.T) {
	was := withConditions(1)
	was.Status = v1alpha1.PersonalAccessTokenStatus{TokenID: "former", IssuedAt: after(90*time.Minute - day), ExpiresAt: after(2 * time.Hour)}
	r := rotationAsked(was, RotateOptions{})
	stopped := withConditions(1)
	stopped.Status = v1alpha1.PersonalAccessTokenStatus{TokenID: "former", IssuedAt: after(-10 * day), ExpiresAt: after(-day)}
	pat := withConditions(2)
	pat.Spec.Rotation = &v1alpha1.Rotation{OverlapSeconds: 60}
	pat.Status = v1alpha1.PersonalAccessTokenStatus{TokenID: "new", PreviousTokenID: "former", IssuedAt: after(0)}
	if got := rotationAsked(stopped, RotateOptions{}).Predecessor(pat); got != "The old token no longer works." {
		t.Errorf("stopped by a policy before it was rotated: %s", got)
	}
	for name, tc := range map[string]struct {
		previous string
		rotation v1alpha1.Rotation
		life     *int32
		want     string
	}{
		"ended":      {"", v1alpha1.Rotation{OverlapSeconds: 60}, nil, "The old token no longer works."},
		"another":    {"older", v1alpha1.Rotation{OverlapSeconds: 60}, nil, "The old token no longer works."},
		"overlap":    {"former", v1alpha1.Rotation{OverlapSeconds: 3600}, nil, "The old token keeps working until 2026-11-24T13:00:00Z."},
		"its own":    {"former", v1alpha1.Rotation{OverlapSeconds: 86400}, nil, "The old token keeps working until 2026-11-24T14:00:00Z."},
		"until used": {"former", v1alpha1.Rotation{OverlapSeconds: 60, RetireOnFirstUse: true}, nil, "The old token keeps working until 2026-11-24T12:01:00Z, or until the new one is first used."},
		"by days":    {"former", v1alpha1.Rotation{OverlapSeconds: 7200}, days(1), "The old token keeps working until 2026-11-24T13:30:00Z."},
	} {
		pat := withConditions(2)
		pat.Spec.Rotation, pat.Spec.ExpiresInDays = &tc.rotation, tc.life
		pat.Status = v1alpha1.PersonalAccessTokenStatus{TokenID: "new", PreviousTokenID: tc.previous, IssuedAt: after(0)}
		if got := r.Predecessor(pat); got != tc.want {
			t.Errorf("%s: %s; want %s", name, got, tc.want)
		}
	}
}

func TestLifeOf(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to *metav1.Time
		want     time.Duration
	}{
		"unknown":         {nil, after(day), 90 * day},
		"adopted later":   {after(2 * time.Second), after(90 * day), 90 * day},
		"short":           {after(time.Second), after(time.Minute), 59 * time.Second},
		"backwards":       {after(day), after(0), 90 * day},
		"longer than any": {&metav1.Time{}, &metav1.Time{Time: start}, MaxLife},
	} {
		if got := lifeOf(&v1alpha1.PersonalAccessTokenStatus{IssuedAt: tc.from, ExpiresAt: tc.to}); got != tc.want {
			t.Errorf("%s: %v; want %v", name, got, tc.want)
		}
	}
}

// Of two concurrent rotations one is refused before the other's token is issued: that token would never work.
func TestARotationInProgressIsNotReplaced(t *testing.T) {
	const message = "nothing was changed: another rotation is in progress, and the operator has not issued its token yet; look at it"
	byHolder := func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.Token = &v1alpha1.HolderToken{ID: "b"} }
	rotating := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRotating}
	for name, tc := range map[string]struct {
		conditions []metav1.Condition
		change     func(*v1alpha1.PersonalAccessToken)
		refused    bool
	}{
		"issued":                                 {[]metav1.Condition{isReady, isActive}, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Token = &v1alpha1.HolderToken{ID: "a"} }, false},
		"its holder's, not issued yet":           {[]metav1.Condition{isReady, isActive}, byHolder, true},
		"its holder's, and the operator's first": {[]metav1.Condition{isReady}, func(p *v1alpha1.PersonalAccessToken) { byHolder(p); p.Status.TokenID = "" }, false},
		"its holder's, and refused":              {[]metav1.Condition{isStalled, isActive}, byHolder, false},
		"refused because of the old token":       {[]metav1.Condition{isStalled, isActive}, func(p *v1alpha1.PersonalAccessToken) { byHolder(p); p.Generation++ }, true},
		"a trigger that was not seen yet":        {[]metav1.Condition{isReady, isActive}, func(p *v1alpha1.PersonalAccessToken) { p.Generation++ }, true},
		"a trigger that was seen":                {[]metav1.Condition{rotating, isActive}, nil, true},
		"a trigger, done":                        {[]metav1.Condition{isReady, isActive}, nil, false},
	} {
		was := withConditions(2, tc.conditions...)
		was.Status.TokenID = "a"
		if tc.change != nil {
			tc.change(was)
		}
		err := rotationAsked(was, RotateOptions{ExpiresIn: day}).Edit(was.DeepCopy())
		if got := errors.Is(err, ErrRotated); got != tc.refused || got && err.Error() != message || !got && err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
