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
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/internal/verifier"
)

// refusal is an answer of the proxy's own, which every client of Kubernetes can show: a Status.
type refusal struct {
	code   int
	reason metav1.StatusReason
	text   string
	// why is for audit and metrics.
	why string
	// retry has clients try again in a second, close has them take another connection. Before a token is verified every refusal
	// closes: otherwise the server would read on in a body that never ends.
	retry, close bool
	// challenge says which credential is wanted.
	challenge bool
}

// Reasons in audit lines and metrics, in addition to those of verification.
const (
	reasonMethod      = "Method"
	reasonPath        = "Path"
	reasonImpersonate = "Impersonate"
	reasonCredentials = "Credentials"
	reasonIdentity    = "Identity"
	reasonAddress     = "Address"
	reasonScope       = "Scope"
	reasonUpgrade     = "Upgrade"
	reasonMedia       = "MediaType"
	reasonCrowd       = "RequestsOfToken"
	reasonLoad        = "Load"
	reasonUpstream    = "Upstream"
	reasonRedirect    = "Redirect"
	reasonGuard       = "Guard"
	reasonGroups      = "TooManyGroups"
	reasonNoToken     = "NoImpersonatorToken"
	reasonClientGone  = "ClientGone"
	reasonPanic       = "Panic"
)

var (
	refuseMethod = &refusal{code: http.StatusMethodNotAllowed, reason: metav1.StatusReasonMethodNotAllowed, why: reasonMethod, close: true,
		text: "this method is not allowed; use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS"}
	refusePath = &refusal{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, why: reasonPath, close: true,
		text: "the path is not one of the Kubernetes API; a path begins with a slash"}
	refuseImpersonation = &refusal{code: http.StatusForbidden, reason: metav1.StatusReasonForbidden, why: reasonImpersonate, close: true,
		text: "impersonation (--as) does not work with a personal access token; use a token of that user, or leave --as out"}
	refuseCredentials = &refusal{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, why: reasonCredentials, close: true,
		text: "a request has exactly one credential; send a personal access token as Authorization: Bearer"}
	refuseUnauthorized = &refusal{code: http.StatusUnauthorized, reason: metav1.StatusReasonUnauthorized, close: true, challenge: true,
		text: "no valid personal access token was sent; look at the token with kubectl pat describe, or make another one"}
	refuseNotReady = &refusal{code: http.StatusServiceUnavailable, reason: metav1.StatusReasonServiceUnavailable, retry: true, close: true,
		text: "this proxy cannot verify tokens at the moment, because what it knows may be out of date; try again"}
	refuseIdentity = &refusal{code: http.StatusForbidden, reason: metav1.StatusReasonForbidden, why: reasonIdentity,
		text: "the user of this personal access token may not have one; make a token for another user"}
	refuseUpgrade = &refusal{code: http.StatusBadRequest, reason: metav1.StatusReasonBadRequest, why: reasonUpgrade, close: true,
		text: "a connection can become WebSocket or SPDY/3.1 and nothing else; send one of them as Upgrade, once"}
	refuseLoad = &refusal{code: http.StatusTooManyRequests, reason: metav1.StatusReasonTooManyRequests, why: reasonLoad, retry: true,
		text: "this proxy has as many open requests as it serves, or your network has its share of them; close some, or try again"}
	refuseUpstream = &refusal{code: http.StatusServiceUnavailable, reason: metav1.StatusReasonServiceUnavailable, why: reasonUpstream, retry: true,
		text: "the API server cannot be reached from the proxy; try again"}
	refuseLost = &refusal{code: http.StatusBadGateway, reason: metav1.StatusReasonInternalError, why: reasonUpstream,
		text: "the API server did not answer, and may have carried out the request; look before you send it again"}
	refuseNoToken = &refusal{code: http.StatusServiceUnavailable, reason: metav1.StatusReasonServiceUnavailable, why: reasonNoToken, retry: true,
		text: "the proxy has no credential that the API server takes; an administrator finds the cause in its log"}
	refuseGuard = &refusal{code: http.StatusServiceUnavailable, reason: metav1.StatusReasonServiceUnavailable, why: reasonGuard,
		text: "the request was not sent, because it would not have carried the identity of the token; report this as a fault of pat-operator"}
	refuseRedirect = &refusal{code: http.StatusBadGateway, reason: metav1.StatusReasonInternalError, why: reasonRedirect,
		text: "the answer led to another server, where this credential must not go; ask who runs the API behind this path"}
	refusePanic = &refusal{code: http.StatusInternalServerError, reason: metav1.StatusReasonInternalError, why: reasonPanic,
		text: "the proxy could not serve the request; report this as a fault of pat-operator"}
	refuseReviewType = &refusal{code: http.StatusUnsupportedMediaType, reason: metav1.StatusReasonUnsupportedMediaType, why: reasonMedia,
		text: "this question cannot be compared with the token's scopes; send a SelfSubjectAccessReview of authorization.k8s.io/v1, in JSON or protobuf and of at most 64 KiB"}
	refuseReviewAccept = &refusal{code: http.StatusNotAcceptable, reason: metav1.StatusReasonNotAcceptable, why: reasonMedia,
		text: "a token with scopes gets its rules in JSON or protobuf; accept one of them"}
	refuseReview = &refusal{code: http.StatusBadGateway, reason: metav1.StatusReasonInternalError, why: reasonMedia,
		text: "the API server's answer cannot be narrowed to the token's scopes; ask for less, for example for one namespace"}
)

func refuseAddress(r *verifier.Result, address string) *refusal {
	return &refusal{code: http.StatusForbidden, reason: metav1.StatusReasonForbidden, why: reasonAddress, text: fmt.Sprintf(
		"personal access token %s/%s may not be used from %s; use it from one of the networks that its spec.from and TokenPolicies allow", r.Namespace, r.Name, address)}
}

func refuseScope(r *verifier.Result, what string) *refusal {
	return &refusal{code: http.StatusForbidden, reason: metav1.StatusReasonForbidden, why: reasonScope, text: fmt.Sprintf(
		"the scopes of personal access token %s/%s do not allow to %s; use a token with scopes that do", r.Namespace, r.Name, what)}
}

func refuseCrowd(r *verifier.Result, limit int) *refusal {
	return &refusal{code: http.StatusTooManyRequests, reason: metav1.StatusReasonTooManyRequests, why: reasonCrowd, retry: true, text: fmt.Sprintf(
		"personal access token %s/%s has %d open requests, which is the limit (--proxy-max-requests-per-token); close some, or use several tokens",
		r.Namespace, r.Name, limit)}
}

func refuseGroups(groups int) *refusal {
	return &refusal{code: http.StatusForbidden, reason: metav1.StatusReasonForbidden, why: reasonGroups, text: fmt.Sprintf(
		"the token's user has %d groups, more than fit into a request; make a token whose spec.user.groups has only those that it needs", groups)}
}

// refuseEnded is for a token that ended before its request was sent on.
func refuseEnded(c *cut) *refusal {
	f := *refuseUnauthorized
	if !c.ofToken {
		f = *refuseNotReady
	}
	f.text, f.why = c.text, c.audited()
	return &f
}

func (f *refusal) status() *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Reason: f.reason, Code: int32(f.code), Message: f.text, //nolint:gosec // an HTTP status
	}
}

// write answers. Of a client's request it holds nothing but what was checked.
func (f *refusal) write(w http.ResponseWriter) {
	body, err := json.Marshal(f.status())
	if err != nil {
		panic(err)
	}
	h := w.Header()
	if f.retry {
		h.Set("Retry-After", "1")
	}
	if f.close {
		h.Set("Connection", "close")
	}
	if f.challenge {
		h.Set("WWW-Authenticate", `Bearer realm="kubernetes"`)
	}
	if f.code == http.StatusMethodNotAllowed {
		h.Set("Allow", allowedMethods)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(f.code)
	_, _ = w.Write(body)
}
