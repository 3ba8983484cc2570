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
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/setup"
	"github.com/pat-operator/pat-operator/test/docs/commands"
)

// A newcomer reads the README to its end.
func TestTheREADMEIsShort(t *testing.T) {
	if n := len(strings.Fields(read(t, "README.md"))); n > 600 {
		t.Errorf("README.md has %d words; want 600 at most", n)
	}
}

// Each block of commands is run by test/e2e or says why not; what is not run is at least a script, and its files exist.
func TestCommandsThatAreNotRun(t *testing.T) {
	file := regexp.MustCompile(`(?:hack|config|test)/[\w./-]+[\w]`)
	tests := testsOfModule(t)
	for _, page := range commands.Pages {
		blocks := commands.Of(read(t, page))
		if len(blocks) == 0 {
			t.Errorf("%s has no commands", page)
		}
		for _, b := range blocks {
			if b.NotRun == "" {
				continue
			}
			if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", b.Text).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v: %s", page, b.Line, err, out)
			}
			for _, name := range file.FindAllString(b.Text, -1) {
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s:%d: %v", page, b.Line, err)
				}
			}
			for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(b.NotRun, -1) {
				if !slices.Contains(tests, name) {
					t.Errorf("%s:%d names %s, which does not exist", page, b.Line, name)
				}
			}
			if stage, _, ok := strings.Cut(b.NotRun, ", a stage of .ci/run"); ok && !regexp.MustCompile(`(?m)^ *stage `+stage).MatchString(read(t, ".ci/run")) {
				t.Errorf("%s:%d: .ci/run has no stage %s", page, b.Line, stage)
			}
		}
	}
}

// The commands of the README's transcript are those of the demo, which .ci/run runs.
func TestTheTranscriptIsOfTheDemo(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "hack/dev/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var demo strings.Builder
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		demo.Write(source)
	}
	typed := regexp.MustCompile(`(?m)^(?:[a-z]+\$ |\d+/\d+  )(.+)$`).FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(typed) == 0 {
		t.Error("README.md has no transcript")
	}
	for _, m := range typed {
		if !strings.Contains(demo.String(), m[1]) {
			t.Errorf("the demo has no %q", m[1])
		}
	}
}

// hack/kind/install.sh with stand-ins for what needs a container engine: it asks for the right things in the right order, and
// its change of kube-apiserver's manifest is one that kubeadm's takes, once.
func TestTheKindScript(t *testing.T) {
	dir := t.TempDir()
	node := filepath.Join(dir, "node")
	manifest := filepath.Join(node, "etc/kubernetes/manifests/kube-apiserver.yaml")
	before, err := os.ReadFile("testdata/kube-apiserver.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{filepath.Dir(manifest), filepath.Join(dir, "bin")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(manifest, before, 0o600); err != nil {
		t.Fatal(err)
	}
	// A stand-in says how it was called. What the script does in the node is done in a folder.
	const standIn = `#!/bin/bash
echo "${0##*/} $*" >>"$LOG"
case "${0##*/} $1 $2" in
"kind create cluster") touch "$NODE/created" ;;
"kind get clusters") [ ! -e "$NODE/created" ] || echo pat ;;
"docker exec "*)
  args=()
  for arg in "${@:2}"; do case $arg in -i | pat-control-plane) ;; /etc/*) args+=("$NODE$arg") ;; *) args+=("$arg") ;; esac; done
  case ${args[0]} in cat | cp | mv) "${args[@]}" ;; esac
  ;;
esac
`
	for _, name := range []string{"docker", "kind", "kubectl", "make", "smoke"} {
		if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte(standIn), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := func() string {
		log := filepath.Join(dir, "log")
		_ = os.Remove(log)
		cmd := exec.CommandContext(t.Context(), filepath.Join(root, "hack/kind/install.sh"))
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "NODE="+node, "LOG="+log, "SMOKE_TEST=smoke")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		calls, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`\S+/tmp\.\w+/`).ReplaceAllString(string(calls), "TMP/")
	}
	const want = `kind get clusters
kind create cluster --name pat
kubectl config use-context kind-pat
make docker-build IMG=pat-operator:kind
kind load docker-image pat-operator:kind --name pat
kubectl apply -k hack/kind
kubectl -n pat-operator-system wait deployment/pat-operator deployment/pat-operator-verifier --for=condition=Available --timeout=3m
kubectl -n pat-operator-system wait configmap/pat-operator-authn --for=jsonpath={.data.kubeconfig} --timeout=1m
kubectl -n pat-operator-system get configmap pat-operator-authn -o jsonpath={.data.ca\.crt}
kubectl -n pat-operator-system get configmap pat-operator-authn -o jsonpath={.data.kubeconfig}
docker exec pat-control-plane mkdir -p /etc/kubernetes/pki/pat-operator
docker cp TMP/pat-operator-ca.crt pat-control-plane:/etc/kubernetes/pki/pat-operator/
docker cp TMP/pat-operator-authn.kubeconfig pat-control-plane:/etc/kubernetes/pki/pat-operator/
docker exec pat-control-plane cat /etc/kubernetes/manifests/kube-apiserver.yaml
docker exec -i pat-control-plane cp /dev/stdin /etc/kubernetes/kube-apiserver.yaml
docker exec pat-control-plane mv /etc/kubernetes/kube-apiserver.yaml /etc/kubernetes/manifests/kube-apiserver.yaml
docker exec pat-control-plane sh -c grep -aqs authentication-token-webhoo[k] /proc/[0-9]*/cmdline
smoke 
`
	if diff := cmp.Diff(want, strings.ReplaceAll(run(), filepath.Join(dir, "bin")+"/", "")); diff != "" {
		t.Errorf("calls (- want, + got):\n%s", diff)
	}
	command := func(manifest []byte) []string {
		var pod corev1.Pod
		if err := yaml.UnmarshalStrict(manifest, &pod); err != nil {
			t.Fatal(err)
		}
		return pod.Spec.Containers[0].Command
	}
	after, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{
		"--authentication-token-webhook-config-file=/etc/kubernetes/pki/pat-operator/pat-operator-authn.kubeconfig",
		"--authentication-token-webhook-cache-ttl=10s",
	}
	if diff := cmp.Diff(slices.Insert(command(before), 1, flags...), command(after)); diff != "" {
		t.Errorf("kube-apiserver's command (- want, + got):\n%s", diff)
	}
	if calls := run(); strings.Contains(calls, "create cluster") || strings.Contains(calls, " mv ") {
		t.Errorf("a second run calls:\n%s", calls)
	}
	if again, err := os.ReadFile(manifest); err != nil || string(again) != string(after) {
		t.Errorf("a second run changes the manifest: %v\n%s", err, again)
	}
}

// Each page of a distribution says what has run it, names its source, and sets the flags that setup sets there.
func TestEachDistributionHasAPage(t *testing.T) {
	linked := map[string]bool{}
	for _, m := range regexp.MustCompile(`\(install/([a-z0-9]+)\.md\)`).FindAllStringSubmatch(read(t, "docs/install.md"), -1) {
		linked[m[1]] = true
	}
	for _, d := range setup.Distributions {
		name := string(d)
		switch d {
		case setup.Other:
			continue
		case setup.Hosted, setup.EKS, setup.GKE, setup.AKS:
			name = "managed"
		}
		if !linked[name] {
			t.Errorf("docs/install.md does not lead to the page of %s", d)
			continue
		}
		page := read(t, "docs/install/"+name+".md")
		if !strings.Contains(page, "**Run by our tests**") && !regexp.MustCompile(`\*\*From the vendors?['’]s?`).MatchString(page) {
			t.Errorf("docs/install/%s.md does not say whether our tests run it", name)
		}
		if !strings.Contains(page, "://") {
			t.Errorf("docs/install/%s.md names no source", name)
		}
		plan := setup.NewPlan(setup.Cluster{Distribution: d}, authnconfig.Config{}, "", false)
		if d != setup.Talos && name != "managed" && !strings.Contains(page, plan.Flags()[0].Value) {
			t.Errorf("docs/install/%s.md does not name %s", name, plan.Flags()[0].Value)
		}
	}
}

// The pages and the script for kind set the flags that setup sets.
func TestTheFlagsOfKubeAPIServer(t *testing.T) {
	for _, flag := range (setup.Plan{}).Flags() {
		for _, file := range []string{"docs/install.md", "docs/install/kubeadm.md", "docs/install/kind.md", "docs/install/k3s.md", "docs/install/rke2.md", "docs/install/kubespray.md", "hack/kind/install.sh"} {
			if !strings.Contains(read(t, file), flag.Name) {
				t.Errorf("%s does not set --%s", file, flag.Name)
			}
		}
	}
}
