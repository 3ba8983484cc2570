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
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// A resource that is marked as deleted says so whatever is in its status: the operator may be away.
func TestCase59_DeletingComesBeforeWhatStatusSays(t *testing.T) {
	for name, conditions := range map[string][]metav1.Condition{"active": {isReady, isActive}, "stalled": {isStalled}, "new": nil} {
		pat := withConditions(2, conditions...)
		want := "Unknown"
		if name == "active" {
			want = "True Active"
		}
		if got := shortly(Active(pat)); got != want {
			t.Errorf("%s: Active is %s; want %s", name, got, want)
		}
		pat.Generation, pat.DeletionTimestamp, pat.Finalizers = 3, &metav1.Time{Time: start}, []string{"example.com/hold"}
		if got := shortly(Active(pat)); got != "False Deleting" {
			t.Errorf("%s, deleted: Active is %s", name, got)
		}
		if got := shortly(Condition(pat, v1alpha1.ConditionReady)); got != "False Deleting" {
			t.Errorf("%s, deleted: Ready is %s", name, got)
		}
		if len(Conditions(pat)) != 2 || Condition(pat, v1alpha1.ConditionStalled) != nil {
			t.Errorf("%s, deleted: conditions %v", name, Conditions(pat))
		}
	}
}

func shortly(c *metav1.Condition) string {
	if c == nil {
		return "Unknown"
	}
	return string(c.Status) + " " + c.Reason
}
