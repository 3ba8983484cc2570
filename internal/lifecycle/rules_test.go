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
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

func TestExpiringSoon(t *testing.T) {
	warned := func(in *Input) { in.Config.ExpiryWarnings = []time.Duration{7 * day, day} }
	at := func(at time.Time) func(*Input) { return func(in *Input) { in.Now = at } }
	end := now.Add(-time.Minute).Add(90 * day)
	for name, tc := range map[string]struct {
		with  []func(*Input)
		want  string
		after time.Duration
	}{
		"long before":                 {[]func(*Input){issued, removed, warned}, "", 83*day - time.Minute},
		"seven days before":           {[]func(*Input){issued, removed, warned, at(end.Add(-7 * day))}, "Token " + id + " expires at 2027-02-21T11:59:00Z, in less than 7d; set a new spec.rotation.trigger for a new one.", 6 * day},
		"a day before":                {[]func(*Input){issued, removed, warned, at(end.Add(-day))}, "Token " + id + " expires at 2027-02-21T11:59:00Z, in less than 24h; set a new spec.rotation.trigger for a new one.", day},
		"no warnings":                 {[]func(*Input){issued, removed, at(end.Add(-day))}, "", day},
		"expired":                     {[]func(*Input){taken, ends(record.EndedExpired), warned}, "", 0},
		"suspended":                   {[]func(*Input){issued, removed, warned, at(end.Add(-day)), change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true })}, "", day},
		"a short life":                {[]func(*Input){issued, removed, warned, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = ptr.To[int32](1) }), retires(now.Add(-time.Minute).Add(day))}, "", day - time.Minute},
		"rotated automatically":       {[]func(*Input){sealed, warned, everyDays(89), at(end.Add(-2 * day))}, "", day},
		"automatic rotation is stuck": {[]func(*Input){sealed, warned, everyDays(80), toKeys("age1"), at(end.Add(-day))}, "Token " + id + " expires at 2027-02-21T11:59:00Z, in less than 24h; set a new spec.rotation.trigger for a new one.", day},
		"while it is rotating":        {[]func(*Input){issued, removed, warned, trigger("2"), unproven, at(end.Add(-day))}, "Token " + id + " expires at 2027-02-21T11:59:00Z, in less than 24h; set a new spec.rotation.trigger for a new one.", waitForClock},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(input(tc.with...))
			got := ""
			if d.State != nil && d.State.ExpiringSoon != nil {
				got = d.State.ExpiringSoon.Message
			}
			if got != tc.want || d.After != tc.after {
				t.Errorf("%q after %v; want %q after %v", got, d.After, tc.want, tc.after)
			}
		})
	}
}
