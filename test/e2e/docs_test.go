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

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/docs/commands"
	"github.com/pat-operator/pat-operator/test/long"
)

// The commands of the pages work, one block after the other, as a reader types them: those of the README in a checkout with
// `make dev` running, those of the others with what the page asks for.
func TestTheCommandsOfThePages(t *testing.T) {
	long.Only(t)
	dir := checkout(t)
	if err := cluster.BuildPlugin(t.Context(), filepath.Join(dir, ".dev", "bin")); err != nil {
		t.Fatal(err)
	}
	for _, page := range commands.Pages {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("../..", page))
			if err != nil {
				t.Fatal(err)
			}
			var env []string
			switch page {
			case "README.md":
				selfService(t, "alice")
			case "docs/install.md":
				t.Cleanup(func() {
					forget(t, "namespace/team-a", "namespace/shared", "clusterrole,clusterrolebinding/personalaccesstoken-issue-for-others")
				})
			case "docs/use-your-token.md":
				env = receiver(t, dir)
			}
			for _, b := range commands.Of(string(text)) {
				if b.NotRun != "" {
					continue
				}
				where := fmt.Sprintf("%s:%d", page, b.Line)
				program, args := "/bin/bash", []string{"-euo", "pipefail", "-c", b.Text}
				if b.Language == "python" {
					program, args = "python3", []string{"-c", b.Text}
				}
				if _, err := exec.LookPath(program); err != nil {
					t.Logf("%s is not run: %v", where, err)
					continue
				}
				out := typed(t, where, dir, env, program, args...)
				for _, want := range b.Prints() {
					if !strings.Contains(out, want) {
						t.Errorf("%s does not print %q but\n%s", where, want, out)
					}
				}
			}
		})
	}
}

// The last step of the installation by kind, which anyone may run on their cluster.
func TestTheSmokeTest(t *testing.T) {
	long.Only(t)
	if err := cl.WaitAccepted(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := typed(t, "the smoke test", checkout(t), nil, "hack/smoke-test.sh")
	if !strings.HasSuffix(out, "\npat-operator works.\n") {
		t.Errorf("it prints:\n%s", out)
	}
	eventually(t, patience, func() bool {
		ns := &corev1.Namespace{}
		err := admin.Get(t.Context(), types.NamespacedName{Name: "pat-smoke-test"}, ns)
		return apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp != nil
	}, func() string { return "its namespace stays" })
}

// What the script for kind applies is what the page says, with an image that is on the nodes.
func TestTheManifestsForKind(t *testing.T) {
	out := typed(t, "the manifests", checkout(t), nil, "kubectl", "kustomize", "hack/kind")
	if n := strings.Count(out, "image: pat-operator:kind"); n != 2 {
		t.Errorf("%d containers have the image that the script loads; want 2", n)
	}
}

// checkout is a folder with what the pages use of one, and .dev/env as `make dev` writes it.
func checkout(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pat-operator")
	if err := os.MkdirAll(filepath.Join(dir, ".dev", "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config", "hack"} {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	env := fmt.Sprintf("KUBECONFIG='%s'\n", cl.AdminKubeconfig)
	if err := os.WriteFile(filepath.Join(dir, ".dev", "env"), []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// selfService makes a namespace for a person, as `make dev` does.
func selfService(t *testing.T, person string) {
	t.Helper()
	role := strings.NewReplacer("kind: Group", "kind: User", "name: developers", "name: "+person).Replace(sample(t, "role-self-service.yaml"))
	kubectl(t, cl.AdminKubeconfig, "", "create", "namespace", person)
	t.Cleanup(func() { forget(t, "namespace/"+person) })
	kubectl(t, cl.AdminKubeconfig, role, "-n", person, "apply", "-f", "-")
}

// receiver is what a reader has who got the token my-laptop, and a vendor's key.
func receiver(t *testing.T, dir string) []string {
	t.Helper()
	ns := team(t)
	kubeconfig := filepath.Join(dir, "alice.Kubeconfig")
	data, err := os.ReadFile(alice.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(cl.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	vendor := []byte("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n")
	for file, data := range map[string][]byte{kubeconfig: data, filepath.Join(dir, "ca.crt"): ca, filepath.Join(dir, "vendor.pub"): vendor} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kubectl(t, kubeconfig, "", "config", "set-context", "--current", "--namespace="+ns)
	plaintext := issued(t, alice, pat(ns, "my-laptop"))
	accepted(t, plaintext)
	return []string{"KUBECONFIG=" + kubeconfig, "TOKEN=" + plaintext, "SERVER=" + cl.Server, "NAMESPACE=" + ns}
}

func forget(t *testing.T, objects ...string) {
	t.Helper()
	for _, object := range objects {
		kind, name, _ := strings.Cut(object, "/")
		if _, _, err := cl.Kubectl(context.Background(), cl.AdminKubeconfig, "", "delete", kind, name, "--ignore-not-found", "--wait=false"); err != nil {
			t.Error(err)
		}
	}
}

// typed runs a program as an administrator in a folder, and returns what it prints on standard output. A right that was just
// given takes effect a moment later, and so does a new token, so what they refuse is tried again.
func typed(t *testing.T, where, dir string, env []string, program string, args ...string) string {
	t.Helper()
	var out []byte
	var failure string
	eventually(t, patience, func() bool {
		cmd := cl.Command(t.Context(), cl.AdminKubeconfig, program, args...)
		cmd.Dir = dir
		path := filepath.Join(dir, ".dev", "bin") + string(os.PathListSeparator) + cl.Assets + string(os.PathListSeparator) + os.Getenv("PATH")
		cmd.Env = append(append(cmd.Env, "PATH="+path), env...)
		var errOut strings.Builder
		cmd.Stderr = &errOut
		var err error
		if out, err = cmd.Output(); err == nil {
			return true
		}
		failure = fmt.Sprintf("%s: %v\n%s%s", where, err, out, errOut.String())
		switch {
		case strings.Contains(failure, "orbidden"):
		case strings.Contains(failure, "my-laptop created in namespace alice") && strings.Contains(failure, "(Unauthorized)"):
			kubectl(t, cl.AdminKubeconfig, "", "delete", "pat", "my-laptop", "-n", "alice")
		default:
			t.Fatal(failure)
		}
		return false
	}, func() string { return failure })
	return string(out)
}
