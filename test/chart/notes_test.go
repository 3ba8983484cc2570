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

package chart

import (
	"strings"
	"testing"
)

// The notes lead to what connects API servers, wherever the release is.
func TestNotesLeadToSetup(t *testing.T) {
	for namespace, want := range map[string]string{"tokens": " --operator-namespace tokens\n", "pat-operator-system": "\n"} {
		notes := render(t, Release{Namespace: namespace}).Notes
		for _, command := range []string{"kubectl pat setup", "kubectl pat doctor"} {
			if !strings.Contains(notes, "     "+command+want) {
				t.Errorf("the notes do not say %q:\n%s", command+want, notes)
			}
		}
	}
}

// Pods in the network of a node are not restricted, whichever they are; and the notes say where other APIs find theirs.
func TestNotesKnowTheAPIFace(t *testing.T) {
	const restricted = "pod-security.kubernetes.io/enforce=restricted"
	notes := render(t, Release{Values: []map[string]any{values(t, api(""))}}).Notes
	for _, want := range []string{
		restricted, "rollout status deployment/pat-operator-api", "4. Other APIs ask about tokens as soon as https://pat-api.example.com leads to the Service pat-operator-api",
		"get configmap pat-operator-api", "docs/protect-an-api.md",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes do not say %q:\n%s", want, notes)
		}
	}
	for _, values := range []map[string]any{
		values(t, api("hostNetwork: true")), values(t, "proxy: {enabled: true, externalURL: https://a, impersonation: {form: managed}, hostNetwork: true}"),
	} {
		if notes := render(t, Release{Values: []map[string]any{values}}).Notes; strings.Contains(notes, restricted) {
			t.Errorf("the notes say %q:\n%s", restricted, notes)
		}
	}
	if notes := render(t, Release{}).Notes; strings.Contains(notes, "pat-operator-api") {
		t.Errorf("the notes name an API face that is off:\n%s", notes)
	}
}
