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
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

// firstRemovalRetry is how soon a Secret that may still be created is deleted again; the wait doubles from there.
const firstRemovalRetry = 30 * time.Second

// remove deletes the Secrets on the removal list of a record, and takes those off the list that are gone for good: by UID, or by
// name once their time is over. A Secret that cannot be deleted stays on the list and delays nothing else. It returns when to
// try again, 0 for never.
func (r *Reconciler) remove(ctx context.Context, current *stored, clockProven bool) (after time.Duration, err error) {
	if current == nil || len(current.record.Removals) == 0 {
		return 0, nil
	}
	now, next := r.Clock.Now(), current.record.DeepCopy()
	next.Removals = next.Removals[:0]
	for _, rm := range current.record.Removals {
		err := r.deleteDelivery(ctx, next.Resource.Namespace, rm.Secret, rm.UID)
		over := clockProven && !now.Before(rm.Until)
		if (err == nil && rm.UID != "") || (over && rm.UID == "") {
			continue
		}
		if err != nil {
			log.FromContext(ctx).Error(err, "A delivery Secret cannot be deleted; trying again", "namespace", next.Resource.Namespace, "secret", rm.Secret)
		}
		next.Removals = append(next.Removals, rm)
		left := rm.Until.Sub(now)
		if left <= 0 {
			left = lifecycle.RemovalWindow
		}
		after = lifecycle.Sooner(after, min(max(lifecycle.RemovalWindow-left, firstRemovalRetry), left))
	}
	if len(next.Removals) < len(current.record.Removals) {
		_, err = r.write(ctx, current, next)
	}
	return after, err
}

// removeDeliveries deletes every delivery Secret that the record of a resource that is gone names. The garbage collector deletes
// those that the API server forbids us to delete.
func (r *Reconciler) removeDeliveries(ctx context.Context, rec *record.Record) error {
	all := rec.DeepCopy()
	for _, t := range []*record.Token{all.Current, all.Pending, all.Previous} {
		if t != nil {
			all.Remove(t, r.Clock.Now())
		}
	}
	var errs []error
	for _, rm := range all.Removals {
		if err := r.deleteDelivery(ctx, rec.Resource.Namespace, rm.Secret, rm.UID); !apierrors.IsForbidden(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// deleteDelivery deletes a delivery Secret. It ignores a missing Secret, and one with another UID, which is not ours.
func (r *Reconciler) deleteDelivery(ctx context.Context, namespace, name string, uid types.UID) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	var opts []client.DeleteOption
	if uid != "" {
		opts = append(opts, client.Preconditions{UID: &uid})
	}
	err := r.Client.Delete(ctx, secret, opts...)
	if apierrors.IsNotFound(err) || (uid != "" && apierrors.IsConflict(err)) {
		return nil
	}
	return err
}
