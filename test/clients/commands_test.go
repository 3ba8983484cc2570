//go:build clients

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

package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

// typed runs a block of commands in a folder, as a reader types it, and returns what it prints.
func typed(t *testing.T, dir, kubeconfig, commands string, vars ...string) string {
	t.Helper()
	cmd := product.Command(t.Context(), kubeconfig, "/bin/bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, vars...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%v: %s", commands, err, out)
	}
	return string(out)
}

// The commands of the page: a token is made for the API, the CA is saved, and who finds the token ends it.
func TestTheCommandsOfThePage(t *testing.T) {
	t.Parallel()
	program(t, "curl")
	dir := t.TempDir()
	if err := cluster.BuildPlugin(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + dir + string(os.PathListSeparator) + product.Assets + string(os.PathListSeparator) + os.Getenv("PATH")
	kubeconfig := write(t, dir, "kubeconfig", string(env.Must[[]byte](t)(os.ReadFile(alice.Kubeconfig))))
	typed(t, dir, kubeconfig, "kubectl config set-context --current --namespace="+namespace, path)
	token := regexp.MustCompile(`kubepat_\w+`).FindString(typed(t, dir, kubeconfig, blockOf(t, "Protect an API", "sh"), path))
	if token == "" {
		t.Fatal("kubectl pat create prints no token")
	}
	ca := filepath.Join(dir, "ca.crt")
	typed(t, dir, product.AdminKubeconfig, replaced(t, blockOf(t, "Set it up", "sh"), "/etc/pat-operator/ca.crt", ca), path)
	ended(t, dir, token, blockOf(t, "A token that was found", "sh"))
}

// ended runs commands that end the token in a file.
func ended(t *testing.T, dir, token, commands string) {
	t.Helper()
	if err := env.Poll(t.Context(), env.Patience, func() error {
		active, err := isActive(t.Context(), token)
		if err == nil && !active {
			err = os.ErrNotExist
		}
		return err
	}); err != nil {
		t.Fatalf("the new token: %v", err)
	}
	write(t, dir, "token.txt", token)
	if out := strings.TrimSpace(typed(t, dir, "", replaced(t, commands))); !strings.Contains(out, "{}") {
		t.Errorf("the revocation prints %q", out)
	}
	if err := ends(t.Context(), token); err != nil {
		t.Error(err)
	}
}

// The commands of the page for vendors: one opens the file, uses the token and ends it.
func TestTheCommandsOfAVendor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := cluster.BuildAge(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	identity := env.Must[*age.X25519Identity](t)(age.GenerateX25519Identity())
	write(t, dir, "key.txt", identity.String()+"\n")
	pat := &v1alpha1.PersonalAccessToken{}
	pat.Namespace, pat.Name = namespace, "vendor"
	pat.Spec.Audiences = []string{listAPI}
	pat.Spec.Delivery = &v1alpha1.Delivery{Recipients: []string{identity.Recipient().String()}}
	if err := alice.Create(t.Context(), pat); err != nil {
		t.Fatal(err)
	}
	if err := product.WaitFor(t.Context(), namespace, pat.Name, v1alpha1.ConditionReady, "True/"+v1alpha1.ReasonReconciled); err != nil {
		t.Fatal(err)
	}
	if err := product.Admin.Get(t.Context(), client.ObjectKeyFromObject(pat), pat); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lists.age", pat.Status.EncryptedToken)
	path := "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
	typed(t, dir, "", blockOf(t, "Open it", "sh"), path)
	token := string(env.Must[[]byte](t)(os.ReadFile(filepath.Join(dir, "token.txt"))))

	f := startNginx(t, "")
	write(t, dir, "ca.crt", string(env.Must[[]byte](t)(os.ReadFile(faceCA))))
	use := replaced(t, blockOf(t, "Send it", "sh"), "https://"+frontName, "https://"+strings.Replace(f.address, "127.0.0.1", "localhost", 1))
	if err := env.Poll(t.Context(), env.Patience, func() error { _, err := isActive(t.Context(), token); return err }); err != nil {
		t.Fatal(err)
	}
	if out := typed(t, dir, "", use, "CURL_CA_BUNDLE="+frontCA); !strings.Contains(out, `"X-Auth-Request-User":["alice"]`) {
		t.Errorf("the API answers %s", out)
	}
	ended(t, dir, token, blockOf(t, "If it leaked", "sh"))
}
