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
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Deployment's selector cannot change, nor can names that guards, RBAC and kubeconfigs rely on.
func TestNamesAndSelectorsAreFrozen(t *testing.T) {
	var b strings.Builder
	for _, name := range valuesFiles(t) {
		fmt.Fprintf(&b, "# %s\n", filepath.Base(name))
		for _, o := range render(t, Release{Values: []map[string]any{file(t, name)}}).Objects {
			b.WriteString(key(o))
			for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "selector"}, {"spec", "podSelector", "matchLabels"}} {
				if labels, found, err := unstructured.NestedStringMap(o.Object, path...); found && err == nil {
					data, err := json.Marshal(labels)
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&b, " %s", data)
					break
				}
			}
			b.WriteString("\n")
		}
	}
	const golden = "testdata/names.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("names and selectors (-%s +rendered); `go test -run Frozen -update` where the change is meant:\n%s", golden, diff)
	}
}

// The namespaces have names that are contained in others of ours, or that YAML would take for a number or a truth value.
func TestBothNamespacesCanBeChosen(t *testing.T) {
	for _, tc := range []struct{ operator, records string }{{"a", "b"}, {"123", "true"}, {"1e3", "null"}, {"pat-operator", "operator"}} {
		for _, name := range valuesFiles(t) {
			t.Run(tc.operator+"/"+filepath.Base(name), func(t *testing.T) {
				v := file(t, name)
				v["recordsNamespace"] = map[string]any{"name": tc.records}
				r := render(t, Release{Namespace: tc.operator, Values: []map[string]any{v}})
				out := text(t, r)
				if strings.Contains(out+r.Notes, "pat-operator-system") || strings.Contains(out, "${") {
					t.Errorf("the rendering names pat-operator-system or a placeholder:\n%s", grep(out+r.Notes, "pat-operator-system", "${"))
				}
				policy := regexp.MustCompile(`(?m)^ +((name|policyName): |- )pat-operator-records$`)
				if rest := policy.ReplaceAllString(out, "") + r.Notes; strings.Contains(rest, "pat-operator-records") {
					t.Errorf("the rendering names pat-operator-records as a namespace:\n%s", grep(rest, "pat-operator-records"))
				}
				for _, o := range r.Objects {
					// The addresses of kube-apiserver are in default, and the values opt in with it.
					elsewhere := strings.HasSuffix(key(o), "default/pat-operator-verifier") || strings.HasPrefix(key(o), "RoleBinding default/pat-operator-impersonator-")
					if ns := o.GetNamespace(); ns != "" && ns != tc.operator && ns != tc.records && !elsewhere {
						t.Errorf("%s is in neither namespace", key(o))
					}
				}
				find(t, r, "Namespace /"+tc.records)
				find(t, r, "ValidatingAdmissionPolicy /pat-operator-records")
				for _, role := range []string{tc.operator, tc.records} {
					find(t, r, "Role "+role+"/pat-operator")
				}
				selector, _, err := unstructured.NestedStringMap(find(t, r, "ValidatingAdmissionPolicy /pat-operator-records").Object,
					"spec", "matchConstraints", "namespaceSelector", "matchLabels")
				if diff := cmp.Diff(map[string]string{"kubernetes.io/metadata.name": tc.records}, selector); diff != "" || err != nil {
					t.Errorf("the policy of the records (-want +got): %v\n%s", err, diff)
				}
			})
		}
	}
}

func grep(text string, of ...string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if slices.ContainsFunc(of, func(s string) bool { return strings.Contains(line, s) }) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestWhatUninstallingKeeps(t *testing.T) {
	const crd, namespace = "CustomResourceDefinition /personalaccesstokens.pat-operator.io", "Namespace /pat-operator-records"
	for _, tc := range []struct {
		values    string
		crd, kept bool
		notes     string
	}{
		{"{}", true, true, "keeps the CRDs, the PersonalAccessTokens and the records"},
		{"crds: {keep: false}", true, false, "deletes every PersonalAccessToken and every record"},
		{"crds: {enabled: false}", false, true, "keeps the CRD"},
		{"crds: {enabled: false, keep: false}", false, true, "keeps the CRD"},
	} {
		t.Run(tc.values, func(t *testing.T) {
			r := render(t, Release{Values: []map[string]any{values(t, tc.values)}})
			objects := byKey(r.Objects)
			if (objects[crd] != nil) != tc.crd {
				t.Errorf("the CRD is rendered: %t, want %t", !tc.crd, tc.crd)
			}
			for _, name := range []string{crd, namespace} {
				if o := objects[name]; o != nil && (o.GetAnnotations()["helm.sh/resource-policy"] == "keep") != tc.kept {
					t.Errorf("%s is kept: %t, want %t", name, !tc.kept, tc.kept)
				}
			}
			if !strings.Contains(r.Notes, tc.notes) {
				t.Errorf("the notes do not say %q:\n%s", tc.notes, r.Notes)
			}
		})
	}
}
