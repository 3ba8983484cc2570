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
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	// indexRecordResource leads from "<namespace>/<name>" to the records of resources of that name.
	indexRecordResource = "record.resource"
	// indexTombstoneNamespace leads from a namespace to its tombstones.
	indexTombstoneNamespace = "record.tombstoneNamespace"
	// indexUsername leads from a user to the resources of their tokens.
	indexUsername = "spec.user.username"
)

func setupIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &corev1.Secret{}, indexRecordResource, func(o client.Object) []string {
		if len(resourceOfRecord(ctx, o)) == 0 {
			return nil
		}
		return []string{o.GetLabels()[record.LabelNamespace] + "/" + o.GetLabels()[record.LabelName]}
	}); err != nil {
		return err
	}
	if err := indexer.IndexField(ctx, &v1alpha1.PersonalAccessToken{}, indexUsername, func(o client.Object) []string {
		pat, ok := o.(*v1alpha1.PersonalAccessToken)
		if !ok || pat.Spec.User == nil {
			return nil
		}
		return []string{pat.Spec.User.Username}
	}); err != nil {
		return err
	}
	return indexer.IndexField(ctx, &corev1.Secret{}, indexTombstoneNamespace, func(o client.Object) []string {
		rec, err := record.FromSecret(o.(*corev1.Secret))
		if err != nil || !rec.Tombstone() {
			return nil
		}
		return []string{rec.Resource.Namespace}
	})
}

// stored is a record and the Secret that it was read from or written to.
type stored struct {
	record *record.Record
	secret *corev1.Secret
}

// read reads a resource's record live: nil where there is none, recordErr where it cannot be read.
func (r *Reconciler) read(ctx context.Context, uid types.UID) (current *stored, recordErr, err error) {
	rec, secret, recordErr, err := record.Get(ctx, r.Live, r.RecordsNamespace, uid)
	if rec == nil {
		return nil, recordErr, err
	}
	return &stored{rec, secret}, nil, nil
}

// write creates the record, or updates it if nobody else has since current was read.
func (r *Reconciler) write(ctx context.Context, current *stored, next *record.Record) (*stored, error) {
	secret, err := record.ToSecret(next, r.RecordsNamespace)
	if err != nil {
		return nil, err
	}
	if current == nil {
		if err := r.Client.Create(ctx, secret); err != nil {
			return nil, err
		}
		return &stored{next, secret}, nil
	}
	secret.UID, secret.ResourceVersion = current.secret.UID, current.secret.ResourceVersion
	if err := r.Client.Update(ctx, secret); err != nil {
		return nil, err
	}
	return &stored{next, secret}, nil
}

// act does everything that a decision may ask for but issuing. It returns the record as it is now, nil where it is gone.
func (r *Reconciler) act(ctx context.Context, pat *v1alpha1.PersonalAccessToken, current *stored, d lifecycle.Decision) (*stored, error) {
	switch {
	case d.Action == lifecycle.Delete:
		if err := r.removeDeliveries(ctx, current.record); err != nil {
			return nil, err
		}
		return nil, client.IgnoreNotFound(r.Client.Delete(ctx, current.secret,
			client.Preconditions{UID: &current.secret.UID, ResourceVersion: &current.secret.ResourceVersion}))
	case d.Reason == lifecycle.WriteTombstone:
		if err := r.removeDeliveries(ctx, current.record); err != nil {
			return nil, err
		}
		return r.write(ctx, current, d.Next)
	}
	written, err := r.write(ctx, current, d.Next)
	if err != nil {
		return nil, err
	}
	r.announce(pat, current, d)
	return written, nil
}

// sweep ends the tokens of resources that had this name and are gone. pat is the resource that has it now, or nil.
func (r *Reconciler) sweep(ctx context.Context, key types.NamespacedName, pat *v1alpha1.PersonalAccessToken) (time.Duration, error) {
	var secrets corev1.SecretList
	if err := r.Client.List(ctx, &secrets, client.InNamespace(r.RecordsNamespace), client.MatchingFields{indexRecordResource: key.String()}); err != nil {
		return 0, err
	}
	var after time.Duration
	for i := range secrets.Items {
		cached, err := record.FromSecret(&secrets.Items[i])
		if err != nil || (pat != nil && cached.Of(pat) && pat.DeletionTimestamp.IsZero()) {
			continue // Left untouched, or for reconcile.
		}
		current, recordErr, err := r.read(ctx, cached.Resource.UID)
		if err != nil {
			return 0, err
		}
		if current == nil || recordErr != nil || current.record.Resource.Namespace != key.Namespace || current.record.Resource.Name != key.Name {
			continue
		}
		// Read after the record: another leader may have issued it to a resource that is younger than pat.
		if gone, err := r.gone(ctx, key, cached.Resource.UID); err != nil {
			return 0, err
		} else if !gone {
			continue
		}
		d := lifecycle.Decide(lifecycle.Input{
			Record: current.record, Now: r.Clock.Now(), ClockProven: r.ClockCheck() == nil, Config: r.Config,
		})
		after = lifecycle.Sooner(after, d.After)
		if d.Action == lifecycle.Nothing {
			continue
		}
		if _, err := r.act(ctx, nil, current, d); err != nil {
			return 0, err
		}
		r.attempts.succeeded(current.record.Resource.UID)
		if d.Reason != lifecycle.DeleteTombstoneEnded {
			r.announceRevoked(current.record)
		}
	}
	return after, nil
}

// gone tells whether the resource with this UID is no more, or is marked deleted. It stays so: a UID does not come back.
func (r *Reconciler) gone(ctx context.Context, key types.NamespacedName, uid types.UID) (bool, error) {
	pat := &v1alpha1.PersonalAccessToken{}
	if err := r.Live.Get(ctx, key, pat); err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	return pat.UID != uid || !pat.DeletionTimestamp.IsZero(), nil
}

// sameName reads live the records of other resources that had this name; unreadable is why one cannot be read.
func (r *Reconciler) sameName(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (records []*record.Record, unreadable, err error) {
	var secrets corev1.SecretList
	if err := r.Live.List(ctx, &secrets, client.InNamespace(r.RecordsNamespace),
		client.MatchingLabels{record.LabelNamespace: pat.Namespace, record.LabelName: pat.Name}); err != nil {
		return nil, nil, err
	}
	for i := range secrets.Items {
		if secrets.Items[i].Name == record.SecretName(pat.UID) || secrets.Items[i].Type != record.SecretType {
			continue
		}
		rec, err := record.FromSecret(&secrets.Items[i])
		if err != nil {
			unreadable = err
			continue
		}
		records = append(records, rec)
	}
	return records, unreadable, nil
}

func (r *Reconciler) tombstones(ctx context.Context, namespace string) (int, error) {
	var secrets corev1.SecretList
	err := r.Client.List(ctx, &secrets, client.InNamespace(r.RecordsNamespace), client.MatchingFields{indexTombstoneNamespace: namespace}, client.UnsafeDisableDeepCopy)
	return len(secrets.Items), err
}
