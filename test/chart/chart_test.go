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
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	root = "../.."
	dir  = root + "/charts/pat-operator"
)

var update = flag.Bool("update", false, "write the golden files")

// valuesFiles are those of the folder ci.
func valuesFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(dir + "/ci/*-values.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("values files: %v, %v; want at least six", files, err)
	}
	return files
}
func render(t *testing.T, release Release) *Rendering {
	t.Helper()
	r, err := Render(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
func values(t *testing.T, text string) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
func file(t *testing.T, name string) map[string]any {
	t.Helper()
	v, err := ReadValues(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// proxy is values of a proxy with a form of impersonation.
func proxy(impersonation string) string {
	return "proxy: {enabled: true, externalURL: https://pat.example.com, impersonation: {" + impersonation + "}}"
}

// api is values of an API face.
func api(more string) string {
	return "api: {enabled: true, externalURL: https://pat-api.example.com, " + more + "}"
}
func text(t *testing.T, r *Rendering) string {
	t.Helper()
	var b strings.Builder
	for _, o := range r.Objects {
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", data)
	}
	return b.String()
}
func key(o *unstructured.Unstructured) string {
	return strings.Trim(fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName()), "/")
}
func find(t *testing.T, r *Rendering, want string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range r.Objects {
		if key(o) == want {
			return o
		}
	}
	t.Fatalf("the rendering has no %s", want)
	return nil
}
