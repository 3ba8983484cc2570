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

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// charts are the kustomizations that the chart equals (test/chart), each with the name of its values.
var charts = map[string]string{
	filepath.Join("config", "default"): "minimal",
	filepath.Join("config", "single"):  "single",
}

// install applies the chart, or the kustomization, as an administrator would, but for what cannot run here: workloads, and
// kinds of operators that are not installed.
func (c *Cluster) install(ctx context.Context) error {
	rendered, err := c.render(ctx)
	if err != nil {
		return err
	}
	objects, err := decodeManifests(rendered)
	if err != nil {
		return err
	}
	var manifests strings.Builder
	crds := false
	for _, object := range objects {
		if !installable(object) {
			continue
		}
		crds = crds || object.GetKind() == "CustomResourceDefinition"
		manifest, err := json.Marshal(object)
		if err != nil {
			return err
		}
		fmt.Fprintf(&manifests, "---\n%s\n", manifest)
	}
	if _, _, err := c.Kubectl(ctx, c.AdminKubeconfig, manifests.String(), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := c.RouteServices(ctx); err != nil || !crds {
		return err
	}
	_, _, err = c.Kubectl(ctx, c.AdminKubeconfig, "",
		"wait", "--for=condition=Established", "--timeout=3m", "customresourcedefinitions", "--all")
	return err
}

// render returns the manifests of the kustomization: those of the chart, where it has the same.
func (c *Cluster) render(ctx context.Context) (string, error) {
	root, name := c.chart()
	if name == "" {
		manifests, _, err := c.Kubectl(ctx, "", "", "kustomize", c.opts.ConfigDir)
		return manifests, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "hack", "chart", "render.sh"), name)
	var failure strings.Builder
	cmd.Stderr = &failure
	file, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("render the chart: %w\n%s", err, failure.String())
	}
	manifests, err := os.ReadFile(strings.TrimSpace(string(file)))
	return string(manifests), err
}

// chart returns the folder of the module, and the name of the chart's values that stand for the kustomization.
func (c *Cluster) chart() (root, name string) {
	root, err := ModuleRoot()
	if err != nil {
		return "", ""
	}
	dir, err := filepath.Abs(c.opts.ConfigDir)
	if err != nil {
		return "", ""
	}
	config, err := filepath.Rel(root, dir)
	if err != nil {
		return "", ""
	}
	return root, charts[config]
}

func decodeManifests(manifests string) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(manifests)), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

func installable(object *unstructured.Unstructured) bool {
	switch object.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet", "PodDisruptionBudget":
		return false
	}
	switch object.GroupVersionKind().Group {
	case "monitoring.coreos.com", "cert-manager.io":
		return false
	}
	return true
}
