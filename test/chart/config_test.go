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

package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kustomize builds a kustomization of the repository.
func kustomize(t *testing.T, folder string) map[string]*unstructured.Unstructured {
	t.Helper()
	tool, err := exec.CommandContext(t.Context(), root+"/hack/tools/bin.sh", "kustomize").Output()
	if err != nil {
		t.Fatalf("cannot build kustomize: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), strings.TrimSpace(string(tool)), "build", filepath.Join(root, folder)).Output() //nolint:gosec // our own tool
	if err != nil {
		t.Fatalf("kustomize build %s: %v", folder, err)
	}
	objects, err := decode(string(out))
	if err != nil {
		t.Fatal(err)
	}
	return byKey(objects)
}

func byKey(objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	m := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		m[key(o)] = o
	}
	return m
}

// plain takes out what differs on purpose between the chart and config.
func plain(t *testing.T, o *unstructured.Unstructured) map[string]any {
	t.Helper()
	// Through JSON, so that numbers are of one type. Kustomize writes an empty line into folded text; guards and CEL do not mind.
	data, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`(\\n)+`).ReplaceAll(data, []byte(`\n`))
	o = &unstructured.Unstructured{}
	if err := json.Unmarshal(data, &o.Object); err != nil {
		t.Fatal(err)
	}
	labels := o.GetLabels()
	for _, name := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
		delete(labels, name)
	}
	if o.GetName() == "pat-operator-console" {
		// Kustomize adds the labels of config/default before the component.
		labels = nil
	}
	o.SetLabels(labels)
	annotations := o.GetAnnotations()
	delete(annotations, "helm.sh/resource-policy")
	o.SetAnnotations(annotations)
	if len(annotations) == 0 {
		o.SetAnnotations(nil)
	}
	switch o.GetKind() {
	case "PodDisruptionBudget":
		// Of two replicas, one may be away: either way.
		spec := o.Object["spec"].(map[string]any)
		delete(spec, "minAvailable")
		delete(spec, "maxUnavailable")
	case "Deployment":
		// The image names its user; OpenShift gives each namespace another.
		unstructured.RemoveNestedField(o.Object, "spec", "template", "spec", "securityContext", "runAsUser")
		unstructured.RemoveNestedField(o.Object, "spec", "template", "spec", "securityContext", "runAsGroup")
		containers := o.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)
		container := containers[0].(map[string]any)
		for _, list := range []string{"args", "ports"} {
			slices.SortFunc(container[list].([]any), func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	}
	return o.Object
}

func TestChartIsConfig(t *testing.T) {
	for _, tc := range []struct{ config, values string }{
		{"config/default", "{}"},
		{"config/single", "{mode: single, operator: {replicas: 1}}"}, // as ci/single-values.yaml
		{"config/samples/console", `console:
  enabled: true
  url: https://tokens.example.com
  oidc: {issuerURL: https://login.example.com, clientID: pat-console}
  namespaces: [people]
`},
		{"config/samples/proxy", "proxy: {enabled: true, externalURL: https://pat.example.com, impersonation: {form: managed}}"},
		{"config/samples/api", "api: {enabled: true, externalURL: https://pat-api.example.com}"},
		{"config/samples/prometheus", "metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}"},
		{"test/chart/testdata/prometheus-proxy", "metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}\n" +
			"proxy: {enabled: true, externalURL: https://pat.example.com, impersonation: {form: managed}}"},
		{"test/chart/testdata/prometheus-api", "metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}\n" +
			"api: {enabled: true, externalURL: https://pat-api.example.com}"},
	} {
		t.Run(tc.config, func(t *testing.T) {
			want, got := kustomize(t, tc.config), byKey(render(t, Release{Values: []map[string]any{values(t, tc.values)}}).Objects)
			// Helm's --create-namespace makes it, and the notes say how to label it.
			delete(want, "Namespace /pat-operator-system")
			for name, o := range want {
				if got[name] == nil {
					t.Errorf("the chart has no %s", name)
					continue
				}
				if diff := cmp.Diff(plain(t, o), plain(t, got[name])); diff != "" {
					t.Errorf("%s (-%s +chart):\n%s", name, tc.config, diff)
				}
			}
			for name := range got {
				if want[name] == nil {
					t.Errorf("%s has no %s", tc.config, name)
				}
			}
		})
	}
}

// Grafana reads the file of the chart, unchanged.
func TestTheDashboardIsTheFile(t *testing.T) {
	r := render(t, Release{Values: []map[string]any{values(t, "metrics: {grafanaDashboard: {enabled: true}}")}})
	dashboard := find(t, r, "ConfigMap pat-operator-system/pat-operator-dashboard")
	want, err := os.ReadFile(dir + "/dashboards/pat-operator.json")
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := unstructured.NestedString(dashboard.Object, "data", "pat-operator.json")
	if diff := cmp.Diff(strings.TrimSpace(string(want)), strings.TrimSpace(got)); diff != "" || err != nil {
		t.Errorf("the dashboard (-file +chart): %v\n%s", err, diff)
	}
	if dashboard.GetLabels()["grafana_dashboard"] != "1" {
		t.Error("the dashboard has no label for Grafana")
	}
}

// Admission fails closed, and asks for our own kinds alone: no value changes either, so no other request of a cluster depends
// on these pods.
func TestWebhooksAreForOurGroupAlone(t *testing.T) {
	for _, name := range valuesFiles(t) {
		webhooks := 0
		for _, o := range render(t, Release{Values: []map[string]any{file(t, name)}}).Objects {
			list, _, err := unstructured.NestedSlice(o.Object, "webhooks")
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range list {
				w := w.(map[string]any)
				webhooks++
				if w["failurePolicy"] != "Fail" || w["namespaceSelector"] != nil || w["objectSelector"] != nil {
					t.Errorf("%s: %s does not fail closed everywhere: %v", filepath.Base(name), w["name"], w)
				}
				for _, rule := range w["rules"].([]any) {
					if diff := cmp.Diff([]any{"pat-operator.io"}, rule.(map[string]any)["apiGroups"]); diff != "" {
						t.Errorf("%s: %s (-want +got):\n%s", filepath.Base(name), w["name"], diff)
					}
				}
			}
		}
		if webhooks == 0 {
			t.Errorf("%s has no webhooks", filepath.Base(name))
		}
	}
}

// What this module shares with the root module is compiled once, so that `make test` and `make dev` wait for Helm's engine
// alone.
func TestModulesAreThoseOfTheRoot(t *testing.T) {
	versions := func(folder string) map[string]string {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Path}} {{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}", "all")
		cmd.Dir = folder
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for line := range strings.Lines(string(out)) {
			path, version, _ := strings.Cut(strings.TrimSpace(line), " ")
			m[path] = version
		}
		return m
	}
	theirs, ours := versions(root), versions(".")
	compiled, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "-f", "{{with .Module}}{{.Path}}{{end}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(compiled)) {
		if want := theirs[path]; want != "" && want != ours[path] && path != "github.com/pat-operator/pat-operator/test/chart" {
			theirs[path] = "" // once
			t.Errorf("test/chart has %s %s, the root module %s; in test/chart, go get %[1]s@%[3]s, or replace it where Helm asks for more", path, ours[path], want)
		}
	}
}

func TestEveryValuesFileRendersTheSameTwice(t *testing.T) {
	for _, name := range valuesFiles(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			release := Release{Values: []map[string]any{file(t, name)}}
			r := render(t, release)
			if diff := cmp.Diff(text(t, r), text(t, render(t, release))); diff != "" {
				t.Errorf("rendered twice (-first +second):\n%s", diff)
			}
			seen := map[string]bool{}
			for _, o := range r.Objects {
				if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
					t.Errorf("%v has no apiVersion, kind or name", o.Object)
				}
				if seen[key(o)] {
					t.Errorf("%s is rendered twice", key(o))
				}
				seen[key(o)] = true
			}
			if !strings.Contains(r.Notes, "kubectl label namespace pat-operator-system pat-operator.io/own=true") {
				t.Errorf("the notes do not say how to label the namespace:\n%s", r.Notes)
			}
		})
	}
}
