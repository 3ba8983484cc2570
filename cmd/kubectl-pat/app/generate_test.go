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

package app

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const manifest = `apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata:
  name: ci
  namespace: default
spec:
  displayName: "true"
  expiresAt: "2026-11-25T00:00:00Z"
  token:
    boundTo: default/ci
    id: aaaaaaaaaaaaaaaa
    sha256: 47da5ae4c094f4aeb1ee6feb9bfff3a25c62b025c441b91181ad8c9782a5ecba
  user:
    groups:
    - cn=devs,dc=corp
    username: alice
`

var generateArgs = []string{"generate", "ci", "--display-name", "true", "--expires-in", "12h", "--for", "alice", "--group", "cn=devs,dc=corp"}

func offline(t *testing.T) *trial {
	tr := newTrial(t, interceptor.Funcs{})
	tr.Connect = func(genericclioptions.RESTClientGetter, io.Writer) (client.WithWatch, error) {
		t.Error("the cluster is asked")
		return nil, errors.New("no cluster")
	}
	return tr
}

func TestGenerateWritesTheManifestAndTheTokenApart(t *testing.T) {
	tr, dir := offline(t), t.TempDir()
	tr.run(t.Context(), t, exitOK, append(generateArgs, "--token-file", filepath.Join(dir, "token"))...)
	if diff := cmp.Diff(manifest, tr.out.String()); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	wantFile(t, filepath.Join(dir, "token"), 0o600, madeToken)

	tr.run(t.Context(), t, exitOK, append(generateArgs, "--manifest", filepath.Join(dir, "ci.yaml"))...)
	if !strings.HasPrefix(tr.out.String(), madeToken) {
		t.Errorf("standard output: %s", tr.out)
	}
	wantFile(t, filepath.Join(dir, "ci.yaml"), 0o644, manifest)
	tr.errs(t, "Next: apply the manifest. The token works from then until 2026-11-25T00:00:00Z.")
}

func wantFile(t *testing.T, name string, mode os.FileMode, begins string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), begins) || info.Mode() != mode {
		t.Errorf("%s is %v and holds %s", name, info.Mode(), text)
	}
}

// A digest without its token is useless, and so is a token without its digest.
func TestGenerateWritesBothOrNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		flags []string
		want  string
	}{
		"the manifest cannot be printed": {[]string{"--token-file", "token"}, "error: no space"},
		"the token cannot be printed":    {[]string{"--manifest", "ci.yaml"}, "error: " + fullOutput},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			tr := offline(t)
			tr.Out = full{}
			tr.run(t.Context(), t, exitError, append(generateArgs, tc.flags...)...)
			tr.errs(t, tc.want)
			if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
}

func TestGenerateNeverPrintsBoth(t *testing.T) {
	tr := offline(t)
	tr.Copy = func(string) error { return errors.New("no display") }
	tr.run(t.Context(), t, exitError, append(generateArgs, "--copy")...)
	tr.errs(t, "error: cannot put the token on the clipboard: no display")
	if strings.Contains(tr.out.String(), "kubepat_") {
		t.Errorf("standard output: %s", tr.out)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }
