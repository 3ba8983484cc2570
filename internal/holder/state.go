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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// Conditions are the conditions that a face shows of pat: those of its status, or Active=False/Deleting where it is marked as
// deleted. Verifiers refuse such a token at once, even where the operator has not written it into status yet.
func Conditions(pat *v1alpha1.PersonalAccessToken) []metav1.Condition {
	if !Deleting(pat) {
		return pat.Status.Conditions
	}
	deleting := lifecycle.DeletingCondition(pat)
	var out []metav1.Condition
	for _, kind := range []string{v1alpha1.ConditionActive, v1alpha1.ConditionReady} {
		out = append(out, metav1.Condition{
			Type: kind, Status: metav1.ConditionFalse, Reason: deleting.Reason, Message: deleting.Message,
			ObservedGeneration: pat.Generation, LastTransitionTime: *pat.DeletionTimestamp,
		})
	}
	return out
}

// Active is the condition of that name, or nil where the operator has written none.
func Active(pat *v1alpha1.PersonalAccessToken) *metav1.Condition {
	return meta.FindStatusCondition(Conditions(pat), v1alpha1.ConditionActive)
}

// Deleting reports whether pat is marked as deleted and still there.
func Deleting(pat *v1alpha1.PersonalAccessToken) bool { return pat.DeletionTimestamp != nil }
