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

package gitops

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// The manifests of docs/gitops.md work as they stand there, by both tools.
func TestTheGuidesManifests(t *testing.T) {
	long.Only(t)
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs", "gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := newTenant(t, "guide")
	f := newFlux(t, n)
	applied := 0
	for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(m[1], "kind: PersonalAccessToken") {
			continue
		}
		applied++
		git := decode(t, strings.ReplaceAll(m[1], "team-a", n.ns))
		f.apply(t, ssa.CreatedAction, git)
		n.waitFor(t, git.GetName(), v1alpha1.ConditionReady, "True/Reconciled")
		f.quiet(t, git)
		n.sync(t, serverSide, git)
		n.inSync(t, git)
	}
	if applied != 3 {
		t.Errorf("%d manifests; want 3", applied)
	}
}

// An apply needs a name, so neither tool takes a manifest that lets one be generated.
func TestGenerateNameIsNotForGit(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "generated")
	git := n.manifest("", nil)
	git.SetName("")
	git.SetGenerateName("my-pat-")
	if _, err := newFlux(t, n).try(t, git); err == nil {
		t.Error("Flux takes it")
	}
	for _, way := range [][]string{clientSide, serverSide, replace} {
		if _, _, err := n.try(t, n.argocd, text(t, git), way...); err == nil {
			t.Errorf("kubectl %q takes it", way)
		}
	}
}
