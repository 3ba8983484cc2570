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

package scope

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Compile makes the set of a token's scopes; namespace is that of its resource. Equal scopes share a set, so a hundred thousand
// tokens with a preset cost one. A scope that this version does not know is an error, and the token allows nothing.
func Compile(scopes []v1alpha1.Scope, namespace string) (*Set, error) {
	s := &Set{}
	home := ""
	for i := range scopes {
		compiled, ownNamespace, err := compile(&scopes[i], namespace)
		if err != nil {
			return nil, fmt.Errorf("scopes[%d]: %w", i, err)
		}
		if compiled != nil {
			s.items = append(s.items, *compiled)
		}
		if ownNamespace {
			home = namespace
		}
		if name := nameOf(&scopes[i]); !slices.Contains(s.names, name) {
			s.names = append(s.names, name)
		}
	}
	key, err := json.Marshal(scopes)
	if err != nil {
		return nil, err
	}
	return intern(string(key)+home, s), nil
}

// compile makes one scope; nil where it allows nothing in Kubernetes.
func compile(s *v1alpha1.Scope, namespace string) (compiled *item, ownNamespace bool, err error) {
	var namespaces []string
	if len(s.Namespaces) > 0 {
		namespaces = slices.Clone(s.Namespaces)
	}
	switch {
	case s.Preset != "" && s.Rule == nil && s.API == "":
		p := findPreset(s.Preset)
		if p == nil {
			return nil, false, fmt.Errorf("the preset %q does not exist", s.Preset)
		}
		if p.home && namespaces == nil {
			return &item{rules: p.rules, namespaces: []string{namespace}}, true, nil
		}
		return &item{rules: p.rules, namespaces: namespaces}, false, nil
	case s.Rule != nil && s.Preset == "" && s.API == "":
		r := s.Rule
		return &item{namespaces: namespaces, rules: []rule{{PolicyRule: *(&rbacv1.PolicyRule{
			Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames, NonResourceURLs: r.NonResourceURLs,
		}).DeepCopy()}}}, false, nil
	case s.API == Full || strings.HasPrefix(s.API, kubernetes):
		return nil, false, fmt.Errorf("the scope %q of an API is reserved", s.API)
	case s.API != "" && s.Preset == "" && s.Rule == nil && namespaces == nil:
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("exactly one of preset, rule and api is allowed")
}

const (
	// Full is the scope, as other APIs see it, of a token with its user's full authority.
	Full = "full"
	// kubernetes begins the names of those that count in Kubernetes.
	kubernetes = "kubernetes:"
)

// nameOf is a scope as other APIs see it.
func nameOf(s *v1alpha1.Scope) string {
	switch {
	case s.API != "":
		return strings.Clone(s.API)
	case s.Preset != "":
		return kubernetes + s.Preset
	}
	return kubernetes + "rules"
}

// interned has every set that a token still uses.
var interned = struct {
	sync.Mutex
	sets map[string]weak.Pointer[Set]
}{sets: map[string]weak.Pointer[Set]{}}

func intern(key string, s *Set) *Set {
	interned.Lock()
	defer interned.Unlock()
	if known := interned.sets[key].Value(); known != nil {
		return known
	}
	interned.sets[key] = weak.Make(s)
	runtime.AddCleanup(s, func(key string) {
		interned.Lock()
		defer interned.Unlock()
		// Since then another set may have taken its place.
		if interned.sets[key].Value() == nil {
			delete(interned.sets, key)
		}
	}, key)
	return s
}
