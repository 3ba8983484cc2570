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
	audiences, refused := h.callers.permitted(r.Context(), asking, result.Audiences, origin)
	switch {
	case refused != nil:
		refused.write(w)
	case len(audiences) == 0:
		write(w, http.StatusOK, inactive)
	default:
		write(w, http.StatusOK, h.introspection(&result, audiences, now))
	}
}

// introspection is the answer about a token that is active (RFC 7662 section 2.2). Times are seconds of Unix time.
func (h *handler) introspection(result *verifier.Result, audiences []string, now time.Time) []byte {
	// Rounded up: a caller could not remember an answer whose exp has passed when it comes, and may take it for a broken one.
	expires := now.Add(h.MaxAge + time.Second - 1).Truncate(time.Second)
	if result.ExpiresAt.Before(expires) {
		expires = result.ExpiresAt
	}
	o := serving.NewObject()
	o.Bool("active", true)
	o.String("username", result.User.Username)
	o.String("sub", result.User.Username)
	if result.User.UID != "" {
		o.String("uid", result.User.UID)
	}
	o.Strings("groups", groupsOf(result))
	o.String("scope", scopeOf(result.Limits))
	o.String("client_id", result.Namespace+"/"+result.Name)
	o.String("token_type", "Bearer")
	o.Int("iat", result.IssuedAt.Unix())
	o.Int("nbf", result.IssuedAt.Unix())
	// A caller that remembers the answer has to ask again at exp; the token ends at pat_expires_at.
	o.Int("exp", expires.Unix())
	o.Int("pat_expires_at", result.ExpiresAt.Unix())
	o.Strings("aud", audiences)
	o.String("iss", h.URL)
	o.String("jti", result.ID)
	o.End()
	return o
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
