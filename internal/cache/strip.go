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

// Package cache says what the operator and the verifier hold of objects in memory: as little as their decisions need, for
// each of 100,000 tokens.
package cache

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// ServiceAccounts is the object by which a client knows the service accounts' metadata.
func ServiceAccounts() *metav1.PartialObjectMetadata {
	accounts := &metav1.PartialObjectMetadata{}
	accounts.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	return accounts
}

// ServiceAccountList is the list of them.
func ServiceAccountList() client.ObjectList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccountList"))
	return list
}

// StripSecret is the Transform for the Secrets of records. It keeps what reading a record takes.
func StripSecret(obj any) (any, error) {
	if secret, ok := obj.(*corev1.Secret); ok {
		secret.ManagedFields, secret.Annotations = nil, nil
	}
	return obj, nil
}

// StripResource is the Transform for PersonalAccessTokens, of the feed and of the operator's cache. It keeps spec, and of
// metadata the name, namespace, UID, resourceVersion, generation and both timestamps, and of status what it says of use and
// the ids that were revoked; labels, annotations, managed fields, owners, finalizers and the rest of status go. A stripped
// object is for deciding and enqueueing only: read the object live before writing it back.
func StripResource(obj any) (any, error) {
	pat, ok := obj.(*v1alpha1.PersonalAccessToken)
	if !ok {
		return obj, nil
	}
	pat.ObjectMeta = bareMeta(&pat.ObjectMeta)
	was := pat.Status
	pat.Status = v1alpha1.PersonalAccessTokenStatus{TokenID: was.TokenID, FirstUsedAt: was.FirstUsedAt, LastUsedAt: was.LastUsedAt, LastUsedFrom: was.LastUsedFrom}
	for _, r := range was.Revoked {
		pat.Status.Revoked = append(pat.Status.Revoked, v1alpha1.RevokedToken{TokenID: r.TokenID})
	}
	return pat, nil
}

// StripServiceAccount is the cache's Transform for service accounts' metadata. It keeps what StripResource keeps.
func StripServiceAccount(obj any) (any, error) {
	account, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	account.ObjectMeta = bareMeta(&account.ObjectMeta)
	return account, nil
}

// StripPolicy is the Transform for TokenPolicies, which are read as unstructured objects. It keeps all but managed fields and
// status.
func StripPolicy(obj any) (any, error) {
	if policy, ok := obj.(*unstructured.Unstructured); ok {
		unstructured.RemoveNestedField(policy.Object, "metadata", "managedFields")
		unstructured.RemoveNestedField(policy.Object, "status")
	}
	return obj, nil
}

func bareMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         m.Namespace,
		Name:              m.Name,
		UID:               m.UID,
		ResourceVersion:   m.ResourceVersion,
		Generation:        m.Generation,
		CreationTimestamp: m.CreationTimestamp,
		DeletionTimestamp: m.DeletionTimestamp,
	}
}
