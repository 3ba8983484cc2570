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
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

// indexUsername is the index of resources by spec.user.username.
const indexUsername = "spec.user.username"

func setupIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &v1alpha1.PersonalAccessToken{}, indexUsername, func(o client.Object) []string {
		pat, ok := o.(*v1alpha1.PersonalAccessToken)
		if !ok || pat.Spec.User == nil {
			return nil
		}
		return []string{pat.Spec.User.Username}
	})
}

// stored is a record and the Secret that it was read from or written to.
type stored struct {
	record *record.Record
	secret *corev1.Secret
}

// version is the resourceVersion of the Secret, "" if it does not exist.
func (s *stored) version() string {
	if s == nil {
		return ""
	}
	return s.secret.ResourceVersion
}

// of returns the record if it belongs to that resource, nil if it is missing or belongs to a former resource.
func (s *stored) of(pat *v1alpha1.PersonalAccessToken) *record.Record {
	if s == nil || pat == nil || !s.record.Of(pat) {
		return nil
	}
	return s.record
}

// read reads the record of a name: nil if it does not exist, recordErr if it cannot be decoded.
func (r *Reconciler) read(ctx context.Context, from client.Reader, key types.NamespacedName) (current *stored, recordErr, err error) {
	rec, secret, recordErr, err := record.Get(ctx, from, r.RecordsNamespace, key)
	if rec == nil {
		return nil, recordErr, err
	}
	return &stored{rec, secret}, nil, nil
}

// resource reads the resource of a name live, nil if it was not found. listed reports that a consistent list proves its absence. A
// 404 proves nothing: the API may not be served, or a proxy may have answered.
func (r *Reconciler) resource(ctx context.Context, key types.NamespacedName) (pat *v1alpha1.PersonalAccessToken, listed bool, err error) {
	pat = &v1alpha1.PersonalAccessToken{}
	if err = r.Live.Get(ctx, key, pat); apierrors.IsNotFound(err) {
		// Without a resourceVersion in the request the answer is the present state.
		var all v1alpha1.PersonalAccessTokenList
		if err := r.Live.List(ctx, &all, client.InNamespace(key.Namespace), client.MatchingFields{"metadata.name": key.Name}); err != nil {
			return nil, false, err
		}
		if !r.sightings.listed(all.ResourceVersion) {
			return nil, false, fmt.Errorf("the list of %s has the resourceVersion %q, which is older than one seen before, or not that of a list of PersonalAccessTokens", key, all.ResourceVersion)
		}
		if len(all.Items) == 0 {
			return nil, true, nil
		}
		pat, err = &all.Items[0], nil
	}
	if err != nil {
		return nil, false, err
	}
	r.saw(ctx, pat)
	return pat, false, nil
}

// write creates the record, or updates it if it has not changed since current was read. If the record passes on from a resource
// that is gone, the delivery Secrets of that resource are deleted first.
func (r *Reconciler) write(ctx context.Context, current *stored, next *record.Record) (*stored, error) {
	secret, err := record.ToSecret(next, r.RecordsNamespace)
	if err != nil {
		return nil, err
	}
	if current == nil {
		if err := r.Client.Create(ctx, secret); err != nil {
			return nil, err
		}
		r.wrote(next, secret)
		return &stored{next, secret}, nil
	}
	passes := next.Resource != current.record.Resource
	if passes {
		if err := r.removeDeliveries(ctx, current.record); err != nil {
			return nil, err
		}
	}
	secret.UID, secret.ResourceVersion = current.secret.UID, current.secret.ResourceVersion
	if err := r.Client.Update(ctx, secret); err != nil {
		return nil, err
	}
	if passes {
		r.resourceGone(current.record)
	}
	r.wrote(next, secret)
	return &stored{next, secret}, nil
}

func (r *Reconciler) wrote(rec *record.Record, secret *corev1.Secret) {
	r.sightings.wroteRecord(types.NamespacedName{Namespace: rec.Resource.Namespace, Name: rec.Resource.Name}, secret.ResourceVersion, r.Clock.Now())
}

// act executes every decision except issuing. It returns the present record, nil if the record is gone.
func (r *Reconciler) act(ctx context.Context, pat *v1alpha1.PersonalAccessToken, current *stored, d lifecycle.Decision) (*stored, error) {
	if d.Action == lifecycle.Delete {
		if err := r.removeDeliveries(ctx, current.record); err != nil {
			return nil, err
		}
		err := r.Client.Delete(ctx, current.secret,
			client.Preconditions{UID: &current.secret.UID, ResourceVersion: &current.secret.ResourceVersion})
		if client.IgnoreNotFound(err) == nil {
			r.resourceGone(current.record)
		}
		return nil, client.IgnoreNotFound(err)
	}
	written, err := r.write(ctx, current, d.Next)
	if err != nil {
		return nil, err
	}
	if pat != nil && d.Reason != lifecycle.WriteTombstone {
		if current.of(pat) == nil {
			current = nil
		}
		r.announce(pat, current, d)
	}
	return written, nil
}

// resourceGone is called after a record was updated for a resource that is gone.
func (r *Reconciler) resourceGone(rec *record.Record) {
	r.attempts.succeeded(rec.Resource.UID)
	r.announceRevoked(rec)
}

// HistoryFull reports, by the cache, whether the remembered ids leave no room for spec.token of a resource.
func (r *Reconciler) HistoryFull(ctx context.Context, pat *v1alpha1.PersonalAccessToken) bool {
	in := lifecycle.Input{Resource: pat, Now: r.Clock.Now(), Config: r.Config, Remembered: r.Census.Remembered(pat.Namespace)}
	if current, _, err := r.read(ctx, r.Client, client.ObjectKeyFromObject(pat)); err == nil && current != nil {
		in.Record = current.record
	}
	return lifecycle.HistoryFull(in)
}
