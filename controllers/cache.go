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
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/cache"
	"github.com/pat-operator/pat-operator/internal/guards"
	"github.com/pat-operator/pat-operator/internal/impersonation"
)

// digested begins a digest of status. No field that came from the API does: it is not UTF-8.
const digested = "\xff"

// stripResource is cache.StripResource, and keeps what status says of tokens, the finalizers of a resource that is being
// deleted, and the rest of status as one digest in the place of its largest field: it is only asked whether it is what it
// should be. An initial watch list is stripped twice.
func stripResource(obj any) (any, error) {
	pat, ok := obj.(*v1alpha1.PersonalAccessToken)
	if !ok || strings.HasPrefix(pat.Status.EncryptedToken, digested) {
		return obj, nil
	}
	was, finalizers := pat.Status, pat.Finalizers
	digest := statusDigest(&was)
	stripped, err := cache.StripResource(pat)
	pat.Status.EncryptedToken, pat.Status.PreviousTokenID, pat.Status.DeliverySecretName = digest, was.PreviousTokenID, was.DeliverySecretName
	pat.Status.IssuedAt, pat.Status.ExpiresAt = was.IssuedAt, was.ExpiresAt
	if !pat.DeletionTimestamp.IsZero() {
		pat.Finalizers = finalizers
	}
	return stripped, err
}

// CacheOptions is what may be cached, and so what the process needs to list and watch: Secrets of the records namespace
// and of no other, PersonalAccessTokens, the metadata of service accounts, the guards, and the proxy's role.
func CacheOptions(recordsNamespace string) ctrlcache.Options {
	byObject := guards.ByObject()
	maps.Copy(byObject, impersonation.ByObject())
	byObject[&corev1.Secret{}] = ctrlcache.ByObject{Namespaces: map[string]ctrlcache.Config{recordsNamespace: {}}}
	byObject[&v1alpha1.PersonalAccessToken{}] = ctrlcache.ByObject{Transform: stripResource}
	byObject[cache.ServiceAccounts()] = ctrlcache.ByObject{Transform: cache.StripServiceAccount}
	return ctrlcache.Options{DefaultTransform: ctrlcache.TransformStripManagedFields(), ByObject: byObject}
}
