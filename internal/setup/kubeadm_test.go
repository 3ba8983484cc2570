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

package setup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

// kubeadmPath names kubeadm. make kubeadm-check sets it.
const kubeadmPath = "PAT_KUBEADM"

// kubeadm's own validation takes the configuration that the instructions have it upgrade with.
func TestKubeadmAcceptsWhatSetupPrints(t *testing.T) {
	kubeadm := os.Getenv(kubeadmPath)
	if kubeadm == "" {
		t.Skip(kubeadmPath + " names no kubeadm: run make kubeadm-check")
	}
	version, err := exec.CommandContext(t.Context(), kubeadm, "version", "-o", "short").Output()
	if err != nil {
		t.Fatal(err)
	}
	head := "kind: ClusterConfiguration\nkubernetesVersion: " + string(version)
	validate := func(configuration string) (string, error) {
		file := filepath.Join(t.TempDir(), kubeadmFile)
		if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), kubeadm, "config", "validate", "--config", file).CombinedOutput()
		return string(out), err
	}
	for name, configuration := range map[string]string{
		"v1beta4":                   strings.Replace(clusterConfiguration, "v1.37.2\n", string(version), 1),
		"v1beta4, with flags":       "apiVersion: kubeadm.k8s.io/v1beta4\n" + head + "apiServer:\n  extraArgs:\n  - {name: authorization-mode, value: \"Node,RBAC\"}\n  - {name: v, value: \"4\"}\n",
		"v1beta3":                   "apiVersion: kubeadm.k8s.io/v1beta3\n" + head,
		"v1beta3, with flags":       "apiVersion: kubeadm.k8s.io/v1beta3\n" + head + "apiServer: {extraArgs: {authorization-mode: \"Node,RBAC\", v: \"4\"}}\n",
		"v1beta4, other authorizer": "apiVersion: kubeadm.k8s.io/v1beta4\n" + head + "apiServer:\n  extraArgs:\n  - {name: authorization-mode, value: \"Node,RBAC,Webhook\"}\n",
	} {
		if out, err := validate(configuration); err != nil && strings.Contains(out, "old API spec") {
			t.Logf("this kubeadm takes no %s", name)
			continue
		}
		for _, scopes := range []bool{false, true} {
			_, content, err := NewPlan(Cluster{Distribution: Kubeadm, Minor: 33, Kubeadm: configuration}, config, "", scopes).KubeadmConfiguration()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(content, authnconfig.FlagConfigFile) {
				t.Errorf("%s: no flag of ours in\n%s", name, content)
			}
			if out, err := validate(content); err != nil {
				t.Errorf("%s: %v\n%s\n%s", name, err, out, content)
			}
		}
	}
}
