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

package holder

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// Conditions returns the conditions to show: those of status, or Active=False/Deleting and Ready=False/Deleting if pat is being
// deleted. Verifiers refuse such a token at once, before the operator updates status.
func Conditions(pat *v1alpha1.PersonalAccessToken) []metav1.Condition {
	if !Deleting(pat) {
		return pat.Status.Conditions
	}
	deleting := lifecycle.DeletingCondition(pat)
	var out []metav1.Condition
	for _, kind := range []string{v1alpha1.ConditionActive, v1alpha1.ConditionReady} {
		out = append(out, metav1.Condition{
			Type: kind, Status: metav1.ConditionFalse, Reason: deleting.Reason, Message: deleting.Message,
			ObservedGeneration: pat.Generation, LastTransitionTime: *pat.DeletionTimestamp,
		})
	}
	return out
}

// Active returns the condition Active, or nil if the operator has not written one yet.
func Active(pat *v1alpha1.PersonalAccessToken) *metav1.Condition {
	return meta.FindStatusCondition(Conditions(pat), v1alpha1.ConditionActive)
}

// Deleting reports whether pat has a deletion timestamp.
func Deleting(pat *v1alpha1.PersonalAccessToken) bool { return pat.DeletionTimestamp != nil }

// State is the state of a token, as a word for people. No decision depends on it.
type State string

// States of a token.
const (
	// StatePending: the operator has not issued it yet.
	StatePending State = "Pending"
	// StateNotIssued: the operator cannot issue it until a user changes something.
	StateNotIssued State = "Not issued"
	StateActive    State = "Active"
	// StateExpiring: it works and expires soon.
	StateExpiring State = "Expiring"
	// StateStopped: a TokenPolicy of the administrators stops it.
	StateStopped   State = "Stopped"
	StateSuspended State = "Suspended"
	StateExpired   State = "Expired"
	StateRevoked   State = "Revoked"
	// StateFailed: it was issued and does not work, for a reason without a state of its own.
	StateFailed   State = "Failed"
	StateDeleting State = "Deleting"
)

// StateOf returns the state of pat's token. An end in spec or by the clock counts before the operator updates status.
func StateOf(pat *v1alpha1.PersonalAccessToken, now time.Time) State {
	active := Active(pat)
	is := func(kind string) bool { return meta.IsStatusConditionTrue(pat.Status.Conditions, kind) }
	switch {
	case Deleting(pat):
		return StateDeleting
	case active != nil && active.Reason == v1alpha1.ReasonRevoked:
		return StateRevoked
	case pat.Status.TokenID != "" && StoppedByPolicy(active) && !passed(pat.Spec.ExpiresAt, now):
		// Before what follows: the end in status may be that of a policy, without which the token works again.
		return StateStopped
	case passed(pat.Status.ExpiresAt, now), passed(pat.Spec.ExpiresAt, now), active != nil && active.Reason == v1alpha1.ReasonExpired:
		return StateExpired
	case pat.Spec.Suspend, active != nil && active.Reason == v1alpha1.ReasonSuspended:
		return StateSuspended
	case HasStatus(active, metav1.ConditionTrue) && is(v1alpha1.ConditionExpiringSoon):
		return StateExpiring
	case HasStatus(active, metav1.ConditionTrue):
		return StateActive
	case pat.Status.TokenID != "" && active != nil && active.Reason != v1alpha1.ReasonIssuing:
		return StateFailed
	case is(v1alpha1.ConditionStalled), StoppedByPolicy(active), active != nil && active.Reason == v1alpha1.ReasonTooManyTokens:
		return StateNotIssued
	}
	return StatePending
}

// StoppedByPolicy reports whether a condition Active says that a TokenPolicy stops the token or keeps it from being issued.
func StoppedByPolicy(active *metav1.Condition) bool {
	return HasStatus(active, metav1.ConditionFalse) &&
		(active.Reason == v1alpha1.ReasonDeniedByPolicy || active.Reason == v1alpha1.ReasonPolicyNotUnderstood)
}

func passed(end *metav1.Time, now time.Time) bool { return !end.IsZero() && !now.Before(end.Time) }
