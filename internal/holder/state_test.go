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
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// A resource that is being deleted says so, whatever its status says: the operator may be down.
func TestCase59_DeletingComesBeforeWhatStatusSays(t *testing.T) {
	for name, conditions := range map[string][]metav1.Condition{"active": {isReady, isActive}, "stalled": {isStalled}, "new": nil} {
		pat := withConditions(2, conditions...)
		want := "Unknown"
		if name == "active" {
			want = "True Active"
		}
		if got := shortly(Active(pat)); got != want {
			t.Errorf("%s: Active is %s; want %s", name, got, want)
		}
		pat.Generation, pat.DeletionTimestamp, pat.Finalizers = 3, &metav1.Time{Time: start}, []string{"example.com/hold"}
		if got := shortly(Active(pat)); got != "False Deleting" {
			t.Errorf("%s, deleted: Active is %s", name, got)
		}
		if got := shortly(Condition(pat, v1alpha1.ConditionReady)); got != "False Deleting" {
			t.Errorf("%s, deleted: Ready is %s", name, got)
		}
		if len(Conditions(pat)) != 2 || Condition(pat, v1alpha1.ConditionStalled) != nil {
			t.Errorf("%s, deleted: conditions %v", name, Conditions(pat))
		}
	}
}

func shortly(c *metav1.Condition) string {
	if c == nil {
		return "Unknown"
	}
	return string(c.Status) + " " + c.Reason
}

func TestStateOf(t *testing.T) {
	condition := func(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason}
	}
	active := func(reason string) metav1.Condition {
		return condition(v1alpha1.ConditionActive, metav1.ConditionFalse, reason)
	}
	expiring := condition(v1alpha1.ConditionExpiringSoon, metav1.ConditionTrue, v1alpha1.ReasonExpiringSoon)
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: start.Add(d)} }
	issued := func(p *v1alpha1.PersonalAccessToken) { p.Status.TokenID = "aaaaaaaaaaaaaaaa" }
	for name, tc := range map[string]struct {
		conditions []metav1.Condition
		change     func(*v1alpha1.PersonalAccessToken)
		want       State
	}{
		"new":                         {want: StatePending},
		"being issued":                {[]metav1.Condition{active(v1alpha1.ReasonIssuing)}, nil, StatePending},
		"refused":                     {[]metav1.Condition{active(v1alpha1.ReasonIssuing), isStalled}, nil, StateNotIssued},
		"active":                      {[]metav1.Condition{isReady, isActive}, nil, StateActive},
		"active, rotation refused":    {[]metav1.Condition{isActive, isStalled}, nil, StateActive},
		"about to end":                {[]metav1.Condition{isActive, expiring}, nil, StateExpiring},
		"about to end, and suspended": {[]metav1.Condition{active(v1alpha1.ReasonSuspended), expiring}, nil, StateSuspended},
		"just suspended":              {[]metav1.Condition{isActive}, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true }, StateSuspended},
		"just resumed":                {[]metav1.Condition{active(v1alpha1.ReasonSuspended)}, nil, StateSuspended},
		"expired":                     {[]metav1.Condition{active(v1alpha1.ReasonExpired)}, nil, StateExpired},
		"just expired":                {[]metav1.Condition{isActive}, func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = at(0) }, StateExpired},
		"a second is left":            {[]metav1.Condition{isActive}, func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = at(time.Second) }, StateActive},
		"just shortened":              {[]metav1.Condition{isActive}, func(p *v1alpha1.PersonalAccessToken) { p.Spec.ExpiresAt = at(-time.Second) }, StateExpired},
		"revoked and expired":         {[]metav1.Condition{active(v1alpha1.ReasonRevoked)}, func(p *v1alpha1.PersonalAccessToken) { p.Status.ExpiresAt = at(-time.Hour) }, StateRevoked},
		"its owner is gone":           {[]metav1.Condition{active(v1alpha1.ReasonOwnerGone), isStalled}, func(p *v1alpha1.PersonalAccessToken) { p.Status.TokenID = "aaaaaaaaaaaaaaaa" }, StateFailed},
		"stopped":                     {[]metav1.Condition{active(v1alpha1.ReasonDeniedByPolicy)}, issued, StateStopped},
		"a policy not understood":     {[]metav1.Condition{active(v1alpha1.ReasonPolicyNotUnderstood), isStalled}, issued, StateStopped},
		"stopped, and suspended":      {[]metav1.Condition{active(v1alpha1.ReasonDeniedByPolicy)}, func(p *v1alpha1.PersonalAccessToken) { issued(p); p.Spec.Suspend = true }, StateStopped},
		"stopped at a policy's end":   {[]metav1.Condition{active(v1alpha1.ReasonDeniedByPolicy)}, func(p *v1alpha1.PersonalAccessToken) { issued(p); p.Status.ExpiresAt = at(0) }, StateStopped},
		"stopped, and expired":        {[]metav1.Condition{active(v1alpha1.ReasonDeniedByPolicy)}, func(p *v1alpha1.PersonalAccessToken) { issued(p); p.Spec.ExpiresAt = at(0) }, StateExpired},
		"stopped before it is issued": {[]metav1.Condition{active(v1alpha1.ReasonDeniedByPolicy)}, nil, StateNotIssued},
		"too many":                    {[]metav1.Condition{active(v1alpha1.ReasonTooManyTokens)}, nil, StateNotIssued},
		"deleted": {[]metav1.Condition{isActive}, func(p *v1alpha1.PersonalAccessToken) {
			p.DeletionTimestamp = at(0)
			p.Status.ExpiresAt = at(-time.Hour)
		}, StateDeleting},
	} {
		pat := withConditions(1, tc.conditions...)
		if tc.change != nil {
			tc.change(pat)
		}
		if got := StateOf(pat, start); got != tc.want {
			t.Errorf("%s: got %s; want %s", name, got, tc.want)
		}
	}
}
