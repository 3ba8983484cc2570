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

package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// policiesOf reads TokenPolicies, by their names, whose specs are YAML flow mappings.
func policiesOf(t *testing.T, specs map[string]string) *policy.Set {
	t.Helper()
	set := policy.NewSet()
	for name, spec := range specs {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte("metadata: {name: "+name+"}\nspec: "+spec), &object.Object); err != nil {
			t.Fatal(err)
		}
		set.Put(policy.Parse(object))
	}
	return set
}

// The form offers what the visitor's policies allow before anything is typed, and no longer life is sent.
func TestTheFormKeepsToPolicies(t *testing.T) {
	set := policiesOf(t, map[string]string{
		"devs":   "{match: {subjects: [{kind: Group, name: team-devs}]}, maxLifetimeDays: 30, maxTokensPerUser: 10, allowedScopes: [read-only, metrics], allowedFrom: [10.0.0.0/8]}",
		"here":   "{match: {namespaces: [" + team + "]}, allowedScopes: [read-only, ci-deploy], allowedAudiences: [list-api], allowedDelivery: [Recipients]}",
		"others": "{match: {subjects: [{kind: Group, name: others}]}, deny: {reason: Contract is over}}",
	})
	s := open(t, func(o *Options) { o.Policies = set.For })
	b := s.signedIn(t, aliceBearer)
	form := b.form()
	a := b.get("/new")
	for _, want := range []string{
		"At most 30 days here.", `value="30" checked`, ">Maximum<", ">7 days<", `value="read-only" checked`, "A user has 10 tokens at most.",
		"A token works only from 10.0.0.0/8, and has to say so: name its networks below.", ">10.0.0.0/8</textarea>",
		"A token is for these APIs only: list-api.", "A token has to be encrypted: name its recipients below.", `<details class="more" open>`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the form does not say %q:\n%s", want, a.body)
		}
	}
	for _, wrong := range []string{"90 days", "Same as yours", "Metrics", "Deploy<", "Contract"} {
		if strings.Contains(a.body, wrong) {
			t.Errorf("the form says %q", wrong)
		}
	}
	form.Set("name", "Too long")
	form.Set("days", "90")
	if a := b.post("/new", form); a.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(a.body, "At most 30 days here. Choose a number of days, or a date.") {
		t.Errorf("90 days: %s\n%s", a.Status, a.body)
	}
	if a := b.post("/new", url.Values{"resource": form["resource"], "name": {"x"}, "days": {"date"}, "date": {s.clock.Now().AddDate(0, 0, 40).Format(time.DateOnly)}, "namespace": {team}}); a.StatusCode != http.StatusUnprocessableEntity ||
		!strings.Contains(a.body, "At most 30 days here. Choose an earlier day.") {
		t.Errorf("a date in 40 days: %s\n%s", a.Status, a.body)
	}
	if a := s.signedIn(t, carolBearer).get("/new?ns=" + team); !strings.Contains(a.body, "No token can be created: Contract is over.") {
		t.Errorf("whose tokens are denied is not told:\n%s", a.body)
	}
}

func TestAStoppedTokenSaysWhy(t *testing.T) {
	now := time.Now()
	const unknown = "Stopped by your administrators."
	for name, tc := range map[string]struct {
		spec, lead, policy string
		issued             time.Time
		rotate             bool
	}{
		"denied":        {"{deny: {reason: Left the company}}", "Stopped by your administrators: <bdi>Left the company</bdi>", "p", now, false},
		"hostile":       {`{deny: {reason: "<b>\u202e"}}`, `Stopped by your administrators: <bdi>&lt;b&gt;\u202e</bdi>`, "p", now, false},
		"not known":     {"{allowedHours: [9]}", "Stopped by your administrators: <bdi>a limit that this version does not know</bdi>", "p", now, false},
		"too old":       {"{maxLifetimeDays: 7}", "Stopped by your administrators: <bdi>tokens live 7 days at most here.</bdi>", "p", now.AddDate(0, 0, -8), true},
		"lifted by now": {"{match: {namespaces: [other]}, deny: {reason: Left}}", unknown, "", now, false},
	} {
		t.Run(name, func(t *testing.T) {
			issued := metav1.NewTime(tc.issued)
			pat := &v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice"}}}
			pat.Namespace, pat.Name, pat.Status.TokenID, pat.Status.IssuedAt = team, "a", "aaaaaaaaaaaaaaaa", &issued
			pat.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDeniedByPolicy}}
			c := &Console{clock: testingclock.NewFakePassiveClock(now), maxLife: 90 * 24 * time.Hour, policies: policiesOf(t, map[string]string{"p": tc.spec}).For}
			d := c.detailsOf(t.Context(), pat, &visitor{})
			var body strings.Builder
			if err := page.ShowDetails(&body, nil, d); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(body.String(), `<p class="lead">`+tc.lead) {
				t.Errorf("it does not say %q:\n%s", tc.lead, &body)
			}
			offered := []bool{d.MayRotate, d.MaySuspend, d.MayResume, d.MayRevoke}
			if d.Policy != tc.policy || !slices.Equal(offered, []bool{tc.rotate, false, false, true}) {
				t.Errorf("policy %q, rotate, suspend, resume, revoke: %v", d.Policy, offered)
			}
		})
	}
}

// The page has no field for the life of a rotated token, so it asks for as many days as policies allow.
func TestARotationKeepsToPolicies(t *testing.T) {
	type spec = v1alpha1.PersonalAccessTokenSpec
	now := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	in := func(days int) *metav1.Time { return &metav1.Time{Time: now.AddDate(0, 0, days)} }
	overlap := &v1alpha1.Rotation{OverlapSeconds: 3600}
	const short, denies = "{maxLifetimeDays: 7}", "{deny: {reason: Left}}"
	for name, tc := range map[string]struct {
		policy string
		spec   spec
		days   *int32
		at     *metav1.Time
	}{
		"the default is too long":   {short, spec{}, ptr.To[int32](7), nil},
		"its days are too many":     {short, spec{ExpiresInDays: ptr.To[int32](30)}, ptr.To[int32](7), nil},
		"with an overlap in spec":   {short, spec{ExpiresInDays: ptr.To[int32](30), Rotation: overlap}, ptr.To[int32](7), nil},
		"its days are as allowed":   {short, spec{ExpiresInDays: ptr.To[int32](7)}, ptr.To[int32](7), nil},
		"its days are fewer":        {short, spec{ExpiresInDays: ptr.To[int32](3)}, ptr.To[int32](3), nil},
		"its date is too late":      {short, spec{ExpiresAt: in(30)}, nil, in(7)},
		"its date is early enough":  {short, spec{ExpiresAt: in(6)}, nil, in(6)},
		"made here, for too long":   {short, spec{ExpiresAt: in(30), Token: &v1alpha1.HolderToken{ID: "aaaaaaaaaaaaaaaa"}}, nil, in(7)},
		"no policy on lifetimes":    {denies, spec{ExpiresInDays: ptr.To[int32](30)}, ptr.To[int32](30), nil},
		"more than the operator's":  {"{maxLifetimeDays: 400}", spec{ExpiresInDays: ptr.To[int32](500)}, ptr.To[int32](90), nil},
		"a policy for other people": {"{match: {subjects: [{kind: User, name: bob}]}, maxLifetimeDays: 7}", spec{}, nil, nil},
	} {
		pat := &v1alpha1.PersonalAccessToken{Spec: tc.spec}
		pat.Namespace, pat.Name, pat.Status.TokenID, pat.Spec.User = team, "a", "aaaaaaaaaaaaaaaa", &v1alpha1.UserInfo{Username: "alice"}
		pat.Status.IssuedAt, pat.Status.ExpiresAt = in(-8), in(-1)
		if pat.Spec.Token != nil {
			pat.Status.ExpiresAt = in(60) // status lags behind the policy
		}
		c := &Console{clock: testingclock.NewFakePassiveClock(now), maxLife: 90 * 24 * time.Hour, policies: policiesOf(t, map[string]string{"p": tc.policy}).For}
		rotated := pat.DeepCopy()
		if err := c.rotation(pat, holder.RotateOptions{}).Edit(rotated); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(spec{ExpiresInDays: tc.days, ExpiresAt: tc.at}, spec{ExpiresInDays: rotated.Spec.ExpiresInDays, ExpiresAt: rotated.Spec.ExpiresAt}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if end, err := c.nextEnd(pat); err != nil || !end.Equal(lifecycle.End(&rotated.Spec, now)) {
			t.Errorf("%s: the page says that it ends at %v, and it ends at %v: %v", name, end, lifecycle.End(&rotated.Spec, now), err)
		}
	}
}
