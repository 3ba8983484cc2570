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

// Package authz is the face that has kube-apiserver enforce the scopes of tokens: an authorizer that it asks by
// SubjectAccessReviews, and a probe that proves that every kube-apiserver does ask it.
//
// The authorizer denies what is outside of a token's scopes, and has no opinion on the rest: it never allows anything. What it
// does not know, it denies.
package authz

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	// maxBody is the maximum length of a SubjectAccessReview in bytes: a user has 128 KiB of groups at most.
	maxBody = 256 << 10

	unknownReason = "the personal access token has ended, or cannot be verified at the moment"

	resultOutside   = "denied"
	resultInside    = "no_opinion"
	resultUnknown   = "unknown_token"
	resultProbe     = "probe"
	resultMalformed = "malformed_request"
	resultPanic     = "panic"
)

var reviews = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pat_operator_subjectaccessreviews_total",
	Help: "SubjectAccessReviews about tokens with scopes, by result.",
}, []string{"result"})

func init() { metrics.Registry.MustRegister(reviews) }

// Index knows the limits of tokens.
type Index interface {
	// Limits are those of a token that is valid now, by its id and its resource.
	Limits(id, namespace, name string, now time.Time) (limits scope.Limits, ok bool)
}

// Options of the handler.
type Options struct {
	Log logr.Logger
	// Installation tells the verifiers of this cluster from those of another one; see Probe.
	Installation func() string
	// Now is the clock; nil: the wall's.
	Now func() time.Time
}

type handler struct {
	index Index
	Options
}

// NewHandler answers SubjectAccessReviews v1 at authnconfig.AuthorizePath.
func NewHandler(index Index, o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &handler{index: index, Options: o}
}

// ServeHTTP implements http.Handler. Whatever is not a 200 denies: the authorizer's failurePolicy says so.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			reviews.WithLabelValues(resultPanic).Inc()
			h.Log.Error(nil, "Panic while authorizing a request", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			refuse(w, http.StatusServiceUnavailable)
		}
	}()
	var review authorizationv1.SubjectAccessReview
	status := serving.ReadJSON(r, maxBody, &review)
	_, fails, probes := authnconfig.IsProbe(&review.Spec)
	if status == http.StatusOK && (review.Kind != "SubjectAccessReview" || review.APIVersion != authorizationv1.SchemeGroupVersion.String() ||
		r.URL.Path != authnconfig.AuthorizePath || probes && fails) {
		status = http.StatusBadRequest
	}
	if status != http.StatusOK {
		reviews.WithLabelValues(resultMalformed).Inc()
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		refuse(w, status)
		return
	}
	result, reason := h.decide(&review.Spec)
	reviews.WithLabelValues(result).Inc()
	body, err := json.Marshal(&authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: review.APIVersion, Kind: review.Kind},
		Status:   authorizationv1.SubjectAccessReviewStatus{Denied: result != resultInside, Reason: reason},
	})
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body)
}

// decide returns the result and, where it is not inside, the reason that the token's holder reads.
func (h *handler) decide(s *authorizationv1.SubjectAccessReviewSpec) (result, reason string) {
	if nonce, _, is := authnconfig.IsProbe(s); is {
		return resultProbe, authnconfig.ProbeReason(nonce, h.Installation())
	}
	credentials := s.Extra[authn.ExtraCredentialID]
	if _, scoped := s.Extra[authn.ExtraScopes]; !scoped && !isPAT(credentials) {
		return resultInside, "" // Asked without need.
	}
	names := s.Extra[authn.ExtraName]
	if len(credentials) != 1 || len(names) != 1 {
		return resultUnknown, unknownReason
	}
	id, isID := strings.CutPrefix(credentials[0], token.CredentialPrefix)
	namespace, name, isName := strings.Cut(names[0], "/")
	if !isID || !isName {
		return resultUnknown, unknownReason
	}
	limits, ok := h.index.Limits(id, namespace, name, h.Now())
	switch request := requestOf(s); {
	case !ok:
		return resultUnknown, unknownReason
	case !limits.Allows(&request):
		return resultOutside, fmt.Sprintf("outside of the scopes of the personal access token %s", names[0])
	}
	return resultInside, ""
}

func isPAT(credentials authorizationv1.ExtraValue) bool {
	for _, id := range credentials {
		if strings.HasPrefix(id, token.CredentialPrefix) {
			return true
		}
	}
	return false
}

// requestOf is what a review asks about. A review for both a resource and a path, or neither, asks for nothing that is allowed.
func requestOf(s *authorizationv1.SubjectAccessReviewSpec) scope.Request {
	var r scope.Request
	if a := s.ResourceAttributes; a != nil {
		r = scope.Request{Verb: a.Verb, Namespace: a.Namespace, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource, Name: a.Name}
	}
	if a := s.NonResourceAttributes; a != nil {
		r.Verb, r.Path = a.Verb, a.Path
	}
	return r
}

// refuse answers with a status that kube-apiserver takes for a failure.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Connection", "close")
	http.Error(w, http.StatusText(status), status)
}
