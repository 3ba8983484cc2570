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

package lifecycle

import (
	"slices"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// revoked carries what status.revoked names into the record, where it stays ended whatever becomes of status. The current
// token takes its predecessor with it; a predecessor ends alone.
func revoked(in Input) *Decision {
	if in.Record == nil || !toRevoke(in, in.Record.Current) && !toRevoke(in, in.Record.Previous) {
		return nil
	}
	next := in.Record.DeepCopy()
	if toRevoke(in, next.Current) {
		next.Remove(next.Current, in.Now.Add(RemovalWindow))
		next.End(next.Current, record.EndedRevoked)
	}
	if p := next.Previous; p != nil {
		if next.Previous = nil; p.Source == record.SourceHolder {
			next.End(p, record.EndedRevoked) // An id of ours is in no manifest that could bring it back.
		}
	}
	return &Decision{Action: Write, Reason: WriteRevoked, Next: next}
}

// revokedUntaken remembers a holder's id that was revoked before it was taken: spec may name another soon, and status
// forget it.
func revokedUntaken(in Input) *Decision {
	t := in.Resource.Spec.Token
	if t == nil || in.Resource.Spec.ExpiresAt == nil || !namesRevoked(in, t.ID) || !in.Now.Before(in.Resource.Spec.ExpiresAt.Time) {
		return nil
	}
	next := Base(in, in.Now.Truncate(time.Second))
	if next.Knows(t.ID) || full(next) || in.namespaceFull(true) {
		return nil // The token is not taken: status.revoked stalls it.
	}
	next.Ended = append(next.Ended, record.Ended{ID: t.ID, Reason: record.EndedRevoked, Until: in.Resource.Spec.ExpiresAt.Time})
	return &Decision{Action: Write, Reason: WriteRevoked, Next: next}
}

// full reports whether a record remembers as many ends as it may, minus the room for the ends of its own tokens.
func full(rec *record.Record) bool { return len(rec.Ended) > record.MaxEnded-roomForEnds }

// toRevoke reports whether status.revoked names a token that has not ended by its record.
func toRevoke(in Input, t *record.Token) bool {
	return t != nil && in.Record.EndOf(t.ID) == nil && namesRevoked(in, t.ID)
}

// namesRevoked reports whether status names an id as revoked, or was once seen to.
func namesRevoked(in Input, id string) bool {
	return slices.Contains(in.Revoked, id) ||
		slices.ContainsFunc(in.Resource.Status.Revoked, func(r v1alpha1.RevokedToken) bool { return r.TokenID == id })
}

// Revocations are the entries of status.revoked that stay: of tokens that the record holds, as a trace, and of the one that
// spec.token names. The record remembers the others, or never had them; where it can remember no more, all stay.
func Revocations(pat *v1alpha1.PersonalAccessToken, rec *record.Record) []v1alpha1.RevokedToken {
	if rec == nil || rec.Current == nil || full(rec) {
		return pat.Status.Revoked
	}
	stay := []string{rec.Current.ID}
	if rec.Previous != nil {
		stay = append(stay, rec.Previous.ID)
	}
	if pat.Spec.Token != nil {
		stay = append(stay, pat.Spec.Token.ID)
	}
	return slices.DeleteFunc(slices.Clone(pat.Status.Revoked), func(r v1alpha1.RevokedToken) bool { return !slices.Contains(stay, r.TokenID) })
}
