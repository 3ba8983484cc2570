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

package verifier

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// ServiceAccounts is the object by which a cache knows the service accounts' metadata feed.
func ServiceAccounts() *metav1.PartialObjectMetadata {
	accounts := &metav1.PartialObjectMetadata{}
	accounts.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	return accounts
}

// Register feeds the index from the informers of a cache, which is a cache.Cache started by somebody else. It does not
// wait for them: HasSynced tells when each has delivered its first list.
func (x *Index) Register(ctx context.Context, informers cache.Informers, recordsNamespace string) error {
	feeds := []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&corev1.Secret{}, handler(
			func(s *corev1.Secret) {
				if s.Namespace == recordsNamespace {
					x.SetRecord(s)
				}
			},
			func(namespace, name string) {
				if namespace == recordsNamespace {
					x.DeleteRecord(name)
				}
			})},
		{&v1alpha1.PersonalAccessToken{}, handler(x.SetResource, x.DeleteResource)},
		{ServiceAccounts(), handler(
			func(m *metav1.PartialObjectMetadata) { x.SetServiceAccount(m.Namespace, m.Name, m.UID) },
			x.DeleteServiceAccount)},
	}
	var synced []func() bool
	for _, feed := range feeds {
		informer, err := informers.GetInformer(ctx, feed.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("getting the informer of %T: %w", feed.object, err)
		}
		registration, err := informer.AddEventHandler(feed.handler)
		if err != nil {
			return fmt.Errorf("watching %T: %w", feed.object, err)
		}
		synced = append(synced, registration.HasSynced)
	}
	x.feeds.Store(&synced)
	return nil
}

// handler calls set for what is there and remove for what is gone, of which an informer that missed the deletion knows
// the key alone.
func handler[T client.Object](set func(T), remove func(namespace, name string)) toolscache.ResourceEventHandler {
	onSet := func(obj any) {
		if o, ok := obj.(T); ok {
			set(o)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    onSet,
		UpdateFunc: func(_, obj any) { onSet(obj) },
		DeleteFunc: func(obj any) {
			key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(obj)
			if err != nil {
				return
			}
			if namespace, name, err := toolscache.SplitMetaNamespaceKey(key); err == nil {
				remove(namespace, name)
			}
		},
	}
}

// StripResource is the cache's Transform for PersonalAccessTokens. It keeps spec, and of metadata the name, namespace,
// UID, resourceVersion, generation and both timestamps; labels, annotations, managed fields, owners, finalizers and
// status go. A stripped object is for deciding and enqueueing only: whoever writes one back reads it live first.
func StripResource(obj any) (any, error) {
	pat, ok := obj.(*v1alpha1.PersonalAccessToken)
	if !ok {
		return obj, nil
	}
	pat.ObjectMeta = bareMeta(&pat.ObjectMeta)
	pat.Status = v1alpha1.PersonalAccessTokenStatus{}
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
