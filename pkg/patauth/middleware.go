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

package patauth

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// maxBasic is the length of the longest credentials of the scheme Basic that are decoded, in bytes.
const maxBasic = 4096

// Middleware lets requests with a valid token pass to next, which learns of the token by FromContext, and answers all others as
// RFC 6750 says. It makes no difference between methods: HEAD and OPTIONS need a token, too.
func (a *Authenticator) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, refusal := a.authenticate(r)
		if refusal != nil {
			refusal.write(w)
			return
		}
		next.ServeHTTP(w, withIdentity(r, identity, a.realm))
	})
}

func (a *Authenticator) authenticate(r *http.Request) (*Identity, *refusal) {
	token, refusal := a.credentials(r)
	if refusal != nil {
		return nil, refusal
	}
	identity, err := a.Verify(r.Context(), token)
	switch {
	case err == nil:
		return identity, nil
	case errors.Is(err, ErrInvalidToken):
		return nil, a.refusals.invalid
	}
	return nil, a.refusals.unavailable
}

// credentials returns what a request has in the place of a token.
func (a *Authenticator) credentials(r *http.Request) (token string, _ *refusal) {
	if tokenInQuery(r.URL.RawQuery) {
		return "", a.refusals.inURL
	}
	values := r.Header["Authorization"]
	switch len(values) {
	case 0:
		return "", a.refusals.noCredentials
	case 1:
	default:
		return "", a.refusals.twoHeaders
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		token = rest
	case a.basic && strings.EqualFold(scheme, "Basic"):
		token = password(rest)
	default:
		return "", a.refusals.noCredentials
	}
	if token == "" {
		return "", a.refusals.noToken
	}
	return token, nil
}

// password returns the password of credentials of the scheme Basic, or "".
func password(credentials string) string {
	if len(credentials) > maxBasic {
		return ""
	}
	decoded, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return ""
	}
	_, password, _ := strings.Cut(string(decoded), ":")
	return password
}

// tokenInQuery reports whether a query has a token, by its form or by the name that RFC 6750 gives to the parameter. A token
// in a query is never used, so this only finds clients that leak theirs.
func tokenInQuery(query string) bool {
	if query == "" {
		return false
	}
	if strings.Contains(query, tokenPrefix) {
		return true
	}
	if !strings.Contains(query, "access_token") {
		return false
	}
	values, _ := url.ParseQuery(query)
	return values.Has("access_token")
}

// RequireScope lets requests pass whose token has a scope, or the full authority of its user, and answers others with 403
// insufficient_scope. It stands behind Middleware: where that is missing, every request is answered with 500.
//
// RequireScope panics if scope is not a scope of RFC 6749: printable ASCII without spaces, quotes and backslashes.
func RequireScope(scope string) func(http.Handler) http.Handler {
	if scope == "" || strings.Contains(scope, " ") || !quotable(scope) {
		panic("patauth: RequireScope: a scope is printable ASCII without spaces, quotes and backslashes")
	}
	description := "The token does not have the scope " + scope + ". Use a token with this scope, or with none."
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := identityOf(r.Context())
			switch {
			case c == nil:
				unprotected.write(w)
			case !c.identity.HasScope(scope):
				newRefusal(http.StatusForbidden, c.realm, "insufficient_scope", description, scope).write(w)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

var unprotected = &refusal{
	status: http.StatusInternalServerError,
	body:   bodyOf("server_error", "This API requires a scope and does not verify tokens: RequireScope is used without Middleware."),
}
