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
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/test/cluster"
)

var update = flag.Bool("update", false, "write the golden files")

const operatorAccount = "system:serviceaccount:" + cluster.OperatorNamespace + ":pat-operator"

// The operator's own service account may do what the golden file lists, and nothing more: what it is told of itself in
// its two namespaces and in any other, less what everybody may do.
func TestRBACIsWhatTheGoldenFileSays(t *testing.T) {
	everybody := map[string]bool{}
	for _, line := range rules(t, "system:serviceaccount:default:nobody", "default") {
		everybody[line] = true
	}
	var got strings.Builder
	for _, ns := range []string{cluster.OperatorNamespace, cluster.RecordsNamespace, "default"} {
		fmt.Fprintf(&got, "# in %s\n", ns)
		for _, line := range rules(t, operatorAccount, ns) {
			if !everybody[line] {
				fmt.Fprintln(&got, line)
			}
		}
	}
	golden := filepath.Join("testdata", "rbac.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the operator's rights changed; if that is meant, run go test ./test/e2e -run %s -update\n%s", t.Name(), diff)
	}
}

// rules lists what somebody is told they may do in a namespace, a line for each rule.
func rules(t *testing.T, as, namespace string) []string {
	t.Helper()
	config := rest.CopyConfig(cl.Admin())
	config.Impersonate = rest.ImpersonationConfig{UserName: as}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	create(t, c, review)
	if review.Status.Incomplete {
		t.Error("the list is incomplete: " + review.Status.EvaluationError)
	}
	var lines []string
	for _, r := range review.Status.ResourceRules {
		lines = append(lines, strings.Join([]string{list(r.Verbs), list(r.APIGroups), list(r.Resources), list(r.ResourceNames)}, " "))
	}
	for _, r := range review.Status.NonResourceRules {
		lines = append(lines, list(r.Verbs)+" "+list(r.NonResourceURLs))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func list(items []string) string {
	items = slices.Clone(items)
	slices.Sort(items)
	return "[" + strings.Join(items, ",") + "]"
}

// The same, asked a right at a time as kubectl does, for what matters most.
func TestTheOperatorReadsNoSecretsButItsOwn(t *testing.T) {
	ns := team(t)
	for _, tc := range []struct {
		verb, resource, namespace string
		want                      bool
	}{
		{"get", "secrets", "", false},
		{"list", "secrets", "", false},
		{"watch", "secrets", "", false},
		{"update", "secrets", "", false},
		{"patch", "secrets", "", false},
		{"deletecollection", "secrets", "", false},
		{"get", "secrets", ns, false},
		{"list", "secrets", ns, false},
		{"get", "secrets", "kube-system", false},
		{"create", "secrets", ns, true},
		{"delete", "secrets", ns, true},
		{"list", "secrets", cluster.OperatorNamespace, false},
		{"get", "secrets", cluster.OperatorNamespace, false},
		{"get", "secrets/pat-operator-ca", cluster.OperatorNamespace, true},
		{"list", "secrets", cluster.RecordsNamespace, true},
		{"update", "secrets", cluster.RecordsNamespace, true},
		{"create", "pat", ns, false},
		{"update", "pat", ns, false},
		{"delete", "pat", ns, false},
		{"impersonate", "users", "", false},
		{"create", "serviceaccounts/token", ns, false},
		{"create", "pods", ns, false},
		{"bind", "clusterroles", "", false},
		{"escalate", "clusterroles", "", false},
		{"update", "validatingwebhookconfigurations", "", false},
		{"delete", "validatingadmissionpolicies", "", false},
	} {
		args := []string{"auth", "can-i", tc.verb, tc.resource, "--as=" + operatorAccount}
		if tc.namespace == "" {
			args = append(args, "--all-namespaces")
		} else {
			args = append(args, "-n", tc.namespace)
		}
		out, _, _ := cl.Kubectl(t.Context(), cl.AdminKubeconfig, "", args...)
		if got := strings.TrimSpace(out) == "yes"; got != tc.want {
			t.Errorf("%s: %s; want %v", strings.Join(args[2:], " "), strings.TrimSpace(out), tc.want)
		}
	}
}

// The Deployment's pods meet the restricted PodSecurity standard, which their namespace enforces.
func TestPodsAreRestricted(t *testing.T) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	rendered := kubectl(t, cl.AdminKubeconfig, "", "kustomize", filepath.Join(root, "config", "default"))
	pods := 0
	for doc := range strings.SplitSeq(rendered, "\n---\n") {
		var d appsv1.Deployment
		if err := yaml.Unmarshal([]byte(doc), &d); err != nil {
			t.Fatal(err)
		}
		if d.Kind != "Deployment" {
			continue
		}
		pods++
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: "probe"}, Spec: d.Spec.Template.Spec}
		if err := admin.Create(t.Context(), p, client.DryRunAll); err != nil {
			t.Error(err)
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			if s := c.SecurityContext; s == nil || !ptr.Deref(s.ReadOnlyRootFilesystem, false) || ptr.Deref(s.AllowPrivilegeEscalation, true) {
				t.Errorf("container %s: %+v", c.Name, s)
			}
			if c.LivenessProbe == nil || c.ReadinessProbe == nil {
				t.Errorf("container %s has no probes", c.Name)
			}
		}
		privileged := p.DeepCopy()
		privileged.Spec.Containers[0].SecurityContext.Privileged = ptr.To(true)
		privileged.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
		if err := admin.Create(t.Context(), privileged, client.DryRunAll); err == nil {
			t.Errorf("namespace %s takes a privileged pod", d.Namespace)
		}
	}
	if pods != 1 {
		t.Errorf("%d Deployments", pods)
	}
}

// Records are the operator's alone to write, and delivery Secrets all that it may make elsewhere: by policy, on top of
// what RBAC allows.
func TestPoliciesGuardRecordsAndDelivery(t *testing.T) {
	ns := team(t)
	issued(t, alice, pat(ns, "my-pat"))
	record := &corev1.Secret{}
	key := client.ObjectKey{Namespace: cluster.RecordsNamespace, Name: "pat-" + string(get(t, ns, "my-pat").UID)}
	if err := admin.Get(t.Context(), key, record); err != nil {
		t.Fatal(err)
	}
	edited := record.DeepCopy()
	edited.Data["record"] = append(edited.Data["record"], ' ')
	wantStatus(t, admin.Update(t.Context(), edited), 403, "pat-operator")
	wantStatus(t, admin.Delete(t.Context(), record), 403, "pat-operator")
	forged := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.RecordsNamespace, Name: "forged"}, Type: "pat-operator.io/record"}
	wantStatus(t, admin.Create(t.Context(), forged), 403, "pat-operator")

	config, err := clientcmd.BuildConfigFromFlags("", cl.AdminKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: operatorAccount}
	operator, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "password"}, StringData: map[string]string{"password": "x"}}
	wantStatus(t, operator.Create(t.Context(), theirs.DeepCopy()), 403, "pat-operator.io/token")
	create(t, admin, theirs)
	wantStatus(t, operator.Delete(t.Context(), theirs), 403, "pat-operator.io/token")
}
