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

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultExpiresInDays is the life of a token whose spec names none.
	DefaultExpiresInDays = 90
	// MaxExpiresInDays is the most that spec.expiresInDays may be.
	MaxExpiresInDays = 3660
	// Day is what a token's life is counted in.
	Day = 24 * time.Hour
	// DefaultDeliveryTTLSeconds is how long a delivery Secret lives when spec names no time.
	DefaultDeliveryTTLSeconds = 3600

	// SecretTypeToken is the type of a delivery Secret; its one key is SecretKeyToken.
	SecretTypeToken = "pat-operator.io/token"
	// SecretKeyToken is the key of a delivery Secret that holds the plaintext.
	SecretKeyToken = "token"
)

// PersonalAccessToken is a request for a bearer token that carries a user's authority for a limited time.
// Creating it issues the token, deleting it revokes the token.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pat,categories=security
// +kubebuilder:selectablefield:JSONPath=`.spec.user.username`
// +kubebuilder:printcolumn:name="Display Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="User",type=string,JSONPath=`.spec.user.username`
// +kubebuilder:printcolumn:name="Active",type=string,JSONPath=`.status.conditions[?(@.type=="Active")].status`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiresAt`
// +kubebuilder:printcolumn:name="Last Used",type=date,JSONPath=`.status.lastUsedAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Token ID",type=string,priority=1,JSONPath=`.status.tokenID`
// +kubebuilder:printcolumn:name="Created",type=string,priority=1,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Modified",type=string,priority=1,JSONPath=`.status.modifiedAt`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Active")].reason`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name must be at most 63 characters (it becomes a label); choose a shorter name and put the long one in spec.displayName"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.token) || !has(self.metadata.generateName)",message="metadata.generateName cannot be used with spec.token, whose digest is bound to the resource's name; set metadata.name"
type PersonalAccessToken struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is asked for.
	// +required
	Spec PersonalAccessTokenSpec `json:"spec"`

	// status is what the operator has done. A mirror for people: it never grants anything.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status PersonalAccessTokenStatus `json:"status,omitempty,omitzero"`
}

// PersonalAccessTokenSpec is what is asked for.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.expiresInDays) && has(self.expiresAt))",message="set at most one of expiresInDays and expiresAt"
// +kubebuilder:validation:XValidation:rule="!(has(self.delivery) && has(self.token))",message="set at most one of delivery and token: a token that its holder made is not delivered"
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || !self.scopes.exists(s, has(s.api)) || has(self.audiences)",message="a scope for another API requires audiences that name the API"
// +kubebuilder:validation:XValidation:rule="!has(self.token) || has(self.expiresAt)",message="token requires expiresAt, so that applying it again never renews its life"
// +kubebuilder:validation:XValidation:rule=`!has(self.expiresAt) || self.expiresAt.matches(r'^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}([.]\d+)?(Z|[+-]\d{2}:\d{2})$') && timestamp(self.expiresAt) >= timestamp(0)`,fieldPath=".expiresAt",message="expiresAt must be a time as RFC 3339 writes it and not before 1970, for example 2027-01-31T12:00:00Z"
type PersonalAccessTokenSpec struct {
	// displayName is what people call the token. At most 128 characters, without control characters and marks that change the
	// direction of text.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r'[\p{Cc}\p{Zl}\p{Zp}\x{61c}\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}]')`,message="displayName must not contain a control character, such as a tab or a line end, or a mark that changes the direction of text; leave it out"
	DisplayName string `json:"displayName,omitempty"`

	// user is whose authority the token carries. Absent at creation, it becomes the requester.
	// It cannot change: make a new token for another user.
	// +optional
	User *UserInfo `json:"user,omitempty"`

	// expiresInDays is the token's life in days from the moment it is issued. Neither this nor expiresAt: 90 days.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3660
	ExpiresInDays *int32 `json:"expiresInDays,omitempty"`

	// expiresAt is the moment the token ends, as RFC 3339 writes it: 2027-01-31T12:00:00Z.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"` // not format date-time: it takes 12:00:00,5Z, and gives no example

	// suspend stops the token while it is true; false resumes it.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// audiences are those the token is valid for. Empty: the API server's own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Audiences []string `json:"audiences,omitempty"`

	// scopes narrow what the token may do: what is inside of one of them. Absent: the user's full authority.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Scopes []Scope `json:"scopes,omitempty"`

	// from are the networks that requests may come from, in CIDR notation without host bits. Absent: every network. With networks
	// the token works only through the proxy, because the API server's webhook does not know where a request comes from.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="must be a network in CIDR notation without host bits, for example 203.0.113.0/24 or 2001:db8::/32"
	From []string `json:"from,omitempty"`

	// rotation says when the token is replaced by a successor.
	// +optional
	Rotation *Rotation `json:"rotation,omitempty"`

	// delivery says how a token that the operator makes reaches its holder. Neither this nor token: a Secret for an hour.
	// +optional
	Delivery *Delivery `json:"delivery,omitempty"`

	// token is one that its holder made; the cluster knows only its id and digest.
	// +optional
	Token *HolderToken `json:"token,omitempty"`
}

// UserInfo is a user as authentication.k8s.io/v1 UserInfo names one.
type UserInfo struct {
	// username is the user's name, unique among active users.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Username string `json:"username"`

	// uid tells users apart who have the same name at different times.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	UID string `json:"uid,omitempty"`

	// groups are the names of the groups that the token's holder is in: a snapshot. At most 1000 names of 1024 bytes, which
	// have 128 KiB together.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.map(g, size(g)).sum() <= 131072",message="a token carries groups of at most 128 KiB together; list the groups that the token needs in spec.user.groups"
	Groups []string `json:"groups,omitempty"`

	// extra is any additional information of the authenticator.
	// +optional
	// +mapType=granular
	// +kubebuilder:validation:MaxProperties=16
	Extra map[string]ExtraValue `json:"extra,omitempty"`
}

// ExtraValue is the list of values of one key of a user's extra.
//
// +listType=atomic
// +kubebuilder:validation:MinItems=1
// +kubebuilder:validation:MaxItems=16
// +kubebuilder:validation:items:MinLength=1
// +kubebuilder:validation:items:MaxLength=1024
type ExtraValue []string

// Scope is one thing a narrowed token may do: exactly one of preset, rule and api.
//
// +kubebuilder:validation:XValidation:rule="[has(self.preset), has(self.rule), has(self.api)].exists_one(x, x)",message="set exactly one of preset, rule and api"
// +kubebuilder:validation:XValidation:rule="!has(self.namespaces) || has(self.preset) || has(self.rule) && !has(self.rule.nonResourceURLs)",message="namespaces narrow a preset, or a rule for resources"
type Scope struct {
	// preset is the name of a ready-made scope. namespace-admin and ci-deploy count in the namespace of the resource unless
	// namespaces are named.
	// +optional
	// +kubebuilder:validation:Enum=read-only;namespace-admin;ci-deploy;metrics
	Preset string `json:"preset,omitempty"`

	// rule is a scope in the terms of RBAC.
	// +optional
	Rule *ScopeRule `json:"rule,omitempty"`

	// api is a scope of another API, as RFC 6749 writes one. It allows nothing in Kubernetes. full, and what begins with
	// kubernetes:, have a meaning of their own.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self != 'full' && !self.startsWith('kubernetes:')",message="the scopes full and kubernetes:* tell other APIs of the authority in Kubernetes; name another one"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[\x21\x23-\x5b\x5d-\x7e]+$`
	API string `json:"api,omitempty"`

	// namespaces are those that a request may be in. Empty: every namespace, and what is in none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`
}

// ScopeRule is a scope in the terms of an RBAC rule: apiGroups and resources, or nonResourceURLs.
//
// +kubebuilder:validation:XValidation:rule="has(self.resources) != has(self.nonResourceURLs)",message="set exactly one of resources and nonResourceURLs"
// +kubebuilder:validation:XValidation:rule="has(self.resources) == has(self.apiGroups)",message="apiGroups and resources belong together; the core group is \"\""
// +kubebuilder:validation:XValidation:rule="!has(self.resourceNames) || has(self.resources)",message="resourceNames narrow resources"
type ScopeRule struct {
	// verbs are the verbs allowed.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	Verbs []string `json:"verbs"`

	// apiGroups are the API groups of resources; "" is the core group.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	APIGroups []string `json:"apiGroups,omitempty"`

	// resources are the resources allowed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Resources []string `json:"resources,omitempty"`

	// resourceNames narrow resources to these names. Empty: every name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	ResourceNames []string `json:"resourceNames,omitempty"`

	// nonResourceURLs are the paths allowed that are no resources.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	NonResourceURLs []string `json:"nonResourceURLs,omitempty"`
}

// Rotation says when a token is replaced by a successor.
type Rotation struct {
	// trigger is any string; a new one asks for a new token.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Trigger string `json:"trigger,omitempty"`

	// overlapSeconds is how long the predecessor works alongside its successor, in seconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=31622400
	OverlapSeconds int32 `json:"overlapSeconds,omitempty"`

	// retireOnFirstUse ends the predecessor as soon as the successor is first used.
	// +optional
	RetireOnFirstUse bool `json:"retireOnFirstUse,omitempty"`

	// everyDays rotates the token automatically after this many days. It requires delivery to recipients.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3660
	EveryDays *int32 `json:"everyDays,omitempty"`
}

// Delivery says how a token that the operator makes reaches its holder: exactly one of secret and recipients.
//
// +kubebuilder:validation:XValidation:rule="has(self.secret) != has(self.recipients)",message="set exactly one of secret and recipients"
type Delivery struct {
	// secret puts the plaintext into a Secret of the resource's namespace, for a while.
	// +optional
	Secret *SecretDelivery `json:"secret,omitempty"`

	// recipients are age or SSH public keys, each one once; status.encryptedToken can be opened by any of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=4096
	Recipients []string `json:"recipients,omitempty"`
}

// SecretDelivery puts the plaintext into a Secret for a while.
type SecretDelivery struct {
	// ttlSeconds is how long the Secret lives, in seconds. Absent: 3600.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=604800
	TTLSeconds *int32 `json:"ttlSeconds,omitempty"`
}

// HolderToken is a token made on its holder's machine.
type HolderToken struct {
	// id is the public part of the token: 16 characters of lower-case base32.
	// +required
	// +kubebuilder:validation:Pattern=`^[a-z2-7]{16}$`
	// +kubebuilder:validation:MaxLength=16
	ID string `json:"id"`

	// sha256 is the token's digest in lower-case hex, bound to the namespace and name of this resource.
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	// +kubebuilder:validation:MaxLength=64
	SHA256 string `json:"sha256"`

	// boundTo is the "<namespace>/<name>" that sha256 was computed for, and must be this resource's.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=127
	BoundTo string `json:"boundTo"`
}

// PersonalAccessTokenList is a list of PersonalAccessTokens.
//
// +kubebuilder:object:root=true
type PersonalAccessTokenList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PersonalAccessToken `json:"items"`
}
