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
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

var (
	reviews = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_reviews_total", ConstLabels: prometheus.Labels{"face": "proxy"},
		Help: "Questions about tokens that were answered, by face, result and reason.",
	}, []string{"result", "reason"})
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_proxy_requests_total",
		Help: "Requests through the proxy that have ended, by HTTP status; 0 where none was sent.",
	}, []string{"code"})
	refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_proxy_refused_total",
		Help: "Requests that the proxy refused or cut, by reason as in its audit log.",
	}, []string{"reason"})
	open = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pat_operator_proxy_open_requests",
		Help: "Requests that are open through the proxy, watches and sessions included.",
	})
	upstreamErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_proxy_upstream_errors_total",
		Help: "Requests that the API server did not answer, by reason as in the audit log.",
	}, []string{"reason"})
	guarded = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pat_operator_proxy_guarded_total",
		Help: "Requests that were not sent because they did not carry exactly the identity of a token. Each is a fault, except of users with too many groups.",
	})
	throttled = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pat_operator_proxy_throttled_total",
		Help: "Requests with invalid credentials that were not answered, because their source sent too many.",
	})
	refusedConnections = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_proxy_refused_connections_total",
		Help: "Connections that --proxy-protocol closed: peer, from no trusted proxy; header, from one that sent no PROXY protocol.",
	}, []string{"reason"})
	fromNodes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pat_operator_proxy_requests_from_nodes_total",
		Help: "Requests whose address is that of a node: on the way to the proxy, the client's was probably lost.",
	})
	selfTest = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pat_operator_proxy_self_test",
		Help: "1 if the account that impersonates can do what it must and no more, else 0.",
	})
)

// RegisterMetrics shows the metrics in the process that is a proxy; in another they would say that it cannot impersonate.
var RegisterMetrics = sync.OnceFunc(func() {
	metrics.Registry.MustRegister(reviews, requests, refusals, open, upstreamErrors, guarded, throttled, refusedConnections, fromNodes, selfTest)
	for reason, verdict := range verifier.Verdicts() {
		reviews.WithLabelValues(verdict.String(), string(reason))
	}
	requests.WithLabelValues(strconv.Itoa(http.StatusOK))
	for _, reason := range []string{serving.RefusedPeer, serving.RefusedHeader} {
		refusedConnections.WithLabelValues(reason)
	}
	for _, reason := range []string{reasonUpstream, reasonRedirect, reasonGuard, reasonGroups, reasonNoToken} {
		refusals.WithLabelValues(reason)
		upstreamErrors.WithLabelValues(reason)
	}
	// A series that begins with its first event does not increase by it, as alerts see it.
	for _, reason := range []string{reasonCrowd, reasonLoad, reasonScope, reasonAddress, reasonImpersonate, reasonCredentials, reasonPanic} {
		refusals.WithLabelValues(reason)
	}
})
