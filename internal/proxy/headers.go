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

package proxy

import (
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	headerUser        = "Impersonate-User"
	headerUID         = "Impersonate-Uid"
	headerGroup       = "Impersonate-Group"
	headerExtraPrefix = "Impersonate-Extra-"
	// impersonatePrefix begins them all, in whatever case.
	impersonatePrefix = "impersonate-"
	// addedHeaders is how many a request gets, mostly.
	addedHeaders = 10
	// everybodysGroup is added by kube-apiserver, and an impersonator that may name it could name others.
	everybodysGroup = "system:authenticated"
)

func newAuditID() string { return uuid.NewString() }

// rewrite makes the request that is sent on. Path and query stay as they are, because scopes were checked against them.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	x, out := exchangeOf(pr.In.Context()), pr.Out
	out.URL.Scheme, out.URL.Host, out.Host = p.Upstream.Scheme, p.Upstream.Host, ""
	out.Trailer = nil
	header := make(http.Header, len(out.Header)+addedHeaders) // with room, since a map that grows costs more than the rest
	for name, values := range out.Header {
		if !hasPrefixFold(name, "x-forwarded-") && !strings.EqualFold(name, "forwarded") && !strings.EqualFold(name, "x-real-ip") {
			header[name] = values
		}
	}
	out.Header = header
	out.Header.Set("X-Forwarded-For", x.origin.Address.String())
	out.Header.Set("Audit-Id", x.auditID)
	maps.Copy(out.Header, impersonation(&x.result, x.unlisted))
	if x.narrowsRules() {
		out.Header.Del("Accept-Encoding")
		out.Header.Set("Accept", x.rulesType)
	}
	if !repeatable(out.Method) {
		*out = *out.WithContext(x.sent.watch(out.Context()))
	}
}

// impersonation are the headers that say whom a request is from, without the groups that are not listed.
func impersonation(r *verifier.Result, unlisted []string) http.Header {
	h := http.Header{headerUser: {r.User.Username}}
	if r.User.UID != "" {
		h[headerUID] = []string{r.User.UID}
	}
	groups := groupsOf(r)
	if len(unlisted) > 0 {
		groups = slices.DeleteFunc(groups, func(g string) bool { return slices.Contains(unlisted, g) })
	}
	if len(groups) > 0 {
		h[headerGroup] = groups
	}
	for key, values := range authn.Extra(r) {
		h[extraHeader(key)] = values
	}
	return h
}

// groupsOf are the groups that the impersonator has to name: kube-apiserver itself knows those of a service account.
func groupsOf(r *verifier.Result) []string {
	if _, isAccount := identity.ServiceAccount(r.User.Username); isAccount {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.User.Groups), func(g string) bool { return g == everybodysGroup })
}

// extraHeader is the name of the header for an extra key, in the form in which net/http finds it. Keys have no character but the
// slash that a header's name cannot have.
func extraHeader(key string) string {
	if name, ok := ownHeaders[key]; ok {
		return name
	}
	return http.CanonicalHeaderKey(headerExtraPrefix + escapes.Replace(key))
}

var (
	escapes = strings.NewReplacer("%", "%25", "/", "%2F")
	// ownHeaders are the names that every request has.
	ownHeaders = func() map[string]string {
		names := map[string]string{}
		for _, key := range []string{authn.ExtraCredentialID, authn.ExtraName, authn.ExtraScopes} {
			names[key] = http.CanonicalHeaderKey(headerExtraPrefix + escapes.Replace(key))
		}
		return names
	}()
)

// hasPrefixFold reports whether the name of a header, which is ASCII, begins with a prefix in whatever case.
func hasPrefixFold(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}
