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
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/pat-operator/pat-operator/internal/scope"
)

const (
	challengeBearer = "bearer"
	challengeBasic  = "basic"
	challengeBoth   = "both"

	defaultPrefix = "X-Auth-Request-"
	// pathAuthWith is before the options where a proxy puts its client's path, and query, behind our URL.
	pathAuthWith = pathAuth + "/with/"
)

// authOptions are what a proxy asks, as its administrator has written it into the URL.
type authOptions struct {
	// audiences is the one that the token must be for; none stands for the API server's own.
	audiences []string
	// scopes must all be there, unless the token has its user's full authority.
	scopes []string
	// groups are those that count; nil stands for all.
	groups []string
	// names are those of the identity headers.
	names     identityNames
	challenge string
	// preflight lets CORS preflights through, which browsers send without a credential.
	preflight bool
	// methodFrom is the header in which the proxy says its client's method; empty where it asks with that method.
	methodFrom string
}

// identityNames are the names of the headers for the parts of an identity, in their order.
type identityNames [5]string

func namesOf(prefix string) (names identityNames) {
	for i, part := range []string{"User", "Groups", "Token-Id", "Token-Name", "Scope"} {
		names[i] = http.CanonicalHeaderKey(prefix + part)
	}
	return names
}

var defaultNames = namesOf(defaultPrefix)

var (
	headerPrefix = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,30}-$`)
	// scopeToken is that of RFC 6749 section 3.3.
	scopeToken = regexp.MustCompile(`^[!#-\[\]-~]+$`)
)

// authOptionsOf reads the options from the query, or from the path behind /auth/with/ up to the next slash. What comes after that
// is the client's and counts for nothing.
func authOptionsOf(u *url.URL) (*authOptions, *refusal) {
	query := u.RawQuery
	if path := u.EscapedPath(); path != pathAuth {
		rest, ok := strings.CutPrefix(path, pathAuthWith)
		if !ok {
			return nil, refuseNotFound
		}
		query, _, _ = strings.Cut(rest, "/")
	}
	values, refused := parametersOf(query, "the options in the URL are not NAME=VALUE with & between them and everything else percent-encoded")
	if refused != nil {
		return nil, refused
	}
	o := &authOptions{names: defaultNames, challenge: challengeBoth}
	for name, given := range values {
		value := given[0]
		if len(given) > 1 {
			return nil, invalid("an option in the URL is there twice; where the path or the query of clients is put behind it, use " + pathAuthWith + "OPTIONS")
		}
		if wrong := o.set(name, value); wrong != "" {
			return nil, invalid(wrong)
		}
	}
	return o, nil
}

// set sets an option, or says what is wrong with it.
func (o *authOptions) set(name, value string) (wrong string) {
	switch name {
	case "audience":
		if o.audiences = []string{value}; value == "" {
			return "audience is empty; name the audience of the API, or leave it out for that of the Kubernetes API"
		}
	case "scope":
		if o.scopes = strings.Fields(value); len(o.scopes) == 0 || slices.ContainsFunc(o.scopes, func(s string) bool { return !scopeToken.MatchString(s) }) {
			return "scope is not a list of scopes with spaces between them, as in scope=lists:read"
		}
	case "groups":
		o.groups = []string{}
		for group := range strings.SplitSeq(value, ",") {
			decoded, err := url.PathUnescape(group)
			if err != nil || decoded == "" {
				return "groups is not a list of groups with commas between them; write %, and commas in a name, percent-encoded as in the header"
			}
			o.groups = append(o.groups, decoded)
		}
	case "prefix":
		if o.names = namesOf(value); !headerPrefix.MatchString(value) || strings.HasPrefix(strings.ToLower(value), "impersonate-") {
			return "prefix does not begin the name of a header for identities; write it as prefix=Remote-"
		}
	case "challenge":
		if o.challenge = value; !slices.Contains([]string{challengeBearer, challengeBasic, challengeBoth}, value) {
			return "challenge is not bearer, basic or both"
		}
	case "preflight":
		if o.preflight = value == "allow"; !o.preflight {
			return "preflight can only be allow; leave it out to ask preflights for a token"
		}
	case "method-from":
		if o.methodFrom = value; value != "X-Forwarded-Method" && value != "X-Original-Method" {
			return "method-from is neither X-Forwarded-Method nor X-Original-Method; name the one that your proxy always sets itself"
		}
	default:
		return "there is an unknown option in the URL; the options are audience, scope, groups, prefix, challenge, preflight and method-from"
	}
	return ""
}

// isPreflight reports whether a request is a CORS preflight that is let through.
func (o *authOptions) isPreflight(r *http.Request) bool {
	if !o.preflight {
		return false
	}
	methods := []string{r.Method}
	if o.methodFrom != "" {
		methods = r.Header[o.methodFrom]
	}
	return slices.Equal(methods, []string{http.MethodOptions}) && len(r.Header["Authorization"]) == 0 &&
		r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// missing returns the first scope that is required and not there.
func (o *authOptions) missing(has string) string {
	if has == scope.Full {
		return ""
	}
	list := strings.Fields(has)
	for _, required := range o.scopes {
		if !slices.Contains(list, required) {
			return required
		}
	}
	return ""
}
