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
	"maps"
	"slices"
	"sync"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Set is all policies. Its cost for a token does not grow with the number of policies for other users and groups.
type Set struct {
	mu       sync.RWMutex
	policies map[string]*Policy
	// named are the policies that name a subject, and everyone those that name none.
	named    map[subject][]*Policy
	everyone []*Policy
	// groups is how many policies name a group.
	groups int
}

// NewSet returns a set without a policy.
func NewSet() *Set { return &Set{policies: map[string]*Policy{}, named: map[subject][]*Policy{}} }

// Put adds a policy in the place of the one of its name, which it returns; nil for none.
func (s *Set) Put(p *Policy) (was *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was = s.policies[p.Name]
	s.drop(was)
	s.policies[p.Name] = p
	if p.subjects == nil {
		s.everyone = append(s.everyone, p)
	}
	for subject := range p.subjects {
		s.named[subject] = append(s.named[subject], p)
		if subject.kind == v1alpha1.SubjectGroup {
			s.groups++
		}
	}
	return was
}

// Remove takes the policy of a name out, and returns it; nil for none.
func (s *Set) Remove(name string) (was *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was = s.policies[name]
	s.drop(was)
	return was
}

// drop takes a policy out, nil for none. Its cost does not grow with the number of policies for other subjects: each person who
// leaves may leave one behind.
func (s *Set) drop(p *Policy) {
	if p == nil {
		return
	}
	isIt := func(other *Policy) bool { return other == p }
	delete(s.policies, p.Name)
	if p.subjects == nil {
		s.everyone = slices.DeleteFunc(s.everyone, isIt)
	}
	for subject := range p.subjects {
		if left := slices.DeleteFunc(s.named[subject], isIt); len(left) > 0 {
			s.named[subject] = left
		} else {
			delete(s.named, subject)
		}
		if subject.kind == v1alpha1.SubjectGroup {
			s.groups--
		}
	}
}

// All are the policies, in the order of their names.
func (s *Set) All() []*Policy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.policies), byName)
}

// Len is how many there are.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.policies)
}

// For is what the policies ask of a token of a user in a namespace.
func (s *Set) For(namespace string, u *v1alpha1.UserInfo) Limits {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.policies) == 0 {
		return nil
	}
	var found Limits
	take := func(policies []*Policy) {
		for _, p := range policies {
			if p.namespaces == nil || p.namespaces.MatchString(namespace) {
				found = append(found, p)
			}
		}
	}
	take(s.everyone)
	take(s.named[subject{v1alpha1.SubjectUser, u.Username}])
	if s.groups > 0 {
		for _, group := range impliedGroups(u) {
			take(s.named[subject{v1alpha1.SubjectGroup, group}])
		}
		for _, group := range u.Groups {
			take(s.named[subject{v1alpha1.SubjectGroup, group}])
		}
	}
	return once(found)
}

// Naming are the policies that name one of the groups and may match in a namespace; without groups, those that name any.
func (s *Set) Naming(namespace string, groups ...string) Limits {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found Limits
	take := func(p *Policy) {
		if p.namespaces == nil || p.namespaces.MatchString(namespace) {
			found = append(found, p)
		}
	}
	for _, group := range groups {
		for _, p := range s.named[subject{v1alpha1.SubjectGroup, group}] {
			take(p)
		}
	}
	if len(groups) == 0 {
		for _, p := range s.policies {
			if p.groups {
				take(p)
			}
		}
	}
	return once(found)
}

// once has each policy once, in the order of the names.
func once(found Limits) Limits {
	slices.SortFunc(found, byName)
	return slices.Compact(found)
}

func byName(a, b *Policy) int { return cmp.Compare(a.Name, b.Name) }
