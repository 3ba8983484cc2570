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

	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

// firstRemovalRetry is how soon a Secret that may still be created is deleted again; the wait doubles from there.
const firstRemovalRetry = 30 * time.Second

// remove deletes the Secrets on a record's removal list, and strikes those off that are gone for good: by their UID, or
// by name once their time is over. It returns when to come back.
func (r *Reconciler) remove(ctx context.Context, rec *record.Record) (struck bool, after time.Duration, err error) {
	now := r.Clock.Now()
	var errs []error
	keep := make([]record.Removal, 0, len(rec.Removals))
	for _, rm := range rec.Removals {
		if err := r.deleteDelivery(ctx, rec.Resource.Namespace, rm.Secret, rm.UID); err != nil {
			errs = append(errs, err)
			keep = append(keep, rm)
			continue
		}
		if rm.UID != "" || !now.Before(rm.Until) {
			struck = true
			continue
		}
		keep = append(keep, rm)
		left := rm.Until.Sub(now)
		after = lifecycle.Sooner(after, min(max(lifecycle.RemovalWindow-left, firstRemovalRetry), left))
	}
	rec.Removals = keep
	return struck, after, errors.Join(errs...)
}

// removeAgain goes through the removal list of a record that is otherwise as it should be.
func (r *Reconciler) removeAgain(ctx context.Context, current *stored) (time.Duration, error) {
	if current == nil || len(current.record.Removals) == 0 {
		return 0, nil
	}
	next := current.record.DeepCopy()
	struck, after, err := r.remove(ctx, next)
	if struck {
		written, writeErr := r.write(ctx, current, next)
		if writeErr != nil {
			return 0, errors.Join(err, writeErr)
		}
		*current = *written
	}
	return after, err
}

// removeDeliveries deletes every delivery Secret that a record knows of.
func (r *Reconciler) removeDeliveries(ctx context.Context, rec *record.Record) error {
	all := rec.DeepCopy()
	for _, t := range []*record.Token{all.Current, all.Pending, all.Previous} {
		if t != nil {
			all.Remove(t, r.Clock.Now())
		}
	}
	_, _, err := r.remove(ctx, all)
	return err
}

// deleteDelivery deletes a delivery Secret; one that is gone, or has another UID and so is somebody else's, is fine.
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
