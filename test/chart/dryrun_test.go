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
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// warnings collects what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.text
	w.text = nil
	return text
}

// A server-side dry run of every object: fields, CEL, and, by the API server's warnings, the Pod Security level.
func TestAPIServerTakesEveryRendering(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS is not set: no API server to ask; `make test` sets it")
	}
	server := &envtest.Environment{}
	config, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	said := &warnings{}
	config.QPS = -1
	config.WarningHandlerWithContext = said
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pat-operator-system", "pat-operator-records", "pat-records"} {
		namespace := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Namespace",
			"metadata": map[string]any{"name": name, "labels": map[string]any{"pod-security.kubernetes.io/warn": "restricted"}},
		}}
		if err := c.Create(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range valuesFiles(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			kinds := map[string]bool{}
			for _, o := range render(t, Release{Values: []map[string]any{file(t, name)}}).Objects {
				switch o.GroupVersionKind().Group {
				case "monitoring.coreos.com", "gateway.networking.k8s.io":
					continue // of CRDs that are not there
				}
				err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("helm"), client.ForceOwnership, client.DryRunAll)
				if err != nil {
					t.Errorf("%s: %v", key(o), err)
				}
				kinds[o.GetKind()] = true
			}
			for _, kind := range []string{"ValidatingAdmissionPolicy", "CustomResourceDefinition", "Deployment"} {
				if !kinds[kind] {
					t.Errorf("no %s was sent", kind)
				}
			}
			text := said.take()
			// The network of the node is beyond the level restricted.
			ofTheHost := slices.Contains([]string{"control-plane-values.yaml", "everything-values.yaml"}, filepath.Base(name))
			if (len(text) > 0) != ofTheHost {
				t.Errorf("warnings: %q; want some: %t", text, ofTheHost)
			}
		})
	}
	// What the tests above would not notice if it let everything pass.
	wrong := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "wrong", "namespace": "pat-operator-system"},
		"spec": map[string]any{"portz": []any{}},
	}}
	if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(wrong), client.FieldOwner("helm"), client.DryRunAll); err == nil {
		t.Error("the API server took a field that is not there")
	}
}
