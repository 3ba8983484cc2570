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
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type workflow struct {
	Jobs map[string]struct {
		Permissions map[string]string
		Strategy    struct{ Matrix map[string][]string }
		Steps       []struct{ Uses, Run string }
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github/workflows/*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	out := map[string]workflow{}
	for _, file := range files {
		name := ".github/workflows/" + filepath.Base(file)
		var w workflow
		if err := yaml.Unmarshal([]byte(read(t, name)), &w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = w
	}
	return out
}

// A workflow has no commands of its own: what it does can be run on any machine, by make. Actions are pinned.
func TestWorkflowsCallMakeAndPinnedActions(t *testing.T) {
	makefile := read(t, "Makefile")
	for name, w := range workflows(t) {
		text := read(t, name)
		for job, j := range w.Jobs {
			for _, step := range j.Steps {
				if step.Uses != "" && !regexp.MustCompile(`(?m)uses: `+regexp.QuoteMeta(step.Uses)+` # v\d+\.\d+\.\d+$`).MatchString(text) {
					t.Errorf("%s: %s: %s has no version behind it", name, job, step.Uses)
				}
				if step.Uses != "" && !regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40}$`).MatchString(step.Uses) {
					t.Errorf("%s: %s: %s is not pinned by its commit", name, job, step.Uses)
				}
				if step.Run == "" {
					continue
				}
				words := strings.Fields(step.Run)
				if words[0] != "make" || strings.ContainsAny(step.Run, "\n;&|") {
					t.Errorf("%s: %s runs %q; want make and nothing else", name, job, step.Run)
				}
				for _, target := range words[1:] {
					if !strings.ContainsAny(target, "$=") && !strings.Contains(makefile, "\n"+target+":") {
						t.Errorf("%s: %s: the Makefile has no target %s", name, job, target)
					}
				}
			}
		}
		for _, variable := range regexp.MustCompile(`run: .*\$\{\{.*`).FindAllString(text, -1) {
			t.Errorf("%s: %s: give it by env, since its text becomes a command", name, variable)
		}
	}
}

// Each stage of .ci/run is in the matrix of ci.yml.
func TestWorkflowsRunWhatCIRuns(t *testing.T) {
	const name = ".github/workflows/ci.yml"
	targets := " " + strings.Join(workflows(t)[name].Jobs["make"].Strategy.Matrix["targets"], " ") + " controlplane "
	stages := regexp.MustCompile(`(?m)^ *stage make (.+)$`).FindAllStringSubmatch(read(t, ".ci/run"), -1)
	if len(stages) == 0 {
		t.Fatal(".ci/run has no stages")
	}
	for _, stage := range stages {
		if target, _, _ := strings.Cut(stage[1], " "); !strings.Contains(targets, " "+target+" ") {
			t.Errorf("%s runs no %s, which is a stage of .ci/run", name, target)
		}
	}
}
