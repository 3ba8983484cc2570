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

package page

import "slices"

// Permission is what a token may do, as the form offers it.
type Permission struct {
	// Value is the preset of a scope; "": all that the user may do.
	Value string
	// Word is short. Says explains it to people who do not know Kubernetes' roles.
	Word, Says string
}

// Permissions are those that the form offers.
var Permissions = []Permission{
	{"", "Same as yours", "The token may do everything that you may do."},
	{"read-only", "Read only", "The token may look at what you may look at, except Secrets. It changes nothing."},
	{"ci-deploy", "Deploy", "The token may deploy applications to the token's namespace. It reads no Secrets and opens no shells."},
	{"namespace-admin", "Manage a namespace", "The token may manage what is in the token's namespace, except Secrets, shells and roles."},
	{"metrics", "Metrics", "The token may read metrics, and find what to measure."},
}

// Limited is the word for a token with permissions that the form does not offer.
const Limited = "Limited"

// PermissionWord returns the word for a preset, or Limited.
func PermissionWord(preset string) string {
	for _, p := range Permissions {
		if p.Value == preset {
			return p.Word
		}
	}
	return Limited
}

// Choices returns the permissions to choose from.
func (f Form) Choices() []Permission {
	return slices.DeleteFunc(slices.Clone(Permissions), func(p Permission) bool {
		return p.Value == "" && f.Scoped || p.Value != "" && f.Presets != nil && !slices.Contains(f.Presets, p.Value)
	})
}
