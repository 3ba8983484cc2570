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

package v1alpha1

// Condition types of a PersonalAccessToken.
const (
	// ConditionActive is True while the token named in status.tokenID is valid. Normal-true; False alone is not a
	// fault: a token that is suspended or has expired is Active=False, Ready=True.
	ConditionActive = "Active"
	// ConditionReady is True when the operator has done what spec asks. Normal-true; kstatus and Argo CD read it.
	ConditionReady = "Ready"
	// ConditionStalled is True when nothing but a change by the user helps. Abnormal-true; absent otherwise.
	ConditionStalled = "Stalled"
	// ConditionExpiringSoon is True when the token ends within the warning window. Abnormal-true; absent otherwise.
	ConditionExpiringSoon = "ExpiringSoon"
)

// Reasons of the conditions above, and of the events that go with them.
const (
	// ReasonActive: the token is valid.
	ReasonActive = "Active"
	// ReasonIssuing: no token has been issued yet; the operator is at it, or will try again.
	ReasonIssuing = "Issuing"
	// ReasonIssuingFailed: the API server refused or did not confirm the Secret that was to deliver the token; the operator tries
	// again. The message names the cause.
	ReasonIssuingFailed = "IssuingFailed"
	// ReasonRotating: the token is valid and its successor is being issued.
	ReasonRotating = "Rotating"
	// ReasonReconciled: the operator has done what spec asks.
	ReasonReconciled = "Reconciled"
	// ReasonSuspended: spec.suspend is true.
	ReasonSuspended = "Suspended"
	// ReasonExpired: the token's time is over; a new one must be issued.
	ReasonExpired = "Expired"
	// ReasonRevoked: the token was revoked and its resource kept.
	ReasonRevoked = "Revoked"
	// ReasonDeleting: the resource is marked as deleted, so its token has ended; a finalizer still holds the resource.
	ReasonDeleting = "Deleting"
	// ReasonExpiringSoon: the token is valid and its end is near.
	ReasonExpiringSoon = "ExpiringSoon"
	// ReasonOwnerGone: the service account that the token belongs to was deleted, or re-created with another UID.
	ReasonOwnerGone = "OwnerGone"
	// ReasonUserChanged: spec.user is not the user that the token was issued to.
	ReasonUserChanged = "UserChanged"
	// ReasonUserMissing: spec.user is empty, so admission has not stamped it.
	ReasonUserMissing = "UserMissing"
	// ReasonUserRefused: spec.user names a user who may never have a token.
	ReasonUserRefused = "UserRefused"
	// ReasonRecordInvalid: the record is inconsistent; the operator does not modify it.
	ReasonRecordInvalid = "RecordInvalid"
	// ReasonRecordTooNew: a newer operator wrote the record; this one does not modify it.
	ReasonRecordTooNew = "RecordTooNew"
	// ReasonRecordLost: a token was issued and its record is gone; delete the resource and apply it again for another.
	ReasonRecordLost = "RecordLost"
	// ReasonBindingMismatch: spec.token.boundTo names another resource, so its digest cannot match here.
	ReasonBindingMismatch = "BindingMismatch"
	// ReasonTokenRevoked: spec.token names an id that was revoked under this name before.
	ReasonTokenRevoked = "TokenRevoked"
	// ReasonNotAuthorized: spec changed while the operator's admission checks were not in force, so nobody judged it.
	ReasonNotAuthorized = "NotAuthorized"
	// ReasonGuardsMissing: the operator's admission checks are not in force, or are still being accepted.
	ReasonGuardsMissing = "GuardsMissing"
	// ReasonEndedTokensFull: no more ended tokens can be remembered, under this name or in this namespace.
	ReasonEndedTokensFull = "EndedTokensFull"
	// ReasonDeliveryDisabled: Secret delivery is switched off on this operator.
	ReasonDeliveryDisabled = "DeliveryDisabled"
	// ReasonDeliveryNameTaken: a Secret that is not ours has the name that the delivery Secret was to have.
	ReasonDeliveryNameTaken = "DeliveryNameTaken"
	// ReasonRecipientsRefused: the token cannot be encrypted to one of spec.delivery.recipients.
	ReasonRecipientsRefused = "RecipientsRefused"
	// ReasonLifetimeTooLong: spec asks for a longer life than this operator allows.
	ReasonLifetimeTooLong = "LifetimeTooLong"
	// ReasonRotationNeeded: spec asks for another token than was issued, but not for a rotation that would make it.
	ReasonRotationNeeded = "RotationNeeded"
	// ReasonDeniedByPolicy: a TokenPolicy stops the token, or keeps it from being issued. The message names the policy.
	ReasonDeniedByPolicy = "DeniedByPolicy"
	// ReasonTooManyTokens: the user has as many tokens as a TokenPolicy allows, so no other is issued.
	ReasonTooManyTokens = "TooManyTokens"
	// ReasonPolicyNotUnderstood: a TokenPolicy has a field that this version does not know, and stops what the policy matches. On a
	// TokenPolicy, the same of itself.
	ReasonPolicyNotUnderstood = "PolicyNotUnderstood"
)

// Reasons of events that go with no condition.
const (
	// EventIssued: a token was issued.
	EventIssued = "Issued"
	// EventDeliveryRemoved: the delivery Secret was deleted because its time to live has passed.
	EventDeliveryRemoved = "DeliveryRemoved"
	// EventRotated: a token took the place of another.
	EventRotated = "Rotated"
	// EventRetired: the overlap of a predecessor with its successor has ended.
	EventRetired = "Retired"
	// EventNotRevoked: status.revoked named an id that does not belong to this resource.
	EventNotRevoked = "NotRevoked"
	// EventCollectionStopped: too many resources are missing, so the operator removes none of their records.
	EventCollectionStopped = "CollectionStopped"
	// EventCollectionResumed: records of missing resources are removed again.
	EventCollectionResumed = "CollectionResumed"
	// EventResumed: spec.suspend went back to false.
	EventResumed = "Resumed"
)
