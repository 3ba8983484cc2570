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

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// publish.sh with stand-ins for what needs a registry, a signer and a server: it pushes and signs what was checked, and nothing
// else, and signs nothing where something differs.
func TestPublish(t *testing.T) {
	const ours = "registry.example.com/ours/pat-operator"
	const image = ours + "@sha256:abc"
	for _, tc := range []struct {
		name, repository, want, calls string
		change                        func(root string) error
	}{
		{name: "all is well", repository: ours, calls: `go -C hack/image run . --push --layout ROOT/dist/image --repository registry.example.com/ours/pat-operator --version v1.2.3
cosign sign --yes registry.example.com/ours/pat-operator@sha256:abc
helm push dist/pat-operator-1.2.3.tgz oci://registry.example.com/ours/charts
cosign sign --yes registry.example.com/ours/charts/pat-operator@sha256:def
cosign sign-blob --yes --bundle dist/checksums.txt.sigstore.json dist/checksums.txt
cosign sign-blob --yes --bundle dist/install.yaml.sigstore.json dist/install.yaml
cosign sign-blob --yes --bundle dist/pat-operator-1.2.3.tgz.sigstore.json dist/pat-operator-1.2.3.tgz
gh release create v1.2.3 --verify-tag --draft --title v1.2.3 --notes See CHANGELOG.md. dist/checksums.txt dist/checksums.txt.sigstore.json dist/install.yaml dist/install.yaml.sigstore.json dist/pat-operator-1.2.3.tgz dist/pat-operator-1.2.3.tgz.sigstore.json
`},
		{name: "a file was changed after it was checked", repository: ours, want: "did NOT match", change: func(root string) error {
			return os.WriteFile(filepath.Join(root, "dist/pat-operator-1.2.3.tgz"), []byte("other"), 0o600)
		}},
		{name: "the registry has another image", repository: ours, want: "and install.yaml another",
			calls: "go -C hack/image run . --push --layout ROOT/dist/image --repository registry.example.com/ours/pat-operator --version v1.2.3\n",
			change: func(root string) error {
				for name, content := range map[string]string{"dist/install.yaml": "image: pat-operator@sha256:other\n", "dist/checksums.txt": ""} {
					if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
						return err
					}
				}
				return (&release{dist: filepath.Join(root, "dist")}).checksums()
			}},
		{name: "no registry", repository: "pat-operator", want: "set IMAGE_REPOSITORY, with the name of a registry"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
			script, err := os.ReadFile("publish.sh")
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{
				"hack/release/publish.sh":     string(script),
				"dist/install.yaml":           "image: " + image + "\n",
				"dist/pat-operator-1.2.3.tgz": "chart",
				"dist/image/index.json":       "{}",
			}
			for _, name := range []string{"go", "cosign", "helm", "gh"} {
				files["bin/"+name] = `#!/bin/bash
echo "${0##*/} $*" >>"$LOG"
case ${0##*/} in
go) echo "` + image + `" ;;
helm) echo "Digest: sha256:def" ;;
cosign) [ "$1" != sign-blob ] || : >"$4" ;;
esac
`
			}
			for name, content := range files {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := (&release{dist: filepath.Join(root, "dist")}).checksums(); err != nil {
				t.Fatal(err)
			}
			if tc.change != nil {
				if err := tc.change(root); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(root, "hack/release/publish.sh"))
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"), "LOG="+log, "VERSION=v1.2.3",
				"IMAGE_REPOSITORY="+tc.repository, "CHART_REPOSITORY=registry.example.com/ours/charts", "HELM=helm")
			out, err := cmd.CombinedOutput()
			if (err == nil) != (tc.want == "") || !strings.Contains(string(out), tc.want) {
				t.Errorf("%v; want %q\n%s", err, tc.want, out)
			}
			calls, _ := os.ReadFile(log)
			if diff := cmp.Diff(tc.calls, strings.ReplaceAll(string(calls), root, "ROOT")); diff != "" {
				t.Errorf("calls (- want, + got):\n%s", diff)
			}
		})
	}
}
