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

package verifier

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/policies"
)

const day = 24 * time.Hour

// left is what policies leave of a token.
type left struct {
	// reason is why no face takes it at all; empty: it works.
	reason Reason
	// end is when it ends; zero: after its own 90 days.
	end time.Duration
	// inside is the one of addresses that it works from; empty: all. groups are those that it gives; nil: its own.
	inside string
	groups []string
}

var addresses = []string{"10.1.2.3", "10.2.3.4", "192.0.2.7", "2001:db8::1"}

// check compares what each face and each of the other questions get at a time when the token has not ended.
func (l *left) check(t *testing.T, when string, x *Index, p *pat) {
	t.Helper()
	const soon = time.Hour
	now := start.Add(soon)
	end := l.end
	if end == 0 {
		end = 90 * day
	}
	groups := l.groups
	if groups == nil {
		groups = p.record.User.Groups
	}
	for face, f := range map[string]struct {
		networks bool
		verify   func(now time.Time) Result
	}{
		"Verify":        {false, func(now time.Time) Result { return x.Verify(p.bearer, nil, now) }},
		"VerifyScoped":  {false, func(now time.Time) Result { return x.VerifyScoped(p.bearer, nil, now) }},
		"VerifyFrom":    {true, func(now time.Time) Result { return x.VerifyFrom(p.bearer, nil, now) }},
		"VerifyProxied": {true, func(now time.Time) Result { return x.VerifyProxied(p.bearer, now) }},
		"VerifyAll":     {true, func(now time.Time) Result { return x.VerifyAll(p.bearer, now) }},
	} {
		got := f.verify(now)
		if l.reason != "" || l.inside != "" && !f.networks {
			reason := l.reason
			if reason == "" {
				reason = reasonAddressBound
			}
			if got.Verdict != Unknown || got.Reason != reason || got.User.Username != "" {
				t.Errorf("%s, %s: %s/%s of %q, want unknown/%s", when, face, got.Verdict, got.Reason, got.User.Username, reason)
			}
			continue
		}
		if got.Verdict != Authenticated || !got.ExpiresAt.Equal(start.Add(end)) || !slices.Equal(got.User.Groups, groups) || got.User.Username != p.record.User.Username {
			t.Errorf("%s, %s: %s/%s until %s of %+v, want one until %s with the groups %q",
				when, face, got.Verdict, got.Reason, got.ExpiresAt.Sub(start), got.User, end, groups)
		}
		for _, address := range addresses {
			if want := l.inside == "" || l.inside == address; got.Networks.Allow(netip.MustParseAddr(address)) != want {
				t.Errorf("%s, %s: from %s: %v", when, face, address, !want)
			}
		}
		if reason, stands := x.Stands(&got, start.Add(end-1)); !stands {
			t.Errorf("%s, %s: just before its end: %s", when, face, reason)
		}
		verdict, atEnd := Unknown, ReasonDeniedByPolicy
		if l.end == 0 {
			verdict, atEnd = Refused, ReasonExpired
		}
		if reason, stands := x.Stands(&got, start.Add(end)); stands || reason != atEnd || got.AtEnd() != atEnd {
			t.Errorf("%s, %s: at its end Stands says %s and AtEnd %s, want %s", when, face, reason, got.AtEnd(), atEnd)
		}
		if late := f.verify(start.Add(end)); late.Verdict != verdict || late.Reason != atEnd {
			t.Errorf("%s, %s: at its end %s/%s, want %s/%s", when, face, late.Verdict, late.Reason, verdict, atEnd)
		}
		// Its own end is final, whatever policies say.
		if late := f.verify(start.Add(90 * day)); late.Verdict != Refused || late.Reason != ReasonExpired {
			t.Errorf("%s, %s: after 90 days %s/%s", when, face, late.Verdict, late.Reason)
		}
	}
	for at, want := range map[time.Duration]bool{soon: l.reason == "", end - 1: l.reason == "", end: false} {
		if _, ok := x.Limits(p.id(), "team-a", "ci", start.Add(at)); ok != want {
			t.Errorf("%s: the authorizer takes it after %s: %v", when, at, ok)
		}
	}
}

// Every field of a policy, at each face, for a token that is known before the policy and one that comes later. Without the policy
// the token works as before.
func TestWhatAPolicyLeavesOfAToken(t *testing.T) {
	denied, notUnderstood := left{reason: ReasonDeniedByPolicy}, left{reason: ReasonPolicyNotUnderstood}
	inside, dev := left{inside: "10.1.2.3"}, left{groups: []string{"dev"}}
	for name, tc := range map[string]struct {
		policies []string
		want     left
	}{
		"nothing of this token":       {[]string{`{match: {subjects: [{kind: User, name: bob}]}, deny: {reason: x}}`}, left{}},
		"of another namespace":        {[]string{`{match: {namespaces: [team-b, "*-b"]}, deny: {reason: x}}`}, left{}},
		"deny":                        {[]string{`{deny: {reason: Left}}`}, denied},
		"deny the user":               {[]string{`{match: {subjects: [{kind: User, name: alice}]}, deny: {reason: Left}}`}, denied},
		"deny a group":                {[]string{`{match: {subjects: [{kind: Group, name: ops}]}, deny: {reason: Left}}`}, denied},
		"deny everyone's group":       {[]string{`{match: {subjects: [{kind: Group, name: "system:authenticated"}]}, deny: {reason: x}}`}, denied},
		"deny in namespaces":          {[]string{`{match: {namespaces: ["team-*"]}, deny: {reason: x}}`}, denied},
		"deny without a reason":       {[]string{`{deny: {}}`}, denied},
		"deny and more":               {[]string{`{maxLifetimeDays: 30, allowedFrom: [10.1.0.0/16], allowedGroups: [dev], deny: {reason: x}}`}, denied},
		"deny with an unknown field":  {[]string{`{deny: {reason: x, until: tomorrow}}`}, notUnderstood},
		"an unknown field":            {[]string{`{maxLifetimeDays: 400, allowedWeekdays: [Monday]}`}, notUnderstood},
		"a field of another type":     {[]string{`{maxLifetimeDays: "400"}`}, notUnderstood},
		"an empty list":               {[]string{`{allowedFrom: []}`}, notUnderstood},
		"no spec":                     {[]string{`null`}, notUnderstood},
		"an unknown part of match":    {[]string{`{match: {verbs: [get]}, deny: {reason: x}}`}, denied},
		"an unknown kind of subject":  {[]string{`{match: {subjects: [{kind: Robot, name: bob}]}, deny: {reason: x}}`}, denied},
		"a known part rules it out":   {[]string{`{match: {verbs: [get], namespaces: [team-b]}, deny: {reason: x}}`}, left{}},
		"unknown, and a deny":         {[]string{`{allowedWeekdays: [Monday]}`, `{deny: {reason: x}}`}, denied},
		"maxLifetimeDays":             {[]string{`{maxLifetimeDays: 30}`}, left{end: 30 * day}},
		"the least maxLifetimeDays":   {[]string{`{maxLifetimeDays: 50}`, `{maxLifetimeDays: 20}`, `{maxLifetimeDays: 30}`}, left{end: 20 * day}},
		"a longer maxLifetimeDays":    {[]string{`{maxLifetimeDays: 400}`}, left{}},
		"as long a maxLifetimeDays":   {[]string{`{maxLifetimeDays: 90}`}, left{}},
		"allowedFrom":                 {[]string{`{allowedFrom: [10.1.0.0/16]}`}, inside},
		"two lists of allowedFrom":    {[]string{`{allowedFrom: [10.0.0.0/8, 192.0.2.0/24]}`, `{allowedFrom: ["2001:db8::/32", 10.1.0.0/16]}`}, inside},
		"lists with nothing together": {[]string{`{allowedFrom: [10.0.0.0/8]}`, `{allowedFrom: [192.0.2.0/24]}`}, left{inside: "nowhere"}},
		"allowedGroups":               {[]string{`{allowedGroups: [dev, admins]}`}, dev},
		"two lists of allowedGroups":  {[]string{`{allowedGroups: [dev, ops]}`, `{allowedGroups: [dev]}`}, dev},
		"no group that it has":        {[]string{`{allowedGroups: [admins]}`}, left{groups: []string{}}},
		"all that it has":             {[]string{`{allowedGroups: [ops, dev]}`}, left{}},
		// The group is matched before it is left out.
		"a group that is left out": {[]string{`{match: {subjects: [{kind: Group, name: ops}]}, allowedGroups: [dev], maxLifetimeDays: 30}`},
			left{end: 30 * day, groups: []string{"dev"}}},
		"everything": {[]string{`{maxLifetimeDays: 30, allowedFrom: [10.1.0.0/16], allowedGroups: [dev], maxTokensPerUser: 1}`},
			left{end: 30 * day, inside: "10.1.2.3", groups: []string{"dev"}}},
		"what is for new tokens": {[]string{`{maxTokensPerUser: 0, requireScopes: true, allowedScopes: [read-only], allowedAudiences: [x], allowedDelivery: [Holder]}`}, left{}},
	} {
		t.Run(name, func(t *testing.T) {
			var all []*unstructured.Unstructured
			for i, spec := range tc.policies {
				all = append(all, policies.New(string(rune('a'+i)), spec))
			}
			p := newPAT(t, "team-a", "ci", "uid-1")
			for _, tokenFirst := range []bool{true, false} {
				x, when := newIndex(t), "the policy first"
				if tokenFirst {
					when = "the token first"
					p.set(t, x)
				}
				for _, o := range all {
					x.SetPolicy(o.DeepCopy())
				}
				p.set(t, x)
				tc.want.check(t, when, x, p)
				for _, o := range all {
					x.DeletePolicy(o.GetName())
				}
				(&left{}).check(t, when+", and is gone again", x, p)
			}
		})
	}
}

// A policy that is changed counts in its present form, for those that it matches now and for those that it matched.
func TestAPolicyChanges(t *testing.T) {
	alices := newPAT(t, "team-a", "ci", "uid-1")
	bobs := newPAT(t, "team-a", "bobs", "uid-2", func(p *pat) { p.record.User.Username, p.resource.Spec.User.Username = "bob", "bob" })
	x := newIndex(t)
	var heard []string
	x.OnChange(func(id string) { heard = append(heard, id) })
	alices.set(t, x)
	bobs.set(t, x)
	of := func(user string) string {
		return `{match: {subjects: [{kind: User, name: ` + user + `}]}, deny: {reason: x}}`
	}
	for _, step := range []struct {
		name       string
		do         func()
		alice, bob Reason
		heard      string
	}{
		{"for alice", func() { x.SetPolicy(policies.New("p", of("alice"))) }, ReasonDeniedByPolicy, reasonValid, "alice"},
		{"its status changes", func() {
			o := policies.New("p", of("alice"))
			o.Object["status"] = map[string]any{"matchedTokens": int64(1)}
			o.SetResourceVersion("2")
			x.SetPolicy(o)
		}, ReasonDeniedByPolicy, reasonValid, ""},
		{"for bob", func() { x.SetPolicy(policies.New("p", of("bob"))) }, reasonValid, ReasonDeniedByPolicy, "alice bob"},
		{"another for bob", func() { x.SetPolicy(policies.New("q", of("bob"))) }, reasonValid, ReasonDeniedByPolicy, "bob"},
		{"one is gone", func() { x.DeletePolicy("p") }, reasonValid, ReasonDeniedByPolicy, "bob"},
		{"it is gone again", func() { x.DeletePolicy("p") }, reasonValid, ReasonDeniedByPolicy, ""},
		{"for nobody", func() { x.SetPolicy(policies.New("r", of("carol"))) }, reasonValid, ReasonDeniedByPolicy, ""},
		// etcd was restored: the same generation of the same object says something else.
		{"the generation is the same", func() { x.SetPolicy(policies.New("q", `{deny: {reason: x}}`)) }, ReasonDeniedByPolicy, ReasonDeniedByPolicy, "alice bob"},
		{"for alice again", func() { x.SetPolicy(policies.New("q", of("alice"))) }, ReasonDeniedByPolicy, reasonValid, "alice bob"},
		{"for a group", func() {
			x.SetPolicy(policies.New("q", `{match: {subjects: [{kind: Group, name: ops}, {kind: User, name: bob}]}, deny: {reason: x}}`))
		}, ReasonDeniedByPolicy, ReasonDeniedByPolicy, "alice bob"},
		{"all are gone", func() { x.DeletePolicy("q"); x.DeletePolicy("r") }, reasonValid, reasonValid, "alice bob"},
	} {
		heard = nil
		step.do()
		for user, of := range map[string]struct {
			*pat
			want Reason
		}{"alice": {alices, step.alice}, "bob": {bobs, step.bob}} {
			if got := x.Verify(of.bearer, nil, start); got.Reason != of.want {
				t.Errorf("%s: %s's token: %s, want %s", step.name, user, got.Reason, of.want)
			}
			if slices.Contains(heard, of.id()) != strings.Contains(step.heard, user) {
				t.Errorf("%s: the listener hears of %d tokens, want those of %q", step.name, len(heard), step.heard)
			}
		}
	}
	if n := x.Policies().Len(); n != 0 {
		t.Errorf("%d policies are left", n)
	}
}

// A service account's groups follow from its name: they match though its token lists none, and stay.
func TestPoliciesForServiceAccounts(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		reason Reason
	}{
		"the account":                {`{match: {subjects: [{kind: ServiceAccount, namespace: team-a, name: bot}]}, deny: {reason: x}}`, ReasonDeniedByPolicy},
		"another account":            {`{match: {subjects: [{kind: ServiceAccount, namespace: team-b, name: bot}]}, deny: {reason: x}}`, reasonValid},
		"its name as a user's":       {`{match: {subjects: [{kind: User, name: "system:serviceaccount:team-a:bot"}]}, deny: {reason: x}}`, ReasonDeniedByPolicy},
		"all accounts":               {`{match: {subjects: [{kind: Group, name: "system:serviceaccounts"}]}, deny: {reason: x}}`, ReasonDeniedByPolicy},
		"those of its namespace":     {`{match: {subjects: [{kind: Group, name: "system:serviceaccounts:team-a"}]}, deny: {reason: x}}`, ReasonDeniedByPolicy},
		"those of another one":       {`{match: {subjects: [{kind: Group, name: "system:serviceaccounts:team-b"}]}, deny: {reason: x}}`, reasonValid},
		"an account of no namespace": {`{match: {subjects: [{kind: ServiceAccount, name: other}]}, deny: {reason: x}}`, ReasonDeniedByPolicy},
		"groups":                     {`{allowedGroups: [dev]}`, reasonValid},
	} {
		for _, groups := range [][]string{{"system:serviceaccounts", "system:serviceaccounts:team-a"}, nil} {
			p := newPAT(t, "team-a", "ci", "uid-1", ofServiceAccount("team-a", "bot", "sa-1"), func(p *pat) {
				p.record.User.Groups, p.resource.Spec.User.Groups = groups, groups
			})
			x := newIndex(t, p)
			x.SetServiceAccount("team-a", "bot", "sa-1")
			x.SetPolicy(policies.New("p", tc.policy))
			got := x.Verify(p.bearer, nil, start)
			if got.Reason != tc.reason || tc.reason == reasonValid && !slices.Equal(got.User.Groups, groups) {
				t.Errorf("%s, groups %q: %s, groups %q", name, groups, got.Reason, got.User.Groups)
			}
		}
	}
}

// What policies leave out changes nothing of what the record says, so a later policy sees it.
func TestAPolicyMatchesByTheRecordsGroups(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1")
	x := newIndex(t, p)
	x.SetPolicy(policies.New("a", `{allowedGroups: [dev]}`))
	if got := x.Verify(p.bearer, nil, start); !slices.Equal(got.User.Groups, []string{"dev"}) {
		t.Errorf("groups %q", got.User.Groups)
	}
	p.set(t, x)
	x.SetPolicy(policies.New("b", `{match: {subjects: [{kind: Group, name: ops}]}, deny: {reason: x}}`))
	want(t, x, p.bearer, start, Unknown, ReasonDeniedByPolicy)
	x.DeletePolicy("b")
	x.DeletePolicy("a")
	if got := x.Verify(p.bearer, nil, start); !slices.Equal(got.User.Groups, []string{"dev", "ops"}) {
		t.Errorf("groups %q", got.User.Groups)
	}
}

// The other limits of a token stay as they are.
func TestAPolicyDoesNotWidenAToken(t *testing.T) {
	p := newPAT(t, "team-a", "ci", "uid-1", func(p *pat) {
		p.resource.Spec.From, p.resource.Spec.Scopes = []string{"10.1.0.0/16"}, []v1alpha1.Scope{{Preset: "read-only"}}
		p.record.Current.ExpiresAt = start.Add(10 * day)
	})
	x := newIndex(t, p)
	x.SetPolicy(policies.New("p", `{maxLifetimeDays: 30, allowedFrom: [10.0.0.0/8, 192.0.2.0/24]}`))
	got := x.VerifyProxied(p.bearer, start)
	if got.Verdict != Authenticated || got.Limits.Full() || !got.ExpiresAt.Equal(start.Add(10*day)) ||
		!got.Networks.Allow(netip.MustParseAddr("10.1.2.3")) || got.Networks.Allow(netip.MustParseAddr("192.0.2.7")) || got.Networks.Allow(netip.MustParseAddr("10.2.3.4")) {
		t.Errorf("%s/%s until %s, %+v", got.Verdict, got.Reason, got.ExpiresAt.Sub(start), got.Networks)
	}
	x.SetPolicy(policies.New("p", `{deny: {reason: x}}`))
	p.resource.DeletionTimestamp = &metav1.Time{Time: start}
	p.set(t, x)
	want(t, x, p.bearer, start, Refused, ReasonDeleting)
	p.resource.DeletionTimestamp = nil
	p.revokes(p.id())
	p.set(t, x)
	want(t, x, p.bearer, start, Refused, ReasonEnded)
}
