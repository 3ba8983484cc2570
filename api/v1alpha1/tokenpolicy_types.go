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

// Kinds of a PolicySubject.
const (
	SubjectUser           = "User"
	SubjectGroup          = "Group"
	SubjectServiceAccount = "ServiceAccount"
)

// Ways in which a token reaches its holder, as spec.allowedDelivery of a TokenPolicy names them.
const (
	// DeliveryToSecret: the operator makes the token and puts it into a Secret for a while.
	DeliveryToSecret = "Secret"
	// DeliveryToRecipients: the operator makes the token and encrypts it to its recipients.
	DeliveryToRecipients = "Recipients"
	// DeliveryByHolder: the token is made on its holder's machine.
	DeliveryByHolder = "Holder"
)

// TokenPolicy limits tokens by their user, their groups and their namespace. Policies only narrow. Where several match a token,
// the strictest of each limit counts: the smallest number, and what all lists have in common. Nothing of it is final: without
// the policy, the tokens work again.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=security
// +kubebuilder:printcolumn:name="Denies",type=string,JSONPath=`.spec.deny.reason`
// +kubebuilder:printcolumn:name="Matched",type=integer,JSONPath=`.status.matchedTokens`
// +kubebuilder:printcolumn:name="Affected",type=integer,JSONPath=`.status.affectedTokens`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Max Days",type=integer,priority=1,JSONPath=`.spec.maxLifetimeDays`
// +kubebuilder:printcolumn:name="Max Tokens",type=integer,priority=1,JSONPath=`.spec.maxTokensPerUser`
type TokenPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is which tokens are limited, and how.
	// +required
	Spec TokenPolicySpec `json:"spec"`

	// status is what the operator has found.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status TokenPolicyStatus `json:"status,omitempty,omitzero"`
}

// TokenPolicySpec is which tokens are limited, and how.
//
// +kubebuilder:validation:XValidation:rule="has(self.deny) || has(self.maxLifetimeDays) || has(self.maxTokensPerUser) || has(self.requireScopes) && self.requireScopes || has(self.allowedScopes) || has(self.allowedAudiences) || has(self.allowedDelivery) || has(self.allowedFrom) || has(self.allowedGroups)",message="the policy limits nothing; set at least one of deny, maxLifetimeDays, maxTokensPerUser, requireScopes, allowedScopes, allowedAudiences, allowedDelivery, allowedFrom and allowedGroups"
type TokenPolicySpec struct {
	// match is which tokens are limited. Absent: every token.
	// +optional
	Match *PolicyMatch `json:"match,omitempty"`

	// deny refuses the tokens, those that exist included, until the policy is deleted.
	// +optional
	Deny *PolicyDenial `json:"deny,omitempty"`

	// maxLifetimeDays is how many days after it was issued a token ends at the latest. A new token that would live longer is refused.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3660
	MaxLifetimeDays *int32 `json:"maxLifetimeDays,omitempty"`

	// maxTokensPerUser is how many tokens that have not ended a user may have, in all namespaces together. 0: no new one. Tokens
	// that exist are left alone. A PersonalAccessToken counts once, also while the predecessor of its token works in its overlap.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MaxTokensPerUser *int32 `json:"maxTokensPerUser,omitempty"`

	// requireScopes refuses new tokens without spec.scopes.
	// +optional
	RequireScopes bool `json:"requireScopes,omitempty"`

	// allowedScopes are the presets that spec.scopes of a new token may name. A token without scopes, and a scope that is a rule
	// or of another API, is refused then.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Enum=read-only;namespace-admin;ci-deploy;metrics
	AllowedScopes []string `json:"allowedScopes,omitempty"`

	// allowedAudiences are those that a new token may be valid for. A token without audiences has the API server's own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	AllowedAudiences []string `json:"allowedAudiences,omitempty"`

	// allowedDelivery is how a new token may reach its holder.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:Enum=Secret;Recipients;Holder
	AllowedDelivery []string `json:"allowedDelivery,omitempty"`

	// allowedFrom are the networks that requests with the token may come from, in CIDR notation without host bits. A new token
	// must name networks inside of them in spec.from. One that exists works from there only, and nowhere where the address of
	// its client is not known, as at the API server's webhook.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="must be a network in CIDR notation without host bits, for example 203.0.113.0/24 or 2001:db8::/32"
	AllowedFrom []string `json:"allowedFrom,omitempty"`

	// allowedGroups are the groups that tokens may give. Others of a token's groups are left out. system:authenticated and the
	// groups of a service account stay.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	AllowedGroups []string `json:"allowedGroups,omitempty"`
}

// PolicyMatch is which tokens a policy limits: those that every part matches that is set.
type PolicyMatch struct {
	// subjects are the users, groups and service accounts whose tokens match. The groups are those that the token was issued
	// with, system:authenticated is every token's.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Subjects []PolicySubject `json:"subjects,omitempty"`

	// namespaces are those whose tokens match. * stands for any characters.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9*-]+$`
	Namespaces []string `json:"namespaces,omitempty"`
}

// PolicySubject is a user, a group or a service account, named as in RBAC.
//
// +kubebuilder:validation:XValidation:rule="(self.kind == 'ServiceAccount') == has(self.__namespace__)",message="set namespace for a ServiceAccount, and for nothing else"
type PolicySubject struct {
	// kind is what the subject is.
	// +required
	// +kubebuilder:validation:Enum=User;Group;ServiceAccount
	Kind string `json:"kind"`

	// name is the subject's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Name string `json:"name"`

	// namespace is that of a service account.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// PolicyDenial is why tokens are refused.
type PolicyDenial struct {
	// reason is why, in words that the holder of a token reads.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r'[\p{Cc}\p{Zl}\p{Zp}\x{61c}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}]')`,message="reason must not contain a control character, such as a tab or a line end, or a mark that changes the direction of text; leave it out"
	Reason string `json:"reason"`
}

// TokenPolicyStatus is what the operator has found.
type TokenPolicyStatus struct {
	// observedGeneration is the generation of spec that the other fields speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready alone.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// matchedTokens is how many PersonalAccessTokens the policy matches, ended ones left out.
	// +optional
	MatchedTokens *int32 `json:"matchedTokens,omitempty"`

	// affectedTokens is how many of them do not keep to the policy: those that it stops or narrows, and those that it would refuse
	// if they were new.
	// +optional
	AffectedTokens *int32 `json:"affectedTokens,omitempty"`
}

// TokenPolicyList is a list of TokenPolicies.
//
// +kubebuilder:object:root=true
type TokenPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TokenPolicy `json:"items"`
}
