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

package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/policies"
)

var (
	alice = &v1alpha1.UserInfo{Username: "alice", Groups: []string{"dev", "ops"}}
	bob   = &v1alpha1.UserInfo{Username: "bob"}
	bot   = &v1alpha1.UserInfo{Username: "system:serviceaccount:team-a:bot"}
)

func parse(name, spec string) *Policy { return Parse(policies.New(name, spec)) }

// matched are those of the users whose tokens a policy matches, each in one of two namespaces.
func matched(p *Policy) string {
	var all []string
	for _, in := range []struct {
		name, namespace string
		user            *v1alpha1.UserInfo
	}{{"alice/a", "team-a", alice}, {"alice/b", "team-b", alice}, {"bob/a", "team-a", bob}, {"bot/a", "team-a", bot}} {
		if p.Matches(in.namespace, in.user) {
			all = append(all, in.name)
		}
	}
	return strings.Join(all, " ")
}

func TestWhatAPolicyMatches(t *testing.T) {
	const all = "alice/a alice/b bob/a bot/a"
	for _, tc := range []struct{ match, want, unknown string }{
		{`null`, all, ""},
		{`{}`, all, ""},
		{`{subjects: [{kind: User, name: alice}]}`, "alice/a alice/b", ""},
		{`{subjects: [{kind: User, name: alice}, {kind: User, name: bob}]}`, "alice/a alice/b bob/a", ""},
		{`{subjects: [{kind: User, name: Alice}, {kind: User, name: ali}]}`, "", ""},
		{`{subjects: [{kind: User, name: dev}]}`, "", ""},
		{`{subjects: [{kind: Group, name: alice}]}`, "", ""},
		{`{subjects: [{kind: Group, name: dev}]}`, "alice/a alice/b", ""},
		{`{subjects: [{kind: Group, name: "system:authenticated"}]}`, all, ""},
		{`{subjects: [{kind: Group, name: "system:serviceaccounts"}]}`, "bot/a", ""},
		{`{subjects: [{kind: Group, name: "system:serviceaccounts:team-a"}]}`, "bot/a", ""},
		{`{subjects: [{kind: Group, name: "system:serviceaccounts:team-b"}]}`, "", ""},
		{`{subjects: [{kind: ServiceAccount, namespace: team-a, name: bot}]}`, "bot/a", ""},
		{`{subjects: [{kind: ServiceAccount, namespace: team-b, name: bot}]}`, "", ""},
		{`{namespaces: [team-a]}`, "alice/a bob/a bot/a", ""},
		{`{namespaces: ["*"]}`, all, ""},
		{`{namespaces: ["team-*"]}`, all, ""},
		{`{namespaces: ["*-b", vendor]}`, "alice/b", ""},
		{`{namespaces: [team, "eam-a", "*team"]}`, "", ""},
		{`{namespaces: ["t*m-*b"]}`, "alice/b", ""},
		{`{namespaces: [team-b], subjects: [{kind: Group, name: dev}]}`, "alice/b", ""},
		{`{namespaces: [team-b], subjects: [{kind: User, name: bob}]}`, "", ""},

		// What is not understood matches as if it were absent.
		{`all`, all, "spec.match"},
		{`[]`, all, "spec.match"},
		{`{verbs: [get]}`, all, "spec.match.verbs"},
		{`{verbs: [get], namespaces: [team-b]}`, "alice/b", "spec.match.verbs"},
		{`{subjects: null}`, all, "spec.match.subjects"},
		{`{subjects: []}`, all, "spec.match.subjects"},
		{`{subjects: alice}`, all, "spec.match.subjects"},
		{`{subjects: [alice]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: Robot, name: bob}]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: User, name: bob}, {kind: Robot, name: bob}]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: Robot, name: bob}], namespaces: [team-b]}`, "alice/b", "spec.match.subjects"},
		{`{subjects: [{kind: user, name: bob}]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: User, name: bob, claim: email}]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: User, name: 7}]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: User}]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: User, name: bob, namespace: team-a}]}`, all, "spec.match.subjects"},
		{`{subjects: [{kind: ServiceAccount, name: other}]}`, all, "spec.match.subjects"},
		{`{namespaces: []}`, all, "spec.match.namespaces"},
		{`{namespaces: [""]}`, all, "spec.match.namespaces"},
		{`{namespaces: vendor}`, all, "spec.match.namespaces"},
		{`{namespaces: ["vendor-?"]}`, all, "spec.match.namespaces"},
		{`{namespaces: ["!vendor", team-a]}`, all, "spec.match.namespaces"},
		{`{namespaces: ["vendor|x"], subjects: [{kind: User, name: bob}]}`, "bob/a", "spec.match.namespaces"},
		{`{namespaces: [1], subjects: 1}`, all, "spec.match.namespaces spec.match.subjects"},
	} {
		p := parse("p", `{maxLifetimeDays: 30, match: `+tc.match+`}`)
		if got := matched(p); got != tc.want {
			t.Errorf("%s matches %s, want %s", tc.match, got, tc.want)
		}
		if got := strings.Join(p.Unknown, " "); got != tc.unknown {
			t.Errorf("%s: unknown %q, want %q", tc.match, got, tc.unknown)
		}
		if d := (Limits{p}).Denial(); d != nil {
			t.Errorf("%s denies: %s", tc.match, d)
		}
	}
	if (*Policy)(nil).Matches("team-a", alice) {
		t.Error("no policy matches")
	}
}

func TestWhatIsNotUnderstoodDenies(t *testing.T) {
	for _, tc := range []struct{ spec, unknown string }{
		{`null`, "spec"},
		{`[]`, "spec"},
		{`deny`, "spec"},
		{`{maxLifetimeDays: 30}`, ""},
		{`{maxLifetimeDays: "30"}`, "spec.maxLifetimeDays"},
		{`{maxLifetimeDays: 1.5}`, "spec.maxLifetimeDays"},
		{`{maxLifetimeDays: -1}`, "spec.maxLifetimeDays"},
		{`{maxLifetimeDays: 4294967297}`, "spec.maxLifetimeDays"},
		{`{maxLifetimeDays: 3e1}`, ""},
		{`{maxLifetimeDays: 1e99}`, "spec.maxLifetimeDays"},
		{`{maxTokensPerUser: -4294967196}`, "spec.maxTokensPerUser"},
		{`{maxTokensPerUser: null}`, ""},
		{`{maxTokensPerUser: 0}`, ""},
		{`{maxTokensPerUser: true}`, "spec.maxTokensPerUser"},
		{`{maxTokensPerUser: -1}`, "spec.maxTokensPerUser"},
		{`{requireScopes: "yes"}`, "spec.requireScopes"},
		{`{allowedScopes: read-only}`, "spec.allowedScopes"},
		{`{allowedScopes: [{preset: read-only}]}`, "spec.allowedScopes"},
		{`{allowedAudiences: {a: b}}`, "spec.allowedAudiences"},
		{`{allowedDelivery: [1]}`, "spec.allowedDelivery"},
		{`{allowedFrom: ["10.0.0.0/8", office]}`, "spec.allowedFrom"},
		{`{allowedFrom: ["10.0.0.1"]}`, "spec.allowedFrom"},
		{`{allowedFrom: []}`, "spec.allowedFrom"},
		{`{allowedGroups: []}`, "spec.allowedGroups"},
		{`{allowedGroups: [dev, [ops]]}`, "spec.allowedGroups"},
		{`{deny: yes}`, "spec.deny"},
		{`{deny: {reason: 7}}`, "spec.deny"},
		{`{deny: {reason: x, until: tomorrow}}`, "spec.deny"},
		{`{allowedWeekdays: [Monday]}`, "spec.allowedWeekdays"},
		{`{Deny: {reason: x}}`, "spec.Deny"},
		{`{maxLifetimeDays: 30, allowedWeekdays: [Monday], maxAge: 1}`, "spec.allowedWeekdays spec.maxAge"},
		{`{allowedWeekdays: [Monday], match: {verbs: [get]}}`, "spec.allowedWeekdays spec.match.verbs"},
	} {
		p := parse("p", tc.spec)
		if got := strings.Join(p.Unknown, " "); got != tc.unknown {
			t.Errorf("%s: unknown %q, want %q", tc.spec, got, tc.unknown)
		}
		d := Limits{p}.Denial()
		if (d != nil) != (tc.unknown != "") {
			t.Errorf("%s: denial %v", tc.spec, d)
		}
		if d == nil {
			continue
		}
		want := `TokenPolicy "p" has what this version of pat-operator does not know (` + strings.Join(p.Unknown, ", ") +
			`), so all tokens that it matches are denied; an administrator can upgrade pat-operator, or change the policy`
		if got := d.String(); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.spec, got, want)
		}
		if !p.Matches("team-a", alice) {
			t.Errorf("%s does not match", tc.spec)
		}
	}
	// What is understood of such a policy is kept.
	p := parse("p", `{maxLifetimeDays: 30, allowedFrom: [office], allowedGroups: [dev], more: 1}`)
	if p.Spec.MaxLifetimeDays == nil || *p.Spec.MaxLifetimeDays != 30 || !slices.Equal(p.Spec.AllowedGroups, []string{"dev"}) {
		t.Errorf("%+v", p.Spec)
	}
}

func TestADenialSaysWhy(t *testing.T) {
	meant, unknown := parse("b", `{deny: {reason: "Left the company."}}`), parse("a", `{more: 1}`)
	for _, tc := range []struct {
		limits Limits
		want   string
	}{
		{Limits{meant}, `TokenPolicy "b" denies this user's tokens here: Left the company; an administrator can change the policy`},
		// One that is meant comes first.
		{Limits{unknown, meant}, `TokenPolicy "b" denies this user's tokens here: Left the company; an administrator can change the policy`},
		{Limits{parse("c", `{deny: {}}`)}, `TokenPolicy "c" denies this user's tokens here: it gives no reason; an administrator can change the policy`},
	} {
		if got := tc.limits.Denial().String(); got != tc.want {
			t.Errorf("%s\nwant\n%s", got, tc.want)
		}
	}
	if d := (Limits)(nil).Denial(); d != nil {
		t.Errorf("no policy denies: %s", d)
	}
}

func TestTheUsersThatAPolicyNames(t *testing.T) {
	for _, tc := range []struct {
		match, names string
		noneElse     bool
	}{
		{`{subjects: [{kind: User, name: b}, {kind: ServiceAccount, namespace: team-a, name: bot}, {kind: User, name: a}]}`, "a b system:serviceaccount:team-a:bot", true},
		{`{subjects: [{kind: User, name: b}], namespaces: [team-a]}`, "b", true},
		{`{subjects: [{kind: User, name: b}, {kind: Group, name: a}]}`, "b", false},
		{`{subjects: [{kind: User, name: b}, {kind: Robot, name: a}]}`, "", false},
		{`{namespaces: [team-a]}`, "", false},
		{`null`, "", false},
	} {
		names, noneElse := parse("p", `{maxLifetimeDays: 30, match: `+tc.match+`}`).Users()
		slices.Sort(names)
		if got := strings.Join(names, " "); got != tc.names || noneElse != tc.noneElse {
			t.Errorf("%s: %s, none else: %v", tc.match, got, noneElse)
		}
	}
	if names, noneElse := (*Policy)(nil).Users(); names != nil || !noneElse {
		t.Errorf("no policy: %q, %v", names, noneElse)
	}
}

func TestEqualPolicies(t *testing.T) {
	specs := []string{
		`{deny: {reason: x}}`, `{deny: {reason: y}}`, `{maxLifetimeDays: 30}`, `{maxLifetimeDays: 31}`, `{maxLifetimeDays: 30, more: 1}`, `{more: 1}`, `{less: 1}`,
		`{match: {namespaces: [a]}, maxLifetimeDays: 30}`, `{match: {namespaces: [b]}, maxLifetimeDays: 30}`, `{match: {verbs: [a]}, maxLifetimeDays: 30}`,
		`{match: {subjects: [{kind: User, name: a}]}, maxLifetimeDays: 30}`, `{match: {subjects: [{kind: Group, name: a}]}, maxLifetimeDays: 30}`,
		`{allowedFrom: [10.0.0.0/8]}`, `{allowedFrom: [11.0.0.0/8]}`, `{allowedFrom: [office]}`, `{allowedGroups: [a]}`, `{maxTokensPerUser: 1}`, `{requireScopes: true}`,
		`{allowedScopes: [read-only]}`, `{allowedAudiences: [a]}`, `{allowedDelivery: [Holder]}`,
	}
	for i, a := range specs {
		for j, b := range specs {
			if got := parse("a", a).Equal(parse("b", b)); got != (i == j) {
				t.Errorf("%s and %s: %v", a, b, got)
			}
		}
		if p := parse("a", a); p.Equal(nil) || (*Policy)(nil).Equal(p) {
			t.Errorf("%s equals none", a)
		}
	}
	if !(*Policy)(nil).Equal(nil) {
		t.Error("none and none differ")
	}
}

func TestTheStrictestOfEachLimitCounts(t *testing.T) {
	issued := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	l := Limits{
		parse("a", `{maxLifetimeDays: 40, maxTokensPerUser: 3, allowedGroups: [dev, ops]}`),
		parse("b", `{maxLifetimeDays: 30, maxTokensPerUser: 5, allowedFrom: [10.0.0.0/8], allowedGroups: [ops, admins]}`),
		parse("c", `{maxLifetimeDays: 50, allowedFrom: ["2001:db8::/32", 10.1.0.0/16]}`),
	}
	if end, of := l.End(issued); !end.Equal(issued.AddDate(0, 0, 30)) || of.Name != "b" {
		t.Errorf("it ends at %s by %s", end, of.Name)
	}
	if n, of := l.MaxTokens(); n != 3 || of.Name != "a" {
		t.Errorf("%d tokens by %s", n, of.Name)
	}
	if n := len(l.Networks()); n != 2 {
		t.Errorf("%d lists of networks", n)
	}
	if diff := cmp.Diff([]string{"ops"}, l.Groups(alice)); diff != "" {
		t.Error(diff)
	}
	account := &v1alpha1.UserInfo{Username: bot.Username, Groups: []string{"system:serviceaccounts:team-a", "dev", "system:authenticated", "system:serviceaccounts", "system:serviceaccounts:team-b"}}
	if diff := cmp.Diff([]string{"system:serviceaccounts:team-a", "system:authenticated", "system:serviceaccounts"}, l.Groups(account)); diff != "" {
		t.Error(diff)
	}
	if len(account.Groups) != 5 || len(alice.Groups) != 2 {
		t.Error("the user's own groups have changed")
	}
	var none Limits
	if _, of := none.End(issued); of != nil {
		t.Error("an end by no policy")
	}
	if _, of := none.MaxTokens(); of != nil {
		t.Error("a number by no policy")
	}
	if none.Networks() != nil || !slices.Equal(none.Groups(alice), alice.Groups) {
		t.Error("networks or groups by no policy")
	}
}
