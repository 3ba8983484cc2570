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
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

var (
	start       = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	patResource = v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource()
)

// after returns start plus d.
func after(d time.Duration) *metav1.Time { return &metav1.Time{Time: start.Add(d)} }

func days(n int32) *int32 { return &n }

// cluster returns a fake client with these resources.
func cluster(t *testing.T, hooks interceptor.Funcs, pats ...*v1alpha1.PersonalAccessToken) client.WithWatch {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(Scheme).WithRESTMapper(Mapper).
		WithStatusSubresource(&v1alpha1.PersonalAccessToken{}).WithInterceptorFuncs(hooks)
	for _, pat := range pats {
		builder.WithObjects(pat)
	}
	return builder.Build()
}

// zeros is the randomness of the token whose id is all a.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func withConditions(generation int64, conditions ...metav1.Condition) *v1alpha1.PersonalAccessToken {
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "ci", Generation: generation}}
	for _, c := range conditions {
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = generation
		}
		pat.Status.Conditions = append(pat.Status.Conditions, c)
	}
	return pat
}

var (
	isReady   = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReconciled}
	isActive  = metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonActive}
	isIssuing = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonIssuing, Message: "Wait."}
	isStalled = metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonEndedTokensFull, Message: "Too many\x1b[31m."}
)
