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
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

func TestASetIsIndexedByWhomItsPoliciesName(t *testing.T) {
	s := NewSet()
	names := func(l []*Policy) string {
		var all []string
		for _, p := range l {
			all = append(all, p.Name)
		}
		return strings.Join(all, " ")
	}
	put := func(name, spec string) *Policy { return s.Put(parse(name, spec)) }
	if s.For("team-a", alice) != nil || s.Len() != 0 || s.Remove("a") != nil {
		t.Error("an empty set has a policy")
	}
	put("everyone", `{maxLifetimeDays: 1}`)
	put("b", `{match: {namespaces: ["*-b"]}, maxLifetimeDays: 1}`)
	put("alice", `{match: {subjects: [{kind: User, name: alice}, {kind: Group, name: dev}, {kind: Group, name: ops}]}, maxLifetimeDays: 1}`)
	put("devs", `{match: {subjects: [{kind: Group, name: dev}], namespaces: [team-a]}, maxLifetimeDays: 1}`)
	put("accounts", `{match: {subjects: [{kind: Group, name: "system:serviceaccounts"}]}, maxLifetimeDays: 1}`)
	for _, tc := range []struct {
		namespace string
		user      *v1alpha1.UserInfo
		want      string
	}{{"team-a", alice, "alice devs everyone"}, {"team-b", alice, "alice b everyone"}, {"team-a", bob, "everyone"}, {"team-b", bot, "accounts b everyone"}} {
		if got := names(s.For(tc.namespace, tc.user)); got != tc.want {
			t.Errorf("%s in %s: %s, want %s", tc.user.Username, tc.namespace, got, tc.want)
		}
	}
	if was := put("alice", `{match: {subjects: [{kind: User, name: bob}]}, maxLifetimeDays: 2}`); was == nil || *was.Spec.MaxLifetimeDays != 1 {
		t.Errorf("it was %+v", was)
	}
	if got := names(s.For("team-a", alice)); got != "devs everyone" {
		t.Errorf("a changed policy: %s", got)
	}
	if was := s.Remove("devs"); was == nil || was.Name != "devs" {
		t.Errorf("it was %+v", was)
	}
	if got := names(s.For("team-a", alice)); got != "everyone" || s.Len() != 4 || names(s.All()) != "accounts alice b everyone" {
		t.Errorf("after the removal: %s of %s", got, names(s.All()))
	}
	put("ops", `{match: {subjects: [{kind: Group, name: ops}], namespaces: [team-b]}, maxLifetimeDays: 1}`)
	for namespace, want := range map[string]string{"team-a": "", "team-b": "ops"} {
		if got := names(s.Naming(namespace, "ops", "dev")); got != want {
			t.Errorf("policies for ops in %s: %s, want %s", namespace, got, want)
		}
	}
}

// meant is a policy with what its text says, put down as it was made: nothing of it is read from the text.
type meant struct {
	name string
	spec map[string]any
	// unknown reports that the text has what this version does not know, outside of match.
	unknown bool
	// reason is that of deny; nil for none.
	reason *string
	// subjects and namespaces are nil where they are absent or not understood.
	subjects                                                       []v1alpha1.PolicySubject
	namespaces                                                     []string
	days, tokens                                                   *int
	requireScopes                                                  bool
	allowedScopes, allowedAudiences, allowedDelivery, from, groups []string
}

var (
	someUsers      = []string{"alice", "bob", "system:serviceaccount:team-a:bot", "system:serviceaccount:vendor-x:bot", "dev", ""}
	someGroups     = []string{"dev", "ops", "admins", "system:authenticated", "system:serviceaccounts", "system:serviceaccounts:team-a", "alice"}
	someNamespaces = []string{"team-a", "team-b", "vendor-x", "a"}
	somePatterns   = []string{"team-a", "team-*", "*", "*-x", "v*-*", "*a*", "a", "b", "**", "t*a"}
	someNetworks   = []string{"10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0"}
	someAddresses  = []string{"10.1.2.3", "10.2.3.4", "192.0.2.7", "198.51.100.1", "2001:db8::1", "fe80::1"}
	someScopes     = []string{"read-only", "metrics", "ci-deploy"}
	someAudiences  = []string{"list-api", "vault", "https://kubernetes.default.svc"}
	someDeliveries = []string{"Secret", "Recipients", "Holder"}
)

// some is a list of values, and the same as JSON's. It is not empty.
func some(r *rand.Rand, from []string) (list []string, raw []any) {
	for range 1 + r.IntN(3) {
		v := from[r.IntN(len(from))]
		list, raw = append(list, v), append(raw, v)
	}
	return list, raw
}

// mean makes a policy. One in eight has something that is not understood.
func mean(r *rand.Rand, name string) *meant {
	m := &meant{name: name, spec: map[string]any{}}
	may := func(n int) bool { return r.IntN(n) == 0 }
	strange := func() any {
		return []any{nil, true, int64(7), 1.5, "x", []any{}, []any{int64(1)}, map[string]any{"a": "b"}}[r.IntN(8)]
	}
	match := map[string]any{}
	if may(2) {
		var raw []any
		understood := true
		for range 1 + r.IntN(2) {
			var s v1alpha1.PolicySubject
			one := map[string]any{}
			switch r.IntN(3) {
			case 0:
				s = v1alpha1.PolicySubject{Kind: "User", Name: someUsers[r.IntN(len(someUsers)-1)]}
			case 1:
				s = v1alpha1.PolicySubject{Kind: "Group", Name: someGroups[r.IntN(len(someGroups))]}
			case 2:
				s = v1alpha1.PolicySubject{Kind: "ServiceAccount", Namespace: someNamespaces[r.IntN(len(someNamespaces))], Name: "bot"}
				one["namespace"] = s.Namespace
			}
			one["kind"], one["name"] = s.Kind, s.Name
			if may(16) {
				understood = false
				one[[]string{"kind", "name", "claim"}[r.IntN(3)]] = []any{"Robot"}
			}
			m.subjects, raw = append(m.subjects, s), append(raw, one)
		}
		match["subjects"] = raw
		if !understood {
			m.subjects = nil
		}
	}
	if may(2) {
		list, raw := some(r, somePatterns)
		if m.namespaces = list; may(16) {
			raw, m.namespaces = append(raw, []any{"vendor-?", "", int64(1)}[r.IntN(3)]), nil
		}
		match["namespaces"] = raw
	}
	if may(16) {
		match["verbs"] = strange()
	}
	switch {
	case may(16):
		m.spec["match"], m.subjects, m.namespaces = "all", nil, nil
	case len(match) > 0 || may(2):
		m.spec["match"] = match
	}
	if may(6) {
		reason := "Left"
		m.reason, m.spec["deny"] = &reason, map[string]any{"reason": reason}
		if may(6) {
			m.unknown, m.reason, m.spec["deny"] = true, nil, map[string]any{"reason": reason, "until": strange()}
		}
	}
	number := func(field string, into **int) {
		if !may(3) {
			return
		}
		n := r.IntN(100)
		*into, m.spec[field] = &n, int64(n)
		if may(16) {
			m.unknown, *into, m.spec[field] = true, nil, []any{"7", 1.5, []any{}, int64(-1)}[r.IntN(4)]
		}
	}
	number("maxLifetimeDays", &m.days)
	number("maxTokensPerUser", &m.tokens)
	if may(4) {
		m.requireScopes = may(2)
		m.spec["requireScopes"] = m.requireScopes
	}
	for field, l := range map[string]struct {
		from []string
		into *[]string
	}{
		"allowedScopes": {someScopes, &m.allowedScopes}, "allowedAudiences": {someAudiences, &m.allowedAudiences}, "allowedDelivery": {someDeliveries, &m.allowedDelivery},
		"allowedFrom": {someNetworks, &m.from}, "allowedGroups": {someGroups, &m.groups},
	} {
		if !may(3) {
			continue
		}
		list, raw := some(r, l.from)
		if *l.into, m.spec[field] = list, raw; may(16) {
			m.unknown, m.spec[field] = true, []any{[]any{}, "x", append(raw, int64(1))}[r.IntN(3)]
			*l.into = nil // what is left of it does not matter: all is denied
		}
	}
	if may(12) {
		m.unknown, m.spec["allowedWeekdays"] = true, strange()
	}
	return m
}

// like reports whether a name is one of a pattern, letter by letter.
func like(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	if pattern[0] == '*' {
		return like(pattern[1:], name) || name != "" && like(pattern, name[1:])
	}
	return name != "" && pattern[0] == name[0] && like(pattern[1:], name[1:])
}

// allGroups are those that kube-apiserver would give a user.
func allGroups(u *v1alpha1.UserInfo) []string {
	all := append([]string{"system:authenticated"}, u.Groups...)
	if parts := strings.Split(u.Username, ":"); len(parts) == 4 && strings.HasPrefix(u.Username, "system:serviceaccount:") {
		all = append(all, "system:serviceaccounts", "system:serviceaccounts:"+parts[2])
	}
	return all
}

func (m *meant) matches(namespace string, u *v1alpha1.UserInfo) bool {
	inNamespace, ofSubject := m.namespaces == nil, m.subjects == nil
	for _, pattern := range m.namespaces {
		inNamespace = inNamespace || like(pattern, namespace)
	}
	for _, s := range m.subjects {
		switch s.Kind {
		case "User":
			ofSubject = ofSubject || s.Name == u.Username
		case "Group":
			ofSubject = ofSubject || slices.Contains(allGroups(u), s.Name)
		case "ServiceAccount":
			ofSubject = ofSubject || u.Username == "system:serviceaccount:"+s.Namespace+":"+s.Name
		}
	}
	return inNamespace && ofSubject
}

// refuses are the fields of a new token that a policy refuses, without their index.
func (m *meant) refuses(t *Token) []string {
	within := func(allowed, list []string) bool {
		for _, v := range list {
			if !slices.Contains(allowed, v) {
				return false
			}
		}
		return true
	}
	var fields []string
	if m.days != nil && t.Ends.Sub(t.IssuedAt) > time.Duration(*m.days)*24*time.Hour {
		fields = append(fields, "expiresInDays")
	}
	presets := []string{}
	for _, s := range t.Spec.Scopes {
		presets = append(presets, s.Preset)
	}
	if m.requireScopes && len(presets) == 0 || m.allowedScopes != nil && (len(presets) == 0 || !within(m.allowedScopes, presets)) {
		fields = append(fields, "scopes")
	}
	audiences := t.Spec.Audiences
	if len(audiences) == 0 {
		audiences = t.APIAudiences
	}
	if m.allowedAudiences != nil && !within(m.allowedAudiences, audiences) {
		fields = append(fields, "audiences")
	}
	if m.allowedDelivery != nil {
		switch {
		case t.Spec.Token != nil:
			if !slices.Contains(m.allowedDelivery, "Holder") {
				fields = append(fields, "token")
			}
		case t.Spec.Delivery != nil:
			if !slices.Contains(m.allowedDelivery, "Recipients") {
				fields = append(fields, "delivery")
			}
		case !slices.Contains(m.allowedDelivery, "Secret"):
			fields = append(fields, "delivery")
		}
	}
	if m.from != nil {
		ok := len(t.Spec.From) > 0
		for _, narrow := range t.Spec.From {
			n := netip.MustParsePrefix(narrow)
			inside := false
			for _, wide := range m.from {
				w := netip.MustParsePrefix(wide)
				inside = inside || w.Addr().Is4() == n.Addr().Is4() && w.Bits() <= n.Bits() && w.Overlaps(n)
			}
			ok = ok && inside
		}
		if !ok {
			fields = append(fields, "from")
		}
	}
	return fields
}

// FuzzPolicies compares a set, while policies come, change and go, with what was meant, asked of each policy one after another.
func FuzzPolicies(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, uint8(seed%12))
	}
	issued := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) {
		r := rand.New(rand.NewPCG(seed, 1))
		set, all := NewSet(), map[string]*meant{}
		for range 1 + int(steps)%24 {
			name := fmt.Sprintf("p%d", r.IntN(6))
			if r.IntN(4) == 0 {
				set.Remove(name)
				delete(all, name)
			} else {
				m := mean(r, name)
				set.Put(Parse(&unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}, "spec": m.spec}}))
				all[name] = m
			}
			u := &v1alpha1.UserInfo{Username: someUsers[r.IntN(len(someUsers))]}
			if r.IntN(4) > 0 {
				u.Groups, _ = some(r, someGroups)
			}
			compare(t, r, set, all, someNamespaces[r.IntN(len(someNamespaces))], u, issued)
		}
	})
}

func compare(t *testing.T, r *rand.Rand, set *Set, all map[string]*meant, namespace string, u *v1alpha1.UserInfo, issued time.Time) {
	t.Helper()
	var match []*meant
	for _, m := range all {
		if m.matches(namespace, u) {
			match = append(match, m)
		}
	}
	slices.SortFunc(match, func(a, b *meant) int { return cmp.Compare(a.name, b.name) })
	limits := set.For(namespace, u)
	fail := func(format string, args ...any) {
		t.Helper()
		var specs []string
		for _, m := range match {
			text, _ := json.Marshal(m.spec)
			specs = append(specs, m.name+" "+string(text))
		}
		t.Fatalf("%s of %+v by\n%s\n%s", namespace, *u, strings.Join(specs, "\n"), fmt.Sprintf(format, args...))
	}
	var got, want []string
	for _, p := range limits {
		got = append(got, p.Name)
		if !p.Matches(namespace, u) {
			fail("%s does not match", p.Name)
		}
	}
	for _, m := range match {
		want = append(want, m.name)
	}
	if !slices.Equal(got, want) {
		fail("matched by %q, want %q", got, want)
	}
	for _, p := range set.All() {
		if p.Matches(namespace, u) != slices.Contains(want, p.Name) {
			fail("%s says something else than the set", p.Name)
		}
	}
	deniedBy, meantSo := "", false
	for _, m := range match {
		if m.reason != nil && !meantSo {
			deniedBy, meantSo = m.name, true
		}
		if m.unknown && deniedBy == "" {
			deniedBy = m.name
		}
	}
	d := limits.Denial()
	if d == nil && deniedBy != "" || d != nil && (d.Policy != deniedBy || (len(d.Unknown) == 0) != meantSo) {
		fail("denial %+v, want one by %q, meant %v", d, deniedBy, meantSo)
	}
	token := randomToken(r, issued)
	refusals := limits.Refusals(token)
	if deniedBy != "" {
		if len(refusals) != 1 || refusals[0].Policy != deniedBy || refusals[0].Field != "user" {
			fail("refusals %+v, want the denial by %s", refusals, deniedBy)
		}
		return // What else such policies say does not matter.
	}
	var fields, wantFields []string
	for _, refusal := range refusals {
		field, _, _ := strings.Cut(refusal.Field, "[")
		fields = append(fields, refusal.Policy+"."+field)
	}
	var days, tokens *int
	least := func(a, b *int) *int {
		if a == nil || b != nil && *b < *a {
			return b
		}
		return a
	}
	groups := slices.Clone(u.Groups)
	for _, m := range match {
		for _, field := range m.refuses(&token) {
			wantFields = append(wantFields, m.name+"."+field)
		}
		days, tokens = least(days, m.days), least(tokens, m.tokens)
		if m.groups != nil {
			implied := allGroups(&v1alpha1.UserInfo{Username: u.Username})
			groups = slices.DeleteFunc(groups, func(g string) bool { return !slices.Contains(m.groups, g) && !slices.Contains(implied, g) })
		}
	}
	if !slices.Equal(fields, wantFields) {
		fail("refused %q, want %q, of %+v", fields, wantFields, token.Spec)
	}
	if end, of := limits.End(issued); (of == nil) != (days == nil) || of != nil && !end.Equal(issued.AddDate(0, 0, *days)) {
		fail("it ends at %s, want after %v days", end, days)
	}
	if n, of := limits.MaxTokens(); (of == nil) != (tokens == nil) || of != nil && n != *tokens {
		fail("%d tokens, want %v", n, tokens)
	}
	if got := limits.Groups(u); !slices.Equal(got, groups) {
		fail("groups %q, want %q", got, groups)
	}
	for _, text := range someAddresses {
		address, inside, allowed := netip.MustParseAddr(text), true, true
		for _, list := range limits.Networks() {
			inside = inside && slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(address) })
		}
		for _, m := range match {
			in := m.from == nil
			for _, cidr := range m.from {
				in = in || netip.MustParsePrefix(cidr).Contains(address)
			}
			allowed = allowed && in
		}
		if inside != allowed {
			fail("from %s: %v, want %v", text, inside, allowed)
		}
	}
}

func randomToken(r *rand.Rand, issued time.Time) Token {
	t := Token{Spec: &v1alpha1.PersonalAccessTokenSpec{}, IssuedAt: issued, Ends: issued.AddDate(0, 0, r.IntN(100)), APIAudiences: someAudiences[2:]}
	if r.IntN(2) == 0 {
		presets, _ := some(r, someScopes)
		for _, preset := range presets {
			t.Spec.Scopes = append(t.Spec.Scopes, v1alpha1.Scope{Preset: preset})
		}
	}
	if r.IntN(2) == 0 {
		t.Spec.Audiences, _ = some(r, someAudiences)
	}
	if r.IntN(2) == 0 {
		t.Spec.From, _ = some(r, someNetworks)
	}
	switch r.IntN(3) {
	case 0:
		t.Spec.Token = &v1alpha1.HolderToken{}
	case 1:
		t.Spec.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1"}}
	}
	return t
}

// known are the fields of this version.
var known = []string{"match", "deny", "maxLifetimeDays", "maxTokensPerUser", "requireScopes", "allowedScopes", "allowedAudiences", "allowedDelivery", "allowedFrom", "allowedGroups"}

// FuzzParse reads any JSON as a policy. Another field denies, in whatever policy it is, and another part of match never matches less.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"spec":{"deny":{"reason":"x"}}}`, `{"spec":{"match":{"subjects":[{"kind":"User","name":"alice"}],"namespaces":["team-*"]},"maxLifetimeDays":30}}`,
		`{}`, `{"spec":null}`, `{"metadata":7,"spec":[]}`, `{"spec":{"allowedFrom":["10.0.0.0/8",7],"allowedGroups":[]}}`, `{"spec":{"match":{"subjects":[null]}}}`,
		`{"spec":{"maxLifetimeDays":1e99,"maxTokensPerUser":9223372036854775807}}`, `{"metadata":{"name":"a","generation":"x"},"spec":{"match":{"namespaces":["\\Q*","[a"]}}}`,
	} {
		f.Add([]byte(seed), "allowedWeekdays")
	}
	users := []*v1alpha1.UserInfo{alice, bob, bot, {}}
	f.Fuzz(func(t *testing.T, text []byte, field string) {
		var object map[string]any
		if utiljson.Unmarshal(text, &object) != nil || object == nil {
			return
		}
		p := Parse(&unstructured.Unstructured{Object: object})
		if !p.Equal(Parse(&unstructured.Unstructured{Object: object})) {
			t.Fatal("the same object makes two policies")
		}
		l := Limits{p}
		for _, u := range users {
			p.Matches("team-a", u)
			l.Groups(u)
		}
		l.Networks()
		l.End(time.Time{})
		l.Refusals(Token{Spec: &v1alpha1.PersonalAccessTokenSpec{}})

		spec, ok := object["spec"].(map[string]any)
		if !ok {
			if l.Denial() == nil {
				t.Fatal("a policy without a spec denies nothing")
			}
			return
		}
		wider := func() *Policy {
			var copied map[string]any
			if err := utiljson.Unmarshal(text, &copied); err != nil {
				t.Fatal(err)
			}
			match, ok := copied["spec"].(map[string]any)["match"].(map[string]any)
			if !ok {
				return p
			}
			if field != "subjects" && field != "namespaces" {
				match[field] = "x"
			}
			return Parse(&unstructured.Unstructured{Object: copied})
		}()
		for _, u := range users {
			if p.Matches("team-a", u) && !wider.Matches("team-a", u) {
				t.Fatalf("with another part of match it matches %q no more", u.Username)
			}
		}
		if !slices.Contains(known, field) {
			spec[field] = "x"
			if denied := (Limits{Parse(&unstructured.Unstructured{Object: object})}).Denial(); denied == nil {
				t.Fatalf("with the field %q it denies nothing", field)
			}
		}
	})
}
