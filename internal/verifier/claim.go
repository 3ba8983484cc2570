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

package verifier

import (
	"net/netip"
	"slices"
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/token"
)

// indexEntry is what one resource claims of one id. It does not change after it was published.
type indexEntry struct {
	// ended: the id has ended for good and its digest was erased.
	ended bool
	// digest is zero, and matches nothing, where the token has not been issued yet.
	digest token.Digest
	// deleting: the resource is marked deleted, so the token has ended for good.
	deleting bool
	// withheld is why the token is not valid now; empty if it is.
	withheld  Reason
	expiresAt time.Time
	// deniedFrom is when policies end the token, until they are changed; zero if they do not.
	deniedFrom time.Time
	issuedAt   time.Time
	// ofHolder: the token was made by its holder, and not by the operator.
	ofHolder bool

	namespace, name string
	// user lacks the groups that policies leave out.
	user                           *v1alpha1.UserInfo
	recordAudiences, specAudiences []string
	limits                         scope.Limits
	networks                       *Networks
}

// idEntry is an index entry and the id that it is published under.
type idEntry struct {
	id string
	*indexEntry
}

// recordFacts are what verification needs of a record.
type recordFacts struct {
	resource  record.Resource
	user      *v1alpha1.UserInfo
	audiences []string
	limits
	// account is the service account that the user is; zero for everybody else.
	account types.NamespacedName
	// withheld is why the record itself makes its tokens invalid.
	withheld Reason
	// tokens are those that have not ended, the current one before its predecessor.
	tokens  []tokenFacts
	current string
	pending string
	ended   []string
}

// tokenFacts are what verification needs of a token that was issued and has not ended.
type tokenFacts struct {
	id                  string
	digest              token.Digest
	issuedAt, expiresAt time.Time
	ofHolder            bool
}

// resourceFacts are what verification needs of a PersonalAccessToken. spec lacks what join does not read.
type resourceFacts struct {
	key      types.NamespacedName
	uid      types.UID
	deleting bool
	spec     *v1alpha1.PersonalAccessTokenSpec
	limits
	// withheld is why the resource itself makes its tokens invalid.
	withheld Reason
	// revoked are the ids that status names as such now.
	revoked []string
	use     Use
}

// factsOfRecord keeps nothing of the record alive but what it returns.
func factsOfRecord(r *record.Record) *recordFacts {
	user := r.User
	internUser(&user)
	f := &recordFacts{resource: r.Resource, user: &user}
	f.resource.Namespace = intern(r.Resource.Namespace)
	account, isAccount := identity.ServiceAccount(r.User.Username)
	f.account = account
	switch {
	case r.Granted == nil:
	case len(identity.Check(field.NewPath("user"), &r.User)) > 0, isAccount && r.User.UID == "":
		f.withheld = ReasonUserRefused
	case r.Granted.Suspend:
		f.withheld = ReasonSuspended
	}
	if r.Granted != nil {
		f.audiences = r.Granted.Audiences
		if f.withheld == "" {
			f.limits, f.withheld = limitsOf(r.Granted, r.Resource.Namespace)
		}
	}
	if r.Current != nil {
		f.current = r.Current.ID
	}
	for _, e := range r.Ended {
		f.ended = append(f.ended, e.ID)
	}
	for _, t := range []*record.Token{r.Current, r.Previous} {
		if t == nil || r.EndOf(t.ID) != nil {
			continue
		}
		// A digest that does not parse stays zero and matches nothing.
		digest, _ := token.ParseDigest(t.Digest)
		f.tokens = append(f.tokens, tokenFacts{
			id: t.ID, digest: digest, issuedAt: t.IssuedAt, expiresAt: t.EndsAt(), ofHolder: t.Source == record.SourceHolder,
		})
	}
	if r.Pending != nil && r.EndOf(r.Pending.ID) == nil {
		f.pending = r.Pending.ID
	}
	return f
}

// factsOfResource keeps nothing of the object alive but what it returns.
func factsOfResource(pat *v1alpha1.PersonalAccessToken) *resourceFacts {
	limits, withheld := limitsOf(&pat.Spec, pat.Namespace)
	spec := pat.Spec
	spec.DisplayName, spec.Rotation, spec.Delivery, spec.Scopes, spec.From = "", nil, nil, nil, nil
	f := &resourceFacts{
		key:      types.NamespacedName{Namespace: intern(pat.Namespace), Name: pat.Name},
		uid:      pat.UID,
		deleting: pat.DeletionTimestamp != nil,
		spec:     &spec,
		limits:   limits,
		withheld: withheld,
		use:      useOf(pat),
	}
	for _, r := range pat.Status.Revoked {
		f.revoked = append(f.revoked, r.TokenID)
	}
	return f
}

// limits are what a record or a spec narrows a token to.
type limits struct {
	// scopes is nil for the user's full authority.
	scopes *scope.Set
	// from is nil for every address.
	from []netip.Prefix
}

// limitsOf compiles the limits of a spec, or says why no face can enforce them.
func limitsOf(spec *v1alpha1.PersonalAccessTokenSpec, namespace string) (limits, Reason) {
	var l limits
	for _, cidr := range spec.From {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return limits{}, reasonAddressBound
		}
		l.from = append(l.from, prefix)
	}
	if len(spec.Scopes) == 0 {
		return l, ""
	}
	set, err := scope.Compile(spec.Scopes, namespace)
	if err != nil {
		return limits{}, ReasonScoped
	}
	l.scopes = set
	return l, ""
}

// intern keeps equal strings once: thousands of tokens have the same users, groups and namespaces.
func intern(s string) string { return unique.Make(s).Value() }

// internUser replaces the strings of a user that is nobody else's.
func internUser(u *v1alpha1.UserInfo) {
	u.Username, u.UID = intern(u.Username), intern(u.UID)
	for i := range u.Groups {
		u.Groups[i] = intern(u.Groups[i])
	}
}

// knows reports whether an id is, or ever was, a token of the record.
func (f *recordFacts) knows(id string) bool {
	if f == nil {
		return false
	}
	for i := range f.tokens {
		if f.tokens[i].id == id {
			return true
		}
	}
	for _, e := range f.ended {
		if e == id {
			return true
		}
	}
	return f.pending == id
}

// names reports whether the resource names an id, as a holder's own or as revoked.
func (f *resourceFacts) names(id string) bool {
	return f != nil && (f.spec.Token != nil && f.spec.Token.ID == id || slices.Contains(f.revoked, id))
}

// join makes the index entries of one resource from its record and itself, of which either may not have been seen. What is revoked
// has ended, though its record may not say so yet.
func (x *Index) join(r *recordFacts, pat *resourceFacts, revoked []string) []idEntry {
	var entries []idEntry
	if r != nil {
		ended := &indexEntry{ended: true}
		for _, id := range r.ended {
			entries = append(entries, idEntry{id: id, indexEntry: ended})
		}
		if r.pending != "" {
			entries = append(entries, idEntry{id: r.pending, indexEntry: &indexEntry{}})
		}
		policies := x.policies.For(r.resource.Namespace, r.user)
		withIt := false // A predecessor ends with the current token, which is the first.
		for i := range r.tokens {
			t := &r.tokens[i]
			if withIt = withIt || slices.Contains(revoked, t.id); withIt {
				entries = append(entries, idEntry{id: t.id, indexEntry: ended})
				continue
			}
			entries = append(entries, idEntry{id: t.id, indexEntry: x.joinToken(r, t, pat, policies)})
		}
	}
	// A holder's own token, before its record has been seen: without this an id that has ended in another resource would be
	// refused for good here too.
	if pat != nil && pat.spec.Token != nil && token.ValidID(pat.spec.Token.ID) && !r.knows(pat.spec.Token.ID) {
		entries = append(entries, idEntry{id: pat.spec.Token.ID, indexEntry: &indexEntry{}})
	}
	return entries
}

func (x *Index) joinToken(r *recordFacts, t *tokenFacts, pat *resourceFacts, policies policy.Limits) *indexEntry {
	c := &indexEntry{
		digest:          t.digest,
		issuedAt:        t.issuedAt,
		expiresAt:       t.expiresAt,
		ofHolder:        t.ofHolder,
		namespace:       r.resource.Namespace,
		name:            r.resource.Name,
		user:            r.user,
		recordAudiences: r.audiences,
	}
	if pat == nil || (record.Resource{Namespace: pat.key.Namespace, Name: pat.key.Name, UID: pat.uid}) != r.resource {
		c.withheld = ReasonResourceNotSeen
		return c
	}
	c.deleting = pat.deleting
	c.specAudiences = pat.spec.Audiences
	c.limits = scope.Limits{Record: r.scopes, Spec: pat.scopes}
	if of := policies.Networks(); r.from != nil || pat.from != nil || of != nil {
		c.networks = &Networks{record: r.from, spec: pat.from, policies: of}
	}
	if end := lifecycle.End(pat.spec, t.issuedAt); end.Before(c.expiresAt) {
		c.expiresAt = end
	}
	c.deniedFrom, _ = policies.End(t.issuedAt)
	if groups := policies.Groups(r.user); len(groups) < len(r.user.Groups) {
		narrowed := *r.user
		narrowed.Groups = groups
		c.user = &narrowed
	}
	denial := policies.Denial()
	switch {
	case r.withheld != "":
		c.withheld = r.withheld
	case pat.withheld != "":
		c.withheld = pat.withheld
	case pat.spec.User == nil || !identity.Equal(pat.spec.User, r.user):
		c.withheld = ReasonUserChanged
	case r.account.Name != "" && string(x.accounts[r.account]) != r.user.UID:
		c.withheld = ReasonOwnerNotSeen
	case pat.spec.Suspend:
		c.withheld = ReasonSuspended
	case denial != nil && len(denial.Unknown) > 0:
		c.withheld = ReasonPolicyNotUnderstood
	case denial != nil:
		c.withheld = ReasonDeniedByPolicy
	}
	return c
}
