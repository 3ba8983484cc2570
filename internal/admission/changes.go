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
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// effect is what a change of a field does to the authority that a token carries.
type effect int

const (
	// same is no change.
	same effect = iota
	// neutral changes what people see.
	neutral
	// narrows leaves the token less, or the same.
	narrows
	// widens gives the token more, renews it, or hands it to somebody.
	widens
)

// change is what an update does to one field of spec.
type change struct {
	field  string
	effect effect
}

type spec = v1alpha1.PersonalAccessTokenSpec

// times are those that a life in days may count from. Status says when the token was issued, but who may patch it need
// not be who may widen a token.
type times struct {
	// created is the earliest that the token was issued, now the latest that it will be.
	created, now time.Time
}

// facets judge every field of spec, by its JSON name. The order is that in which they are named to the user.
var facets = []struct {
	fields []string
	judge  func(was, is *spec, t times) effect
}{
	{[]string{"user"}, func(was, is *spec, _ times) effect { return differs(was.User, is.User, widens) }},
	{[]string{"token"}, func(was, is *spec, _ times) effect { return differs(was.Token, is.Token, widens) }},
	{[]string{"delivery"}, func(was, is *spec, _ times) effect { return differs(was.Delivery, is.Delivery, widens) }},
	{[]string{"rotation"}, func(was, is *spec, _ times) effect { return differs(was.Rotation, is.Rotation, widens) }},
	{[]string{"scopes"}, scopesChange},
	{[]string{"audiences"}, audiencesChange},
	{[]string{"suspend"}, suspendChange},
	{[]string{"expiresInDays", "expiresAt"}, lifeChange},
	{[]string{"displayName"}, func(was, is *spec, _ times) effect { return differs(was.DisplayName, is.DisplayName, neutral) }},
}

// changes lists what an update changes.
func changes(was, is *spec, t times) []change {
	var all []change
	for _, facet := range facets {
		effect := facet.judge(was, is, t)
		if effect == same {
			continue
		}
		name := facet.fields[0]
		if len(facet.fields) > 1 && is.ExpiresAt != nil {
			name = facet.fields[1]
		}
		all = append(all, change{name, effect})
	}
	return all
}

// widened returns the first field that renews a token, hands it over, or gives it more than it had; nil where an update
// does no such thing.
func widened(was, is *v1alpha1.PersonalAccessToken, now time.Time) *field.Path {
	all := changes(&was.Spec, &is.Spec, times{created: was.CreationTimestamp.Time, now: now})
	if i := slices.IndexFunc(all, func(c change) bool { return c.effect == widens }); i >= 0 {
		return specPath.Child(all[i].field)
	}
	return nil
}

func differs(was, is any, then effect) effect {
	if equal(was, is) {
		return same
	}
	return then
}

func suspendChange(was, is *spec, _ times) effect {
	switch {
	case was.Suspend == is.Suspend:
		return same
	case is.Suspend:
		return narrows
	}
	return widens
}

// audiencesChange: none at all stands for the API server's own, which is neither more nor less than any that is named.
func audiencesChange(was, is *spec, _ times) effect {
	a, b := was.Audiences, is.Audiences
	switch {
	case len(a) == 0 && len(b) == 0:
		return same
	case len(a) == 0 || len(b) == 0 || !within(b, a):
		return widens
	case within(a, b):
		return same
	}
	return narrows
}

// scopesChange: none at all stand for the user's full authority. A scope that is not among the old ones word for word
// counts as more.
func scopesChange(was, is *spec, _ times) effect {
	a, b := was.Scopes, is.Scopes
	switch {
	case equal(a, b):
		return same
	case len(a) == 0:
		return narrows
	case len(b) == 0 || !within(b, a):
		return widens
	}
	return narrows
}

func lifeChange(was, is *spec, t times) effect {
	if equal(was.ExpiresAt, is.ExpiresAt) && equal(was.ExpiresInDays, is.ExpiresInDays) {
		return same
	}
	if was.ExpiresAt != nil && is.ExpiresAt == nil {
		// Days count from when a token is issued, which may be long after the end that was named.
		return widens
	}
	inDays := is.ExpiresAt == nil
	before, after := lifecycle.End(was, t.created), lifecycle.End(is, t.now)
	if inDays {
		after = lifecycle.End(is, t.created)
	}
	switch {
	case after.After(before):
		return widens
	case after.Before(before):
		return narrows
	}
	return neutral
}

// within tells whether every item of inner is one of outer.
func within[T any](inner, outer []T) bool {
	return !slices.ContainsFunc(inner, func(a T) bool {
		return !slices.ContainsFunc(outer, func(b T) bool { return equal(a, b) })
	})
}
