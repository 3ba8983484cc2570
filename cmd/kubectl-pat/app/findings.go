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

package app

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
)

// Findings is what find prints with -o json and -o yaml.
type Findings struct {
	Tokens []Finding `json:"tokens"`
}

// Finding is a resource that names a token.
type Finding struct {
	TokenID string `json:"tokenID"`
	// State is what the resource says of this token: Active, or why it is not; Predecessor beside its successor; Revoked;
	// Deleting where the resource is marked as deleted, which ends each of its tokens.
	// Where spec alone names it: Replaced, when the operator has refused it as one that was rotated out, else NotIssued.
	State string `json:"state"`
	// Digest tells whether a whole token is the one of the digest in spec.token: matches or differs, "" where that is not
	// known.
	Digest string `json:"digest,omitempty"`
	// ExpiresAt is when this token ends, where that is known.
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
	// PersonalAccessToken is the resource.
	PersonalAccessToken *v1alpha1.PersonalAccessToken `json:"personalAccessToken"`
}

// Values of Finding.State that are no reasons of Active, and of Finding.Digest.
const (
	statePredecessor = "Predecessor"
	stateReplaced    = "Replaced"
	stateNotIssued   = "NotIssued"
	stateUnknown     = "Unknown"

	digestMatches = "matches"
	digestDiffers = "differs"
)

// match returns which of the resources name what was seen, in the order of the sightings.
func match(sightings []sighting, pats []v1alpha1.PersonalAccessToken) []Finding {
	byID := map[string][]*v1alpha1.PersonalAccessToken{}
	for i := range pats {
		for _, id := range idsOf(&pats[i]) {
			byID[id] = append(byID[id], &pats[i])
		}
	}
	var findings []Finding
	for _, s := range sightings {
		for _, pat := range byID[s.id] {
			f := Finding{TokenID: s.id, PersonalAccessToken: pat, Digest: compare(pat, s)}
			f.State, f.ExpiresAt = stateOf(pat, s.id)
			findings = append(findings, f)
		}
	}
	return findings
}

// idsOf are all that a resource names, each once.
func idsOf(pat *v1alpha1.PersonalAccessToken) []string {
	ids := []string{pat.Status.TokenID, pat.Status.PreviousTokenID}
	if pat.Spec.Token != nil {
		ids = append(ids, pat.Spec.Token.ID)
	}
	for _, revoked := range pat.Status.Revoked {
		ids = append(ids, revoked.TokenID)
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
}

// stateOf is what a resource says of one of its tokens, and when that ends.
func stateOf(pat *v1alpha1.PersonalAccessToken, id string) (state string, end *metav1.Time) {
	active := holder.Active(pat)
	switch {
	case holder.Deleting(pat):
		return active.Reason, nil
	case slices.ContainsFunc(pat.Status.Revoked, func(r v1alpha1.RevokedToken) bool { return r.TokenID == id }):
		return v1alpha1.ReasonRevoked, nil
	case id == pat.Status.TokenID && active == nil:
		return stateUnknown, pat.Status.ExpiresAt
	case id == pat.Status.TokenID:
		return active.Reason, pat.Status.ExpiresAt
	case id == pat.Status.PreviousTokenID:
		return statePredecessor, pat.Status.PreviousTokenExpiresAt
	}
	// That status names another is not enough: this one may be about to take its place.
	stalled := holder.Condition(pat, v1alpha1.ConditionStalled)
	switch {
	case !holder.HasStatus(stalled, metav1.ConditionTrue) || stalled.Reason != v1alpha1.ReasonTokenRevoked:
		return stateNotIssued, pat.Spec.ExpiresAt
	case pat.Status.TokenID == "":
		return v1alpha1.ReasonRevoked, nil
	}
	return stateReplaced, nil
}

// compare tells whether one of the whole tokens that were seen is the one that its holder has made the digest of.
func compare(pat *v1alpha1.PersonalAccessToken, s sighting) string {
	if pat.Spec.Token == nil || pat.Spec.Token.ID != s.id || len(s.plaintexts) == 0 {
		return ""
	}
	digest, err := token.ParseDigest(pat.Spec.Token.SHA256)
	if err != nil {
		return ""
	}
	if slices.ContainsFunc(s.plaintexts, func(plaintext string) bool {
		return digest.Equal(token.NewDigest(pat.Namespace, pat.Name, plaintext))
	}) {
		return digestMatches
	}
	return digestDiffers
}

// over tells why there is nothing to end, or "" where there is. To delete the resource would take away the trace of this
// token, or end another that works.
func (f *Finding) over() string {
	switch {
	case f.Digest == digestDiffers:
		return fmt.Sprintf("token with the ID %s that was found is not its own", f.TokenID)
	case f.State == v1alpha1.ReasonRevoked:
		return fmt.Sprintf("token %s that was found is revoked", f.TokenID)
	case f.State == v1alpha1.ReasonDeleting:
		return fmt.Sprintf("token %s that was found has ended, because its resource was deleted", f.TokenID)
	case f.State == v1alpha1.ReasonExpired:
		return fmt.Sprintf("token %s that was found has expired", f.TokenID)
	case f.State == stateReplaced:
		return fmt.Sprintf("token %s that was found was replaced by its present one", f.TokenID)
	}
	return ""
}

// beside tells that the resource has another token than the one that was found.
func (f *Finding) beside() bool {
	present := f.PersonalAccessToken.Status.TokenID
	return present != "" && present != f.TokenID
}

// notThisOne tells why the resource is not to be deleted for what was found, or "" where that ends it, and it alone.
func (f *Finding) notThisOne() string {
	why := f.over()
	switch {
	case why != "":
	case f.State == statePredecessor:
		why = fmt.Sprintf("token %s that was found is the predecessor of its present one", f.TokenID)
	case f.beside():
		why = fmt.Sprintf("token %s that was found is not its present one", f.TokenID)
	}
	return why
}

// end is the command that ends the token, and no other that works.
func (f *Finding) end() string {
	if f.beside() {
		return revokeOne(f.PersonalAccessToken, f.TokenID)
	}
	return fmt.Sprintf("kubectl pat revoke %s -n %s", f.PersonalAccessToken.Name, f.PersonalAccessToken.Namespace)
}

func (s *session) printFindings(findings []Finding) error {
	t := s.table(s.Out, "NAMESPACE", "NAME", "USER", "STATE", "EXPIRES", "DIGEST", "TOKEN ID")
	t.cut = []int{2}
	rows := make([][]string, 0, len(findings))
	for _, f := range findings {
		digest := f.Digest
		if digest == "" {
			digest = "unknown"
		}
		pat := f.PersonalAccessToken
		rows = append(rows, []string{pat.Namespace, pat.Name, holder.Username(pat), f.State, untilOrAgo(f.ExpiresAt, s.Clock.Now()), digest, f.TokenID})
	}
	return t.print(s.Out, rows)
}

// sighting is a token or its ID that was found in a text.
type sighting struct {
	id string
	// plaintexts are the whole tokens of this ID that were there: one, unless somebody has made others up.
	plaintexts []string
	// certain tells that it was written as a token or a credential ID is, so that it is no word of 16 letters.
	certain bool
}

var (
	// marked is a token, whole or cut off, or the ID of a credential, wherever it is: "%20kubepat_" and "\nkubepat_" too.
	marked = regexp.MustCompile(`(?:` + token.Prefix + `|PAT=|PAT%3D)([a-z2-7]{16})(?:_[0-9A-Za-z]{0,49}|\b)`)
	// bare is what could be an ID.
	bare = regexp.MustCompile(`\b[a-z2-7]{16}\b`)
)

// hasMark reports whether there may be something marked in a text. It is faster than the expression.
func hasMark(text string) bool {
	return strings.Contains(text, token.Prefix) || strings.Contains(text, "PAT=") || strings.Contains(text, "PAT%3D")
}

// scan finds all tokens and IDs in a text, also in base64, UTF-16 and across line ends: those that are certain first, each in
// the order that they are in it. unread reports that parts could not be decoded, in which there may be more.
func scan(text string) (found []sighting, unread bool) {
	// Logs are long and full of words of 16 letters: nothing that was found is searched for in a list.
	places := map[string]int{}
	at := func(id string) *sighting {
		i, known := places[id]
		if !known {
			i = len(found)
			places[id] = i
			found = append(found, sighting{id: id})
		}
		return &found[i]
	}
	whole := map[string]bool{}
	readings, unread := read(text)
	for _, r := range readings {
		if !hasMark(r.text) {
			continue
		}
		for _, match := range marked.FindAllStringSubmatch(r.text, -1) {
			_, err := token.Parse(match[0])
			if err != nil && r.joined { // it may have been made up of two words
				continue
			}
			s := at(match[1])
			s.certain = true
			if err == nil && !whole[match[0]] {
				whole[match[0]] = true
				s.plaintexts = append(s.plaintexts, match[0])
			}
		}
	}
	for _, r := range readings {
		if r.joined {
			continue
		}
		for _, id := range bare.FindAllString(r.text, -1) {
			at(id)
		}
	}
	return found, unread
}
