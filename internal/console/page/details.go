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

// Details is everything that is known of a token.
type Details struct {
	Row
	// User is whose authority the token carries.
	User string
	// TokenID and PreviousTokenID are the public ids of the token, and of a predecessor that still works.
	TokenID, PreviousTokenID string
	// ResourceName is the name of the PersonalAccessToken.
	ResourceName string
	// DeliverySecret is the Secret that the token lies in until it is taken; "": none.
	DeliverySecret string
	// Audiences, none: the API server's own. Scopes, none: the user's full authority. Recipients, none: not encrypted.
	Audiences, Scopes, Groups, Recipients []string
	// EncryptedToken is the armored age file that the recipients open; "": not made, or not for any.
	EncryptedToken string
	// FirstUsed and Issued are zero where they are not known, or never were.
	FirstUsed, Issued time.Time
	Conditions        []Condition
	// MayRotate, MaySuspend, MayResume and MayRevoke offer it. Row.MayRevoke is not read.
	MayRotate, MaySuspend, MayResume, MayRevoke bool
	// ReadOnly says why the rest is not offered; "": nothing is kept back.
	ReadOnly string
	// Fixed is true where the end is fixed, so that a rotation would make no token, or one that ends soon.
	Fixed bool
	// MayRename offers to rename it: DisplayName, or NewName as typed, of which NameError says what is wrong and NameCause why.
	MayRename                                  bool
	DisplayName, NewName, NameError, NameCause string
	// UID is that of the resource as it was seen.
	UID string
	// Changed is true after a change that the table does not show yet.
	Changed bool
	// Works is true while the resource has a token that is honored, whatever State says of the next one.
	Works bool
	// GitOps is the tool that keeps the resource as Git has it; "": none.
	GitOps string
	// Revoked are tokens of this resource that were revoked while it was kept.
	Revoked []RevokedEntry
}

// Condition is a condition of the resource's status.
type Condition struct {
	Type, Status, Reason, Message string
	Since                         time.Time
}

// RevokedEntry is a token that was revoked while its resource was kept.
type RevokedEntry struct {
	TokenID, By, Reason string
	At                  time.Time
}

// Trouble says whether the conditions are what the visitor has come for.
func (d Details) Trouble() bool { return d.State == StateFailed || d.State == StateIssuing }

// Overlap is how long the old token can be kept working beside the new one.
type Overlap struct {
	Seconds string
	// Word is the length, for people; Ends is when the old token then ends.
	Word string
	Ends time.Time
}

// Now reports whether the old token ends at once.
func (o Overlap) Now() bool { return o.Seconds == "0" }

// Confirm is the question before something is done to a token. Its POST holds uid, and overlap of a rotation.
type Confirm struct {
	// Kind is one of revoke, rotate, suspend and resume.
	Kind string
	Row
	// Warning is what the visitor should know before, such as that Git brings the resource back.
	Warning string
	// Overlaps are how long the old token can be kept working, and Overlap is the chosen one's Seconds. None: it has ended.
	Overlaps []Overlap
	Overlap  string
	// FirstUse ends the old token at the new one's first use, if that comes sooner.
	FirstUse bool
	// NewEnd is when the new token expires.
	NewEnd time.Time
	// Errors are by the field's name; "" is the whole form. Cause is the API server's own words, which are folded away.
	Errors map[string]string
	Cause  string
	// UID is that of the resource as it was seen.
	UID string
}
