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
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// when formats a time exactly and relative to now.
func when(t *metav1.Time, now time.Time, never string) string {
	if t.IsZero() {
		return never
	}
	return holder.Stamp(t) + " (" + untilOrAgo(t, now) + ")"
}

// untilOrAgo formats the distance to a time: in 30d, 2d ago.
func untilOrAgo(t *metav1.Time, now time.Time) string {
	switch {
	case t == nil:
		return "unknown"
	case t.After(now):
		return "in " + duration.HumanDuration(rounded(t.Sub(now)))
	}
	return duration.HumanDuration(now.Sub(t.Time)) + " ago"
}

// rounded rounds d to the unit that HumanDuration shows: 30 days minus the seconds of a request are 30 days.
func rounded(d time.Duration) time.Duration {
	unit := time.Second
	switch {
	case d >= 8*day:
		unit = day
	case d >= 8*time.Hour:
		unit = time.Hour
	case d >= 10*time.Minute:
		unit = time.Minute
	}
	return d.Round(unit)
}

func agoOrNever(t *metav1.Time, now time.Time) string {
	if t == nil {
		return "never"
	}
	return duration.HumanDuration(max(0, now.Sub(t.Time))) + " ago"
}

func since(t, now time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return duration.HumanDuration(max(0, now.Sub(t)))
}

// asked formats the end that spec asks for, for a token without a known end.
func asked(spec *v1alpha1.PersonalAccessTokenSpec, now time.Time) string {
	switch {
	case spec.ExpiresAt != nil:
		return when(spec.ExpiresAt, now, "")
	case spec.ExpiresInDays != nil:
		return fmt.Sprintf("%d days after it is issued", *spec.ExpiresInDays)
	}
	return fmt.Sprintf("%d days after it is issued", v1alpha1.DefaultExpiresInDays)
}

// endOf formats when the token ends, or asks to end.
func endOf(pat *v1alpha1.PersonalAccessToken) string {
	if end(pat) == nil {
		return "an unknown time"
	}
	return holder.Stamp(end(pat))
}

func end(pat *v1alpha1.PersonalAccessToken) *metav1.Time {
	return cmp.Or(pat.Status.ExpiresAt, pat.Spec.ExpiresAt)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
