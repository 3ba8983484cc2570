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
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/test/long"
)

// On a machine with nothing but Go, `make install-plugin` installs the plugin and its completion into a folder of PATH, and kubectl
// if that is missing.
func TestInstallPlugin(t *testing.T) {
	long.Only(t)
	home := t.TempDir()
	own := filepath.Join(home, "my bin")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	install := func(path ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/bin/bash", filepath.Join("..", "..", "hack", "install-plugin.sh"))
		cmd.Env = append(os.Environ(), "BINDIR=", "HOME="+home, "PATH="+strings.Join(path, ":"), "VERSION=v1.2.3", "GOBIN=", "GOPATH="+goEnv(t, "GOPATH"),
			"GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "PAT_OPERATOR_CACHE="+filepath.Join(home, "cache"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	path := []string{filepath.Join(goEnv(t, "GOROOT"), "bin"), everythingBut(t, "kubectl")}
	if out := install(append(path, own)...); !strings.Contains(out, "installed kubectl into "+own) || !strings.Contains(out, "try: kubectl pat --help") {
		t.Errorf("it says:\n%s", out)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(own, "kubectl"), "pat", "--version")
	cmd.Env = []string{"PATH=" + own, "HOME=" + home}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "v1.2.3\n" {
		t.Errorf("kubectl pat --version: %v, %s", err, out)
	}
	if info, err := os.Stat(filepath.Join(own, "kubectl_complete-pat")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("the completion: %v, %v", info, err)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// everythingBut is a folder with the programs of /usr/bin and /bin, except one.
func everythingBut(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"/usr/bin", "/bin"} {
		programs, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, program := range programs {
			if program.Name() == name {
				continue
			}
			if err := os.Symlink(filepath.Join(from, program.Name()), filepath.Join(dir, program.Name())); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
		}
	}
	return dir
}
