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
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// install applies the kustomization as an administrator would, but for what cannot run here: workloads, and kinds
// of operators that are not installed.
func (c *Cluster) install(ctx context.Context) error {
	rendered, _, err := c.Kubectl(ctx, "", "", "kustomize", c.opts.ConfigDir)
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
		"wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinitions", "--all")
	return err
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
