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
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

var (
	introspections = reviews("introspection")
	questions      = reviews("forward-auth")
	requests       = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_api_requests_total",
		Help: "Requests to the API face, by endpoint and HTTP status.",
	}, []string{"endpoint", "code"})
	revocations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_api_revocations_total",
		Help: "Tokens that were sent to be revoked, by what became of them.",
	}, []string{"result"})
)

func reviews(face string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_reviews_total", ConstLabels: prometheus.Labels{"face": face},
		Help: "Questions about tokens that were answered, by face, result and reason.",
	}, []string{"result", "reason"})
}

// RegisterMetrics adds the face's metrics to those of the process.
var RegisterMetrics = sync.OnceFunc(func() {
	metrics.Registry.MustRegister(introspections, questions, requests, revocations)
	for reason, verdict := range verifier.Verdicts() {
		introspections.WithLabelValues(verdict.String(), string(reason))
		questions.WithLabelValues(verdict.String(), string(reason))
	}
	for _, result := range []outcome{outcomeRevoked, outcomeEnded, outcomeUnknown, outcomeUnavailable} {
		revocations.WithLabelValues(string(result))
	}
	for _, endpoint := range []string{"introspect", "revoke", "auth"} {
		requests.WithLabelValues(endpoint, strconv.Itoa(http.StatusOK))
	}
})

// answer remembers the status that was sent.
type answer struct {
	http.ResponseWriter
	code int
}

func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) count(endpoint string) {
	requests.WithLabelValues(endpoint, strconv.Itoa(a.code)).Inc()
}

// refusal is an answer to a request that gets none of what it asks for, in the form of RFC 6749 section 5.2.
type refusal struct {
	status int
	code   string
	text   string
	header http.Header
}

var (
	refuseNotFound = &refusal{status: http.StatusNotFound, code: "not_found",
		text: "there is nothing at this path; " + pathOpenAPI + " tells what there is"}
	refuseNotGET = &refusal{status: http.StatusMethodNotAllowed, code: codeInvalidRequest, text: "read this with GET",
		header: http.Header{"Allow": {"GET, HEAD"}}}
	refuseNotReady = &refusal{status: http.StatusServiceUnavailable, code: codeUnavailable,
		text: "this server cannot verify tokens at the moment, because what it knows may be out of date; try again", header: retry}
	refusePanic = &refusal{status: http.StatusInternalServerError, code: "server_error",
		text: "the server could not serve the request; report this as a fault of pat-operator"}

	retry = http.Header{"Retry-After": {"1"}}
)

const (
	codeInvalidRequest = "invalid_request"
	codeInvalidClient  = "invalid_client"
	codeUnavailable    = "temporarily_unavailable"
)

func invalid(text string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: codeInvalidRequest, text: text}
}

func (f *refusal) write(w http.ResponseWriter) {
	for name, values := range f.header {
		w.Header()[name] = values
	}
	writeJSON(w, f.status, map[string]string{"error": f.code, "error_description": f.text})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	write(w, status, body)
}

var noSniff = []string{"nosniff"}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header()["X-Content-Type-Options"] = noSniff
	serving.WriteJSON(w, status, body)
}
