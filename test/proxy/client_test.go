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

package proxy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

// kubectl pat finds the proxy by its ConfigMap, and kubectl works with the kubeconfig that it writes, until the token ends.
func TestKubectlPatWritesAKubeconfigForTheProxy(t *testing.T) {
	token := issue(t, "written", alice)
	bin := t.TempDir()
	if err := cluster.BuildPlugin(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	file := func(name string) string { return filepath.Join(home, name) }
	if err := os.WriteFile(file("token"), []byte(token.Bearer), 0o600); err != nil {
		t.Fatal(err)
	}
	writeAdminKubeconfig(t, file("admin"))
	run := func(name string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*env.Patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "HOME="+home, "KUBECTL_KUBERC=false", "KUBECONFIG="+file("admin"))
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	out, err := run(filepath.Join(bin, "kubectl-pat"), "kubeconfig", "written", "-n", "team-a", "--token-file", file("token"), "-o", file("written"), "--check",
		"--operator-namespace", system) // there are no webhooks to tell it
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range []string{
		"It works: at " + front.url + " the token is alice@example.com.",
		"Different: you may list nodes, and the token may not: the token is that of alice@example.com; or only Kubernetes RBAC counts for an impersonated user",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if strings.Contains(out, "list pods") { // alice's group may, in this namespace
		t.Errorf("what both may is different:\n%s", out)
	}
	text := env.Must[[]byte](t)(os.ReadFile(file("written")))
	if strings.Contains(string(text), token.Bearer) || !strings.Contains(string(text), "server: "+front.url) {
		t.Errorf("the kubeconfig is\n%s", text)
	}
	kubectl := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl")
	if out, err := run(kubectl, "--kubeconfig", file("written"), "auth", "whoami"); err != nil || !strings.Contains(out, "alice@example.com") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(kubectl, "--kubeconfig", file("written"), "get", "configmaps"); err != nil {
		t.Errorf("in the token's namespace: %v\n%s", err, out)
	}
	revoke(t, token)
	if err := env.Poll(t.Context(), env.Patience, func() error {
		out, err := run(kubectl, "--kubeconfig", file("written"), "get", "configmaps")
		if err == nil || !strings.Contains(out, "no valid personal access token was sent") {
			return fmt.Errorf("after the token has ended, kubectl gets %q", out)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// writeAdminKubeconfig writes a kubeconfig with an administrator's certificate, for the API server itself.
func writeAdminKubeconfig(t *testing.T, file string) {
	t.Helper()
	c := apiServer.Config(t)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: httpsURL(c.Host), CertificateAuthorityData: c.CAData}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: c.CertData, ClientKeyData: c.KeyData}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "admin"}
	config.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
}
