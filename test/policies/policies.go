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

// Package policies makes TokenPolicies for tests.
package policies

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// New is a TokenPolicy as the API server delivers it. spec is YAML.
func New(name, spec string) *unstructured.Unstructured {
	var fields any
	if err := yaml.Unmarshal([]byte(spec), &fields); err != nil {
		panic(fmt.Sprintf("policy %s: %v", name, err))
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": integers(fields)}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TokenPolicy"))
	object.SetName(name)
	return object
}

// integers makes numbers what the API server's decoder makes of them.
func integers(value any) any {
	switch v := value.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case map[string]any:
		for name := range v {
			v[name] = integers(v[name])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	}
	return value
}
