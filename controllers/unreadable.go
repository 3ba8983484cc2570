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

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/pat-operator/pat-operator/internal/record"
)

// Labeler labels the Secrets of unreadable records, which lets administrators delete them: an unreadable record blocks its
// name, and the operator never modifies it.
type Labeler struct {
	// Client writes, and reads the cache.
	Client client.Client
}

// SetupWithManager registers the controller. It wakes for Secrets whose label is wrong, and for no other.
func (l *Labeler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("unreadable").
		For(&corev1.Secret{}, builder.WithPredicates(predicate.NewPredicateFuncs(mislabeled))).
		Complete(l)
}

// mislabeled reports whether a Secret has the label and is readable, or lacks it and is not.
func mislabeled(o client.Object) bool {
	secret, ok := o.(*corev1.Secret)
	if !ok || !record.InPlaceOfRecord(secret) {
		return false
	}
	_, err := record.FromSecret(secret)
	_, labeled := secret.Labels[record.LabelUnreadable]
	return labeled != (err != nil)
}

// Reconcile sets or removes the label of one Secret.
func (l *Labeler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cached := &corev1.Secret{}
	if err := l.Client.Get(ctx, req.NamespacedName, cached); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !mislabeled(cached) {
		return ctrl.Result{}, nil
	}
	secret := cached.DeepCopy()
	if _, labeled := secret.Labels[record.LabelUnreadable]; labeled {
		delete(secret.Labels, record.LabelUnreadable)
	} else {
		if secret.Labels == nil {
			secret.Labels = map[string]string{}
		}
		secret.Labels[record.LabelUnreadable] = "true"
	}
	// Under the resourceVersion that was read, so the payload is still the one that was judged.
	return ctrl.Result{}, client.IgnoreNotFound(l.Client.Update(ctx, secret))
}
