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

package controllers

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

const (
	tokenFirst     = "first"
	tokenSuccessor = "successor"
)

var (
	issuingSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pat_operator_issuing_duration_seconds",
		Help: "From the creation of a resource, in whole seconds, to the status that names its token (first), or from when the operator " +
			"saw the wish for another one (successor).",
		Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600},
	}, []string{"token"})
	reconcileErrors = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pat_operator_reconcile_errors_total",
		Help: "Reconciles that failed and are tried again, by the API server's reason, NoAnswer, Timeout or Other.",
	}, []string{"reason"})

	waitingGauge = prometheus.NewDesc("pat_operator_issuing_waiting",
		"PersonalAccessTokens that wait for the operator to issue a token; the leader counts them.", nil, nil)
	longestWait = prometheus.NewDesc("pat_operator_issuing_longest_wait_seconds",
		"How long the first of them has waited.", nil, nil)

	// errorReasons are the reasons that are counted under their name. An API server chooses the text, so others are Other.
	errorReasons = []metav1.StatusReason{
		metav1.StatusReasonAlreadyExists, metav1.StatusReasonBadRequest, metav1.StatusReasonConflict, metav1.StatusReasonForbidden,
		metav1.StatusReasonInternalError, metav1.StatusReasonInvalid, metav1.StatusReasonNotFound, metav1.StatusReasonServerTimeout,
		metav1.StatusReasonServiceUnavailable, metav1.StatusReasonTimeout, metav1.StatusReasonTooManyRequests, metav1.StatusReasonUnauthorized,
		reasonNoAnswer, reasonOther,
	}
	// waitReasons are those of Ready while the operator is to issue a token. Where only the user can help, nothing waits.
	waitReasons = []string{
		v1alpha1.ReasonIssuing, v1alpha1.ReasonIssuingFailed, v1alpha1.ReasonRotating, v1alpha1.ReasonGuardsMissing, v1alpha1.ReasonDeliveryNameTaken,
	}
)

const (
	reasonNoAnswer metav1.StatusReason = "NoAnswer"
	reasonOther    metav1.StatusReason = "Other"
)

func init() {
	metrics.Registry.MustRegister(issuingSeconds, reconcileErrors)
	for _, reason := range errorReasons {
		reconcileErrors.WithLabelValues(string(reason))
	}
	issuingSeconds.WithLabelValues(tokenFirst)
	issuingSeconds.WithLabelValues(tokenSuccessor)
}

func countError(err error) {
	if err != nil {
		reconcileErrors.WithLabelValues(string(errorReason(err))).Inc()
	}
}

func errorReason(err error) metav1.StatusReason {
	if reason := apierrors.ReasonForError(err); slices.Contains(errorReasons, reason) {
		return reason
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return metav1.StatusReasonTimeout
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return reasonNoAnswer
	}
	return reasonOther
}

// waiting knows which resources wait for a token, and since when. The zero value works.
type waiting struct {
	mu    sync.Mutex
	since map[types.NamespacedName]wish
}

type wish struct {
	uid types.UID
	at  time.Time
}

// note takes what a decision says of a resource; nil if the resource is gone.
func (w *waiting) note(key types.NamespacedName, pat *v1alpha1.PersonalAccessToken, state *lifecycle.State, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case pat == nil || !pat.DeletionTimestamp.IsZero():
		delete(w.since, key)
	case state == nil: // What it waits for is not known.
	case state.Ready.Status || state.Stalled != nil || !slices.Contains(waitReasons, state.Ready.Reason):
		delete(w.since, key)
	case w.since[key].uid != pat.UID:
		if w.since == nil {
			w.since = map[types.NamespacedName]wish{}
		}
		if pat.Status.TokenID == "" {
			now = pat.CreationTimestamp.Time
		}
		w.since[key] = wish{pat.UID, now}
	}
}

// issued measures how long a resource waited whose status did not name its token until now. began is when the operator took up
// the resource this time.
func (w *waiting) issued(key types.NamespacedName, pat *v1alpha1.PersonalAccessToken, current *stored, began, now time.Time) {
	rec := current.of(pat)
	if rec == nil || rec.Current == nil || rec.Current.ID == pat.Status.TokenID || rec.EndOf(rec.Current.ID) != nil {
		return
	}
	if pat.Status.TokenID == "" {
		issuingSeconds.WithLabelValues(tokenFirst).Observe(max(now.Sub(pat.CreationTimestamp.Time), 0).Seconds())
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if since, ok := w.since[key]; ok && since.uid == pat.UID {
		began = since.at
	}
	issuingSeconds.WithLabelValues(tokenSuccessor).Observe(max(now.Sub(began), 0).Seconds())
}

var _ prometheus.Collector = (*Reconciler)(nil)

// Describe implements prometheus.Collector.
func (*Reconciler) Describe(descs chan<- *prometheus.Desc) {
	descs <- waitingGauge
	descs <- longestWait
}

// Collect implements prometheus.Collector. It walks the resources that wait, and no others.
func (r *Reconciler) Collect(samples chan<- prometheus.Metric) {
	r.waiting.mu.Lock()
	defer r.waiting.mu.Unlock()
	now, longest := r.Clock.Now(), time.Duration(0)
	for _, w := range r.waiting.since {
		longest = max(longest, now.Sub(w.at))
	}
	samples <- prometheus.MustNewConstMetric(waitingGauge, prometheus.GaugeValue, float64(len(r.waiting.since)))
	samples <- prometheus.MustNewConstMetric(longestWait, prometheus.GaugeValue, longest.Seconds())
}
