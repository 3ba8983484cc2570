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

package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// Nobody but the operator writes in the records namespace, whatever RBAC lets them.
func TestCase41_NobodyElseWritesRecords(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	record := &corev1.Secret{}
	key := types.NamespacedName{Namespace: cluster.RecordsNamespace, Name: recordName(ns, "my-pat")}
	if err := admin.Get(t.Context(), key, record); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.RecordsNamespace, GenerateName: "too-wide-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{subject("bob"), {Kind: "ServiceAccount", Name: "robot", Namespace: ns}},
	}
	create(t, admin, binding)
	defer func() {
		if err := admin.Delete(context.Background(), binding); err != nil {
			t.Error(err)
		}
	}()
	_, robot := account(t, ns, "robot")
	secret := func(name, kind string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.RecordsNamespace, Name: name}, Type: corev1.SecretType(kind)}
		s.Labels, s.Data = record.Labels, record.Data
		return s
	}
	edited := func(edit func(*corev1.Secret)) *corev1.Secret {
		s := record.DeepCopy()
		edit(s)
		return s
	}
	const ofRecords, anyUID = "pat-operator.io/record", "pat-0b54ec75-3c3a-4c83-a5a5-5d2f3f7e2f0c"
	for who, c := range map[string]client.Client{"admin": admin, "bob": bob, "an account": robot} {
		eventually(t, patience, func() bool {
			return c.List(t.Context(), &corev1.SecretList{}, client.InNamespace(cluster.RecordsNamespace)) == nil
		}, func() string { return who + " may not even list" })
		for what, do := range map[string]func() error{
			"create a record":            func() error { return c.Create(t.Context(), secret(anyUID, ofRecords)) },
			"create one by another name": func() error { return c.Create(t.Context(), secret("forged", ofRecords)) },
			"create one of another type": func() error { return c.Create(t.Context(), secret(anyUID, "Opaque")) },
			"create by generateName":     func() error { s := secret("", ofRecords); s.GenerateName = "pat-"; return c.Create(t.Context(), s) },
			"create any other Secret":    func() error { return c.Create(t.Context(), secret("password", "Opaque")) },
			"change data": func() error {
				return c.Update(t.Context(), edited(func(s *corev1.Secret) { s.Data["record"] = []byte("{}") }))
			},
			"add a key": func() error {
				return c.Update(t.Context(), edited(func(s *corev1.Secret) { s.Data["x"] = []byte("x") }))
			},
			"change a label": func() error {
				return c.Update(t.Context(), edited(func(s *corev1.Secret) { s.Labels["pat-operator.io/name"] = "x" }))
			},
			"add an annotation": func() error {
				return c.Update(t.Context(), edited(func(s *corev1.Secret) { s.Annotations = map[string]string{"a": "b"} }))
			},
			"hold it by a finalizer": func() error {
				return c.Update(t.Context(), edited(func(s *corev1.Secret) { s.Finalizers = []string{"example.com/x"} }))
			},
			"hand it to another owner": func() error { return c.Update(t.Context(), edited(owned)) },
			"freeze it": func() error {
				return c.Update(t.Context(), edited(func(s *corev1.Secret) { s.Immutable = ptr.To(true) }))
			},
			"merge patch": func() error {
				return c.Patch(t.Context(), record.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"data":{"record":"e30="}}`)))
			},
			"delete":               func() error { return c.Delete(t.Context(), record.DeepCopy()) },
			"delete with no grace": func() error { return c.Delete(t.Context(), record.DeepCopy(), client.GracePeriodSeconds(0)) },
			"delete all": func() error {
				return c.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(cluster.RecordsNamespace))
			},
			"delete all of this namespace": func() error {
				return c.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(cluster.RecordsNamespace), client.MatchingLabels(record.Labels))
			},
		} {
			t.Run(who+": "+what, func(t *testing.T) {
				wantStatus(t, do(), 403, "ValidatingAdmissionPolicy 'pat-operator-records'", "delete its PersonalAccessToken")
			})
		}
	}
	after := &corev1.Secret{}
	if err := admin.Get(t.Context(), key, after); err != nil || after.ResourceVersion != record.ResourceVersion {
		t.Errorf("the record is another: %v", err)
	}
	if err := admin.Update(t.Context(), after); err != nil {
		t.Errorf("written again unchanged, as to encrypt it under a new key: %v", err)
	}
	accepted(t, plaintext)
}

func owned(s *corev1.Secret) {
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}}
}

// A record that was forged while the policy was away is refused for its content.
func TestCase41_ForgedRecordIsNotBelieved(t *testing.T) {
	long.Only(t)
	ns := team(t)
	plaintext := issued(t, bob, pat(ns, "his"))
	accepted(t, plaintext)
	key := types.NamespacedName{Namespace: cluster.RecordsNamespace, Name: recordName(ns, "his")}
	withoutRecordsPolicy(t, func() {
		record := &corev1.Secret{}
		if err := admin.Get(t.Context(), key, record); err != nil {
			t.Fatal(err)
		}
		record.Data["record"] = []byte(strings.Replace(string(record.Data["record"]), `"username":"bob"`, `"username":"alice"`, 1))
		if err := admin.Update(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	})
	refused(t, plaintext)
	waitFor(t, ns, "his", v1alpha1.ConditionStalled, "True/"+v1alpha1.ReasonUserChanged)
	eventually(t, patience, func() bool {
		out := kubectl(t, cl.AdminKubeconfig, "", "-n", ns, "get", "events.events.k8s.io", "-o", "jsonpath={.items[*].reason}")
		return strings.Contains(out, v1alpha1.ReasonUserChanged)
	}, func() string { return "no event tells of it" })
}

// An unreadable record blocks its name until an administrator deletes its Secret, which only the operator's label allows.
func TestCase72_AnAdministratorDeletesAnUnreadableRecord(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, bob, pat(ns, "his"))
	key := types.NamespacedName{Namespace: cluster.RecordsNamespace, Name: recordName(ns, "his")}
	record := &corev1.Secret{}
	withoutRecordsPolicy(t, func() {
		if err := admin.Get(t.Context(), key, record); err != nil {
			t.Fatal(err)
		}
		record.Data["record"] = []byte(`{"v":3}`)
		if err := admin.Update(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	})
	refused(t, plaintext)
	waitFor(t, ns, "his", v1alpha1.ConditionStalled, "True/"+v1alpha1.ReasonRecordTooNew)
	eventually(t, patience, func() bool {
		return admin.Get(t.Context(), key, record) == nil && record.Labels["pat-operator.io/unreadable"] == "true"
	}, func() string { return "the Secret has no label" })
	if string(record.Data["record"]) != `{"v":3}` {
		t.Error("the payload was modified")
	}
	unlabeled := record.DeepCopy()
	delete(unlabeled.Labels, "pat-operator.io/unreadable")
	wantStatus(t, admin.Update(t.Context(), unlabeled), 403, "pat-operator-records")
	if err := admin.Delete(t.Context(), record); err != nil {
		t.Fatalf("an administrator deletes it: %v", err)
	}
	// Its token was issued once, so no other is issued to the same resource.
	waitFor(t, ns, "his", v1alpha1.ConditionStalled, "True/"+v1alpha1.ReasonRecordLost)
	if err := bob.Delete(t.Context(), pat(ns, "his")); err != nil {
		t.Fatal(err)
	}
	accepted(t, issued(t, bob, pat(ns, "his")))
	refused(t, plaintext)
}
