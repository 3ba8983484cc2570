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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/recipients"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

// refusal is why a token could not be issued, and what status says of it until the next attempt.
type refusal struct {
	// current is the record as the attempt has left it.
	current *stored
	ready   lifecycle.Condition
	// cause is an error to log; nil where status says it all.
	cause error
}

func (r *refusal) Error() string { return r.ready.Message }

func refuse(current *stored, reason, message string, cause error) *refusal {
	return &refusal{current, lifecycle.Condition{Reason: reason, Message: message}, cause}
}

// issue makes a token and delivers it. To recipients: the record takes token and ciphertext in one write. In a Secret: the
// record says pending, the Secret is created, one update makes the token current. Stopped anywhere, at most one plaintext
// is valid: a pending token that is found later is replaced.
func (r *Reconciler) issue(ctx context.Context, pat *v1alpha1.PersonalAccessToken, d lifecycle.Decision, now time.Time, current *stored) (*stored, error) {
	spec, base := d.Spec, d.Base
	if now = now.Truncate(time.Second); now.Before(pat.CreationTimestamp.Time) {
		now = pat.CreationTimestamp.Time // A token is not older than its resource, even if this clock is behind.
	}
	id, plaintext, err := token.New(r.Random)
	if err != nil {
		return current, err
	}
	t := &record.Token{
		ID:        id,
		Digest:    token.NewDigest(pat.Namespace, pat.Name, plaintext).Hex(),
		Source:    record.SourceOperator,
		Trigger:   lifecycle.TriggerOf(spec, base),
		Delivery:  record.DeliveryOf(spec),
		IssuedAt:  now,
		ExpiresAt: lifecycle.End(spec, now),
	}
	if base.Current != nil && base.Current.Trigger != t.Trigger {
		base.AuthorizedAt = now // A person has asked for it, unlike a rotation by everyDays.
	}
	if len(t.Delivery.Recipients) > 0 {
		ciphertext, err := recipients.Encrypt(plaintext, t.Delivery.Recipients)
		if err != nil {
			return nil, err
		}
		sealed, err := r.write(ctx, current, lifecycle.Seal(base, spec, t, ciphertext, now))
		if err != nil {
			return nil, err
		}
		r.announceRotated(pat, base, sealed.record)
		r.announceIssued(pat, t, fmt.Sprintf("its %d recipients can open it in status.encryptedToken", len(t.Delivery.Recipients)))
		return sealed, nil
	}
	if current, err = r.write(ctx, current, lifecycle.Begin(base, t, now)); err != nil {
		return nil, err
	}

	secret := deliverySecret(pat, id, plaintext)
	err = r.Client.Create(ctx, secret)
	secret.Data, secret.StringData = nil, nil
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil, r.giveUp(ctx, current, v1alpha1.ReasonDeliveryNameTaken, fmt.Sprintf(
			"A Secret named %s already exists in this namespace and does not belong to the operator, which did not modify it; the operator tries again with another name.", secret.Name))
	case definite(err):
		return nil, r.giveUp(ctx, current, v1alpha1.ReasonIssuingFailed, refusedDelivery+causeOf(err, plaintext))
	case err != nil:
		ready := unconfirmed(err, plaintext)
		// The server's message may quote the request; its reason does not.
		return nil, refuse(current, ready.Reason, ready.Message,
			fmt.Errorf("creating delivery Secret %s/%s: no definite answer (%s)", secret.Namespace, secret.Name, reasonOf(err)))
	}

	confirmed := *t.Delivery.Secret
	confirmed.UID = secret.UID
	promoted, err := r.write(ctx, current, lifecycle.Promote(current.record, spec, &confirmed, now))
	if err != nil {
		if promoted, err = r.afterLostUpdate(ctx, pat, id, secret, err); err != nil {
			return nil, err
		}
	}
	r.announceRotated(pat, base, promoted.record)
	r.announceIssued(pat, promoted.record.Current, fmt.Sprintf("take it from Secret %s within %d seconds", secret.Name, confirmed.TTLSeconds))
	return promoted, nil
}

// state is the status after a refusal, made from the state that was planned.
func (r *refusal) state(was *lifecycle.State) *lifecycle.State {
	out := was.WithReady(r.ready)
	if out.Ready.Reason == v1alpha1.ReasonIssuing {
		out.Ready.Reason = was.Ready.Reason // It may be a rotation.
	}
	return out
}

// meanwhile is the state until the next attempt: the current state of the token, and the last state of the attempt.
func meanwhile(pat *v1alpha1.PersonalAccessToken, state *lifecycle.State) *lifecycle.State {
	out := state.WithReady(state.Ready)
	if c := meta.FindStatusCondition(pat.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Status == metav1.ConditionFalse && c.ObservedGeneration == pat.Generation {
		out.Ready = lifecycle.Condition{Reason: c.Reason, Message: c.Message}
	}
	return out
}

// definite reports whether the API server answered that it did not execute the request.
func definite(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)
}

// giveUp forgets a pending token whose Secret was not created for certain, so nothing of it is to be removed.
func (r *Reconciler) giveUp(ctx context.Context, current *stored, reason, message string) error {
	next := current.record.DeepCopy()
	next.Pending = nil
	written, err := r.write(ctx, current, next)
	if err != nil {
		return err
	}
	return refuse(written, reason, message, nil)
}

// afterLostUpdate finds out whether the update that was to make a token current did so. If not, it writes that into the
// record before it deletes the Secret: in the other order the update could still arrive, and leave a valid token that
// nobody has.
func (r *Reconciler) afterLostUpdate(ctx context.Context, pat *v1alpha1.PersonalAccessToken, id string, secret *corev1.Secret, cause error) (*stored, error) {
	cause = fmt.Errorf("making token %s current: %w", id, cause)
	now, recordErr, err := r.read(ctx, r.Live, client.ObjectKeyFromObject(pat))
	if err != nil || recordErr != nil || now.of(pat) == nil {
		// The next reconcile finds the token pending, or current; a Secret without a record goes with its resource.
		return nil, errors.Join(cause, recordErr, err)
	}
	if now.record.Current != nil && now.record.Current.ID == id {
		return now, nil
	}
	next := now.record.DeepCopy()
	if next.Pending != nil && next.Pending.ID == id {
		next.Pending = nil
	}
	next.Removals = append(next.Removals, record.Removal{Secret: secret.Name, UID: secret.UID, Until: r.Clock.Now().Add(lifecycle.RemovalWindow)})
	_, err = r.write(ctx, now, next)
	return nil, errors.Join(cause, err)
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
