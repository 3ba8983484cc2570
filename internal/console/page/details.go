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

package page

import "time"

// Details is everything known about a token.
type Details struct {
	Row
	// User is the token's user.
	User string
	// TokenID and PreviousTokenID are the ids of the token and of a predecessor that still works.
	TokenID, PreviousTokenID string
	// ResourceName is the name of the PersonalAccessToken.
	ResourceName string
	// DeliverySecret is the Secret that holds the token until it is read; "": none.
	DeliverySecret string
	// Without Audiences the token is for the API server; without Scopes it has all permissions of the user; without From it works
	// from everywhere; without Recipients it is not encrypted.
	Audiences, Scopes, From, Groups, Recipients []string
	// EncryptedToken is the armored age file for the recipients; "": not there yet, or not encrypted.
	EncryptedToken string
	// FirstUsed and Issued are zero if unknown or if that never happened.
	FirstUsed, Issued time.Time
	Conditions        []Condition
	// MayRotate, MaySuspend, MayResume and MayRevoke offer these actions. Row.MayRevoke is not used.
	MayRotate, MaySuspend, MayResume, MayRevoke bool
	// ReadOnly says why the visitor may only look and revoke; "": more is allowed.
	ReadOnly string
	// Unenforced reports that the token is refused for the moment, because it has Scopes.
	Unenforced bool
	// Proxy is the URL at which a token with From works; "": the visitor may not know.
	Proxy string
	// Fixed reports that the end is fixed, so that a new token would have expired or would expire soon.
	Fixed bool
	// MayRename offers to rename the token. The form has DisplayName, or NewName as typed with NameError and NameCause.
	MayRename                                  bool
	DisplayName, NewName, NameError, NameCause string
	// UID is that of the resource as it was seen.
	UID string
	// Changed reports a change that the table does not show yet.
	Changed bool
	// Works reports that the resource has a working token, whatever State says about the next one.
	Works bool
	// Stopped is why the administrators stop the token, in their words; "": it is not known. Policy is the name of their TokenPolicy.
	Stopped, Policy string
	// GitOps is the tool that manages the resource from Git; "": none.
	GitOps string
	// Revoked are earlier tokens of this resource that were revoked.
	Revoked []RevokedEntry
}

// Condition is a condition of the resource's status.
type Condition struct {
	Type, Status, Reason, Message string
	Since                         time.Time
}

// RevokedEntry is a revoked token whose resource still exists.
type RevokedEntry struct {
	TokenID, By, Reason string
	At                  time.Time
}

// Trouble reports whether to show the conditions at once.
func (d Details) Trouble() bool { return d.State == StateFailed || d.State == StateIssuing }

// Overlap is how long the old token can be kept working.
type Overlap struct {
	Seconds string
	// Word is the length for people; Ends is when the old token would end.
	Word string
	Ends time.Time
}

// Now reports whether the old token ends at once.
func (o Overlap) Now() bool { return o.Seconds == "0" }

// Confirm is the question before an action on a token. Its POST has uid and, for a rotation, overlap.
type Confirm struct {
	// Kind is one of revoke, rotate, suspend and resume.
	Kind string
	Row
	// Warning is what the visitor should know first, such as that Git recreates the resource.
	Warning string
	// Overlaps are the choices, and Overlap is the chosen one's Seconds. None: the old token has ended.
	Overlaps []Overlap
	Overlap  string
	// FirstUse ends the old token at the first use of the new one, if that comes sooner.
	FirstUse bool
	// NewEnd is when the new token expires.
	NewEnd time.Time
	// Errors are by field name; "" is the whole form. Cause is the API server's message, which the page folds away.
	Errors map[string]string
	Cause  string
	// UID is that of the resource as it was seen.
	UID string
}
