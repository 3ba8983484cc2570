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

package docs

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The versions of Kubernetes that we say are tested are those that the tests run on: the page has their patch releases, the
// workflow runs each, and the chart takes none that is older.
func TestVersionsOfKubernetesAreTested(t *testing.T) {
	kubernetes := regexp.MustCompile(`\tk8s\.io/kubernetes v(1\.\d+)(\.\d+)`)
	tested := func(module string) (minor, version string) {
		m := kubernetes.FindStringSubmatch(read(t, module))
		if m == nil {
			t.Fatalf("%s has no version of Kubernetes", module)
		}
		return m[1], m[1] + m[2]
	}
	_, newest := tested("hack/controlplane/go.mod")
	versions := []string{newest}
	folders, err := filepath.Glob(filepath.Join(root, "hack/controlplane/v*"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("no older versions: %v", err)
	}
	slices.Sort(folders) // of two digits each
	targets := workflows(t)[".github/workflows/ci.yml"].Jobs["make"].Strategy.Matrix["targets"]
	for i, folder := range folders {
		name := filepath.Base(folder)
		minor, version := tested("hack/controlplane/" + name + "/go.mod")
		if "v"+minor != name {
			t.Errorf("hack/controlplane/%s has Kubernetes %s", name, version)
		}
		if job := "test-versions KUBERNETES=" + minor; !slices.Contains(targets, job) {
			t.Errorf("ci.yml does not run make %s", job)
		}
		if want := "\nkubeVersion: \">=" + minor + ".0-0\"\n"; i == 0 && !strings.Contains(read(t, "charts/pat-operator/Chart.yaml"), want) {
			t.Errorf("the oldest tested version is %s, and Chart.yaml does not say%s", version, want)
		}
		versions = append(versions, version)
	}
	var documented []string
	for _, cells := range table(t, "docs/upgrade.md", "version of Kubernetes") {
		documented = append(documented, cells[0])
	}
	if diff := cmp.Diff(set(versions), set(documented)); diff != "" {
		t.Errorf("tested versions (- hack/controlplane, + docs/upgrade.md):\n%s", diff)
	}
}
