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

// Package admissiontest holds the updates that the validating webhook and the policy pat-operator-users judge alike. The
// tests of both run this table.
package admissiontest

import (
	"fmt"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Effect is what an update does to the authority that a token carries.
type Effect string

// The effects of an update, of which only Widens needs the authority to make the token.
const (
	Same    Effect = "same"
	Neutral Effect = "neutral"
	Narrows Effect = "narrows"
	Widens  Effect = "widens"
)

// Update changes one field of a spec.
type Update struct {
	// Field is the field that changes, by its JSON name; of the two that say when a token ends, the one that is set.
	Field string
	Name  string
	// Old and New are the spec in JSON. They name no user, unless Field is user.
	Old, New string
	Want     Effect
}

const day = v1alpha1.Day

// Updates are those of a resource that was created at a time. The specs satisfy the schema.
func Updates(created time.Time) []Update {
	// at is an end in UTC; in is one with the offset of a time zone, in hours.
	in := func(after time.Duration, offset int) string {
		zone := time.FixedZone("", offset*3600)
		return fmt.Sprintf(`{"expiresAt": %q}`, created.Add(after).In(zone).Format(time.RFC3339Nano))
	}
	at := func(after time.Duration) string { return in(after, 0) }
	// holder is a spec with a token of its holder's; the ID and the digest are one character, repeated.
	holder := func(id, sha256, boundTo string) string {
		return fmt.Sprintf(`%s, "token": {"id": %q, "sha256": %q, "boundTo": %q}}`, strings.TrimSuffix(at(day), "}"),
			strings.Repeat(id, 16), strings.Repeat(sha256, 64), boundTo)
	}
	return []Update{
		{"displayName", "another", `{"displayName": "a"}`, `{"displayName": "b"}`, Neutral},
		{"displayName", "none", `{"displayName": "a"}`, `{}`, Neutral},

		{"user", "stamped", `{}`, `{"user": {"username": "alice"}}`, Widens},
		{"user", "removed", `{"user": {"username": "alice"}}`, `{}`, Widens},

		{"suspend", "suspended", `{}`, `{"suspend": true}`, Narrows},
		{"suspend", "resumed", `{"suspend": true}`, `{}`, Widens},

		{"audiences", "one less", `{"audiences": ["a", "b"]}`, `{"audiences": ["b"]}`, Narrows},
		{"audiences", "one more", `{"audiences": ["a"]}`, `{"audiences": ["a", "b"]}`, Widens},
		{"audiences", "another", `{"audiences": ["a"]}`, `{"audiences": ["b"]}`, Widens},
		{"audiences", "another order", `{"audiences": ["a", "b"]}`, `{"audiences": ["b", "a"]}`, Same},
		{"audiences", "the API server's instead of others", `{"audiences": ["a"]}`, `{}`, Widens},
		{"audiences", "others instead of the API server's", `{}`, `{"audiences": ["a"]}`, Widens},
		{"audiences", "an empty list", `{}`, `{"audiences": []}`, Same},

		{"scopes", "removed", `{"scopes": [{"preset": "metrics"}]}`, `{}`, Widens},
		{"scopes", "the first", `{}`, `{"scopes": [{"preset": "metrics"}]}`, Narrows},
		{"scopes", "one less", `{"scopes": [{"preset": "metrics"}, {"preset": "read-only"}]}`, `{"scopes": [{"preset": "read-only"}]}`, Narrows},
		{"scopes", "one more", `{"scopes": [{"preset": "metrics"}]}`, `{"scopes": [{"preset": "metrics"}, {"preset": "read-only"}]}`, Widens},
		{"scopes", "another", `{"scopes": [{"preset": "metrics"}]}`, `{"scopes": [{"preset": "read-only"}]}`, Widens},
		{"scopes", "another rule", `{"scopes": [{"rule": {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}}]}`, `{"scopes": [{"rule": {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}}]}`, Widens},

		{"scopes", "in a namespace", `{"scopes": [{"preset": "read-only"}]}`, `{"scopes": [{"preset": "read-only", "namespaces": ["a"]}]}`, Widens},
		{"scopes", "for another API", `{"audiences": ["a"], "scopes": [{"api": "x"}]}`, `{"audiences": ["a"], "scopes": [{"api": "y"}]}`, Widens},

		{"from", "removed", `{"from": ["192.0.2.0/24"]}`, `{}`, Widens},
		{"from", "the first", `{}`, `{"from": ["192.0.2.0/24"]}`, Narrows},
		{"from", "one less", `{"from": ["192.0.2.0/24", "2001:db8::/32"]}`, `{"from": ["2001:db8::/32"]}`, Narrows},
		{"from", "one more", `{"from": ["192.0.2.0/24"]}`, `{"from": ["192.0.2.0/24", "2001:db8::/32"]}`, Widens},
		{"from", "a part", `{"from": ["192.0.2.0/24"]}`, `{"from": ["192.0.2.0/25", "192.0.2.200/32"]}`, Narrows},
		{"from", "more around it", `{"from": ["192.0.2.0/24"]}`, `{"from": ["192.0.2.0/23"]}`, Widens},
		{"from", "the network next to it", `{"from": ["192.0.2.0/25"]}`, `{"from": ["192.0.2.128/25"]}`, Widens},
		{"from", "every IPv6 address for IPv4 ones", `{"from": ["0.0.0.0/0"]}`, `{"from": ["::/0"]}`, Widens},
		{"from", "another order", `{"from": ["192.0.2.0/24", "2001:db8::/32"]}`, `{"from": ["2001:db8::/32", "192.0.2.0/24"]}`, Same},

		{"rotation", "triggered", `{}`, `{"rotation": {"trigger": "1"}}`, Widens},
		{"rotation", "triggered again", `{"rotation": {"trigger": "1"}}`, `{"rotation": {"trigger": "2"}}`, Widens},
		{"rotation", "a longer overlap", `{"rotation": {}}`, `{"rotation": {"overlapSeconds": 1}}`, Widens},
		{"rotation", "without retirement", `{"rotation": {"retireOnFirstUse": true}}`, `{"rotation": {}}`, Widens},
		{"rotation", "repeated", `{"rotation": {}}`, `{"rotation": {"everyDays": 30}}`, Widens},

		{"delivery", "to recipients", `{}`, `{"delivery": {"recipients": ["age1a"]}}`, Widens},
		{"delivery", "to a recipient less", `{"delivery": {"recipients": ["a", "b"]}}`, `{"delivery": {"recipients": ["a"]}}`, Widens},
		{"delivery", "in a Secret", `{}`, `{"delivery": {"secret": {}}}`, Widens},
		{"delivery", "in a Secret for a time", `{"delivery": {"secret": {}}}`, `{"delivery": {"secret": {"ttlSeconds": 60}}}`, Widens},

		{"token", "the holder's", at(day), holder("a", "1", "x/y"), Widens},
		{"token", "the operator's", holder("a", "1", "x/y"), at(day), Widens},
		{"token", "another ID", holder("a", "1", "x/y"), holder("b", "1", "x/y"), Widens},
		{"token", "another digest", holder("a", "1", "x/y"), holder("a", "2", "x/y"), Widens},
		{"token", "bound elsewhere", holder("a", "1", "x/y"), holder("a", "1", "x/z"), Widens},

		{"expiresInDays", "longer", `{"expiresInDays": 2}`, `{"expiresInDays": 3}`, Widens},
		{"expiresInDays", "shorter", `{"expiresInDays": 3}`, `{"expiresInDays": 2}`, Narrows},
		{"expiresInDays", "longer than the default", `{}`, `{"expiresInDays": 91}`, Widens},
		{"expiresInDays", "shorter than the default", `{}`, `{"expiresInDays": 89}`, Narrows},
		{"expiresInDays", "the default, which is longer", `{"expiresInDays": 2}`, `{}`, Widens},
		{"expiresInDays", "the default, which is shorter", `{"expiresInDays": 91}`, `{}`, Narrows},
		{"expiresInDays", "the default, left out", `{"expiresInDays": 90}`, `{}`, Neutral},
		{"expiresInDays", "days for a date, the same end", at(2 * day), `{"expiresInDays": 2}`, Widens},
		{"expiresInDays", "days for a date, an earlier end", at(3 * day), `{"expiresInDays": 1}`, Widens},
		{"expiresInDays", "the default for a later date", at(91 * day), `{}`, Widens},

		{"expiresAt", "later", at(day), at(2 * day), Widens},
		{"expiresAt", "earlier", at(2 * day), at(day), Narrows},
		{"expiresAt", "earlier, in the past", at(2 * day), at(-day), Narrows},
		{"expiresAt", "half a second later", at(day), at(day + time.Second/2), Widens},
		{"expiresAt", "half a second earlier", at(day), at(day - time.Second/2), Narrows},
		{"expiresAt", "the same, with another offset", at(day), in(day, 2), Same},
		{"expiresAt", "later, the text sorts earlier", at(day), in(day+time.Hour, -11), Widens},
		{"expiresAt", "earlier, the text sorts later", at(day), in(day-time.Hour, 11), Narrows},
		{"expiresAt", "later, from an offset", in(day, 11), at(day + time.Hour), Widens},
		{"expiresAt", "earlier, from an offset", in(day, -11), at(day - time.Hour), Narrows},
		{"expiresAt", "a date for days, the same end", `{"expiresInDays": 2}`, at(2 * day), Neutral},
		{"expiresAt", "a date for days, the same end with an offset", `{"expiresInDays": 2}`, in(2*day, 2), Neutral},
		{"expiresAt", "a date for days, a second later", `{"expiresInDays": 2}`, at(2*day + time.Second), Widens},
		{"expiresAt", "a date for days, a second later with an offset", `{"expiresInDays": 2}`, in(2*day+time.Second, -2), Widens},
		{"expiresAt", "a date for days, much later", `{"expiresInDays": 2}`, at(300 * day), Widens},
		{"expiresAt", "a date for days, earlier", `{"expiresInDays": 2}`, in(day, 11), Narrows},
		{"expiresAt", "a date for the default, the same end", `{}`, at(90 * day), Neutral},
		{"expiresAt", "a date for the default, later", `{}`, at(90*day + time.Second), Widens},
	}
}
