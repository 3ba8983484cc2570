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
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

// refusal is an error that the user can do something about, and what status says of it meanwhile.
type refusal struct {
	error
	state *lifecycle.State
}

func (r *refusal) Unwrap() error { return r.error }

func refuse(reason, message string) *refusal {
	waiting := lifecycle.Condition{Reason: v1alpha1.ReasonIssuing, Message: "No token has been issued yet."}
	return &refusal{errors.New(message), &lifecycle.State{Active: waiting, Ready: lifecycle.Condition{Reason: reason, Message: message}}}
}

// issue makes a token and delivers it in a Secret: the record says pending, the Secret is created, one update makes the
// token current. Stopped anywhere, at most one plaintext is valid: a pending token that is found later is replaced.
func (r *Reconciler) issue(ctx context.Context, in lifecycle.Input, current *stored) (*stored, error) {
	pat, now := in.Resource, in.Now.Truncate(time.Second)
	id, plaintext, err := token.New(r.Random)
	if err != nil {
		return current, err
	}
	pending := &record.Token{
		ID:        id,
		Digest:    token.NewDigest(pat.Namespace, pat.Name, plaintext).Hex(),
		Source:    record.SourceOperator,
		Delivery:  record.DeliveryOf(&pat.Spec),
		IssuedAt:  now,
		ExpiresAt: lifecycle.End(&pat.Spec, now),
	}
	if pat.Spec.Rotation != nil {
		pending.Trigger = pat.Spec.Rotation.Trigger
	}
	base := record.New(pat, now)
	if current != nil {
		base = current.record
	}
	begun := lifecycle.Begin(base, pending, now)
	if _, _, err := r.remove(ctx, begun); err != nil {
		return current, err
	}
	if current, err = r.write(ctx, current, begun); err != nil {
		return nil, err
	}

	secret := deliverySecret(pat, id, plaintext)
	err = r.Client.Create(ctx, secret)
	secret.Data, secret.StringData = nil, nil
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.nameTaken(ctx, current, secret.Name)
	case err != nil && definite(err):
		// The server's words may quote what it was sent; its reason does not.
		return current, refuse(v1alpha1.ReasonIssuing, fmt.Sprintf(
			"The delivery Secret %s could not be created (%s); check this namespace's quota and admission policies. The operator tries again.",
			secret.Name, apierrors.ReasonForError(err)))
	case err != nil:
		return current, fmt.Errorf("creating delivery Secret %s/%s: no definite answer", secret.Namespace, secret.Name)
	}

	confirmed := *pending.Delivery.Secret
	confirmed.UID = secret.UID
	promoted, err := r.write(ctx, current, lifecycle.Promote(current.record, &confirmed))
	if err != nil {
		if promoted, err = r.afterLostUpdate(ctx, pat, id, secret, err); err != nil {
			return nil, err
		}
	}
	r.announceIssued(pat, promoted.record.Current, secret.Name)
	return promoted, nil
}

// definite tells whether the API server has said that it did not do what it was asked.
func definite(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)
}

// nameTaken forgets a pending token whose Secret's name belongs to a Secret of somebody else, which is left alone.
func (r *Reconciler) nameTaken(ctx context.Context, current *stored, name string) (*stored, error) {
	next := current.record.DeepCopy()
	next.Pending = nil
	written, err := r.write(ctx, current, next)
	if err != nil {
		return nil, err
	}
	return written, refuse(v1alpha1.ReasonDeliveryNameTaken, fmt.Sprintf(
		"A Secret named %s that is not the operator's is in this namespace and was left as it is; the operator tries again with another name.", name))
}

// afterLostUpdate finds out whether the update that was to make a token current did so. Where it did not, the Secret
// just created must go: by the record's removal list where that can be written, and in any case now.
func (r *Reconciler) afterLostUpdate(ctx context.Context, pat *v1alpha1.PersonalAccessToken, id string, secret *corev1.Secret, cause error) (*stored, error) {
	now, recordErr, err := r.read(ctx, pat.UID)
	if err != nil || recordErr != nil {
		// The next reconcile finds the token pending, or current.
		return nil, errors.Join(cause, recordErr, err)
	}
	if now != nil && now.record.Current != nil && now.record.Current.ID == id {
		return now, nil
	}
	errs := []error{fmt.Errorf("making token %s current: %w", id, cause)}
	if now != nil && (now.record.Pending == nil || now.record.Pending.ID != id) {
		next := now.record.DeepCopy()
		next.Removals = append(next.Removals, record.Removal{Secret: secret.Name, UID: secret.UID, Until: r.Clock.Now().Add(lifecycle.RemovalWindow)})
		_, err := r.write(ctx, now, next)
		errs = append(errs, err)
	}
	errs = append(errs, r.deleteDelivery(ctx, pat.Namespace, secret.Name, secret.UID))
	return nil, errors.Join(errs...)
}

// deliverySecret is the Secret that holds the plaintext. None of the resource's labels and annotations: tools that
// track or copy by them would take it for their own.
func deliverySecret(pat *v1alpha1.PersonalAccessToken, id, plaintext string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pat.Namespace,
			Name:      record.DeliverySecretName(id),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(),
				Kind:       "PersonalAccessToken",
				Name:       pat.Name,
				UID:        pat.UID,
			}},
		},
		Type:       v1alpha1.SecretTypeToken,
		Immutable:  ptr.To(true),
		StringData: map[string]string{v1alpha1.SecretKeyToken: plaintext},
	}
}
