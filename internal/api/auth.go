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
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// maxGroups is the length of the header of groups at most: proxies and their upstreams bound all headers together, some at 8 KiB.
const maxGroups = 4 << 10

// auth answers a reverse proxy that asks whether to let a request through: 200 with who sends it, or 401 or 403. On 200 every
// identity header is there and has a value, so that the proxy replaces what its client may have sent.
func (h *handler) auth(w http.ResponseWriter, r *http.Request) {
	o, refused := authOptionsOf(r.URL)
	if refused != nil {
		refused.write(w)
		return
	}
	if o.isPreflight(r) {
		o.allow(w, &identity{user: user.Anonymous, groups: user.AllUnauthenticated, id: "-", name: "-", scope: "-"})
		return
	}
	bearer, refused := bearerOf(r, o)
	if refused != nil {
		refused.write(w)
		return
	}
	result := h.Index.VerifyFrom(bearer, o.audiences, h.Now())
	questions.WithLabelValues(result.Verdict.String(), string(result.Reason)).Inc()
	origin := serving.OriginOf(r, h.TrustedProxies)
	if result.Verdict != verifier.Authenticated {
		h.refused(&result, origin)
		if result.Verdict == verifier.NotReady {
			refuseNotReady.write(w)
		} else {
			o.unauthorized("the token is not valid here: it has ended, is suspended, is denied by a TokenPolicy, or is for another API").write(w)
		}
		return
	}
	// The peer is the proxy, so the client's address is known only where a trusted proxy names it.
	if result.Networks != nil && (!origin.Forwarded || !result.Networks.Allow(origin.Address)) {
		forbidden("access_denied", fmt.Sprintf("personal access token %s/%s may be used only from the networks that its spec.from and TokenPolicies allow, and this "+
			"request comes from another, or from a proxy that is not in --api-trusted-proxies", result.Namespace, result.Name), nil).write(w)
		return
	}
	scope := scopeOf(result.Limits)
	if missing := o.missing(scope); missing != "" {
		forbidden("insufficient_scope", fmt.Sprintf("personal access token %s/%s does not have the scope %s; make a token with it",
			result.Namespace, result.Name, missing), http.Header{"Www-Authenticate": {fmt.Sprintf(`Bearer realm="%s", error="insufficient_scope", scope="%s"`,
			realm, strings.Join(o.scopes, " "))}}).write(w)
		return
	}
	groups := o.groupsOf(&result)
	if len(groups) > maxGroups {
		forbidden("access_denied", fmt.Sprintf("the groups of personal access token %s/%s take %d bytes, and at most %d fit into a header; "+
			"make a token whose spec.user.groups has only those that it needs, or name the groups that count in the URL of the proxy, as ?groups=a,b",
			result.Namespace, result.Name, len(groups), maxGroups), nil).write(w)
		return
	}
	if scope == "" {
		scope = "-"
	}
	o.allow(w, &identity{
		user: encode(result.User.Username), groups: groups, id: result.ID, name: result.Namespace + "/" + result.Name, scope: scope,
	})
}

// identity is what the headers say, each encoded.
type identity struct{ user, groups, id, name, scope string }

func (o *authOptions) allow(w http.ResponseWriter, i *identity) {
	h, values := w.Header(), []string{i.user, i.groups, i.id, i.name, i.scope}
	for at, name := range o.names {
		h[name] = values[at : at+1 : at+1]
	}
	write(w, http.StatusOK, []byte("{}"))
}

// groupsOf are the groups that count, with commas between them.
func (o *authOptions) groupsOf(result *verifier.Result) string {
	groups := make([]string, 1, 1+len(result.User.Groups))
	groups[0] = user.AllAuthenticated
	for _, group := range result.User.Groups {
		if group != user.AllAuthenticated && (o.groups == nil || slices.Contains(o.groups, group)) {
			groups = append(groups, encode(group))
		}
	}
	return strings.Join(groups, ",")
}

// encode writes a name as a header can hold it in a list: "%", ",", "|", a space at either end and all that is not printable
// ASCII are percent-encoded.
func encode(name string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	written := 0
	for i := range len(name) {
		c := name[i]
		if c == '%' || c == ',' || c == '|' || c < ' ' || c > '~' || c == ' ' && (i == 0 || i == len(name)-1) {
			b.WriteString(name[written:i])
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			written = i + 1
		}
	}
	if written == 0 {
		return name
	}
	b.WriteString(name[written:])
	return b.String()
}

// bearerOf returns the token that a request sends, as Bearer or as the password of Basic.
func bearerOf(r *http.Request, o *authOptions) (string, *refusal) {
	values := r.Header["Authorization"]
	switch len(values) {
	case 0:
		return "", o.unauthenticated()
	case 1:
	default:
		return "", o.unauthorized("the request has two credentials; send one")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return rest, nil
	case strings.EqualFold(scheme, "Basic"):
		pair, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
		if _, password, ok := strings.Cut(string(pair), ":"); err == nil && ok {
			return password, nil
		}
		return "", o.unauthorized("the Basic credential is not base64 of NAME:TOKEN")
	}
	return "", o.unauthorized("send a personal access token as Authorization: Bearer, or as the password of Basic")
}

func forbidden(code, text string, header http.Header) *refusal {
	return &refusal{status: http.StatusForbidden, code: code, text: text, header: header}
}

// unauthenticated answers a request without any credential: RFC 6750 section 3.1 names no error there.
func (o *authOptions) unauthenticated() *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "unauthorized",
		text: "send a personal access token as Authorization: Bearer, or as the password of Basic", header: o.challenges("")}
}

func (o *authOptions) unauthorized(text string) *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "invalid_token", text: text, header: o.challenges(`, error="invalid_token"`)}
}

// challenges are the credentials that are wanted. The error goes to Bearer.
func (o *authOptions) challenges(err string) http.Header {
	var challenges []string
	if o.challenge != challengeBearer {
		challenges = append(challenges, `Basic realm="`+realm+`", charset="UTF-8"`)
	}
	if o.challenge != challengeBasic {
		challenges = append(challenges, `Bearer realm="`+realm+`"`+err)
	}
	return http.Header{"Www-Authenticate": challenges}
}
