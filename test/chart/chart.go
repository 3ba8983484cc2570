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

// Package chart renders the Helm chart with Helm's own engine, without a cluster and without the helm program.
package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8syaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Release is what `helm install NAME --namespace NAMESPACE --values …` says. Its zero value is the chart's defaults in the
// namespace pat-operator-system.
type Release struct {
	Name, Namespace string
	// Values are merged in this order, the last wins.
	Values []map[string]any
}

// Rendering is what Helm would send to the API server, in an order for `kubectl apply`, and what it would print.
type Rendering struct {
	Objects []*unstructured.Unstructured
	Notes   string
}

// Render renders the chart in a folder or an archive. It checks the values against the schema first, as Helm does.
func Render(from string, release Release) (*Rendering, error) {
	c, err := loader.Load(from)
	if err != nil {
		return nil, fmt.Errorf("cannot load the chart %s: %w", from, err)
	}
	options := common.ReleaseOptions{Name: release.Name, Namespace: release.Namespace, Revision: 1, IsInstall: true}
	if options.Name == "" {
		options.Name = "pat-operator"
	}
	if options.Namespace == "" {
		options.Namespace = "pat-operator-system"
	}
	values := map[string]any{}
	for _, v := range release.Values {
		values = loader.MergeMaps(values, v)
	}
	top, err := util.ToRenderValues(c, values, options, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, top)
	if err != nil {
		return nil, err
	}
	r := &Rendering{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch {
		case path.Base(name) == "NOTES.txt":
			r.Notes = files[name]
		case strings.HasPrefix(path.Base(name), "_"):
		default:
			objects, err := decode(files[name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			r.Objects = append(r.Objects, objects...)
		}
	}
	slices.SortStableFunc(r.Objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return r, nil
}

// ReadValues reads a file with values.
func ReadValues(file string) (map[string]any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values, err := loader.LoadValues(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	return values, nil
}

func decode(text string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for documents := k8syaml.NewYAMLOrJSONDecoder(bytes.NewBufferString(text), 4096); ; {
		var document json.RawMessage
		switch err := documents.Decode(&document); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		case len(document) == 0 || string(document) == "null":
			continue
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(document); err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
}

// order has the guards of a PersonalAccessToken before its CRD, as config/default has them.
var order = []string{
	"Namespace",
	"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
	"CustomResourceDefinition",
	"ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "FlowSchema",
	"NetworkPolicy", "Deployment", "DaemonSet", "Service", "PodDisruptionBudget",
}

func rank(o *unstructured.Unstructured) int {
	if i := slices.Index(order, o.GetKind()); i >= 0 {
		return i
	}
	return len(order)
}
