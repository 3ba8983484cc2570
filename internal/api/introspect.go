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
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// introspection is the answer about a token that is active (RFC 7662 section 2.2). Times are seconds of Unix time.
type introspection struct {
	Active    bool     `json:"active"`
	Username  string   `json:"username"`
	Subject   string   `json:"sub"`
	UID       string   `json:"uid,omitempty"`
	Groups    []string `json:"groups"`
	Scope     string   `json:"scope"`
	ClientID  string   `json:"client_id"`
	TokenType string   `json:"token_type"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	// Expires is when a caller that remembers the answer has to ask again, and PATExpiresAt is when the token ends.
	Expires      int64    `json:"exp"`
	PATExpiresAt int64    `json:"pat_expires_at"`
	Audiences    []string `json:"aud"`
	Issuer       string   `json:"iss"`
	ID           string   `json:"jti"`
}

var inactive = []byte(`{"active":false}`)

func (h *handler) introspect(w http.ResponseWriter, r *http.Request) {
	form, bearer, refused := requiredOf(r, "token")
	if refused != nil {
		refused.write(w)
		return
	}
	origin := serving.OriginOf(r, h.TrustedProxies)
	asking, refused := h.callers.authenticate(r, form, bearer, origin)
	if refused != nil {
		refused.write(w)
		return
	}
	now := h.Now()
	result := h.Index.VerifyAll(bearer, now)
	introspections.WithLabelValues(result.Verdict.String(), string(result.Reason)).Inc()
	if result.Verdict == verifier.NotReady {
		refuseNotReady.write(w)
		return
	}
	// Where the token is used from, only the caller knows.
	if result.Verdict != verifier.Authenticated || result.Networks != nil {
		h.refused(&result, origin)
		write(w, http.StatusOK, inactive)
		return
	}
	audiences, refused := h.callers.permitted(r.Context(), asking, result.Audiences)
	switch {
	case refused != nil:
		refused.write(w)
	case len(audiences) == 0:
		write(w, http.StatusOK, inactive)
	default:
		writeJSON(w, http.StatusOK, h.introspection(&result, audiences, now))
	}
}

func (h *handler) introspection(result *verifier.Result, audiences []string, now time.Time) *introspection {
	expires := result.ExpiresAt
	if latest := now.Add(h.MaxAge); latest.Before(expires) {
		expires = latest
	}
	return &introspection{
		Active:       true,
		Username:     result.User.Username,
		Subject:      result.User.Username,
		UID:          result.User.UID,
		Groups:       groupsOf(result),
		Scope:        scopeOf(result.Limits),
		ClientID:     result.Namespace + "/" + result.Name,
		TokenType:    "Bearer",
		IssuedAt:     result.IssuedAt.Unix(),
		NotBefore:    result.IssuedAt.Unix(),
		Expires:      expires.Unix(),
		PATExpiresAt: result.ExpiresAt.Unix(),
		Audiences:    audiences,
		Issuer:       h.URL,
		ID:           result.ID,
	}
}

// groupsOf are the groups that kube-apiserver sees.
func groupsOf(result *verifier.Result) []string {
	if slices.Contains(result.User.Groups, user.AllAuthenticated) {
		return result.User.Groups
	}
	return append(slices.Clip(result.User.Groups), user.AllAuthenticated)
}

// scopeOf is the scopes of a token in one string, as RFC 6749 section 3.3 writes them.
func scopeOf(limits scope.Limits) string {
	if limits.Full() {
		return scope.Full
	}
	return strings.Join(limits.Names(), " ")
}
