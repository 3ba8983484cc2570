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

package lifecycle

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// maxListed bounds the names of finalizers in a message: an event takes 1,024 bytes.
const maxListed = 400

// DeletingCondition is the condition, Active and Ready alike, of a resource that is marked as deleted. Verifiers refuse its
// token, whatever status says.
func DeletingCondition(pat *v1alpha1.PersonalAccessToken) Condition {
	next := "Kubernetes is removing the resource; if it stays, ask an administrator of the cluster."
	if foreign := ForeignFinalizers(pat); len(foreign) > 0 {
		next = fmt.Sprintf("Finalizers still hold the resource: %s. Ask their owners, or an administrator of the cluster, to remove them from metadata.finalizers.", listed(foreign))
	}
	return Condition{Reason: v1alpha1.ReasonDeleting, Message: "This resource was deleted, so its token no longer works. " + next}
}

// ForeignFinalizers are the finalizers of a resource that Kubernetes does not remove.
func ForeignFinalizers(pat *v1alpha1.PersonalAccessToken) []string {
	return slices.DeleteFunc(slices.Clone(pat.Finalizers), func(name string) bool {
		return name == metav1.FinalizerDeleteDependents || name == metav1.FinalizerOrphanDependents
	})
}

// listed joins names, as many as fit into maxListed.
func listed(names []string) string {
	text := names[0]
	for i, name := range names[1:] {
		if len(text)+len(name) > maxListed {
			return fmt.Sprintf("%s and %d more", text, len(names)-1-i)
		}
		text += ", " + name
	}
	return text
}
