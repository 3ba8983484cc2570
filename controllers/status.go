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
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

// applyStatus applies the status that the record and the state imply, if it differs from the present one.
func (r *Reconciler) applyStatus(ctx context.Context, pat *v1alpha1.PersonalAccessToken, current *stored, state *lifecycle.State) error {
	if state == nil {
		return nil
	}
	rec := current.of(pat)
	was, want := &pat.Status, desiredStatus(pat, rec, state, r.Clock.Now())
	if equality.Semantic.DeepEqual(was, want) {
		return nil
	}
	revision, err := r.clear(ctx, pat, want)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	apply := statusApply(pat, revision, want)
	if err := r.Client.Status().Apply(ctx, apply, FieldOwner, client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.sightings.wroteStatus(client.ObjectKeyFromObject(pat), ptr.Deref(apply.ResourceVersion, ""), r.Clock.Now())
	r.announceTransition(pat, want.TokenID, was, state)
	r.announceUnknown(pat, rec, want)
	return nil
}

// statusApplied reports whether the status of a resource from the cache is already the desired one.
func statusApplied(pat *v1alpha1.PersonalAccessToken, rec *record.Record, state *lifecycle.State, now time.Time) bool {
	is := *pat
	is.Status.EncryptedToken = ""
	want := desiredStatus(&is, rec, state, now)
	return statusDigest(want) == pat.Status.EncryptedToken && len(want.Revoked) == len(pat.Status.Revoked)
}

// statusDigest is a digest of what the reconciler writes into status, but for the times at which conditions changed.
func statusDigest(status *v1alpha1.PersonalAccessTokenStatus) string {
	h := sha256.New()
	stamp := func(t *metav1.Time) string {
		if t == nil {
			return ""
		}
		return lifecycle.Stamp(t.Time)
	}
	_, _ = fmt.Fprintf(h, "%d %q %q %q %q %q %q %q", status.ObservedGeneration, status.TokenID, status.PreviousTokenID,
		stamp(status.PreviousTokenExpiresAt), stamp(status.IssuedAt), stamp(status.ExpiresAt), status.DeliverySecretName, status.EncryptedToken)
	conditions := slices.SortedFunc(slices.Values(status.Conditions), func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	for _, c := range conditions {
		_, _ = fmt.Fprintf(h, " %q %q %q %q %d", c.Type, c.Status, c.Reason, c.Message, c.ObservedGeneration)
	}
	return digested + string(h.Sum(nil))
}

// clear removes from status the fields that should be absent: an apply leaves the fields of other owners. It comes
// before the apply, so that status never says of one token when another was first used. It returns the revision it left.
func (r *Reconciler) clear(ctx context.Context, pat *v1alpha1.PersonalAccessToken, want *v1alpha1.PersonalAccessTokenStatus) (string, error) {
	was, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&pat.Status)
	if err != nil {
		return "", err
	}
	is, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		return "", err
	}
	status := map[string]any{}
	for field := range was {
		if _, ok := is[field]; !ok {
			status[field] = nil
		}
	}
	// Conditions that remain are kept unchanged: the apply updates them, and announces the change.
	kept := slices.DeleteFunc(slices.Clone(pat.Status.Conditions), func(c metav1.Condition) bool {
		return meta.FindStatusCondition(want.Conditions, c.Type) == nil
	})
	if len(kept) < len(pat.Status.Conditions) {
		status["conditions"] = kept
	}
	if n := len(want.Revoked); n > 0 && n < len(pat.Status.Revoked) {
		status["revoked"] = want.Revoked
	}
	if len(status) == 0 {
		return pat.ResourceVersion, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": pat.ResourceVersion}, "status": status})
	if err != nil {
		return "", err
	}
	target := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: pat.Namespace, Name: pat.Name}}
	err = r.Client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch), FieldOwner)
	return target.ResourceVersion, err
}

// desiredStatus is status as it should be. It keeps the fields of other writers, and the details of a token whose record
// cannot be read, or is lost.
func desiredStatus(pat *v1alpha1.PersonalAccessToken, rec *record.Record, state *lifecycle.State, now time.Time) *v1alpha1.PersonalAccessTokenStatus {
	want := pat.Status.DeepCopy()
	deleting := !pat.DeletionTimestamp.IsZero()
	if pat.Status.ObservedGeneration != pat.Generation && !deleting { // a deletion counts as a generation, and changes no spec
		modified := metav1.NewTime(now.Truncate(time.Second))
		if pat.Generation <= 1 {
			modified = pat.CreationTimestamp
		}
		want.ModifiedAt = &modified
	}
	want.ObservedGeneration = pat.Generation
	want.Revoked = lifecycle.Revocations(pat, rec)
	if rec != nil && rec.Refused != record.RefusedRecordLost {
		want.TokenID, want.IssuedAt, want.ExpiresAt, want.DeliverySecretName = "", nil, nil, ""
		want.EncryptedToken, want.PreviousTokenID, want.PreviousTokenExpiresAt = rec.Ciphertext, "", nil
		if t := rec.Previous; t != nil {
			want.PreviousTokenID = t.ID
			want.PreviousTokenExpiresAt = &metav1.Time{Time: lifecycle.EffectiveEnd(&pat.Spec, t)}
			if state.PreviousEnd != nil {
				want.PreviousTokenExpiresAt = &metav1.Time{Time: *state.PreviousEnd}
			}
		}
		if t := rec.Current; t != nil {
			want.TokenID = t.ID
			want.IssuedAt = &metav1.Time{Time: t.IssuedAt}
			want.ExpiresAt = &metav1.Time{Time: lifecycle.EffectiveEnd(&pat.Spec, t)}
			if end := state.PolicyEnd; end != nil && end.Before(want.ExpiresAt.Time) {
				want.ExpiresAt = &metav1.Time{Time: *end}
			}
			if t.ID != pat.Status.TokenID {
				want.FirstUsedAt = nil
			}
			if _, ok := t.DeliverUntil(); ok {
				want.DeliverySecretName = record.DeliverySecretName(t.ID)
			}
		}
	}
	if deleting { // tokenID stays as a trace
		want.PreviousTokenID, want.PreviousTokenExpiresAt, want.DeliverySecretName, want.EncryptedToken = "", nil, "", ""
	}
	want.Conditions = slices.DeleteFunc(want.Conditions, func(c metav1.Condition) bool {
		return !slices.Contains([]string{v1alpha1.ConditionActive, v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionExpiringSoon}, c.Type)
	})
	set := func(name string, c *lifecycle.Condition) {
		if c == nil {
			meta.RemoveStatusCondition(&want.Conditions, name)
			return
		}
		status := metav1.ConditionFalse
		if c.Status {
			status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&want.Conditions, metav1.Condition{
			Type: name, Status: status, Reason: c.Reason, Message: c.Message,
			ObservedGeneration: pat.Generation, LastTransitionTime: metav1.NewTime(now),
		})
	}
	set(v1alpha1.ConditionActive, &state.Active)
	set(v1alpha1.ConditionReady, &state.Ready)
	set(v1alpha1.ConditionStalled, state.Stalled)
	set(v1alpha1.ConditionExpiringSoon, state.ExpiringSoon)
	return want
}

// statusApply is the part of status that the reconciler owns. The revision keeps it from a resource created meanwhile
// under the same name; a UID would not, kube-apiserver passes over it in a write of status.
func statusApply(pat *v1alpha1.PersonalAccessToken, revision string, want *v1alpha1.PersonalAccessTokenStatus) *ac.PersonalAccessTokenApplyConfiguration {
	status := ac.PersonalAccessTokenStatus().WithObservedGeneration(want.ObservedGeneration)
	for i := range want.Conditions {
		c := &want.Conditions[i]
		status.WithConditions(metav1ac.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).
			WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime))
	}
	if want.ModifiedAt != nil {
		status.WithModifiedAt(*want.ModifiedAt)
	}
	if want.TokenID != "" {
		status.WithTokenID(want.TokenID)
	}
	if want.PreviousTokenID != "" {
		status.WithPreviousTokenID(want.PreviousTokenID)
	}
	if want.PreviousTokenExpiresAt != nil {
		status.WithPreviousTokenExpiresAt(*want.PreviousTokenExpiresAt)
	}
	if want.IssuedAt != nil {
		status.WithIssuedAt(*want.IssuedAt)
	}
	if want.ExpiresAt != nil {
		status.WithExpiresAt(*want.ExpiresAt)
	}
	if want.DeliverySecretName != "" {
		status.WithDeliverySecretName(want.DeliverySecretName)
	}
	if want.EncryptedToken != "" {
		status.WithEncryptedToken(want.EncryptedToken)
	}
	return ac.PersonalAccessToken(pat.Name, pat.Namespace).WithResourceVersion(revision).WithStatus(status)
}
