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

package impersonation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	current  = "aaaaaaaaaaaaaaaa"
	previous = "bbbbbbbbbbbbbbbb"
)

var (
	start  = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	digest = strings.Repeat("1", 64)
)

// recorded is the record of an active token of a user, as the operator writes it.
func recorded(name, username string, groups []string, with ...func(*record.Record)) *record.Record {
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: name, UID: "1"},
		Spec:       v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: username, Groups: groups}},
	}
	rec := record.New(pat, start)
	rec.Current = &record.Token{ID: current, Digest: digest, Source: record.SourceHolder, IssuedAt: start, ExpiresAt: start.Add(time.Hour)}
	for _, f := range with {
		f(rec)
	}
	return rec
}

func secretOf(t *testing.T, rec *record.Record) *corev1.Secret {
	t.Helper()
	secret, err := record.ToSecret(rec, records)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func spelled(names []name) []string {
	out := []string{}
	for _, n := range names {
		out = append(out, n.resource+"/"+n.name)
	}
	return out
}

func ended(rec *record.Record) { rec.End(rec.Current, record.EndedRevoked) }

func suspended(rec *record.Record) { rec.Granted.Suspend = true }

func replaced(rec *record.Record) {
	at := start.Add(time.Minute)
	rec.Previous = &record.Token{
		ID: previous, Digest: digest, Source: record.SourceHolder, IssuedAt: start.Add(-time.Hour), ExpiresAt: start.Add(time.Hour), RetiresAt: &at,
	}
}

// Only what a token may be used for now counts, and none of Kubernetes' own names.
func TestNamesOfARecord(t *testing.T) {
	for _, tc := range []struct {
		name string
		rec  *record.Record
		want []string
	}{
		{"active", recorded("a", "alice", []string{"ops", "devs", "devs"}), []string{"groups/devs", "groups/ops", "users/alice"}},
		{"no groups", recorded("a", "alice", nil), []string{"users/alice"}},
		{"a group of the user's name", recorded("a", "alice", []string{"alice"}), []string{"groups/alice", "users/alice"}},
		{"Kubernetes' own groups", recorded("a", "alice", []string{"system:authenticated", "system:monitoring", "devs"}), []string{"groups/devs", "users/alice"}},
		{"a service account", recorded("a", "system:serviceaccount:team-a:ci", []string{"system:serviceaccounts"}), []string{}},
		{"white space at an end", recorded("a", "alice ", nil), []string{}},
		{"revoked", recorded("a", "alice", nil, ended), []string{}},
		{"suspended", recorded("a", "alice", nil, suspended), []string{}},
		{"in an overlap", recorded("a", "alice", nil, replaced), []string{"users/alice"}},
		{"revoked in an overlap", recorded("a", "alice", nil, replaced, ended), []string{"users/alice"}},
		{"its resource cannot be found", recorded("a", "alice", nil, func(rec *record.Record) { rec.MissingSince = &start }), []string{"users/alice"}},
		{"not issued", recorded("a", "alice", nil, func(rec *record.Record) { rec.Current = nil }), []string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, spelled(carrierOf(secretOf(t, tc.rec)).names)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		secret := secretOf(t, recorded("a", "alice", nil))
		secret.Data["record"] = []byte(`{"v":99}`)
		if got := carrierOf(secret); len(got.names) > 0 {
			t.Errorf("names %v", got.names)
		}
	})
}

// A name stays as long as any token needs it.
func TestNamesAreCounted(t *testing.T) {
	l := newLedger()
	saw := func(rec *record.Record, want bool) {
		t.Helper()
		if got := l.saw(secretOf(t, rec)); got != want {
			t.Errorf("something changed: %t, want %t", got, want)
		}
	}
	is := func(want ...string) {
		t.Helper()
		fit, refused := l.names()
		got := map[string]bool{}
		for n := range fit {
			got[n.resource+"/"+n.name] = true
		}
		wanted := map[string]bool{}
		for _, n := range want {
			wanted[n] = true
		}
		if diff := cmp.Diff(wanted, got); diff != "" || len(refused) > 0 {
			t.Errorf("names (-want +got), refused %v:\n%s", refused, diff)
		}
		if got := size(fit); got != l.bytes {
			t.Errorf("%d bytes are counted, and there are %d", l.bytes, got)
		}
	}
	saw(recorded("a", "alice", []string{"devs"}), true)
	saw(recorded("a", "alice", []string{"devs"}), false)
	saw(recorded("b", "bob", []string{"devs"}), true)
	is("users/alice", "users/bob", "groups/devs")
	saw(recorded("a", "alice", []string{"devs"}, ended), true)
	is("users/bob", "groups/devs")
	saw(recorded("b", "bob", []string{"ops"}), true)
	is("users/bob", "groups/ops")
	l.gone(record.SecretName("team-a", "b"))
	l.gone(record.SecretName("team-a", "never-there"))
	is()
	if len(l.carriers)+len(l.count) > 0 {
		t.Errorf("the ledger still holds %v, %v", l.carriers, l.count)
	}
}

// Where the room ends, the tokens that came last are refused, whole, and whichever order they were seen in.
func TestTheOldestTokensHaveTheRoom(t *testing.T) {
	many := func(of string, n int) (groups []string) {
		for i := range n {
			groups = append(groups, fmt.Sprintf("%s-%d", of, i))
		}
		return groups
	}
	for _, tc := range []struct {
		name    string
		groups  func(i int) []string
		tokens  int
		refused []string
	}{
		{"as many as fit", func(i int) []string { return many(fmt.Sprint(i), 999) }, 10, nil},
		{"one more", func(i int) []string { return many(fmt.Sprint(i), 999) }, 11, []string{"t-10"}},
		{"a smaller one after it fits", func(i int) []string {
			if i == 11 {
				return nil
			}
			return many(fmt.Sprint(i), 990)
		}, 12, []string{"t-10"}},
		{"long names", func(i int) []string { return many(strings.Repeat("x", 900)+fmt.Sprint(i), 140) }, 10, []string{"t-8", "t-9"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLedger()
			for i := tc.tokens - 1; i >= 0; i-- {
				secret := secretOf(t, recorded(fmt.Sprintf("t-%d", i), fmt.Sprintf("user-%d", i), tc.groups(i)))
				secret.CreationTimestamp = metav1.NewTime(start.Add(time.Duration(i) * time.Second))
				l.saw(secret)
			}
			fit, refused := l.names()
			if len(fit) > MaxNames || size(fit) > maxBytes {
				t.Errorf("%d names of %d bytes", len(fit), size(fit))
			}
			var names []string
			for _, c := range refused {
				names = append(names, c.resource.Name)
				for _, n := range c.names {
					if fit[n] {
						t.Errorf("%s is refused, and %s is in the role", c.resource.Name, n.name)
					}
				}
			}
			if diff := cmp.Diff(tc.refused, names); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		})
	}
}

// A rule without names would mean everybody.
func TestNoRuleIsWithoutNames(t *testing.T) {
	for _, names := range []map[name]bool{{}, {{users, "alice"}: true}, {{groups, "devs"}: true}, {{users, "alice"}: true, {groups, "devs"}: true}} {
		rules := rulesOf(names)
		for _, rule := range rules {
			if len(rule.ResourceNames) == 0 {
				t.Errorf("%v makes %v", names, rules)
			}
		}
		if diff := cmp.Diff(names, namesOf(rules)); diff != "" {
			t.Errorf("written and read (-want +got):\n%s", diff)
		}
	}
}
