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

// Package verifier decides whether a bearer token is valid now, from memory alone.
//
// An Index joins four feeds, which are records, PersonalAccessTokens, the UIDs of service accounts and TokenPolicies, into immutable
// claims by the token's public id. Verify only reads them: it never asks the API server, and it computes at most maxCompared
// digests, however many resources claim the id. The package knows nothing of HTTP.
package verifier

import (
	"slices"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/token"
)

// Verdict is what Verify says of a token.
type Verdict int

const (
	// NotReady means that this replica does not know enough to answer; another one may.
	NotReady Verdict = iota
	// Authenticated means that the token is valid, for the audiences that the Result names.
	Authenticated
	// Refused is final: the token is not ours, has ended for good, or is not for this audience. It may be cached.
	Refused
	// Unknown means that the token does not work now, and the next watch event may change that. It must not be cached.
	Unknown
)

// String is the verdict as metrics and logs name it.
func (v Verdict) String() string {
	switch v {
	case Authenticated:
		return "authenticated"
	case Refused:
		return "refused"
	case Unknown:
		return "unknown"
	case NotReady:
	}
	return "not_ready"
}

// Reason explains a verdict in logs and metrics; the client that presented the token must not see it.
type Reason string

// Reasons of a Result.
const (
	reasonValid           Reason = "Valid"
	ReasonNotReady        Reason = "NotReady"
	ReasonForeign         Reason = "Foreign"
	ReasonEnded           Reason = "Ended"
	ReasonExpired         Reason = "Expired"
	ReasonDeleting        Reason = "ResourceDeleting"
	ReasonAudience        Reason = "Audience"
	reasonUnknownID       Reason = "UnknownID"
	reasonNoMatch         Reason = "NoMatch"
	ReasonResourceNotSeen Reason = "ResourceNotSeen"
	ReasonOwnerNotSeen    Reason = "OwnerNotSeen"
	ReasonUserRefused     Reason = "UserRefused"
	ReasonUserChanged     Reason = "UserChanged"
	ReasonScoped          Reason = "Scoped"
	reasonAddressBound    Reason = "AddressBound"
	ReasonSuspended       Reason = "Suspended"
	// ReasonDeniedByPolicy: a TokenPolicy denies the token, or has ended it. Without the policy it works again.
	ReasonDeniedByPolicy Reason = "DeniedByPolicy"
	// ReasonPolicyNotUnderstood: a TokenPolicy has a field that this version does not know, so it denies the token.
	ReasonPolicyNotUnderstood Reason = "PolicyNotUnderstood"
)

// Verdicts are all reasons that Verify gives, with the verdict of each, for metrics that show all of them from the start.
func Verdicts() map[Reason]Verdict {
	return map[Reason]Verdict{
		reasonValid: Authenticated, ReasonNotReady: NotReady,
		ReasonForeign: Refused, ReasonEnded: Refused, ReasonExpired: Refused, ReasonDeleting: Refused, ReasonAudience: Refused,
		reasonUnknownID: Unknown, reasonNoMatch: Unknown, ReasonResourceNotSeen: Unknown, ReasonOwnerNotSeen: Unknown,
		ReasonUserRefused: Unknown, ReasonUserChanged: Unknown, ReasonScoped: Unknown, reasonAddressBound: Unknown, ReasonSuspended: Unknown,
		ReasonDeniedByPolicy: Unknown, ReasonPolicyNotUnderstood: Unknown,
	}
}

// Result is the answer about one token. Its slices and maps are shared with the index and must not be written to.
type Result struct {
	Verdict Verdict
	Reason  Reason
	// ID is the token's public id, wherever the token is well-formed and the index ready.
	ID string
	// Audiences, in a yes, are those asked for that the token is valid for, and never empty. In an Unknown they are those
	// asked for: kube-apiserver loses an error whose audiences miss its own.
	Audiences []string

	// Namespace and Name are those of the PersonalAccessToken whose token this is. They are empty where no digest matches, as
	// with every id that has ended.
	Namespace string
	Name      string
	// User, IssuedAt and ExpiresAt are set where the verdict is Authenticated. User lacks the groups that policies leave out, and
	// ExpiresAt may be an end that a policy sets.
	User                v1alpha1.UserInfo
	IssuedAt, ExpiresAt time.Time
	// Limits are the scopes of the token. A face that cannot enforce them on its API must not accept the token there.
	Limits scope.Limits
	// Networks are where requests with the token may come from. A face that does not know that must not accept the token.
	Networks *Networks

	// entry is what the answer rests on, and face who was asked.
	entry *indexEntry
	face  enforces
}

// enforces is what a face enforces itself: scopes, networks, and which of the token's audiences count.
type enforces struct{ scopes, networks, audiences bool }

// Verify decides whether a bearer token is valid at a time for any of the audiences; none stand for the API server's own.
//
// An id is public, so a resource can claim the id of another one's token. The entry whose digest matches wins over every
// other. Only a matching digest, or the end of every entry of the id, makes a refusal that may be cached. An ended token keeps
// no digest, so only its id tells it.
//
// A token with scopes is not valid for the API server, and one that is bound to addresses for nobody, because the caller does
// not enforce that; VerifyScoped, VerifyProxied and VerifyAll are for callers that do.
func (x *Index) Verify(bearer string, audiences []string, now time.Time) Result {
	return x.verify(bearer, audiences, now, enforces{})
}

// VerifyScoped is Verify where the API server enforces Limits.
func (x *Index) VerifyScoped(bearer string, audiences []string, now time.Time) Result {
	return x.verify(bearer, audiences, now, enforces{scopes: true})
}

// VerifyProxied is Verify for the API server's own audiences where the caller enforces Limits and Networks.
func (x *Index) VerifyProxied(bearer string, now time.Time) Result {
	return x.verify(bearer, nil, now, enforces{scopes: true, networks: true})
}

// VerifyFrom is Verify where the caller enforces Networks.
func (x *Index) VerifyFrom(bearer string, audiences []string, now time.Time) Result {
	return x.verify(bearer, audiences, now, enforces{networks: true})
}

// VerifyAll is Verify for all audiences that the token has, where the caller enforces Limits and Networks, and takes only what its
// own caller may ask about of Audiences.
func (x *Index) VerifyAll(bearer string, now time.Time) Result {
	return x.verify(bearer, nil, now, enforces{scopes: true, networks: true, audiences: true})
}

// Limits are the scopes of a token that is valid now, by its id and its resource. ok is false where it is not, or where this
// replica cannot know.
func (x *Index) Limits(id, namespace, name string, now time.Time) (limits scope.Limits, ok bool) {
	if x.Ready(now) != nil {
		return scope.Limits{}, false
	}
	all, _ := x.lookup(id)
	for _, c := range all.compared {
		if c.namespace == namespace && c.name == name && !c.digest.IsZero() {
			return c.limits, !c.deleting && c.withheld == "" && now.Before(c.end())
		}
	}
	return scope.Limits{}, false
}

func (x *Index) verify(bearer string, audiences []string, now time.Time, face enforces) Result {
	id, err := token.Parse(bearer)
	if err != nil {
		return Result{Verdict: Refused, Reason: ReasonForeign}
	}
	own := x.apiAudiences()
	if x.Ready(now) != nil {
		return Result{Verdict: NotReady, Reason: ReasonNotReady, ID: id}
	}
	if len(audiences) == 0 {
		audiences = own
	}
	all, ok := x.lookup(id)
	if !ok {
		return Result{Verdict: Unknown, Reason: reasonUnknownID, ID: id, Audiences: audiences}
	}
	for _, c := range all.compared {
		// A digest names its resource, and a resource claims an id once, so no other entry matches.
		if c.digest.Equal(token.NewDigest(c.namespace, c.name, bearer)) {
			return c.answer(id, audiences, own, now, face)
		}
	}
	if all.allEnded() {
		return Result{Verdict: Refused, Reason: ReasonEnded, ID: id}
	}
	return Result{Verdict: Unknown, Reason: reasonNoMatch, ID: id, Audiences: audiences}
}

// answer is the result for the token that matches the entry's digest.
func (c *indexEntry) answer(id string, audiences, own []string, now time.Time, face enforces) Result {
	switch {
	case c.deleting:
		return Result{Verdict: Refused, Reason: ReasonDeleting, ID: id, Namespace: c.namespace, Name: c.name}
	case !now.Before(c.expiresAt):
		return Result{Verdict: Refused, Reason: ReasonExpired, ID: id, Namespace: c.namespace, Name: c.name}
	case c.withheld != "":
		return Result{Verdict: Unknown, Reason: c.withheld, ID: id, Audiences: audiences, Namespace: c.namespace, Name: c.name}
	case !now.Before(c.end()):
		// Not final as the token's own end is: the policy may be changed.
		return Result{Verdict: Unknown, Reason: ReasonDeniedByPolicy, ID: id, Audiences: audiences, Namespace: c.namespace, Name: c.name}
	}
	if face.audiences {
		audiences = c.recordAudiences
		if len(audiences) == 0 {
			audiences = own
		}
	}
	var granted []string
	for _, audience := range audiences {
		if allows(c.recordAudiences, own, audience) && allows(c.specAudiences, own, audience) {
			granted = append(granted, audience)
		}
	}
	if len(granted) == 0 {
		return Result{Verdict: Refused, Reason: ReasonAudience, ID: id, Namespace: c.namespace, Name: c.name}
	}
	if c.networks != nil && !face.networks {
		return Result{Verdict: Unknown, Reason: reasonAddressBound, ID: id, Audiences: audiences, Namespace: c.namespace, Name: c.name}
	}
	// One audience of its own in the question tells the API server, which may have more of them than are known here.
	if !c.limits.Full() && !face.scopes && slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(own, a) }) {
		return Result{Verdict: Unknown, Reason: ReasonScoped, ID: id, Audiences: audiences, Namespace: c.namespace, Name: c.name}
	}
	return Result{
		Verdict:   Authenticated,
		Reason:    reasonValid,
		ID:        id,
		Audiences: granted,
		User:      *c.user,
		Namespace: c.namespace,
		Name:      c.name,
		IssuedAt:  c.issuedAt,
		ExpiresAt: c.end(),
		Limits:    c.limits,
		Networks:  c.networks,
		entry:     c,
		face:      face,
	}
}

// end is the earlier one of the token's own and that of policies.
func (c *indexEntry) end() time.Time {
	if !c.deniedFrom.IsZero() && c.deniedFrom.Before(c.expiresAt) {
		return c.deniedFrom
	}
	return c.expiresAt
}

// AtEnd is why a token that was authenticated is refused from ExpiresAt on.
func (r *Result) AtEnd() Reason {
	if r.entry != nil && r.ExpiresAt.Before(r.entry.expiresAt) {
		return ReasonDeniedByPolicy
	}
	return ReasonExpired
}

// allows reports whether a list of audiences holds one; an empty list stands for the API server's own.
func allows(list, own []string, audience string) bool {
	if len(list) == 0 {
		list = own
	}
	return slices.Contains(list, audience)
}
