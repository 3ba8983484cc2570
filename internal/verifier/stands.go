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
	"slices"
	"time"

	"github.com/pat-operator/pat-operator/internal/identity"
)

// Reasons of Stands, in addition to those of Verify.
const (
	// ReasonChanged means that the token has another user, audiences, scopes or networks than it had.
	ReasonChanged Reason = "Changed"
)

// Stands reports whether what Verify has authenticated is still so at a time: the token is valid for the same audiences, with
// the same user and the same limits. If not, it says why.
func (x *Index) Stands(r *Result, now time.Time) (Reason, bool) {
	if r.Verdict != Authenticated || r.entry == nil {
		return reasonUnknownID, false
	}
	if x.Ready(now) != nil {
		return ReasonNotReady, false
	}
	all, _ := x.lookup(r.ID)
	at := slices.IndexFunc(all.compared, func(c *indexEntry) bool {
		return c.digest.Equal(r.entry.digest) && c.namespace == r.Namespace && c.name == r.Name
	})
	if at < 0 {
		return ReasonEnded, false
	}
	is := all.compared[at]
	if is == r.entry && now.Before(is.end()) {
		return reasonValid, true // Entries do not change.
	}
	answer := is.answer(r.ID, r.Audiences, x.apiAudiences(), now, r.face)
	switch {
	case answer.Verdict != Authenticated:
		return answer.Reason, false
	case !slices.Equal(answer.Audiences, r.Audiences) || answer.Limits != r.Limits || !answer.Networks.equal(r.Networks) ||
		!identity.Equal(&answer.User, &r.User):
		return ReasonChanged, false
	}
	return reasonValid, true
}
