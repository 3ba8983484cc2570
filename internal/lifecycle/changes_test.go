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
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/internal/admission/admissiontest"
)

var created = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestChanges(t *testing.T) {
	effects := map[admissiontest.Effect]Effect{
		admissiontest.Same: Same, admissiontest.Neutral: Neutral, admissiontest.Narrows: Narrows, admissiontest.Widens: Widens,
	}
	for _, u := range admissiontest.Updates(created) {
		t.Run(u.Field+": "+u.Name, func(t *testing.T) {
			var was, is spec
			if err := errors.Join(json.Unmarshal([]byte(u.Old), &was), json.Unmarshal([]byte(u.New), &is)); err != nil {
				t.Fatal(err)
			}
			var want []Change
			if u.Want != admissiontest.Same {
				want = []Change{{u.Field, effects[u.Want]}}
			}
			got := Changes(&was, &is, created)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := Changes(&is, is.DeepCopy(), created); got != nil {
				t.Errorf("no change at all is %v", got)
			}
		})
	}
}

func TestChangesAreListedTogether(t *testing.T) {
	got := Changes(&spec{Suspend: true, DisplayName: "a", Audiences: []string{"a", "b"}}, &spec{Audiences: []string{"b"}}, created)
	want := []Change{{"audiences", Narrows}, {"suspend", Widens}, {"displayName", Neutral}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A new field of spec needs a fieldRule that judges it, and rows in admissiontest that show how.
func TestEveryFieldIsJudged(t *testing.T) {
	var judged []string
	for _, fieldRule := range fieldRules {
		judged = append(judged, fieldRule.fields...)
	}
	changed := map[string]bool{}
	for _, u := range admissiontest.Updates(created) {
		changed[u.Field] = true
	}
	var fields []string
	for i := range reflect.TypeFor[spec]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[spec]().Field(i).Tag.Get("json"), ",")
		fields = append(fields, name)
		if !changed[name] {
			t.Errorf("no row of admissiontest changes spec.%s", name)
		}
	}
	slices.Sort(judged)
	slices.Sort(fields)
	if diff := cmp.Diff(fields, judged); diff != "" {
		t.Errorf("fields of spec (-) and fields that are judged (+):\n%s", diff)
	}
}
