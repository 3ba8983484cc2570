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

package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pat-operator/pat-operator/internal/record"
)

func TestCase72_AnUnreadableRecordIsLabeled(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Secret){
		"unreadable":     func(s *corev1.Secret) { s.Data["record"] = []byte(`{"v":1}`) },
		"a newer format": func(s *corev1.Secret) { s.Data["record"] = []byte(`{"v":3,"anything":true}`) },
		"no payload":     func(s *corev1.Secret) { s.Data = nil },
		"no labels":      func(s *corev1.Secret) { s.Labels = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pat := w.create("my-pat")
			w.settle("my-pat")
			key := types.NamespacedName{Namespace: recordsNamespace, Name: record.SecretName(pat.Namespace, pat.Name)}
			labeler := &Labeler{Client: admin}
			get := func() *corev1.Secret {
				secret := &corev1.Secret{}
				if err := admin.Get(w.ctx, key, secret); err != nil {
					t.Fatal(err)
				}
				return secret
			}
			step := func(secret *corev1.Secret, labeled bool) *corev1.Secret {
				t.Helper()
				if err := admin.Update(w.ctx, secret); err != nil {
					t.Fatal(err)
				}
				if !mislabeled(secret) {
					t.Error("the controller does not wake for it")
				}
				if _, err := labeler.Reconcile(w.ctx, ctrl.Request{NamespacedName: key}); err != nil {
					t.Fatal(err)
				}
				after := get()
				if _, got := after.Labels[record.LabelUnreadable]; got != labeled || mislabeled(after) {
					t.Errorf("labels are %v", after.Labels)
				}
				if !equality.Semantic.DeepEqual(after.Data, secret.Data) {
					t.Error("the payload was modified")
				}
				return after
			}
			good := get()
			if mislabeled(good) {
				t.Fatal("a readable record is taken for an unreadable one")
			}
			bad := good.DeepCopy()
			edit(bad)
			bad = step(bad, true)
			// Its deletion wakes the resource, whatever became of the labels.
			w.awaitCaches("my-pat")
			if got := w.resourceOfRecord(w.ctx, bad); len(got) != 1 || got[0].NamespacedName != w.key("my-pat") {
				t.Errorf("leads to %v", got)
			}
			bad.Data = good.Data
			for k, v := range good.Labels {
				bad.Labels[k] = v
			}
			step(bad, false)
		})
	}
}
