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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"golang.org/x/sync/errgroup"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	pageSize        = 500
	parallelRefuses = 16
)

// RefuseUncovered notes in the record of each resource that asks for more than was granted that it was not judged. It is
// called while the guards of admission are in force and not yet accepted, so changes from before them are never granted.
//
// Which records cover their resource is asked of the cache, and proven by the resourceVersions that a later list of the
// records shows: a record that was narrowed since, unseen, would hide a wish.
func (r *Reconciler) RefuseUncovered(ctx context.Context) error {
	type coverage struct {
		key     types.NamespacedName
		version string
	}
	covered := map[string]coverage{}
	var uncovered []types.NamespacedName
	for pats, more := (&v1alpha1.PersonalAccessTokenList{}), true; more; more = pats.Continue != "" {
		if err := r.Live.List(ctx, pats, client.Limit(pageSize), client.Continue(pats.Continue)); err != nil {
			return err
		}
		for i := range pats.Items {
			pat, key := &pats.Items[i], client.ObjectKeyFromObject(&pats.Items[i])
			current, recordErr, err := r.read(ctx, r.Client, key)
			switch {
			case err != nil:
				return err
			case recordErr != nil || current.of(pat) == nil || len(lifecycle.Wishes(lifecycle.Input{Resource: pat, Record: current.record})) > 0:
				uncovered = append(uncovered, key)
			default:
				covered[current.secret.Name] = coverage{key, current.secret.ResourceVersion}
			}
		}
	}
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	for more := true; more; more = secrets.Continue != "" {
		if err := r.Live.List(ctx, secrets, client.InNamespace(r.RecordsNamespace), client.Limit(pageSize), client.Continue(secrets.Continue)); err != nil {
			return err
		}
		for i := range secrets.Items {
			if name := secrets.Items[i].Name; covered[name].version == secrets.Items[i].ResourceVersion {
				delete(covered, name)
			}
		}
	}
	for _, c := range covered {
		uncovered = append(uncovered, c.key)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelRefuses)
	for _, key := range uncovered {
		group.Go(func() error { return r.refuse(ctx, key) })
	}
	return group.Wait()
}

// refuse notes that the wishes of one resource were not judged, by what the API server says now.
func (r *Reconciler) refuse(ctx context.Context, key types.NamespacedName) error {
	raced := func(err error) bool {
		return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
	}
	return retry.OnError(retry.DefaultBackoff, raced, func() error {
		current, recordErr, err := r.read(ctx, r.Live, key)
		if err != nil || recordErr != nil {
			return err // An unreadable record grants nothing.
		}
		pat, _, err := r.resource(ctx, key)
		if err != nil || pat == nil || !pat.DeletionTimestamp.IsZero() {
			return err
		}
		in := lifecycle.Input{Resource: pat, Now: r.Clock.Now()}
		if current != nil {
			in.Record = current.record
		}
		if own := current.of(pat); len(lifecycle.Wishes(in)) == 0 || own != nil && own.Refused != "" {
			return nil
		}
		_, err = r.write(ctx, current, lifecycle.Refuse(in, record.RefusedNotJudged))
		return err
	})
}
