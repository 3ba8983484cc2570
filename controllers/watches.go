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
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// resourceOfRecord maps a record's Secret to its resource.
func (r *Reconciler) resourceOfRecord(ctx context.Context, o client.Object) []reconcile.Request {
	secret, ok := o.(*corev1.Secret)
	if !ok || !record.InPlaceOfRecord(secret) {
		return nil
	}
	key := types.NamespacedName{Namespace: secret.Labels[record.LabelNamespace], Name: secret.Labels[record.LabelName]}
	if record.SecretName(key.Namespace, key.Name) == secret.Name {
		return []reconcile.Request{{NamespacedName: key}}
	}
	// The labels were edited, so only the name identifies the resource.
	var pats v1alpha1.PersonalAccessTokenList
	if err := r.Client.List(ctx, &pats); err != nil {
		return nil // The cache is not synced yet; its first list enqueues every resource.
	}
	for i := range pats.Items {
		if key := client.ObjectKeyFromObject(&pats.Items[i]); record.SecretName(key.Namespace, key.Name) == secret.Name {
			return []reconcile.Request{{NamespacedName: key}}
		}
	}
	return nil
}

// uidChanged passes creations and deletions, and an update only if it hides both.
var uidChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() },
}

// resourceEvents records what the watch shows of resources before it enqueues them.
type resourceEvents struct {
	handler.EnqueueRequestForObject
	*Reconciler
}

func (e *resourceEvents) Create(ctx context.Context, evt event.CreateEvent, q queue) {
	e.moved.Store(true)
	e.saw(ctx, evt.Object)
	e.EnqueueRequestForObject.Create(ctx, evt, q)
}

func (e *resourceEvents) Update(ctx context.Context, evt event.UpdateEvent, q queue) {
	if e.saw(ctx, evt.ObjectNew); onlyLastUse(evt.ObjectOld, evt.ObjectNew) {
		return
	}
	e.moved.Store(true)
	e.EnqueueRequestForObject.Update(ctx, evt, q)
}

// Delete treats a deletion event of the watch as evidence. A deletion inferred from a list does not count.
func (e *resourceEvents) Delete(ctx context.Context, evt event.DeleteEvent, q queue) {
	e.moved.Store(true)
	if pat, ok := evt.Object.(*v1alpha1.PersonalAccessToken); ok && !evt.DeleteStateUnknown {
		e.sightings.gone(pat, e.Clock.Now())
	}
	e.EnqueueRequestForObject.Delete(ctx, evt, q)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// saw records the ids that a resource's status names.
func (r *Reconciler) saw(ctx context.Context, o client.Object) {
	pat, ok := o.(*v1alpha1.PersonalAccessToken)
	if !ok {
		return
	}
	current := sync.OnceValue(func() *record.Record {
		stored, _, err := r.read(ctx, r.Client, client.ObjectKeyFromObject(pat))
		if err != nil {
			return nil
		}
		return stored.of(pat)
	})
	r.sightings.saw(pat, func(id string) bool {
		// The cache may lag behind the record that knows the id. Then the operator's status names the id, or no record exists.
		return id == pat.Status.TokenID || id == pat.Status.PreviousTokenID || current() == nil || matters(pat, current(), id)
	})
}

// matters reports whether a revocation or use of this id still has an effect.
func matters(pat *v1alpha1.PersonalAccessToken, rec *record.Record, id string) bool {
	return rec.EndOf(id) == nil && (rec.Knows(id) || pat.Spec.Token != nil && pat.Spec.Token.ID == id)
}

// onlyLastUse reports whether an update changes only status.lastUsedAt and status.lastUsedFrom: these are many, and need no reconcile. It compares
// resources as the cache holds them, without most of status, so any other update counts as a change.
func onlyLastUse(before, after client.Object) bool {
	was, ok := before.(*v1alpha1.PersonalAccessToken)
	is, same := after.(*v1alpha1.PersonalAccessToken)
	if !ok || !same || was.Status.LastUsedAt.Equal(is.Status.LastUsedAt) {
		return false
	}
	was = was.DeepCopy()
	was.ResourceVersion, was.Status.LastUsedAt, was.Status.LastUsedFrom = is.ResourceVersion, is.Status.LastUsedAt, is.Status.LastUsedFrom
	return equality.Semantic.DeepEqual(was, is)
}

// resourcesOfAccount maps a service account to the resources of its tokens.
func (r *Reconciler) resourcesOfAccount(ctx context.Context, account client.Object) []reconcile.Request {
	var pats v1alpha1.PersonalAccessTokenList
	username := serviceaccount.MakeUsername(account.GetNamespace(), account.GetName())
	if err := r.Client.List(ctx, &pats, client.MatchingFields{indexUsername: username}); err != nil {
		return nil // The cache is not synced yet; its first list enqueues the resources.
	}
	var requests []reconcile.Request
	for i := range pats.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pats.Items[i])})
	}
	return requests
}
