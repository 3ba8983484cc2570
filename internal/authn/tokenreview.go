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

// Package authn is the HTTP face of the verifier. It knows nothing of Secrets.
package authn

import (
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	// ExtraCredentialID is the extra key that names the credential, as kube-apiserver's own authenticators do.
	ExtraCredentialID = "authentication.kubernetes.io/credential-id"
	// ExtraName is the extra key that names the PersonalAccessToken, as <namespace>/<name>.
	ExtraName = "pat-operator.io/name"
	// ExtraScopes is the extra key that names the scopes of a token that has any.
	ExtraScopes = authnconfig.ExtraScopes

	resultMalformed = "malformed_request"
	resultPanic     = "panic"
)

// reasonDraining is why a verifier that is going away answers nothing.
const reasonDraining verifier.Reason = "Draining"

// Limits of a server of TokenReviews. They fit the requests that one kube-apiserver has under way, 600 by default, and the
// memory of a pod.
var Limits = serving.Limits{Slots: 2048, Body: 256 << 10}

// maxBody is the maximum length of a TokenReview in bytes.
const maxBody = 64 << 10

// face is this one among those that verify; each registers these metrics with its own.
var face = prometheus.Labels{"face": "tokenreview"}

var (
	reviews = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_reviews_total", ConstLabels: face,
		Help: "Questions about tokens that were answered, by face, result and reason.",
	}, []string{"result", "reason"})
	reviewSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "pat_operator_review_duration_seconds", ConstLabels: face,
		Help:    "How long it took to read a question about a token and to answer it, by face.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
)

func init() {
	metrics.Registry.MustRegister(reviews, reviewSeconds)
	for reason, verdict := range verifier.Verdicts() {
		reviews.WithLabelValues(verdict.String(), string(reason))
	}
	reviews.WithLabelValues(verifier.NotReady.String(), string(reasonDraining))
	reviews.WithLabelValues(resultMalformed, "")
	reviews.WithLabelValues(resultPanic, "")
}

// Verifier decides whether a bearer token is valid; verifier.Index is one.
type Verifier interface {
	Verify(bearer string, audiences []string, now time.Time) verifier.Result
	VerifyScoped(bearer string, audiences []string, now time.Time) verifier.Result
}

// Options of a TokenReview handler. The zero value logs nothing and goes by the wall clock.
type Options struct {
	Log logr.Logger
	Now func() time.Time
	// Drain, once begun, turns every answer into a request to ask another replica.
	Drain *serving.Drain
	// Enforced reports whether every kube-apiserver enforces scopes now; nil: none does.
	Enforced func() bool
	// Used is called for every token that is accepted, before the answer is sent; nil is allowed.
	Used func(*verifier.Result, time.Time)
	// Audit takes refusals of well-formed tokens; nil is allowed.
	Audit *audit.Log
	// Upstream is asked about tokens that are not ours; without it, they are refused.
	Upstream *Upstream
}

// tokenReviewHandler answers TokenReviews. controller-runtime's authentication.Webhook is not used: it answers 200 to
// whatever it cannot read, quoting the content type or the decoder's error about a body that holds a token, logs the
// same, lets a panic through to net/http, which logs its value, and cannot answer with another status or a header.
type tokenReviewHandler struct {
	verifier Verifier
	log      logr.Logger
	now      func() time.Time
	drain    *serving.Drain
	enforced func() bool
	used     func(*verifier.Result, time.Time)
	audit    *audit.Log
	upstream *Upstream
}

// NewTokenReviewHandler answers TokenReviews v1 and v1beta1, each in its own version, at authnconfig.TokenReviewPath and
// authnconfig.ScopedPath.
func NewTokenReviewHandler(v Verifier, opts Options) http.Handler {
	h := &tokenReviewHandler{
		verifier: v, log: opts.Log, now: opts.Now, drain: opts.Drain, enforced: opts.Enforced, used: opts.Used, audit: opts.Audit,
		upstream: opts.Upstream,
	}
	if h.now == nil {
		h.now = time.Now
	}
	if h.drain == nil {
		h.drain = &serving.Drain{}
	}
	if h.enforced == nil {
		h.enforced = func() bool { return false }
	}
	if h.used == nil {
		h.used = func(*verifier.Result, time.Time) {}
	}
	return h
}

// tokenReview are the parts of a request that are read. Both versions spell them alike.
type tokenReview struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences"`
	} `json:"spec"`
}

// ServeHTTP implements http.Handler. Nothing is written before the answer is whole, so a panic can still become a 503.
func (h *tokenReviewHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began, passedOn := time.Now(), false
	defer func() {
		if !passedOn {
			reviewSeconds.Observe(time.Since(began).Seconds())
		}
		if p := recover(); p != nil {
			reviews.WithLabelValues(resultPanic, "").Inc()
			// The value may quote the request; the stack holds addresses only.
			h.log.Error(nil, "Panic while reviewing a token", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			fail(w, http.StatusServiceUnavailable)
		}
	}()
	if h.drain.Begun() {
		notReady(w, reasonDraining)
		return
	}
	review, body, status := readReview(r)
	if status != http.StatusOK {
		reviews.WithLabelValues(resultMalformed, "").Inc()
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		fail(w, status)
		return
	}
	// Also while this verifier is not ready: that says nothing of tokens that are not ours.
	if h.upstream != nil && goesOn(review.Spec.Token) {
		passedOn = true
		h.upstream.serve(w, r, body)
		return
	}
	now := h.now()
	verify := h.verifier.Verify
	if r.URL.Path == authnconfig.ScopedPath && h.enforced() {
		verify = h.verifier.VerifyScoped
	}
	result := verify(review.Spec.Token, review.Spec.Audiences, now)
	if result.Verdict == verifier.NotReady {
		notReady(w, result.Reason)
		return
	}
	said := answer(review.APIVersion, &result)
	reviews.WithLabelValues(result.Verdict.String(), string(result.Reason)).Inc()
	// kube-apiserver sends every token that no other authenticator accepted; foreign ones are not logged.
	if result.ID != "" {
		h.log.V(2).Info("Reviewed a token", "id", result.ID, "verdict", result.Verdict.String(), "reason", string(result.Reason))
	}
	if result.Verdict == verifier.Authenticated {
		h.used(&result, now)
	} else if result.ID != "" {
		h.audit.Refused(audit.Event{
			Event: "TokenRefused", Namespace: result.Namespace, Name: result.Name, TokenID: result.ID, Reason: string(result.Reason), SourceIP: source(r),
		})
	}
	serving.WriteJSON(w, http.StatusOK, said)
}

// source is the address of the client that asks, which is mostly an API server's.
func source(r *http.Request) string {
	if address, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return address.Addr().Unmap().String()
	}
	return ""
}

// readReview reads a request, or returns the HTTP status to refuse it with. No text says why: a decoder's errors quote
// what they read.
func readReview(r *http.Request) (_ *tokenReview, body []byte, status int) {
	if r.URL.Path != authnconfig.TokenReviewPath && r.URL.Path != authnconfig.ScopedPath {
		return nil, nil, http.StatusNotFound
	}
	var review tokenReview
	if body, status = serving.ReadBody(r, maxBody, &review); status != http.StatusOK {
		return nil, nil, status
	}
	if review.Kind != "TokenReview" {
		return nil, nil, http.StatusBadRequest
	}
	switch review.APIVersion {
	case authenticationv1.SchemeGroupVersion.String(), authenticationv1beta1.SchemeGroupVersion.String():
		return &review, body, http.StatusOK
	}
	return nil, nil, http.StatusBadRequest
}

// answer is the TokenReview that says what a result says. It holds nothing of the request but audiences.
func answer(apiVersion string, result *verifier.Result) []byte {
	o := serving.NewObject()
	o.String("kind", "TokenReview")
	o.String("apiVersion", apiVersion)
	o.Begin("metadata")
	o.End()
	o.Begin("spec")
	o.End()
	o.Begin("status")
	switch result.Verdict {
	case verifier.Authenticated:
		o.Bool("authenticated", true)
		o.Begin("user")
		writeUser(&o, result)
		o.End()
		o.Strings("audiences", result.Audiences)
	case verifier.Unknown:
		o.Begin("user")
		o.End()
		if len(result.Audiences) > 0 {
			o.Strings("audiences", result.Audiences)
		}
		if result.Reason == verifier.ReasonScoped {
			o.String("error", authnconfig.ScopedError)
		} else {
			o.String("error", authnconfig.UnknownError)
		}
	case verifier.Refused, verifier.NotReady:
		o.Begin("user")
		o.End()
	}
	o.End()
	o.End()
	return o
}

func writeUser(o *serving.Object, result *verifier.Result) {
	o.String("username", result.User.Username)
	if result.User.UID != "" {
		o.String("uid", result.User.UID)
	}
	if len(result.User.Groups) > 0 {
		o.Strings("groups", result.User.Groups)
	}
	o.Begin("extra")
	for key, values := range Extra(result) {
		o.Strings(key, values)
	}
	o.End()
}

// Extra is the extra of a token's user as the API server sees it: the user's own, and what names the token.
func Extra(result *verifier.Result) map[string][]string {
	out := make(map[string][]string, len(result.User.Extra)+3)
	for key, values := range result.User.Extra {
		out[key] = values
	}
	out[ExtraCredentialID] = []string{token.CredentialPrefix + result.ID}
	out[ExtraName] = []string{result.Namespace + "/" + result.Name}
	if !result.Limits.Full() {
		// Never empty: without a value the key might get lost on the way, and with it the limits.
		out[ExtraScopes] = append([]string{"limited"}, result.Limits.Names()...)
	}
	return out
}

// notReady makes kube-apiserver ask another replica at once: without Retry-After it waits half a second first, and
// without the close it may ask this one again.
func notReady(w http.ResponseWriter, reason verifier.Reason) {
	reviews.WithLabelValues(verifier.NotReady.String(), string(reason)).Inc()
	w.Header().Set("Retry-After", "0")
	fail(w, http.StatusInternalServerError)
}

// fail answers with a status that says nothing more, and lets go of the connection.
func fail(w http.ResponseWriter, status int) {
	w.Header().Set("Connection", "close")
	http.Error(w, http.StatusText(status), status)
}
