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
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// forms are the ways to install, and the commands that their Deployments run.
var forms = map[string][]string{
	"config/default":                   {"operator", "verifier"},
	"config/single":                    {"run"},
	"config/samples/console":           {"operator", "verifier"},
	"config/samples/proxy":             {"operator", "proxy", "verifier"},
	"config/samples/api":               {"operator", "verifier", "verifier"},
	"test/e2e/testdata/console-single": {"run"},
}

// rendered is what a kustomization holds of a kind.
func rendered[T any](t *testing.T, form, kind string) []T {
	t.Helper()
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	for doc := range strings.SplitSeq(kubectl(t, cl.AdminKubeconfig, "", "kustomize", filepath.Join(root, form)), "\n---\n") {
		var object struct {
			metav1.TypeMeta `json:",inline"`
			whole           T
		}
		if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind != kind {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(doc), &object.whole); err != nil {
			t.Fatal(err)
		}
		out = append(out, object.whole)
	}
	return out
}

// The pods of either form meet the restricted PodSecurity standard, which their namespace enforces.
func TestPodsAreRestricted(t *testing.T) {
	proxied(t)
	withAPI(t)
	for form, commands := range forms {
		var got []string
		for _, d := range rendered[appsv1.Deployment](t, form, "Deployment") {
			got = append(got, d.Spec.Template.Spec.Containers[0].Args[0])
			// A dry run asks for more than the schema: whether the account is there, for instance. That of config/default is, and
			// the proxy's and the API face's here.
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "probe"}, Spec: d.Spec.Template.Spec}
			if err := admin.Create(t.Context(), p, client.DryRunAll); err != nil {
				t.Errorf("%s: %v", form, err)
			}
			for _, c := range d.Spec.Template.Spec.Containers {
				if s := c.SecurityContext; s == nil || !ptr.Deref(s.ReadOnlyRootFilesystem, false) || ptr.Deref(s.AllowPrivilegeEscalation, true) {
					t.Errorf("%s: container %s: %+v", form, c.Name, s)
				}
				if c.LivenessProbe == nil || c.ReadinessProbe == nil {
					t.Errorf("%s: container %s has no probes", form, c.Name)
				}
			}
			privileged := p.DeepCopy()
			privileged.Spec.Containers[0].SecurityContext.Privileged = ptr.To(true)
			privileged.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
			if err := admin.Create(t.Context(), privileged, client.DryRunAll); err == nil {
				t.Errorf("namespace %s takes a privileged pod", d.Namespace)
			}
		}
		if slices.Sort(got); !slices.Equal(got, commands) {
			t.Errorf("%s runs %q; want %q", form, got, commands)
		}
	}
}

// What an installation is made of fits together: Services lead to a port of the pods of one Deployment, and accounts that
// pods run as and bindings name are there.
func TestManifestsFitTogether(t *testing.T) {
	for form := range forms {
		accounts := map[string]bool{}
		for _, a := range rendered[corev1.ServiceAccount](t, form, "ServiceAccount") {
			accounts[a.Namespace+"/"+a.Name] = false
		}
		deployments := rendered[appsv1.Deployment](t, form, "Deployment")
		for _, d := range deployments {
			name := d.Namespace + "/" + d.Spec.Template.Spec.ServiceAccountName
			if _, there := accounts[name]; !there {
				t.Errorf("%s: Deployment %s runs as %s, which is not there", form, d.Name, name)
			}
			accounts[name] = true
			if !matches(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels) {
				t.Errorf("%s: Deployment %s does not select its own pods", form, d.Name)
			}
		}
		for name, used := range accounts {
			if !used && name != cluster.OperatorNamespace+"/pat-operator-impersonator" {
				t.Errorf("%s: nothing runs as %s", form, name)
			}
		}
		for _, s := range rendered[corev1.Service](t, form, "Service") {
			var ports []string
			for _, d := range deployments {
				if matches(s.Spec.Selector, d.Spec.Template.Labels) {
					for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
						ports = append(ports, p.Name)
					}
				}
			}
			if target := s.Spec.Ports[0].TargetPort.StrVal; !slices.Contains(ports, target) {
				t.Errorf("%s: Service %s leads to the port %s; its pods have %q", form, s.Name, target, ports)
			}
		}
		for _, kind := range []string{"RoleBinding", "ClusterRoleBinding"} {
			for _, b := range rendered[rbacv1.RoleBinding](t, form, kind) {
				for _, s := range b.Subjects {
					// All but what kube-apiserver needs, and where proxy and API face are, is for our own accounts.
					if slices.Contains([]string{"pat-operator-authn", "pat-operator-proxy-discovery", "pat-operator-api-discovery"}, b.Name) && s.Kind == rbacv1.GroupKind && s.Name == "system:authenticated" {
						continue
					}
					if _, there := accounts[s.Namespace+"/"+s.Name]; !there {
						t.Errorf("%s: %s %s binds to %s, which is not there", form, kind, b.Name, s.Name)
					}
				}
			}
		}
	}
}

// The API face is served by a Deployment and an account of its own, where it was asked for, and by nothing else.
func TestOnlyTheAPIFaceAnswersOtherAPIs(t *testing.T) {
	for form := range forms {
		var got []string
		for _, d := range rendered[appsv1.Deployment](t, form, "Deployment") {
			for _, arg := range d.Spec.Template.Spec.Containers[0].Args {
				if strings.HasPrefix(arg, "--faces") || strings.HasPrefix(arg, "--api-") {
					got = append(got, d.Spec.Template.Spec.ServiceAccountName+" "+arg)
				}
			}
		}
		var want []string
		if form == "config/samples/api" {
			want = []string{"pat-operator-api --faces=api", "pat-operator-api --api-external-url=https://pat-api.example.com"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q; want %q", form, got, want)
		}
	}
}

// The console is served by the one Deployment that verifies, under the name that its Service has, and only where it was asked for.
func TestTheConsoleIsServedWhereItIsAskedFor(t *testing.T) {
	long.Only(t)
	for form := range forms {
		want := map[string]int{"--console-bind-address=:9445": 0, "--serving-host=pat-operator-console.pat-operator-system.svc": 0}
		if strings.Contains(form, "console") {
			for arg := range want {
				want[arg] = 1
			}
		}
		for arg, times := range want {
			got := 0
			for _, d := range rendered[appsv1.Deployment](t, form, "Deployment") {
				args := d.Spec.Template.Spec.Containers[0].Args
				if slices.Contains(args, arg) && slices.Contains([]string{"verifier", "run"}, args[0]) {
					got++
				}
			}
			if got != times {
				t.Errorf("%s: %d Deployments have %s; want %d", form, got, arg, times)
			}
		}
		services := rendered[corev1.Service](t, form, "Service")
		if there := slices.ContainsFunc(services, func(s corev1.Service) bool { return s.Name == "pat-operator-console" }); there != strings.Contains(form, "console") {
			t.Errorf("%s: a Service of the console: %v", form, there)
		}
	}
}

func matches(selector, labels map[string]string) bool {
	own := maps.Clone(labels)
	maps.Copy(own, selector)
	return len(selector) > 0 && maps.Equal(own, labels)
}
