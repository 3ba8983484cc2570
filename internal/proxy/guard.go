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
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxImpersonation is how long the headers that name a user may be together. kube-apiserver takes 1 MiB of headers.
const maxImpersonation = 512 << 10

var errNoToken = errors.New("no credential for the API server")

// guardError is why a request was not sent.
type guardError struct{ what string }

func (e *guardError) Error() string { return "not sent: " + e.what }

// groupsError is that a user has more groups than a request carries.
type groupsError struct{ groups int }

func (e *groupsError) Error() string {
	return fmt.Sprintf("%d groups do not fit into a request", e.groups)
}

// guard adds the impersonator's credential to requests that name exactly one user, and sends no others: without a user the
// request would be the impersonator's own.
type guard struct {
	base  http.RoundTripper
	token func() (string, bool)
	// refused is called with a token that the API server answers 401; nil is allowed.
	refused func(token string)
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkOutgoing(r.Header); err != nil {
		guarded.Inc()
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	token, ok := g.token()
	if !ok {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errNoToken
	}
	sent := *r
	sent.Header = maps.Clone(r.Header) // No value is changed.
	sent.Header.Set("Authorization", "Bearer "+token)
	response, err := g.base.RoundTrip(&sent)
	if err == nil && response.StatusCode == http.StatusUnauthorized && g.refused != nil {
		g.refused(token)
	}
	return response, err
}

// checkOutgoing returns why the headers of a request do not carry exactly the identity that they were given.
func checkOutgoing(h http.Header) error {
	if len(h["Authorization"]) > 0 || len(h["Proxy-Authorization"]) > 0 {
		return &guardError{"a credential that is not the impersonator's"}
	}
	if len(h[headerUser]) != 1 {
		return &guardError{"not exactly one user"}
	}
	size := 0
	for name, values := range h {
		if !hasPrefixFold(name, impersonatePrefix) {
			continue
		}
		if name != headerUser && name != headerUID && name != headerGroup && !strings.HasPrefix(name, headerExtraPrefix) || name != http.CanonicalHeaderKey(name) {
			return &guardError{"a header that is not one of impersonation's"}
		}
		for _, v := range values {
			// White space at an end does not arrive: "alice " would become alice.
			if v == "" || strings.Trim(v, " \t\r\n") != v || strings.TrimSpace(v) != v || !httpguts.ValidHeaderFieldValue(v) {
				return &guardError{"a name that a header cannot carry"}
			}
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	if size > maxImpersonation {
		return &groupsError{len(h[headerGroup])}
	}
	return nil
}
