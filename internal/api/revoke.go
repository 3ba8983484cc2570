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

package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// DefaultRevokeRate is how many revocations a replica writes in a second.
const DefaultRevokeRate = 10

const (
	maxRevokeMany = 100
	// maxEntries is how many entries status.revoked takes.
	maxEntries    = 8
	revokeTimeout = 5 * time.Second
	// revokeManyTimeout is less than the server's limit for an answer.
	revokeManyTimeout = 10 * time.Second
	// A source gets a fifth of RevokeRate, and half of it at once.
	shareOfSource, burstOfSource = 5, 2
	fieldOwner                   = client.FieldOwner("pat-operator-api")
	revokeReason                 = "sent to the API to be revoked, by a holder of the token"
)

// outcome is what became of a token that was sent to be revoked.
type outcome string

const (
	// outcomeRevoked: the API server has taken it, and it is final.
	outcomeRevoked outcome = "revoked"
	// outcomeEnded: it had ended before.
	outcomeEnded outcome = "ended"
	// outcomeUnknown: it is not a token of this cluster.
	outcomeUnknown outcome = "unknown"
	// outcomeUnavailable: it may still be valid; try again.
	outcomeUnavailable outcome = "unavailable"
)

// revoker ends tokens for their holders: the token is the proof.
type revoker struct {
	*Options
	total   *rate.Limiter
	sources *serving.Rates
}

func newRevoker(o *Options) *revoker {
	return &revoker{
		Options: o, total: rate.NewLimiter(rate.Limit(o.RevokeRate), o.RevokeRate),
		sources: serving.NewRates(rate.Limit(float64(o.RevokeRate)/shareOfSource), max(1, o.RevokeRate/burstOfSource)),
	}
}

var refuseRevocation = &refusal{status: http.StatusServiceUnavailable, code: codeUnavailable,
	text: "the token could not be revoked now, and may still be valid; try again, or delete its PersonalAccessToken", header: retry}

func (h *handler) revoke(w http.ResponseWriter, r *http.Request) {
	_, bearer, refused := requiredOf(r, "token")
	if refused != nil {
		refused.write(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), revokeTimeout)
	defer cancel()
	now := func(limit *rate.Limiter) bool { return limit.AllowN(h.Now(), 1) }
	if _, did := h.revoker.revoke(ctx, bearer, serving.OriginOf(r, h.TrustedProxies), now); did == outcomeUnavailable {
		refuseRevocation.write(w)
		return
	}
	write(w, http.StatusOK, []byte("{}"))
}

// revokedOne is what became of one of many tokens.
type revokedOne struct {
	ID     string  `json:"jti,omitempty"`
	Result outcome `json:"result"`
}

func (h *handler) revokeMany(w http.ResponseWriter, r *http.Request) {
	_, text, refused := requiredOf(r, "tokens")
	if refused != nil {
		refused.write(w)
		return
	}
	tokens := strings.Fields(text)
	if len(tokens) == 0 || len(tokens) > maxRevokeMany {
		invalid(fmt.Sprintf("tokens has %d tokens; send 1 to %d, with white space between them", len(tokens), maxRevokeMany)).write(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), revokeManyTimeout)
	defer cancel()
	wait := func(limit *rate.Limiter) bool { return limit.Wait(ctx) == nil }
	origin, status := serving.OriginOf(r, h.TrustedProxies), http.StatusOK
	results := make([]revokedOne, 0, len(tokens))
	for _, bearer := range tokens {
		id, did := h.revoker.revoke(ctx, bearer, origin, wait)
		if did == outcomeUnavailable {
			status = http.StatusServiceUnavailable
			w.Header()["Retry-After"] = retry["Retry-After"]
		}
		results = append(results, revokedOne{ID: id, Result: did})
	}
	writeJSON(w, status, map[string]any{"results": results})
}

// revoke ends one token. may takes from a limit what a write costs.
func (v *revoker) revoke(ctx context.Context, bearer string, origin serving.Origin, may func(*rate.Limiter) bool) (id string, did outcome) {
	defer func() { revocations.WithLabelValues(string(did)).Inc() }()
	result := v.Index.VerifyAll(bearer, v.Now())
	switch {
	case result.Verdict == verifier.NotReady:
		return "", outcomeUnavailable
	case result.Reason == verifier.ReasonEnded, result.Reason == verifier.ReasonExpired, result.Reason == verifier.ReasonDeleting:
		return result.ID, outcomeEnded
	case result.Name == "": // No digest matches: the token was guessed, or is another cluster's.
		return "", outcomeUnknown
	case !may(v.sources.Of(origin.Source())), !may(v.total):
		return result.ID, outcomeUnavailable
	}
	if err := v.write(ctx, &result); err != nil {
		v.Log.Info("Cannot revoke a token for its holder", "namespace", result.Namespace, "name", result.Name, "id", result.ID, "reason", err.Error())
		return result.ID, outcomeUnavailable
	}
	v.Audit.Write(audit.Event{
		Event: "RevokedByHolder", Namespace: result.Namespace, Name: result.Name, TokenID: result.ID, SourceIP: addressOf(origin),
	})
	return result.ID, outcomeRevoked
}

var errNotNamed = errors.New("status does not name the token yet")

// write adds the token to status.revoked, unless it is there.
func (v *revoker) write(ctx context.Context, result *verifier.Result) error {
	pat := &v1alpha1.PersonalAccessToken{}
	if err := v.Client.Get(ctx, client.ObjectKey{Namespace: result.Namespace, Name: result.Name}, pat); err != nil {
		return err
	}
	made := func(pat *v1alpha1.PersonalAccessToken) bool {
		return slices.ContainsFunc(pat.Status.Revoked, func(r v1alpha1.RevokedToken) bool { return r.TokenID == result.ID })
	}
	if made(pat) {
		return nil
	}
	entry := v1alpha1.RevokedToken{TokenID: result.ID, At: &metav1.Time{Time: v.Now().UTC().Truncate(time.Second)}, Reason: revokeReason}
	_, err := holder.Change{
		Client: v.Client, FieldOwner: fieldOwner, Status: true, Made: made,
		Edit: func(pat *v1alpha1.PersonalAccessToken) error {
			switch spec := pat.Spec.Token; {
			case result.ID != pat.Status.TokenID && result.ID != pat.Status.PreviousTokenID && (spec == nil || spec.ID != result.ID):
				return errNotNamed
			case len(pat.Status.Revoked) >= maxEntries:
				return fmt.Errorf("status.revoked has %d entries, which the operator has not processed", len(pat.Status.Revoked))
			}
			pat.Status.Revoked = append(pat.Status.Revoked, entry)
			return nil
		},
	}.To(ctx, pat)
	return err
}
