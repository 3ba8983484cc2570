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

package admission

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

var created = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func life(days int32) *spec { return &spec{ExpiresInDays: &days} }

func until(after time.Duration) *spec {
	return &spec{ExpiresAt: new(metav1.NewTime(created.Add(after)))}
}

// Every update that touches one field, by what it does to the token's authority.
var effects = map[string][]struct {
	name    string
	was, is *spec
	want    effect
}{
	"displayName": {
		{"another", &spec{DisplayName: "a"}, &spec{DisplayName: "b"}, neutral},
		{"none", &spec{DisplayName: "a"}, &spec{}, neutral},
	},
	"user": {
		{"stamped", &spec{}, &spec{User: &v1alpha1.UserInfo{Username: "alice"}}, widens},
		{"taken away", &spec{User: &v1alpha1.UserInfo{Username: "alice"}}, &spec{}, widens},
	},
	"suspend": {
		{"suspended", &spec{}, &spec{Suspend: true}, narrows},
		{"resumed", &spec{Suspend: true}, &spec{}, widens},
	},
	"audiences": {
		{"one less", &spec{Audiences: []string{"a", "b"}}, &spec{Audiences: []string{"b"}}, narrows},
		{"one more", &spec{Audiences: []string{"a"}}, &spec{Audiences: []string{"a", "b"}}, widens},
		{"another", &spec{Audiences: []string{"a"}}, &spec{Audiences: []string{"b"}}, widens},
		{"another order", &spec{Audiences: []string{"a", "b"}}, &spec{Audiences: []string{"b", "a"}}, same},
		{"the API server's own", &spec{Audiences: []string{"a"}}, &spec{}, widens},
		{"no more the API server's own", &spec{}, &spec{Audiences: []string{"a"}}, widens},
		{"none, in other words", &spec{}, &spec{Audiences: []string{}}, same},
	},
	"scopes": {
		{"all that the user may", &spec{Scopes: presets("a")}, &spec{}, widens},
		{"no more all that the user may", &spec{}, &spec{Scopes: presets("a")}, narrows},
		{"one less", &spec{Scopes: presets("a", "b")}, &spec{Scopes: presets("b")}, narrows},
		{"one more", &spec{Scopes: presets("a")}, &spec{Scopes: presets("a", "b")}, widens},
		{"another", &spec{Scopes: presets("a")}, &spec{Scopes: presets("b")}, widens},
		{"another rule", &spec{Scopes: rules("get")}, &spec{Scopes: rules("get", "list")}, widens},
	},
	"rotation": {
		{"asked for", &spec{}, &spec{Rotation: &v1alpha1.Rotation{Trigger: "1"}}, widens},
		{"asked for again", &spec{Rotation: &v1alpha1.Rotation{Trigger: "1"}}, &spec{Rotation: &v1alpha1.Rotation{Trigger: "2"}}, widens},
		{"a longer overlap", &spec{Rotation: &v1alpha1.Rotation{}}, &spec{Rotation: &v1alpha1.Rotation{OverlapSeconds: 1}}, widens},
		{"not retired", &spec{Rotation: &v1alpha1.Rotation{RetireOnFirstUse: true}}, &spec{Rotation: &v1alpha1.Rotation{}}, widens},
		{"by itself", &spec{Rotation: &v1alpha1.Rotation{}}, &spec{Rotation: &v1alpha1.Rotation{EveryDays: new(int32)}}, widens},
	},
	"delivery": {
		{"to recipients", &spec{}, &spec{Delivery: &v1alpha1.Delivery{Recipients: []string{"age1a"}}}, widens},
		{"to a recipient less", &spec{Delivery: &v1alpha1.Delivery{Recipients: []string{"a", "b"}}}, &spec{Delivery: &v1alpha1.Delivery{Recipients: []string{"a"}}}, widens},
		{"in a Secret", &spec{}, &spec{Delivery: &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{}}}, widens},
		{"in a Secret for a while", &spec{Delivery: &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{}}}, &spec{Delivery: &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{TTLSeconds: new(int32)}}}, widens},
	},
	"token": {
		{"the holder's", &spec{}, &spec{Token: &v1alpha1.HolderToken{}}, widens},
		{"no more the holder's", &spec{Token: &v1alpha1.HolderToken{}}, &spec{}, widens},
		{"another id", &spec{Token: &v1alpha1.HolderToken{}}, &spec{Token: &v1alpha1.HolderToken{ID: "a"}}, widens},
		{"another digest", &spec{Token: &v1alpha1.HolderToken{}}, &spec{Token: &v1alpha1.HolderToken{SHA256: "a"}}, widens},
		{"bound elsewhere", &spec{Token: &v1alpha1.HolderToken{}}, &spec{Token: &v1alpha1.HolderToken{BoundTo: "a"}}, widens},
	},
	"expiresInDays": {
		{"longer", life(2), life(3), widens},
		{"shorter", life(3), life(2), narrows},
		{"longer than the default", &spec{}, life(91), widens},
		{"the default, in other words", life(90), &spec{}, neutral},
		{"in days, from now on", until(2 * day), life(1), widens},
		{"in days, longer", until(2 * day), life(2), widens},
		{"in days, shorter", until(3 * day), life(1), widens},
	},
	"expiresAt": {
		{"later", until(day), until(2 * day), widens},
		{"sooner", until(2 * day), until(day), narrows},
		{"by date, the same", life(2), until(2 * day), neutral},
		{"by date, later", life(2), until(2*day + time.Second), widens},
		{"by date, sooner", life(2), until(day), narrows},
	},
}

func presets(names ...string) (scopes []v1alpha1.Scope) {
	for _, name := range names {
		scopes = append(scopes, v1alpha1.Scope{Preset: name})
	}
	return scopes
}

func rules(verbs ...string) []v1alpha1.Scope {
	return []v1alpha1.Scope{{Rule: &v1alpha1.ScopeRule{Verbs: verbs}}}
}

func TestChanges(t *testing.T) {
	for field, cases := range effects {
		for _, tc := range cases {
			t.Run(field+": "+tc.name, func(t *testing.T) {
				var want []change
				if tc.want != same {
					want = []change{{field, tc.want}}
				}
				got := changes(tc.was, tc.is, times{created: created, now: created.Add(day)})
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(change{})); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got := changes(tc.is, tc.is.DeepCopy(), times{created: created, now: created.Add(day)}); got != nil {
					t.Errorf("no change at all is %v", got)
				}
			})
		}
	}
}

func TestChangesAreListedTogether(t *testing.T) {
	got := changes(&spec{Suspend: true, DisplayName: "a", Audiences: []string{"a", "b"}}, &spec{Audiences: []string{"b"}}, times{created: created, now: created})
	want := []change{{"audiences", narrows}, {"suspend", widens}, {"displayName", neutral}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(change{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A new field of spec needs a facet that judges it, and cases above that show how.
func TestEveryFieldIsJudged(t *testing.T) {
	var judged []string
	for _, facet := range facets {
		judged = append(judged, facet.fields...)
	}
	var fields []string
	for i := range reflect.TypeFor[spec]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[spec]().Field(i).Tag.Get("json"), ",")
		fields = append(fields, name)
		if len(effects[name]) == 0 {
			t.Errorf("no case changes spec.%s", name)
		}
	}
	slices.Sort(judged)
	slices.Sort(fields)
	if diff := cmp.Diff(fields, judged); diff != "" {
		t.Errorf("fields of spec (-) and fields that are judged (+):\n%s", diff)
	}
}
