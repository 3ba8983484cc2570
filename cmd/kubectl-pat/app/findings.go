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

// findResult is the output of find with -o json and -o yaml.
type findResult struct {
	Tokens []finding `json:"tokens"`
}

// finding is a token and a resource that names it.
type finding struct {
	TokenID string `json:"tokenID"`
	// State is what the resource says about this token: Active, or the reason why it is not; Predecessor if it has a successor;
	// Revoked; Deleting if the resource is being deleted, which ends all its tokens. If only spec names the token: Replaced if the
	// operator refused it because it was rotated out, else NotIssued.
	State string `json:"state"`
	// Digest compares a complete token with the digest in spec.token: matches or differs; "" if unknown.
	Digest string `json:"digest,omitempty"`
	// ExpiresAt is when this token ends, if known.
	ExpiresAt           *metav1.Time                  `json:"expiresAt,omitempty"`
	PersonalAccessToken *v1alpha1.PersonalAccessToken `json:"personalAccessToken"`
}

// Values of finding.State that are not reasons of Active, and of finding.Digest.
const (
	statePredecessor = "Predecessor"
	stateReplaced    = "Replaced"
	stateNotIssued   = "NotIssued"
	stateUnknown     = "Unknown"

	digestMatches = "matches"
	digestDiffers = "differs"
)

// match returns the resources that name the tokens, in the order of found.
func match(matches []tokenMatch, pats []v1alpha1.PersonalAccessToken) []finding {
	byID := map[string][]*v1alpha1.PersonalAccessToken{}
	for i := range pats {
		for _, id := range idsOf(&pats[i]) {
			byID[id] = append(byID[id], &pats[i])
		}
	}
	var findings []finding
	for _, s := range matches {
		for _, pat := range byID[s.id] {
			f := finding{TokenID: s.id, PersonalAccessToken: pat, Digest: compare(pat, s)}
			f.State, f.ExpiresAt = stateOf(pat, s.id)
			findings = append(findings, f)
		}
	}
	return findings
}

// idsOf returns all ids that a resource names, each once.
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

// stateOf returns the state of one of a resource's tokens, and when it ends.
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
	// Status names another token, but this one may be about to replace it.
	stalled := holder.Condition(pat, v1alpha1.ConditionStalled)
	switch {
	case !holder.HasStatus(stalled, metav1.ConditionTrue) || stalled.Reason != v1alpha1.ReasonTokenRevoked:
		return stateNotIssued, pat.Spec.ExpiresAt
	case pat.Status.TokenID == "":
		return v1alpha1.ReasonRevoked, nil
	}
	return stateReplaced, nil
}

// compare compares the complete tokens of a match with the digest in spec.token.
func compare(pat *v1alpha1.PersonalAccessToken, s tokenMatch) string {
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

// over returns why there is nothing to revoke, or "". Deleting the resource would remove the trace of this token, or end another
// one that works.
func (f *finding) over() string {
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
		return fmt.Sprintf("token %s that was found was replaced by its current one", f.TokenID)
	}
	return ""
}

// otherIsCurrent reports whether the resource's current token is another one than the one that was found.
func (f *finding) otherIsCurrent() bool {
	present := f.PersonalAccessToken.Status.TokenID
	return present != "" && present != f.TokenID
}

// notThisOne returns why deleting the resource would not end exactly the token that was found, or "".
func (f *finding) notThisOne() string {
	why := f.over()
	switch {
	case why != "":
	case f.State == statePredecessor:
		why = fmt.Sprintf("token %s that was found is the predecessor of its current one", f.TokenID)
	case f.otherIsCurrent():
		why = fmt.Sprintf("token %s that was found is not its current one", f.TokenID)
	}
	return why
}

// end returns the command that revokes this token and no other that works.
func (f *finding) end() string {
	if f.otherIsCurrent() {
		return revokeOne(f.PersonalAccessToken, f.TokenID)
	}
	return fmt.Sprintf("kubectl pat revoke %s -n %s", f.PersonalAccessToken.Name, f.PersonalAccessToken.Namespace)
}

func (s *session) printFindings(findings []finding) error {
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

// tokenMatch is a token or an ID in a text.
type tokenMatch struct {
	id string
	// plaintexts are the complete tokens with this ID: one, unless some are forged.
	plaintexts []string
	// certain reports that it has the form of a token or credential ID, not only of a word of 16 letters.
	certain bool
}

var (
	// marked matches a token, complete or cut off, or a credential ID, in any place: also "%20kubepat_" and "\nkubepat_".
	marked = regexp.MustCompile(`(?:` + token.Prefix + `|PAT=|PAT%3D)([a-z2-7]{16})(?:_[0-9A-Za-z]{0,49}|\b)`)
	// bare matches a word that could be an ID.
	bare = regexp.MustCompile(`\b[a-z2-7]{16}\b`)
)

// hasMark reports whether marked may match. It is faster than the expression.
func hasMark(text string) bool {
	return strings.Contains(text, token.Prefix) || strings.Contains(text, "PAT=") || strings.Contains(text, "PAT%3D")
}

// scan finds all tokens and IDs in a text, also in base64, UTF-16 and across line ends. The certain ones come first, each group in
// the order of the text. unread reports that the text has parts that could not be decoded and may hold more.
func scan(text string) (found []tokenMatch, unread bool) {
	// Logs are long and full of words of 16 letters, so look matches up in a map.
	places := map[string]int{}
	at := func(id string) *tokenMatch {
		i, known := places[id]
		if !known {
			i = len(found)
			places[id] = i
			found = append(found, tokenMatch{id: id})
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
			if err != nil && r.joined { // it may be two words
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
