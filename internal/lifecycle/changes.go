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
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Effect is what a change of a field does to the authority that a token carries.
type Effect int

const (
	// Same means that nothing changed.
	Same Effect = iota
	// Neutral changes what people see.
	Neutral
	// Narrows leaves the token less, or the same.
	Narrows
	// Widens gives the token more, renews it, or hands it to another holder.
	Widens
)

// Change is what an update does to one field of spec.
type Change struct {
	Field  string
	Effect Effect
}

type spec = v1alpha1.PersonalAccessTokenSpec

// fieldRule is one question about spec: which fields answer it, what a change of them does, and how to take them over.
type fieldRule struct {
	fields []string
	// judge compares two specs of a resource that was created at a time, the earliest that a life in days counts from.
	judge func(was, is *spec, created time.Time) Effect
	take  func(to, from *spec)
}

// fieldRules judge every field of spec, by its JSON name. The order is that in which they are named to the user.
var fieldRules = []fieldRule{
	{[]string{"user"}, func(was, is *spec, _ time.Time) Effect { return differs(was.User, is.User, Widens) },
		func(to, from *spec) { to.User = from.User }},
	{[]string{"token"}, func(was, is *spec, _ time.Time) Effect { return differs(was.Token, is.Token, Widens) },
		func(to, from *spec) { to.Token = from.Token }},
	{[]string{"delivery"}, func(was, is *spec, _ time.Time) Effect { return differs(was.Delivery, is.Delivery, Widens) },
		func(to, from *spec) { to.Delivery = from.Delivery }},
	{[]string{"rotation"}, func(was, is *spec, _ time.Time) Effect { return differs(was.Rotation, is.Rotation, Widens) },
		func(to, from *spec) { to.Rotation = from.Rotation }},
	{[]string{"scopes"}, scopesChange, func(to, from *spec) { to.Scopes = from.Scopes }},
	{[]string{"from"}, fromChange, func(to, from *spec) { to.From = from.From }},
	{[]string{"audiences"}, audiencesChange, func(to, from *spec) { to.Audiences = from.Audiences }},
	{[]string{"suspend"}, suspendChange, func(to, from *spec) { to.Suspend = from.Suspend }},
	{[]string{"expiresInDays", "expiresAt"}, lifeChange, func(to, from *spec) {
		to.ExpiresInDays, to.ExpiresAt = from.ExpiresInDays, from.ExpiresAt
	}},
	{[]string{"displayName"}, func(was, is *spec, _ time.Time) Effect { return differs(was.DisplayName, is.DisplayName, Neutral) },
		func(to, from *spec) { to.DisplayName = from.DisplayName }},
}

// name is the field that answers a fieldRule in spec.
func (f *fieldRule) name(is *spec) string {
	if len(f.fields) > 1 && is.ExpiresAt != nil {
		return f.fields[1]
	}
	return f.fields[0]
}

// Changes lists what an update of a resource that was created at a time changes.
func Changes(was, is *v1alpha1.PersonalAccessTokenSpec, created time.Time) []Change {
	var all []Change
	for i := range fieldRules {
		if effect := fieldRules[i].judge(was, is, created); effect != Same {
			all = append(all, Change{fieldRules[i].name(is), effect})
		}
	}
	return all
}

func differs(was, is any, then Effect) Effect {
	if equality.Semantic.DeepEqual(was, is) {
		return Same
	}
	return then
}

func suspendChange(was, is *spec, _ time.Time) Effect {
	switch {
	case was.Suspend == is.Suspend:
		return Same
	case is.Suspend:
		return Narrows
	}
	return Widens
}

// audiencesChange: none at all stands for the API server's own, which is neither more nor less than any that is named.
func audiencesChange(was, is *spec, _ time.Time) Effect {
	a, b := was.Audiences, is.Audiences
	switch {
	case len(a) == 0 && len(b) == 0:
		return Same
	case len(a) == 0 || len(b) == 0 || !within(b, a):
		return Widens
	case within(a, b):
		return Same
	}
	return Narrows
}

// scopesChange: none at all stand for the user's full authority. A scope that is not among the old ones word for word
// counts as more.
func scopesChange(was, is *spec, _ time.Time) Effect {
	a, b := was.Scopes, is.Scopes
	switch {
	case equality.Semantic.DeepEqual(a, b):
		return Same
	case len(a) == 0:
		return Narrows
	case len(b) == 0 || !within(b, a):
		return Widens
	}
	return Narrows
}

// fromChange: none at all stands for every address. Networks that do not parse are those that the schema refuses.
func fromChange(was, is *spec, _ time.Time) Effect {
	a, b := was.From, is.From
	switch {
	case len(a) == 0 && len(b) == 0, within(a, b) && within(b, a):
		return Same
	case len(a) == 0:
		return Narrows
	case len(b) == 0 || slices.ContainsFunc(b, func(inner string) bool { return !insideAny(inner, a) }):
		return Widens
	}
	return Narrows
}

func insideAny(inner string, networks []string) bool {
	in, err := netip.ParsePrefix(inner)
	return err == nil && slices.ContainsFunc(networks, func(outer string) bool {
		out, err := netip.ParsePrefix(outer)
		return err == nil && out.Bits() <= in.Bits() && out.Contains(in.Addr())
	})
}

func lifeChange(was, is *spec, created time.Time) Effect {
	if equality.Semantic.DeepEqual(was.ExpiresAt, is.ExpiresAt) && equality.Semantic.DeepEqual(was.ExpiresInDays, is.ExpiresInDays) {
		return Same
	}
	if was.ExpiresAt != nil && is.ExpiresAt == nil {
		// Days count from when a token is issued, which may be long after the end that was named.
		return Widens
	}
	switch before, after := End(was, created), End(is, created); {
	case after.After(before):
		return Widens
	case after.Before(before):
		return Narrows
	}
	return Neutral
}

// within reports whether every item of inner is one of outer.
func within[T any](inner, outer []T) bool {
	return !slices.ContainsFunc(inner, func(a T) bool {
		return !slices.ContainsFunc(outer, func(b T) bool { return equality.Semantic.DeepEqual(a, b) })
	})
}
