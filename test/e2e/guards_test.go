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
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/guards"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// The guards as kustomize installs them are in force for the operator, by the rights of its own account.
func TestCase51_TheInstalledGuardsAreAccepted(t *testing.T) {
	kept := &corev1.Secret{}
	eventually(t, patience, func() bool {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.RecordsNamespace, Name: guards.SecretName}, kept) == nil
	}, func() string { return "the operator accepts no guards" })
	if kept.Type != guards.SecretType {
		t.Errorf("the fingerprint is kept in a Secret of type %s", kept.Type)
	}
}
