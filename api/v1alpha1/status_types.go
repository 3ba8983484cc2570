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

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PersonalAccessTokenStatus is what the operator has done.
//
// The CEL rules parse every time, because the schema accepts some times that clients cannot read. One such time in a status
// would break the list of tokens for every client.
// +kubebuilder:validation:XValidation:rule="[has(self.issuedAt) ? self.issuedAt : timestamp(0), has(self.modifiedAt) ? self.modifiedAt : timestamp(0), has(self.expiresAt) ? self.expiresAt : timestamp(0), has(self.firstUsedAt) ? self.firstUsedAt : timestamp(0), has(self.lastUsedAt) ? self.lastUsedAt : timestamp(0)].all(t, t >= timestamp(0))",message="times must be as RFC 3339 writes them and not before 1970, for example 2027-01-31T12:00:00Z"
// +kubebuilder:validation:XValidation:rule="!has(self.revoked) || self.revoked.all(r, !has(r.at) || r.at >= timestamp(0))",message="revoked[].at must be a time as RFC 3339 writes it and not before 1970, for example 2027-01-31T12:00:00Z"
// +kubebuilder:validation:XValidation:rule="!has(self.conditions) || self.conditions.all(c, c.lastTransitionTime >= timestamp(0))",message="conditions[].lastTransitionTime must be a time as RFC 3339 writes it and not before 1970, for example 2027-01-31T12:00:00Z"
type PersonalAccessTokenStatus struct {
	// observedGeneration is the generation of spec that conditions speak of; -1 before the first reconcile.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Active, Ready, Stalled and ExpiringSoon.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// tokenID is the public id of the current token.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	TokenID string `json:"tokenID,omitempty"`

	// previousTokenID is the public id of a predecessor that is still valid.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	PreviousTokenID string `json:"previousTokenID,omitempty"`

	// previousTokenExpiresAt is when the predecessor ends. It is set with previousTokenID.
	// +optional
	PreviousTokenExpiresAt *metav1.Time `json:"previousTokenExpiresAt,omitempty"`

	// issuedAt is when the current token was issued.
	// +optional
	IssuedAt *metav1.Time `json:"issuedAt,omitempty"`

	// modifiedAt is when spec last changed.
	// +optional
	ModifiedAt *metav1.Time `json:"modifiedAt,omitempty"`

	// expiresAt is when the current token ends.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// firstUsedAt is when the current token was first used.
	// +optional
	FirstUsedAt *metav1.Time `json:"firstUsedAt,omitempty"`

	// lastUsedAt is when the token was last used, to within ten minutes.
	// +optional
	LastUsedAt *metav1.Time `json:"lastUsedAt,omitempty"`

	// lastUsedFrom is the address of the client at that time. It is set by the proxy alone, which knows it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	LastUsedFrom string `json:"lastUsedFrom,omitempty"`

	// deliverySecretName is the Secret of this namespace that holds the plaintext, while there is one.
	// +optional
	// +kubebuilder:validation:Pattern=`^pat-[a-z2-7]{16}$`
	// +kubebuilder:validation:MaxLength=20
	DeliverySecretName string `json:"deliverySecretName,omitempty"`

	// encryptedToken is an armored age file that only spec.delivery.recipients can open.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	EncryptedToken string `json:"encryptedToken,omitempty"`

	// revoked are tokens that were revoked while their resource was kept.
	// +optional
	// +listType=map
	// +listMapKey=tokenID
	// +kubebuilder:validation:MaxItems=8
	Revoked []RevokedToken `json:"revoked,omitempty"`
}

// RevokedToken is a token that was revoked while its resource was kept.
type RevokedToken struct {
	// tokenID is the public id of the token.
	// +required
	// +kubebuilder:validation:Pattern=`^[a-z2-7]{16}$`
	// +kubebuilder:validation:MaxLength=16
	TokenID string `json:"tokenID"`

	// at is when it was revoked.
	// +optional
	At *metav1.Time `json:"at,omitempty"`

	// by is the name of who revoked it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	By string `json:"by,omitempty"`

	// reason is why, in words.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
}
