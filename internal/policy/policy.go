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

// Package policy evaluates TokenPolicies: which of them match a token, and what they leave of it. It calls no API.
//
// It fails closed. A policy with a field that this program does not know denies what it matches, and a part of spec.match that
// it does not know matches everything. So objects are read as they are stored, and not by a type, which would drop such fields.
package policy

import (
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
)

var (
	// Kind is that of the objects, as they have to be read.
	Kind = v1alpha1.GroupVersion.WithKind("TokenPolicy")
	// ListKind is that of their lists.
	ListKind = v1alpha1.GroupVersion.WithKind("TokenPolicyList")
	// Resource is where they are read.
	Resource = schema.GroupVersionResource{Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "tokenpolicies"}
)

// Policy is a TokenPolicy that is ready to be evaluated. It does not change.
type Policy struct {
	Name       string
	UID        types.UID
	Generation int64
	// Unknown are the fields that this program does not know, or whose values. The policy denies what it matches if there are
	// any but of spec.match.
	Unknown []string
	// Spec lacks what is not known.
	Spec v1alpha1.TokenPolicySpec

	// denies reports whether an unknown field makes the policy deny what it matches.
	denies bool
	// subjects is nil for everyone; groups reports whether one of them is a group.
	subjects map[subject]struct{}
	groups   bool
	// namespaces is nil for all.
	namespaces *regexp.Regexp
	from       []netip.Prefix
}

type subject struct{ kind, name string }

// Parse makes a policy of a stored object. It takes every object.
func Parse(object *unstructured.Unstructured) *Policy {
	p := &Policy{Name: object.GetName(), UID: object.GetUID(), Generation: object.GetGeneration()}
	spec, ok := object.Object["spec"].(map[string]any)
	if !ok {
		p.deny("spec")
		return p
	}
	limits := maps.Clone(spec)
	delete(limits, "match")
	for name, value := range limits {
		// An empty list would allow nothing or everything; this version's schema has none.
		list, isList := value.([]any)
		if isList && len(list) == 0 || !fits(value) || !decodes(map[string]any{name: value}, &v1alpha1.TokenPolicySpec{}) {
			p.deny("spec." + name)
			delete(limits, name)
		}
	}
	if !decodes(limits, &p.Spec) {
		p.deny("spec")
	}
	for _, cidr := range p.Spec.AllowedFrom {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			p.deny("spec.allowedFrom")
			break
		}
		p.from = append(p.from, prefix.Masked())
	}
	for name, n := range map[string]*int32{"maxLifetimeDays": p.Spec.MaxLifetimeDays, "maxTokensPerUser": p.Spec.MaxTokensPerUser} {
		if n != nil && *n < 0 {
			p.deny("spec." + name)
		}
	}
	p.match(spec["match"])
	slices.Sort(p.Unknown)
	p.Unknown = slices.Compact(p.Unknown)
	return p
}

func (p *Policy) deny(field string) {
	p.Unknown = append(p.Unknown, field)
	p.denies = true
}

// match reads spec.match. Each part that is not understood counts as absent, so that it matches more.
func (p *Policy) match(raw any) {
	if raw == nil {
		return
	}
	const path = "spec.match"
	parts, ok := raw.(map[string]any)
	if !ok {
		p.Unknown = append(p.Unknown, path)
		return
	}
	p.Spec.Match = &v1alpha1.PolicyMatch{}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		var understood bool
		switch name {
		case "subjects":
			understood = p.matchSubjects(parts[name])
		case "namespaces":
			understood = p.matchNamespaces(parts[name])
		}
		if !understood {
			p.Unknown = append(p.Unknown, path+"."+name)
		}
	}
}

func (p *Policy) matchSubjects(raw any) (understood bool) {
	var match v1alpha1.PolicyMatch
	if !decodes(map[string]any{"subjects": raw}, &match) || len(match.Subjects) == 0 {
		return false
	}
	subjects, groups := map[subject]struct{}{}, false
	for _, s := range match.Subjects {
		if s.Name == "" || (s.Kind == v1alpha1.SubjectServiceAccount) != (s.Namespace != "") {
			return false
		}
		switch s.Kind {
		case v1alpha1.SubjectUser, v1alpha1.SubjectGroup:
			subjects[subject{s.Kind, s.Name}] = struct{}{}
			groups = groups || s.Kind == v1alpha1.SubjectGroup
		case v1alpha1.SubjectServiceAccount:
			subjects[subject{v1alpha1.SubjectUser, serviceaccount.MakeUsername(s.Namespace, s.Name)}] = struct{}{}
		default:
			return false
		}
	}
	p.subjects, p.groups, p.Spec.Match.Subjects = subjects, groups, match.Subjects
	return true
}

func (p *Policy) matchNamespaces(raw any) (understood bool) {
	var match v1alpha1.PolicyMatch
	if !decodes(map[string]any{"namespaces": raw}, &match) || len(match.Namespaces) == 0 {
		return false
	}
	// A sign that no name of a namespace has may be a wildcard of a later version.
	if slices.ContainsFunc(match.Namespaces, func(pattern string) bool { return !namespacePattern.MatchString(pattern) }) {
		return false
	}
	namespaces, err := Wildcards(match.Namespaces)
	if err != nil {
		return false
	}
	p.namespaces, p.Spec.Match.Namespaces = namespaces, match.Namespaces
	return true
}

var namespacePattern = regexp.MustCompile(`^[a-z0-9*-]+$`)

// Users are the users that a policy names, by their names. noneElse reports that it matches tokens of nobody else; no policy matches
// none.
func (p *Policy) Users() (names []string, noneElse bool) {
	if p == nil {
		return nil, true
	}
	for s := range p.subjects {
		if s.kind == v1alpha1.SubjectUser {
			names = append(names, s.name)
		}
	}
	return names, p.subjects != nil && !p.groups
}

// UsersOf are the users that one of two policies names, each once, where Users says of both that they match tokens of nobody else.
func UsersOf(a, b *Policy) (names []string, noneElse bool) {
	names, none := a.Users()
	more, noneElse := b.Users()
	names = slices.Concat(names, more)
	slices.Sort(names)
	return slices.Compact(names), none && noneElse
}

// Equal reports whether two policies match and ask the same; nil stands for no policy.
func (p *Policy) Equal(other *Policy) bool {
	if p == nil || other == nil {
		return p == other
	}
	// All else follows from these.
	return p.denies == other.denies && slices.Equal(p.Unknown, other.Unknown) && equality.Semantic.DeepEqual(p.Spec, other.Spec)
}

// Wildcards returns what matches the names of any pattern, in which * stands for any characters.
func Wildcards(patterns []string) (*regexp.Regexp, error) {
	quoted := make([]string, 0, len(patterns))
	for _, pattern := range patterns {
		quoted = append(quoted, strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`))
	}
	return regexp.Compile(`(?s)^(?:` + strings.Join(quoted, "|") + `)$`)
}

// decodes reports whether raw fits into a struct, and fills it.
func decodes(raw map[string]any, into any) bool {
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw, into, true) == nil
}

// fits reports whether the decoder keeps a value: it makes another number of one that is too large.
func fits(value any) bool {
	switch n := value.(type) {
	case float64:
		return n >= math.MinInt32 && n <= math.MaxInt32
	case int64:
		return n >= math.MinInt32 && n <= math.MaxInt32
	}
	return true
}

// Matches reports whether the policy limits a token of a user in a namespace.
func (p *Policy) Matches(namespace string, u *v1alpha1.UserInfo) bool {
	if p == nil || p.namespaces != nil && !p.namespaces.MatchString(namespace) {
		return false
	}
	if p.subjects == nil {
		return true
	}
	if _, ok := p.subjects[subject{v1alpha1.SubjectUser, u.Username}]; ok || !p.groups {
		return ok
	}
	return slices.ContainsFunc(impliedGroups(u), p.named) || slices.ContainsFunc(u.Groups, p.named)
}

// named reports whether a group is a subject of the policy.
func (p *Policy) named(group string) bool {
	_, ok := p.subjects[subject{v1alpha1.SubjectGroup, group}]
	return ok
}

// impliedGroups are the groups of a user that follow from the name. A token gives them whether or not it lists them.
func impliedGroups(u *v1alpha1.UserInfo) []string {
	groups := []string{user.AllAuthenticated}
	if account, ok := identity.ServiceAccount(u.Username); ok {
		groups = append(groups, serviceaccount.MakeGroupNames(account.Namespace)...)
	}
	return groups
}

// Instead says what the policy does because of what is not known of it, as a sentence.
func (p *Policy) Instead() string {
	if p.denies {
		return "So the policy denies all tokens that it matches."
	}
	return "So the policy matches as if that part of it were absent."
}
