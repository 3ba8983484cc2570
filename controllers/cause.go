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
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	refusedDelivery = "The token was not issued, because the API server refused the Secret that was to deliver it. " +
		"Ask an administrator of this namespace to change its quota or the admission policy; the operator tries again. "
	unconfirmedDelivery = "The token was not issued, because the API server did not confirm the Secret that was to deliver it. " +
		"The operator tries again with a new token; if this stays, ask an administrator of the cluster. "
	refusedRecord = "The token was not issued, because the API server refused the operator's record of it (%s). " +
		"Ask an administrator of the cluster, whose operator log names the cause; the operator tries again."
)

// stateAfterFailure is what status says after a step that failed with err; nil leaves status unchanged.
func stateAfterFailure(pat *v1alpha1.PersonalAccessToken, d lifecycle.Decision, err error) *lifecycle.State {
	switch {
	case pat == nil:
		return nil
	case !pat.DeletionTimestamp.IsZero():
		return d.State // Verifiers refuse the token already, even while its record cannot be ended.
	case issues(d) && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsInternalError(err)):
		return recordRefused(pat, d, err)
	}
	return nil
}

// issues reports whether a decision gives the resource a token.
func issues(d lifecycle.Decision) bool {
	return d.Action == lifecycle.Issue || slices.Contains([]string{lifecycle.WriteAdopted, lifecycle.WriteRestored, lifecycle.WriteRotated}, d.Reason)
}

// recordRefused is the state of a resource whose token the operator cannot record. The API server's words may quote the record,
// so only the log has them.
func recordRefused(pat *v1alpha1.PersonalAccessToken, d lifecycle.Decision, err error) *lifecycle.State {
	state := &lifecycle.State{
		Active: lifecycle.Condition{Reason: v1alpha1.ReasonIssuing, Message: "The token waits to be issued."},
		Ready:  lifecycle.Condition{Reason: v1alpha1.ReasonIssuingFailed, Message: fmt.Sprintf(refusedRecord, reasonOf(err))},
	}
	if d.State != nil {
		return d.State.WithReady(state.Ready)
	}
	if c := meta.FindStatusCondition(pat.Status.Conditions, v1alpha1.ConditionActive); c != nil {
		state.Active = lifecycle.Condition{Status: c.Status == metav1.ConditionTrue, Reason: c.Reason, Message: c.Message}
	}
	return state
}

// unconfirmed is what status says where it is not known whether the delivery Secret was created. The API server's answer, if
// there is one, names the cause, such as a webhook that cannot be reached.
func unconfirmed(err error, plaintext string) lifecycle.Condition {
	if reasonOf(err) == noAnswer {
		return lifecycle.Condition{Reason: v1alpha1.ReasonIssuing, Message: "The API server has not confirmed the delivery Secret; the operator tries again with a new token."}
	}
	return lifecycle.Condition{Reason: v1alpha1.ReasonIssuingFailed, Message: unconfirmedDelivery + causeOf(err, plaintext)}
}

// causeOf says why the API server did not create the Secret that holds plaintext: its words, or only its reason where they
// quote the token. Such a token never becomes valid.
func causeOf(err error, plaintext string) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Message != "" {
		if words := token.Quote(status.Status().Message, plaintext); words != "" {
			return "The API server says: " + words
		}
		return fmt.Sprintf("The API server says: %s. Its message is left out, because it quotes the token.", reasonOf(err))
	}
	return fmt.Sprintf("The API server says: %s.", reasonOf(err))
}

// noAnswer stands for the reason of an error that did not come from the API server.
const noAnswer = "no answer"

// reasonOf is the API server's reason, its HTTP code where it gives none, or noAnswer.
func reasonOf(err error) string {
	var status apierrors.APIStatus
	switch {
	case !errors.As(err, &status):
		return noAnswer
	case status.Status().Reason == metav1.StatusReasonUnknown:
		return fmt.Sprintf("HTTP %d", status.Status().Code)
	}
	return string(status.Status().Reason)
}
