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
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

var update = flag.Bool("update", false, "write the golden files")

var config = authnconfig.Config{
	Server:     "https://10.96.0.20/authenticate",
	ServerName: "pat-operator-verifier.pat-operator-system.svc",
	Bundle:     []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
}

func text(t *testing.T, p Plan) string {
	t.Helper()
	text, err := p.Text()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// withScopes ends the names of the golden files with scopes.
const withScopes = "-scopes"

// go test ./internal/setup -update writes what it prints now.
func TestText(t *testing.T) {
	plans := map[string]Cluster{}
	for _, d := range Distributions {
		plans[string(d)] = Cluster{Distribution: d, Because: "for a test", ControlPlane: []string{"cp-1", "cp-2"}, Kubeadm: clusterConfiguration}
	}
	for _, d := range []Distribution{Kubeadm, Kubespray, RKE2, Hosted} {
		scoped := plans[string(d)]
		scoped.Minor = 37
		plans[string(d)+withScopes] = scoped
	}
	plans["kubeadm-authorizers"+withScopes] = Cluster{Distribution: Kubeadm, Minor: 33, Kubeadm: strings.Replace(clusterConfiguration, "apiServer: {}",
		"apiServer:\n  extraArgs:\n  - {name: authorization-config, value: /etc/kubernetes/pki/authz.yaml}", 1)}
	plans["talos-1.13"] = Cluster{Distribution: Talos, ControlPlane: []string{"cp-1"}, TalosMinor: 13}
	plans["talos-1.15"] = Cluster{Distribution: Talos, ControlPlane: []string{"cp-1"}, TalosMinor: 15}
	plans["gke-proxy"] = Cluster{Distribution: GKE, Because: "for a test"}
	plans["kubeadm-unread"] = Cluster{Distribution: Kubeadm}
	plans["kubeadm-taken"] = Cluster{Distribution: Kubeadm, Kubeadm: strings.Replace(clusterConfiguration, "apiServer: {}",
		"apiServer:\n  extraArgs:\n  - {name: v, value: \"1\"}\n  - {name: authentication-token-webhook-config-file, value: /etc/rancher/auth.yaml}", 1)}
	for name, cluster := range plans {
		t.Run(name, func(t *testing.T) {
			plan := NewPlan(cluster, config, "", strings.HasSuffix(name, withScopes))
			if name == "gke-proxy" {
				plan.Proxy = "https://pat.example.com"
			}
			got := text(t, plan)
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// commands returns the lines of one step that a shell runs, with the folder of the nodes in another one.
func commands(t *testing.T, text string, root string) string {
	t.Helper()
	start := strings.Index(text, "(umask")
	stop := strings.Index(text, "\n\nkubelet starts")
	if start < 0 || stop < start {
		t.Fatalf("nothing to paste in\n%s", text)
	}
	return strings.ReplaceAll(text[start:stop], "/etc/", root+"/etc/")
}

func bash(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, script)
	}
}

// The paste writes the files for everyone to read, and adds to a manifest of kubeadm the flags that it lacks, once. Other
// authorizers stay.
func TestThePasteOnANodeOfKubeadm(t *testing.T) {
	const mode = "--authorization-mode=Node,RBAC"
	for name, tc := range map[string]struct {
		scopes bool
		// was is the manifest's change before the paste.
		was    string
		former string
		files  []string
		others bool
	}{
		"tokens": {former: "kube-apiserver.without-pat-operator.yaml", files: []string{authnconfig.KubeconfigFile, authnconfig.CAFile}},
		"scopes": {scopes: true, former: "kube-apiserver.without-scopes.yaml", files: []string{authnconfig.KubeconfigFile, authnconfig.CAFile, authnconfig.AuthorizerFile, authnconfig.AuthorizationFile}},
		"scopes, other authorizers": {
			scopes: true, was: mode + ",Webhook", former: "kube-apiserver.without-scopes.yaml", others: true,
			files: []string{authnconfig.KubeconfigFile, authnconfig.CAFile, authnconfig.AuthorizerFile, authnconfig.AuthorizationFile},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			manifest := filepath.Join(root, manifestFile)
			before, err := os.ReadFile("../../test/docs/testdata/kube-apiserver.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if tc.was != "" {
				before = []byte(strings.Replace(string(before), mode, tc.was, 1))
			}
			if err := os.MkdirAll(filepath.Dir(manifest), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(manifest, before, 0o600); err != nil {
				t.Fatal(err)
			}
			was := commandOf(t, manifest)
			plan := NewPlan(Cluster{Distribution: Kubeadm, Minor: 37}, config, "", tc.scopes)
			script := commands(t, text(t, plan), root)
			bash(t, script)
			folder := root + "/etc/kubernetes/pki/pat-operator/"
			want := slices.Insert(slices.Clone(was), 1, "--authentication-token-webhook-config-file="+folder+authnconfig.KubeconfigFile, "--authentication-token-webhook-cache-ttl=10s")
			if tc.scopes && !tc.others {
				want[slices.Index(want, mode)] = "--authorization-config=" + folder + authnconfig.AuthorizationFile
			}
			if diff := cmp.Diff(want, commandOf(t, manifest)); diff != "" {
				t.Errorf("kube-apiserver's command (-want +got):\n%s", diff)
			}
			if got, err := clientcmd.BuildConfigFromFlags("", folder+authnconfig.KubeconfigFile); err != nil || !strings.HasPrefix(got.Host, config.Server) || got.ServerName != config.ServerName {
				t.Errorf("%v: %v", got, err)
			}
			for _, name := range tc.files {
				if info, err := os.Stat(folder + name); err != nil || info.Mode() != 0o644 {
					t.Errorf("%s: %v, %v", name, info, err)
				}
			}
			if written, err := os.ReadDir(folder); err != nil || len(written) != len(tc.files) {
				t.Errorf("it writes %v, %v", written, err)
			}
			if kept, err := os.ReadFile(root + "/etc/kubernetes/" + tc.former); err != nil || string(kept) != string(before) {
				t.Errorf("the former manifest is not kept: %v", err)
			}
			if files, err := os.ReadDir(filepath.Dir(manifest)); err != nil || len(files) != 1 {
				t.Errorf("kubelet sees %v, %v", files, err)
			}
			bash(t, script)
			if diff := cmp.Diff(want, commandOf(t, manifest)); diff != "" {
				t.Errorf("after the second time (-want +got):\n%s", diff)
			}
			// The way back.
			_, back, _ := strings.Cut(text(t, plan), "On the node:\n\n")
			back, _, _ = strings.Cut(back, "\n")
			bash(t, strings.ReplaceAll(back, "/etc/", root+"/etc/"))
			if diff := cmp.Diff(was, commandOf(t, manifest)); diff != "" {
				t.Errorf("after the way back (-want +got):\n%s", diff)
			}
		})
	}
}

// commandOf is that of the kube-apiserver of a manifest.
func commandOf(t *testing.T, manifest string) []string {
	t.Helper()
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(data, &pod); err != nil {
		t.Fatal(err)
	}
	return pod.Spec.Containers[0].Command
}

// A cluster that asks the verifier about tokens gets the authorizer by a second paste, and the way back leads to where it was.
func TestScopesAreAddedToAClusterWithTokens(t *testing.T) {
	root := t.TempDir()
	manifest := filepath.Join(root, manifestFile)
	before, err := os.ReadFile("../../test/docs/testdata/kube-apiserver.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(manifest), 0o700), os.WriteFile(manifest, before, 0o600)); err != nil {
		t.Fatal(err)
	}
	paste := func(scopes bool) string {
		t.Helper()
		text := text(t, NewPlan(Cluster{Distribution: Kubeadm, Minor: 37}, config, "", scopes))
		bash(t, commands(t, text, root))
		return text
	}
	paste(false)
	tokens := commandOf(t, manifest)
	printed := paste(true)
	want := slices.Clone(tokens)
	want[slices.Index(want, "--authorization-mode=Node,RBAC")] = "--authorization-config=" + root + "/etc/kubernetes/pki/pat-operator/authorization.yaml"
	if diff := cmp.Diff(want, commandOf(t, manifest)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, back, _ := strings.Cut(printed, "On the node:\n\n")
	back, _, _ = strings.Cut(back, "\n")
	bash(t, strings.ReplaceAll(back, "/etc/", root+"/etc/"))
	if diff := cmp.Diff(tokens, commandOf(t, manifest)); diff != "" {
		t.Errorf("after the way back (-want +got):\n%s", diff)
	}
}

// What other shapes of kubeadm's configuration hold stays, and a former value of the flags does not.
func TestKubeadmConfigurationKeepsTheRest(t *testing.T) {
	plan := func(configuration string) Plan {
		return NewPlan(Cluster{Distribution: Kubeadm, Kubeadm: configuration}, config, "", false)
	}
	const folder = "/etc/kubernetes/pki/pat-operator/pat-operator-authn.kubeconfig"
	for name, tc := range map[string]struct{ in, want, err string }{
		"v1beta4": {
			"apiVersion: kubeadm.k8s.io/v1beta4\napiServer:\n  certSANs: [a]\n  extraArgs:\n  - {name: v, value: \"4\"}\n  - {name: authentication-token-webhook-cache-ttl, value: 2m}\nnetworking: {podSubnet: 10.0.0.0/8}\n",
			"apiServer:\n  certSANs:\n  - a\n  extraArgs:\n  - name: v\n    value: \"4\"\n  - name: authentication-token-webhook-config-file\n    value: " + folder + "\n  - name: authentication-token-webhook-cache-ttl\n    value: 10s\napiVersion: kubeadm.k8s.io/v1beta4\nnetworking:\n  podSubnet: 10.0.0.0/8\n", "",
		},
		"v1beta3": {
			"apiVersion: kubeadm.k8s.io/v1beta3\napiServer: {extraArgs: {v: \"4\"}}\n",
			"apiServer:\n  extraArgs:\n    authentication-token-webhook-cache-ttl: 10s\n    authentication-token-webhook-config-file: " + folder + "\n    v: \"4\"\napiVersion: kubeadm.k8s.io/v1beta3\n", "",
		},
		"of a later version": {"apiVersion: kubeadm.k8s.io/v2\n", "", "has the version kubeadm.k8s.io/v2, which is unknown"},
		"no YAML":            {"a: [", "", "is not YAML"},
		"hostile":            {"apiVersion: kubeadm.k8s.io/v1beta4\nclusterName: \"\u202e\"\n", "", "has invisible characters"},
	} {
		t.Run(name, func(t *testing.T) {
			_, got, err := plan(tc.in).KubeadmConfiguration()
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v; want %s", err, tc.err)
				}
				if text := text(t, plan(tc.in)); !strings.Contains(text, tc.err) || strings.Contains(text, "\u202e") {
					t.Errorf("it does not say so:\n%s", text)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// kubeadm sets no --authorization-mode next to an --authorization-config, unless its configuration names one.
func TestKubeadmConfigurationWithScopes(t *testing.T) {
	const file = "/etc/kubernetes/pki/pat-operator/authorization.yaml"
	for name, tc := range map[string]struct {
		in        string
		want, not []string
	}{
		"v1beta4": {"apiVersion: kubeadm.k8s.io/v1beta4\napiServer: {extraArgs: [{name: authorization-mode, value: \"Node,RBAC\"}]}\n", []string{"name: authorization-config\n    value: " + file}, []string{"authorization-mode"}},
		"v1beta3": {"apiVersion: kubeadm.k8s.io/v1beta3\napiServer: {extraArgs: {authorization-mode: \"Node,RBAC\"}}\n", []string{"authorization-config: " + file}, []string{"authorization-mode"}},
		"other authorizers": {
			"apiVersion: kubeadm.k8s.io/v1beta4\napiServer: {extraArgs: [{name: authorization-mode, value: \"Node,RBAC,Webhook\"}]}\n",
			[]string{"value: Node,RBAC,Webhook"}, []string{"authorization-config"},
		},
		"ours already": {"apiVersion: kubeadm.k8s.io/v1beta4\napiServer: {extraArgs: [{name: authorization-config, value: " + file + "}]}\n", []string{"value: " + file}, []string{"authorization-mode"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got, err := NewPlan(Cluster{Distribution: Kubeadm, Kubeadm: tc.in}, config, "", true).KubeadmConfiguration()
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range append(tc.want, authnconfig.FlagConfigFile) {
				if strings.Count(got, want) != 1 {
					t.Errorf("not once %s in\n%s", want, got)
				}
			}
			for _, not := range tc.not {
				if strings.Contains(got, not) {
					t.Errorf("%s in\n%s", not, got)
				}
			}
		})
	}
}

// Nothing of the cluster ends a heredoc or runs.
func TestNothingOfTheClusterRuns(t *testing.T) {
	evil := "apiVersion: kubeadm.k8s.io/v1beta4\nclusterName: |\n  a\n  PAT-OPERATOR\n  touch evil\nPAT-OPERATOR: touch evil\ncertificatesDir: /etc/$(touch evil)\n"
	plan := NewPlan(Cluster{Distribution: Kubeadm, Kubeadm: evil, ControlPlane: []string{"a\x1b[2J"}, Because: "\x1b[2J"}, config, "", false)
	got := text(t, plan)
	if strings.Contains(got, "\x1b") || plan.Folder != "/etc/kubernetes/pki/pat-operator" {
		t.Errorf("folder %s, text\n%s", plan.Folder, got)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	start := strings.Index(got, "cat > pat-operator-kubeadm.yaml")
	_, rest, _ := strings.Cut(got[start:], "\nkubeadm config")
	bash(t, strings.TrimSuffix(got[start:], "\nkubeadm config"+rest))
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
	broken := config
	broken.Bundle = []byte("a\nPAT-OPERATOR\ntouch evil\n")
	if _, err := NewPlan(Cluster{Distribution: Other}, broken, "", false).Text(); err == nil || !strings.Contains(err.Error(), "has a line PAT-OPERATOR, which would end it") {
		t.Errorf("got %v", err)
	}
}

func TestFoldersAreOnesThatAShellTakes(t *testing.T) {
	for folder, good := range map[string]bool{
		"/etc/kubernetes/pat-operator": true, "/a": true, "": false, "/": false, "etc": false, "/etc/../x": false, "/etc/": false, "/a b": false, "/$(x)": false, "/a\n": false, "/a//b": false,
	} {
		if err := CheckFolder("--node-dir", folder); (err == nil) != good {
			t.Errorf("%q: %v", folder, err)
		}
	}
}
