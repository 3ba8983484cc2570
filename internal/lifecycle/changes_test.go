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

func untilThen(after time.Duration) *spec {
	return &spec{ExpiresAt: new(metav1.NewTime(created.Add(after)))}
}

// Every update that touches one field, by what it does to the token's authority.
var effects = map[string][]struct {
	name    string
	was, is *spec
	want    Effect
}{
	"displayName": {
		{"another", &spec{DisplayName: "a"}, &spec{DisplayName: "b"}, Neutral},
		{"none", &spec{DisplayName: "a"}, &spec{}, Neutral},
	},
	"user": {
		{"stamped", &spec{}, &spec{User: &v1alpha1.UserInfo{Username: "alice"}}, Widens},
		{"taken away", &spec{User: &v1alpha1.UserInfo{Username: "alice"}}, &spec{}, Widens},
	},
	"suspend": {
		{"suspended", &spec{}, &spec{Suspend: true}, Narrows},
		{"resumed", &spec{Suspend: true}, &spec{}, Widens},
	},
	"audiences": {
		{"one less", &spec{Audiences: []string{"a", "b"}}, &spec{Audiences: []string{"b"}}, Narrows},
		{"one more", &spec{Audiences: []string{"a"}}, &spec{Audiences: []string{"a", "b"}}, Widens},
		{"another", &spec{Audiences: []string{"a"}}, &spec{Audiences: []string{"b"}}, Widens},
		{"another order", &spec{Audiences: []string{"a", "b"}}, &spec{Audiences: []string{"b", "a"}}, Same},
		{"the API server's own", &spec{Audiences: []string{"a"}}, &spec{}, Widens},
		{"no more the API server's own", &spec{}, &spec{Audiences: []string{"a"}}, Widens},
		{"none, in other words", &spec{}, &spec{Audiences: []string{}}, Same},
	},
	"scopes": {
		{"all that the user may", &spec{Scopes: presets("a")}, &spec{}, Widens},
		{"no more all that the user may", &spec{}, &spec{Scopes: presets("a")}, Narrows},
		{"one less", &spec{Scopes: presets("a", "b")}, &spec{Scopes: presets("b")}, Narrows},
		{"one more", &spec{Scopes: presets("a")}, &spec{Scopes: presets("a", "b")}, Widens},
		{"another", &spec{Scopes: presets("a")}, &spec{Scopes: presets("b")}, Widens},
		{"another rule", &spec{Scopes: scopeRules("get")}, &spec{Scopes: scopeRules("get", "list")}, Widens},
	},
	"rotation": {
		{"asked for", &spec{}, &spec{Rotation: &v1alpha1.Rotation{Trigger: "1"}}, Widens},
		{"asked for again", &spec{Rotation: &v1alpha1.Rotation{Trigger: "1"}}, &spec{Rotation: &v1alpha1.Rotation{Trigger: "2"}}, Widens},
		{"a longer overlap", &spec{Rotation: &v1alpha1.Rotation{}}, &spec{Rotation: &v1alpha1.Rotation{OverlapSeconds: 1}}, Widens},
		{"not retired", &spec{Rotation: &v1alpha1.Rotation{RetireOnFirstUse: true}}, &spec{Rotation: &v1alpha1.Rotation{}}, Widens},
		{"by itself", &spec{Rotation: &v1alpha1.Rotation{}}, &spec{Rotation: &v1alpha1.Rotation{EveryDays: new(int32)}}, Widens},
	},
	"delivery": {
		{"to recipients", &spec{}, &spec{Delivery: &v1alpha1.Delivery{Recipients: []string{"age1a"}}}, Widens},
		{"to a recipient less", &spec{Delivery: &v1alpha1.Delivery{Recipients: []string{"a", "b"}}}, &spec{Delivery: &v1alpha1.Delivery{Recipients: []string{"a"}}}, Widens},
		{"in a Secret", &spec{}, &spec{Delivery: &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{}}}, Widens},
		{"in a Secret for a while", &spec{Delivery: &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{}}}, &spec{Delivery: &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{TTLSeconds: new(int32)}}}, Widens},
	},
	"token": {
		{"the holder's", &spec{}, &spec{Token: &v1alpha1.HolderToken{}}, Widens},
		{"no more the holder's", &spec{Token: &v1alpha1.HolderToken{}}, &spec{}, Widens},
		{"another id", &spec{Token: &v1alpha1.HolderToken{}}, &spec{Token: &v1alpha1.HolderToken{ID: "a"}}, Widens},
		{"another digest", &spec{Token: &v1alpha1.HolderToken{}}, &spec{Token: &v1alpha1.HolderToken{SHA256: "a"}}, Widens},
		{"bound elsewhere", &spec{Token: &v1alpha1.HolderToken{}}, &spec{Token: &v1alpha1.HolderToken{BoundTo: "a"}}, Widens},
	},
	"expiresInDays": {
		{"longer", life(2), life(3), Widens},
		{"shorter", life(3), life(2), Narrows},
		{"longer than the default", &spec{}, life(91), Widens},
		{"the default, in other words", life(90), &spec{}, Neutral},
		{"in days, from now on", untilThen(2 * day), life(1), Widens},
		{"in days, longer", untilThen(2 * day), life(2), Widens},
		{"in days, shorter", untilThen(3 * day), life(1), Widens},
	},
	"expiresAt": {
		{"later", untilThen(day), untilThen(2 * day), Widens},
		{"sooner", untilThen(2 * day), untilThen(day), Narrows},
		{"by date, the same", life(2), untilThen(2 * day), Neutral},
		{"by date, later", life(2), untilThen(2*day + time.Second), Widens},
		{"by date, sooner", life(2), untilThen(day), Narrows},
	},
}

func presets(names ...string) (scopes []v1alpha1.Scope) {
	for _, name := range names {
		scopes = append(scopes, v1alpha1.Scope{Preset: name})
	}
	return scopes
}

func scopeRules(verbs ...string) []v1alpha1.Scope {
	return []v1alpha1.Scope{{Rule: &v1alpha1.ScopeRule{Verbs: verbs}}}
}

func TestChanges(t *testing.T) {
	for field, cases := range effects {
		for _, tc := range cases {
			t.Run(field+": "+tc.name, func(t *testing.T) {
				var want []Change
				if tc.want != Same {
					want = []Change{{field, tc.want}}
				}
				got := Changes(tc.was, tc.is, created)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got := Changes(tc.is, tc.is.DeepCopy(), created); got != nil {
					t.Errorf("no change at all is %v", got)
				}
			})
		}
	}
}

func TestChangesAreListedTogether(t *testing.T) {
	got := Changes(&spec{Suspend: true, DisplayName: "a", Audiences: []string{"a", "b"}}, &spec{Audiences: []string{"b"}}, created)
	want := []Change{{"audiences", Narrows}, {"suspend", Widens}, {"displayName", Neutral}}
	if diff := cmp.Diff(want, got); diff != "" {
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
