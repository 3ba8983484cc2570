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
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// sent notes whether a request that may not be sent twice has begun to go to the API server.
type sent struct{ headers atomic.Bool }

// repeatable reports whether a request changes nothing when it is sent again.
func repeatable(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

func (s *sent) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { s.headers.Store(true) }})
}

var (
	errRedirect = errors.New("the answer leads to another server")
	errReview   = errors.New("the answer cannot be narrowed")
)

// modify looks at an answer before it goes to the client. All but these few go as they are.
func (p *Proxy) modify(resp *http.Response) error {
	x := exchangeOf(resp.Request.Context())
	if location := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && location != "" && !isPath(location) {
		return errRedirect
	}
	// The token is valid, so this is about the impersonator's, unless a pod or a Service answers.
	if resp.StatusCode == http.StatusUnauthorized && x.info.Subresource != "proxy" {
		return errNoToken
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		explainCuts(resp)
		return nil
	}
	if x.narrowsRules() {
		return narrowRules(resp)
	}
	if x.info.Verb == "watch" {
		explainCutWatch(resp)
	}
	return nil
}

// isPath reports whether a Location stays at this server, for every client.
func isPath(location string) bool {
	return strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//") && !strings.Contains(location, "\\")
}

// failed answers where the API server has not.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	if c, ok := cutOf(r.Context()); ok {
		x.refuse(refuseEnded(c))
		return
	}
	if r.Context().Err() != nil {
		x.reason = reasonClientGone
		panic(http.ErrAbortHandler)
	}
	refused := x.whyNot(r, err)
	upstreamErrors.WithLabelValues(refused.why).Inc()
	p.Log.V(1).Info("Request failed", "auditID", x.auditID, "reason", refused.why)
	x.refuse(refused)
}

// whyNot is the refusal for an error of the transport or of modify.
func (x *exchange) whyNot(r *http.Request, err error) *refusal {
	if groups, ok := errors.AsType[*groupsError](err); ok {
		return refuseGroups(groups.groups)
	}
	if _, ok := errors.AsType[*guardError](err); ok {
		return refuseGuard
	}
	switch {
	case errors.Is(err, errNoToken):
		return refuseNoToken
	case errors.Is(err, errRedirect):
		return refuseRedirect
	case errors.Is(err, errReview):
		return refuseReview
	case x.sent.headers.Load():
		// Clients send a 503 with Retry-After again, which could create twice.
		return refuseLost
	}
	return refuseUpstream
}
