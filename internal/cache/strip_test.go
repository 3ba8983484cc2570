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

package cache

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/policies"
)

func TestStripKeepsWhatVerificationNeeds(t *testing.T) {
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	meta := metav1.ObjectMeta{Namespace: "team-a", Name: "ci", UID: "uid-1", ResourceVersion: "7", Generation: 2,
		CreationTimestamp: metav1.Time{Time: start}, DeletionTimestamp: &metav1.Time{Time: start}}
	full := *meta.DeepCopy()
	full.Labels, full.Annotations, full.Finalizers = map[string]string{"a": "b"}, map[string]string{"a": "b"}, []string{"a"}
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	full.OwnerReferences = []metav1.OwnerReference{{Name: "a"}}
	spec := v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice", Groups: []string{"devs"}}, Suspend: true}

	first, last := metav1.NewTime(start), metav1.NewTime(start.Add(time.Hour))
	got, err := StripResource(&v1alpha1.PersonalAccessToken{ObjectMeta: *full.DeepCopy(), Spec: spec,
		Status: v1alpha1.PersonalAccessTokenStatus{
			TokenID: "x", FirstUsedAt: &first, LastUsedAt: &last, EncryptedToken: "age", DeliverySecretName: "x",
			Conditions: []metav1.Condition{{Type: "Active"}}, Revoked: []v1alpha1.RevokedToken{{TokenID: "y", At: &first, By: "alice", Reason: "lost"}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	kept := v1alpha1.PersonalAccessTokenStatus{TokenID: "x", FirstUsedAt: &first, LastUsedAt: &last, Revoked: []v1alpha1.RevokedToken{{TokenID: "y"}}}
	if diff := cmp.Diff(&v1alpha1.PersonalAccessToken{ObjectMeta: meta, Spec: spec, Status: kept}, got); diff != "" {
		t.Errorf("StripResource (-want +got):\n%s", diff)
	}
	account := ServiceAccounts()
	account.ObjectMeta = full
	if got, err = StripServiceAccount(account); err != nil {
		t.Fatal(err)
	}
	stripped := ServiceAccounts()
	stripped.ObjectMeta = meta
	if diff := cmp.Diff(stripped, got); diff != "" {
		t.Errorf("StripServiceAccount (-want +got):\n%s", diff)
	}
	want := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "pat-operator-records", Name: "pat-a", ResourceVersion: "7", Labels: map[string]string{"a": "b"}},
		Type:       "pat-operator.io/record", Data: map[string][]byte{"record": []byte("{}")},
	}
	secret := want.DeepCopy()
	secret.ManagedFields, secret.Annotations = full.ManagedFields, full.Annotations
	if got, err = StripSecret(secret); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("StripSecret (-want +got):\n%s", diff)
	}
	policy := policies.New("p", `{deny: {reason: Left}, allowedWeekdays: [Monday]}`)
	wantPolicy := policy.DeepCopy()
	policy.SetManagedFields(full.ManagedFields)
	policy.Object["status"] = map[string]any{"matchedTokens": int64(1)}
	if got, err = StripPolicy(policy); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantPolicy, got); diff != "" {
		t.Errorf("StripPolicy (-want +got):\n%s", diff)
	}
	tombstone := toolscache.DeletedFinalStateUnknown{Key: "a/b"}
	for _, strip := range []toolscache.TransformFunc{StripResource, StripServiceAccount, StripSecret, StripPolicy} {
		if got, err := strip(tombstone); err != nil || got != any(tombstone) {
			t.Errorf("a tombstone became %v, %v", got, err)
		}
	}
}
