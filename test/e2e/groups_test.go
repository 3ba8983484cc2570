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

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const listThem = "list the groups that the token needs in spec.user.groups"

// groupsOf returns team-devs, which may make tokens, and n groups of size bytes.
func groupsOf(n, size int, letter string) []string {
	groups := []string{"team-devs"}
	for i := range n - 1 {
		digits := fmt.Sprintf("%04d", i)
		groups = append(groups, strings.Repeat(letter, (size-len(digits))/len(letter))+digits)
	}
	return groups
}

// carol is a user in these groups.
func carol(t *testing.T, groups []string) user {
	t.Helper()
	config := rest.CopyConfig(cl.Admin())
	config.Impersonate = rest.ImpersonationConfig{UserName: "carol", Groups: groups}
	c, err := client.NewWithWatch(config, client.Options{Scheme: env.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return user{Name: "carol", Groups: groups, WithWatch: c}
}

// A user in many groups makes a token with an empty spec, and it carries all of them through schema, webhooks, policy,
// record and TokenReview.
func TestCase58_ManyGroups(t *testing.T) {
	long.Only(t)
	ns := team(t)
	full := append(groupsOf(128, 1024, "x"), strings.Repeat("y", 1015)) // 128 KiB to the byte
	for name, groups := range map[string][]string{
		"200":                    groupsOf(200, 40, "x"),
		"distinguished-names":    groupsOf(40, 300, "CN=Team of Many Words,OU=Groups,"),
		"999":                    groupsOf(999, 36, "x"),
		"1000":                   groupsOf(1000, 131, "x"),
		"1000-in-another-script": groupsOf(1000, 130, "ж"),
		"1000-like-kubernetes":   groupsOf(1000, 131, "system-"),
		"128-kib":                full,
	} {
		t.Run(name, func(t *testing.T) {
			u := carol(t, groups)
			plaintext := issued(t, u, pat(ns, name))
			who := accepted(t, plaintext)
			if want := append(slices.Clone(groups), "system:authenticated"); !slices.Equal(slices.Sorted(slices.Values(who.Groups)), slices.Sorted(slices.Values(want))) {
				t.Errorf("it carries %d groups; want %d", len(who.Groups), len(want))
			}
			for _, patch := range []string{`{"spec":{"suspend":true}}`, `{"spec":{"suspend":false,"rotation":{"trigger":"again"}}}`} {
				if err := merge(t, u, ns, name, patch); err != nil {
					t.Errorf("%s: %v", patch, err)
				}
			}
			named := pat(ns, "named", func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "carol", Groups: slices.Clone(groups)} })
			slices.Reverse(named.Spec.User.Groups)
			if err := u.Create(t.Context(), named.DeepCopy(), client.DryRunAll); err != nil {
				t.Errorf("named in another order: %v", err)
			}
			named.Spec.User.Groups[0] = "of others"
			wantStatus(t, u.Create(t.Context(), named.DeepCopy(), client.DryRunAll), 403, "spec.user.groups: you are not in the group of others today", usersPolicy)
			order := func(s *spec) { slices.Reverse(s.User.Groups) }
			if err := change(t, u, ns, name, order, client.DryRunAll); len(groups) <= 900 && err != nil {
				t.Errorf("in another order: %v", err)
			} else if len(groups) > 900 {
				wantStatus(t, err, 403, "spec.user: the user of a token cannot be changed")
			}
			lost := func(s *spec) { s.User.Groups = s.User.Groups[1:] }
			wantStatus(t, change(t, u, ns, name, lost, client.DryRunAll), 403, "spec.user: the user of a token cannot be changed")
		})
	}
}

func TestCase58_OnePastTheBounds(t *testing.T) {
	ns := team(t)
	named := func(groups []string) func(*spec) {
		return func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "carol", Groups: groups} }
	}
	large := append(groupsOf(128, 1024, "x"), strings.Repeat("y", 1016))
	for name, tc := range map[string]struct {
		groups []string
		with   []func(*spec)
		code   int32
		says   string
	}{
		"1001":                       {groupsOf(1001, 10, "x"), nil, 403, "spec.user.groups: a token carries at most 1000 groups; " + listThem},
		"1001, named":                {groupsOf(1001, 10, "x"), []func(*spec){named(groupsOf(1001, 10, "x"))}, 422, "must have at most 1000 items"},
		"1025 bytes":                 {append(groupsOf(2, 10, "x"), strings.Repeat("x", 1025)), nil, 403, "spec.user.groups[2]: the name of a group has at most 1024 bytes, and this one has 1025; " + listThem},
		"a byte past 128 KiB":        {large, nil, 403, "spec.user.groups: a token carries groups of at most 131072 bytes together, and these have 131073; " + listThem},
		"a byte past 128 KiB, named": {large, []func(*spec){named(large)}, 422, "a token carries groups of at most 128 KiB together; " + listThem},
		"an invisible character":     {[]string{"team-devs", "o\u200cps"}, nil, 403, "spec.user: one of the groups holds a control or invisible character, U+200C. Leave it out, or have it renamed where people log in."},
		"one that has no short name": {[]string{"team-devs", "o\U000e0041ps"}, nil, 403, "spec.user: one of the groups holds a control or invisible character. Leave it out"},
		"a thousand of another user": {groupsOf(1000, 131, "x"), []func(*spec){func(s *spec) {
			s.User = &v1alpha1.UserInfo{Username: "dave", Groups: groupsOf(1000, 131, "x")}
		}}, 403, "spec.user.groups: a token for another user carries at most 16 groups"},
	} {
		t.Run(name, func(t *testing.T) {
			u := carol(t, tc.groups)
			wantStatus(t, u.Create(t.Context(), pat(ns, "x", tc.with...), client.DryRunAll), tc.code, tc.says)
		})
	}
	// A user in more groups names some of them.
	u := carol(t, groupsOf(3000, 20, "x"))
	if err := u.Create(t.Context(), pat(ns, "some", named(groupsOf(1000, 20, "x"))), client.DryRunAll); err != nil {
		t.Errorf("1000 of 3000 groups: %v", err)
	}
	u = carol(t, groupsOf(700, 900, "x"))
	wantStatus(t, u.Create(t.Context(), pat(ns, "all"), client.DryRunAll), 403, "spec.user.groups: a token carries groups of at most 131072 bytes together, and these have 629109; "+listThem)
	if err := u.Create(t.Context(), pat(ns, "some", named(groupsOf(140, 900, "x"))), client.DryRunAll); err != nil {
		t.Errorf("140 of 700 groups of 900 bytes: %v", err)
	}
}
