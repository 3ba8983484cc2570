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
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

// announce sends the event of a step.
func (r *Reconciler) announce(pat *v1alpha1.PersonalAccessToken, was *stored, d lifecycle.Decision) {
	switch d.Reason {
	case lifecycle.WriteRotated:
		r.announceRotated(pat, was.record, d.Next)
	case lifecycle.WriteRetired:
		r.event(pat, was.record.Previous.ID, v1alpha1.EventRetired, "Retire", "Token %s no longer works: %s has replaced it", was.record.Previous.ID, d.Next.Current.ID)
	case lifecycle.WriteRevoked:
		if was != nil && was.record.Previous != nil && d.Next.Previous == nil && was.record.Current.Digest == d.Next.Current.Digest {
			r.event(pat, was.record.Previous.ID, v1alpha1.ReasonRevoked, "Revoke", "Token %s was revoked; its successor %s keeps working", was.record.Previous.ID, d.Next.Current.ID)
		}
	case lifecycle.WriteAdopted, lifecycle.WriteRestored:
		t := d.Next.Current
		r.event(pat, t.ID, v1alpha1.EventIssued, "Issue", "Token %s, made by its holder, works until %s", t.ID, lifecycle.Stamp(t.ExpiresAt))
	case lifecycle.WriteDeliveryOver:
		r.event(pat, d.Next.Current.ID, v1alpha1.EventDeliveryRemoved, "RemoveDelivery", "Secret %s was deleted: its time to live has passed", record.DeliverySecretName(d.Next.Current.ID))
	}
}

// announceRotated tells what became of the token that another has taken the place of.
func (r *Reconciler) announceRotated(pat *v1alpha1.PersonalAccessToken, was, is *record.Record) {
	switch {
	case was.Current == nil || was.Current.ID == is.Current.ID:
	case is.Previous != nil:
		limits, _ := r.Policies.For(pat.Namespace, pat.Spec.User) // Unknown: status says the end once they are known.
		r.event(pat, is.Current.ID, v1alpha1.EventRotated, "Rotate", "Token %s replaces %s, which works until %s as well",
			is.Current.ID, is.Previous.ID, lifecycle.Stamp(lifecycle.StopsAt(&pat.Spec, is.Previous, limits)))
	default:
		r.event(pat, is.Current.ID, v1alpha1.EventRotated, "Rotate", "Token %s replaces %s, which no longer works", is.Current.ID, was.Current.ID)
	}
}

// announceIssued emits an event that says how long a token is valid, and how its holder takes it.
func (r *Reconciler) announceIssued(pat *v1alpha1.PersonalAccessToken, t *record.Token, how string) {
	r.event(pat, t.ID, v1alpha1.EventIssued, "Issue", "Token %s was issued and is valid until %s; %s", t.ID, lifecycle.Stamp(t.ExpiresAt), how)
}

// announceRevoked emits an event for each token that ended because its resource is gone.
func (r *Reconciler) announceRevoked(rec *record.Record) {
	if rec.Current == nil || rec.EndOf(rec.Current.ID) != nil {
		return
	}
	gone := &v1alpha1.PersonalAccessToken{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "PersonalAccessToken"},
		ObjectMeta: metav1.ObjectMeta{Namespace: rec.Resource.Namespace, Name: rec.Resource.Name, UID: rec.Resource.UID},
		Spec:       v1alpha1.PersonalAccessTokenSpec{User: &rec.User},
	}
	r.event(gone, rec.Current.ID, v1alpha1.ReasonRevoked, "Revoke", "Token %s was revoked: its resource was deleted", rec.Current.ID)
}

// announceUnknown emits an event for each id in status.revoked that belongs to no token here: writing it ended nothing.
func (r *Reconciler) announceUnknown(pat *v1alpha1.PersonalAccessToken, rec *record.Record, want *v1alpha1.PersonalAccessTokenStatus) {
	was := &pat.Status
	for _, e := range was.Revoked {
		stays := slices.ContainsFunc(want.Revoked, func(r v1alpha1.RevokedToken) bool { return r.TokenID == e.TokenID })
		if !stays && rec.EndOf(e.TokenID) == nil && e.TokenID != was.TokenID && e.TokenID != was.PreviousTokenID {
			r.warn(pat, e.TokenID, v1alpha1.EventNotRevoked, "Refuse",
				"status.revoked named %s, which does not belong to this resource, or no longer does; nothing was revoked", e.TokenID)
		}
	}
}

// announceTransition sends an event of the token with the id current where Active changed its reason, but for those that the steps have sent, and where
// ExpiringSoon, or what holds up the wishes of a token that goes on, says something new.
func (r *Reconciler) announceTransition(pat *v1alpha1.PersonalAccessToken, current string, before *v1alpha1.PersonalAccessTokenStatus, state *lifecycle.State) {
	if soon := state.ExpiringSoon; soon != nil {
		if c := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionExpiringSoon); c == nil || c.Message != soon.Message {
			r.warn(pat, current, soon.Reason, "Warn", "%s", soon.Message)
		}
	}
	if ready := state.Ready; ready.Reason == v1alpha1.ReasonIssuingFailed || state.Stalled != nil && state.Stalled.Reason != state.Active.Reason {
		if c := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionReady); c == nil || c.Message != ready.Message {
			r.warn(pat, current, ready.Reason, "Issue", "%s", ready.Message)
		}
	}
	was, now := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionActive), state.Active
	if was != nil && was.Reason == now.Reason {
		return
	}
	switch now.Reason {
	case v1alpha1.ReasonIssuing:
	case v1alpha1.ReasonDeleting:
		if len(lifecycle.ForeignFinalizers(pat)) > 0 {
			r.warn(pat, current, now.Reason, "Delete", "%s", now.Message)
		}
	case v1alpha1.ReasonActive:
		if was != nil && slices.Contains([]string{v1alpha1.ReasonSuspended, v1alpha1.ReasonDeniedByPolicy, v1alpha1.ReasonPolicyNotUnderstood}, was.Reason) {
			r.event(pat, current, v1alpha1.EventResumed, "Resume", "%s", now.Message)
		}
	case v1alpha1.ReasonSuspended, v1alpha1.ReasonExpired, v1alpha1.ReasonRevoked:
		r.event(pat, current, now.Reason, "Observe", "%s", now.Message)
	default:
		r.warn(pat, current, now.Reason, "Refuse", "%s", now.Message)
	}
}

// event sends an event about a token to the API server and to the audit log.
func (r *Reconciler) event(regarding runtime.Object, tokenID, reason, action, note string, args ...any) {
	r.tell(regarding, corev1.EventTypeNormal, tokenID, reason, action, note, args...)
}

// warn is event, for what needs a person.
func (r *Reconciler) warn(regarding runtime.Object, tokenID, reason, action, note string, args ...any) {
	r.tell(regarding, corev1.EventTypeWarning, tokenID, reason, action, note, args...)
}

func (r *Reconciler) tell(regarding runtime.Object, eventType, tokenID, reason, action, note string, args ...any) {
	r.Recorder.Eventf(regarding, nil, eventType, reason, action, note, args...)
	e := audit.Event{Event: reason, TokenID: tokenID, Message: fmt.Sprintf(note, args...)}
	if pat, ok := regarding.(*v1alpha1.PersonalAccessToken); ok {
		e.Namespace, e.Name, e.UID = pat.Namespace, pat.Name, string(pat.UID)
		if pat.Spec.User != nil {
			e.User = pat.Spec.User.Username
		}
		for _, revoked := range pat.Status.Revoked {
			if reason == v1alpha1.ReasonRevoked && revoked.TokenID == tokenID {
				e.By = revoked.By
			}
		}
	}
	r.Audit.Write(e)
}

// breaker reports whether too many resources are missing for any of them to count as deleted. It emits an event when a
// missing resource first finds the breaker open, and when the breaker closes again.
func (r *Reconciler) breaker(rec *record.Record) (open bool) {
	open, missing, all := r.Census.breaker()
	if concerns := rec != nil && rec.MissingSince != nil || r.stopped.Load(); !concerns || all == 0 || r.stopped.Swap(open) == open {
		return open
	}
	about := &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: r.RecordsNamespace},
	}
	if !open {
		collectionStopped.Set(0)
		r.event(about, "", v1alpha1.EventCollectionResumed, "Resume",
			"%d of %d PersonalAccessTokens that have a record cannot be found; their records are removed once they have been missing for an hour", missing, all)
		return false
	}
	collectionStopped.Set(1)
	r.warn(about, "", v1alpha1.EventCollectionStopped, "Stop",
		"%d of %d PersonalAccessTokens that have a record cannot be found; their tokens are refused, and their records are kept for up to 7 days; check that the API pat-operator.io is served, or do nothing if they were deleted", missing, all)
	return true
}
