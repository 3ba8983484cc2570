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

// Package scope decides whether a request is inside the scopes of a token. Scopes only narrow: a request that is inside still
// needs the permission that RBAC gives the token's user.
//
// Rules are evaluated as RBAC evaluates them, with less behind each "*": it stands for no resource or verb by which a narrow
// token could become a wide one. Those are allowed only by name (named.go).
package scope

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Request is what a scope is asked about, in the terms of a SubjectAccessReview.
type Request struct {
	Verb string
	// Namespace, Group, Resource, Subresource and Name are those of a request for a resource.
	Namespace, Group, Resource, Subresource, Name string
	// Path is that of a request for anything else; Resource is empty then.
	Path string
}

// Set is the compiled scopes of one token. It does not change, and equal scopes share one. The zero value allows nothing but
// what every token may ask.
type Set struct {
	items []item
	names []string
}

// Limits are the scopes of a token's record and those of its spec: a request must be inside of both. Nil stands for the user's
// full authority.
type Limits struct{ Record, Spec *Set }

// Full reports whether there are no scopes at all.
func (l Limits) Full() bool { return l.Record == nil && l.Spec == nil }

// Allows reports whether a request is inside.
func (l Limits) Allows(r *Request) bool {
	return (l.Record == nil || l.Record.Allows(r)) && (l.Spec == nil || l.Spec.Allows(r))
}

// Names are the scopes as other APIs see them: api scopes word for word, kubernetes:PRESET and kubernetes:rules. Full authority
// has none.
func (l Limits) Names() []string {
	switch {
	case l.Record == nil && l.Spec == nil:
		return nil
	case l.Record == nil:
		return l.Spec.names
	case l.Spec == nil || l.Spec == l.Record:
		return l.Record.names
	}
	return slices.DeleteFunc(slices.Clone(l.Spec.names), func(name string) bool { return !slices.Contains(l.Record.names, name) })
}

// item is one scope.
type item struct {
	rules []rule
	// namespaces are those that a request may be in; nil means everywhere.
	namespaces []string
}

type rule struct {
	rbacv1.PolicyRule
	// anySubresource lets "*" in resources stand for every subresource, too.
	anySubresource bool
}

// Allows reports whether a request is inside. It allocates nothing.
func (s *Set) Allows(r *Request) bool {
	if always(r) {
		return true
	}
	if r.Verb == "" || r.Verb == "proxy" || (r.Resource == "") == (r.Path == "") {
		return false
	}
	if r.Resource == "" {
		return slices.ContainsFunc(s.items, func(i item) bool { return i.allowsPath(r) })
	}
	// Who asks for "*" asks for everything that is allowed only by name, too.
	if r.Verb == rbacv1.VerbAll || r.Group == rbacv1.APIGroupAll || r.Resource == rbacv1.ResourceAll || r.Subresource == rbacv1.ResourceAll {
		return false
	}
	asked := *r
	if opensStream(r) {
		asked.Verb = "create" // A WebSocket opens with GET.
	}
	resource, verb := byName(&asked)
	return slices.ContainsFunc(s.items, func(i item) bool { return i.allowsResource(&asked, resource, verb) })
}

func (i *item) allowsPath(r *Request) bool {
	return i.namespaces == nil && slices.ContainsFunc(i.rules, func(u rule) bool {
		return has(u.Verbs, r.Verb, rbacv1.VerbAll) && slices.ContainsFunc(u.NonResourceURLs, func(url string) bool {
			prefix, ok := strings.CutSuffix(url, "*")
			return url == r.Path || ok && strings.HasPrefix(r.Path, prefix)
		})
	})
}

// allowsResource takes no "*" for the resource, or for the verb, where these are allowed only by name.
func (i *item) allowsResource(r *Request, resourceByName, verbByName bool) bool {
	if i.namespaces != nil && !slices.Contains(i.namespaces, r.Namespace) {
		return false
	}
	anyGroup, anyVerb := rbacv1.APIGroupAll, rbacv1.VerbAll
	if resourceByName {
		anyGroup = noWildcard
	}
	if verbByName {
		anyVerb = noWildcard
	}
	return slices.ContainsFunc(i.rules, func(u rule) bool {
		return has(u.Verbs, r.Verb, anyVerb) && has(u.APIGroups, r.Group, anyGroup) &&
			slices.ContainsFunc(u.Resources, func(resource string) bool {
				return matches(resource, r, resourceByName, u.anySubresource)
			}) &&
			(len(u.ResourceNames) == 0 || r.Name != "" && slices.Contains(u.ResourceNames, r.Name) && !createsAnew(r))
	})
}

// createsAnew reports whether a request creates what has no name yet: resourceNames never allow that.
func createsAnew(r *Request) bool { return r.Verb == "create" && r.Subresource == "" }

// noWildcard is in no list.
const noWildcard = "\x00"

func has(list []string, value, wildcard string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return s == value || s == wildcard })
}

// matches reports whether a resource of a rule is the one that is asked for.
func matches(resource string, r *Request, byName, anySubresource bool) bool {
	if resource == rbacv1.ResourceAll {
		return !byName && (anySubresource || slices.Contains([]string{"", "status", "scale", "log"}, r.Subresource))
	}
	main, sub, isSub := strings.Cut(resource, "/")
	return isSub == (r.Subresource != "") && sub == r.Subresource &&
		(main == r.Resource || main == rbacv1.ResourceAll && !byName)
}
