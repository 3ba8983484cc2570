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

package holder

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Traces that GitOps tools leave on resources.
const (
	fluxManager = "kustomize-controller"
	argoManager = "argocd-controller"

	fluxName      = "kustomize.toolkit.fluxcd.io/name"
	fluxNamespace = "kustomize.toolkit.fluxcd.io/namespace"
	argoTracking  = "argocd.argoproj.io/tracking-id"
)

// GitOps returns the GitOps tool that manages an object, for people; "" if none is known.
func GitOps(o metav1.Object) string {
	if name := o.GetLabels()[fluxName]; name != "" {
		return fmt.Sprintf("Flux (Kustomization %s/%s)", o.GetLabels()[fluxNamespace], name)
	}
	if id := o.GetAnnotations()[argoTracking]; id != "" {
		application, _, _ := strings.Cut(id, ":")
		return fmt.Sprintf("Argo CD (application %s)", application)
	}
	for _, entry := range o.GetManagedFields() {
		switch {
		case entry.Subresource != "":
		case entry.Manager == fluxManager:
			return "Flux"
		case entry.Manager == argoManager:
			return "Argo CD"
		}
	}
	return ""
}

// inGit reports whether Git may set a field of spec. It looks at the owners of fields; if no GitOps tool owns any, Git may set
// each.
func inGit(pat *v1alpha1.PersonalAccessToken, path ...string) bool {
	known := false
	for _, entry := range pat.ManagedFields {
		if entry.Subresource != "" || entry.Manager != fluxManager && entry.Manager != argoManager || entry.FieldsV1 == nil {
			continue
		}
		known = true
		var fields map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			return true
		}
		if owns(fields, append([]string{"spec"}, path...)) {
			return true
		}
	}
	return !known
}

func owns(fields map[string]any, path []string) bool {
	below, ok := fields["f:"+path[0]].(map[string]any)
	if !ok || len(path) == 1 {
		return ok
	}
	return owns(below, path[1:])
}
