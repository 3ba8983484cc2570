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

package admission

import (
	"context"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/internal/audit"
)

var reviews = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pat_operator_admission_reviews_total",
	Help: "Requests that the admission webhooks answered, by webhook, operation and result: allowed, forbidden, invalid, or error, which asks to try again.",
}, []string{"webhook", "operation", "result"})

const (
	resultAllowed   = "allowed"
	resultForbidden = "forbidden"
	resultInvalid   = "invalid"
	resultError     = "error"
)

var (
	webhooks   = map[string]string{MutatePath: "mutating", ValidatePath: "validating"}
	operations = []admissionv1.Operation{admissionv1.Create, admissionv1.Update}
)

func init() {
	metrics.Registry.MustRegister(reviews)
	for _, webhook := range webhooks {
		for _, operation := range operations {
			for _, result := range []string{resultAllowed, resultForbidden, resultInvalid, resultError} {
				reviews.WithLabelValues(webhook, string(operation), result)
			}
		}
	}
}

// observed counts what a handler answers, and writes its refusals into the audit log.
type observed struct {
	ctrladmission.Handler
	webhook string
	audit   *audit.Log
}

// Handle implements ctrladmission.Handler.
func (o *observed) Handle(ctx context.Context, req ctrladmission.Request) ctrladmission.Response {
	resp := o.Handler.Handle(ctx, req)
	result, e := resultAllowed, audit.Event{
		Event: "AdmissionRefused", Namespace: req.Namespace, Name: req.Name, By: req.UserInfo.Username,
		Operation: string(req.Operation), DryRun: ptr.Deref(req.DryRun, false),
	}
	if !resp.Allowed {
		result = resultError
		if resp.Result != nil {
			e.Code, e.Reason, e.Message = resp.Result.Code, string(resp.Result.Reason), resp.Result.Message
		}
		switch e.Code {
		case http.StatusForbidden:
			result = resultForbidden
		case http.StatusUnprocessableEntity, http.StatusBadRequest:
			result = resultInvalid
		}
		o.audit.Refused(e)
	}
	operation := string(req.Operation)
	if !slices.Contains(operations, req.Operation) { // A client other than the API server chooses it.
		operation = "other"
	}
	reviews.WithLabelValues(o.webhook, operation, result).Inc()
	return resp
}
