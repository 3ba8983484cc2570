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

package guards

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/audit"
)

// Reasons of events.
const (
	// ReasonGuardsMissing reports a guard that is not in force: no wish is granted until it is.
	ReasonGuardsMissing = "GuardsMissing"
	// reasonAdmissionIncomplete reports the absence of a webhook or policy that judges no wish: tokens are still issued.
	reasonAdmissionIncomplete = "AdmissionIncomplete"
)

var acceptedMetric = prometheus.NewDesc("pat_operator_guards_accepted",
	"1 if the guards are in force and accepted, as far as this replica knows, else 0: nothing new is granted.", nil, nil)

// Describe implements prometheus.Collector.
func (*Guards) Describe(descs chan<- *prometheus.Desc) { descs <- acceptedMetric }

// Collect implements prometheus.Collector.
func (g *Guards) Collect(samples chan<- prometheus.Metric) {
	value := 0.0
	if g.Accepted() == nil {
		value = 1
	}
	samples <- prometheus.MustNewConstMetric(acceptedMetric, prometheus.GaugeValue, value)
}

// reported is what Start has said last, so that it says nothing twice.
type reported struct {
	state  string
	others []string
}

func (g *Guards) reportMissing(m *Missing) {
	if g.reported.state == m.Error() {
		return
	}
	g.reported.state = m.Error()
	g.opts.Log.Error(m, "A guard is not in force: no token is issued, renewed or widened until it is")
	g.opts.Audit.Write(audit.Event{Event: ReasonGuardsMissing, Message: m.Error()})
	g.opts.Recorder.Eventf(m.regarding, nil, corev1.EventTypeWarning, ReasonGuardsMissing, "Refuse",
		"%s. Until then no token is issued, renewed or widened.", m.Error())
}

func (g *Guards) reportState(state string) {
	if g.reported.state != state {
		g.reported.state = state
		g.opts.Log.Info(state)
	}
}

// others judge no wish: the mutating webhook and the policies that hold RBAC rights narrow.
func others() []*metav1.PartialObjectMetadata {
	all := []*metav1.PartialObjectMetadata{metadata("MutatingWebhookConfiguration", webhookName)}
	for _, policy := range []string{"records", "delivery", "authorities", "status", "impersonator"} {
		all = append(all, metadata(policyKind, "pat-operator-"+policy), metadata(bindingKind, "pat-operator-"+policy))
	}
	return all
}

func (g *Guards) reportOthers(ctx context.Context) {
	var missing []string
	for _, o := range others() {
		object := o.Kind + " " + o.Name
		err := g.opts.Live.Get(ctx, client.ObjectKeyFromObject(o), o)
		if apierrors.IsNotFound(err) {
			missing = append(missing, object)
			if !slices.Contains(g.reported.others, object) {
				m := absent(o.Kind, o.Name)
				g.opts.Log.Info("A part of admission is missing; tokens are still issued", "problem", m.Error())
				g.opts.Recorder.Eventf(m.regarding, nil, corev1.EventTypeWarning, reasonAdmissionIncomplete, "Check", "%s", m.Error())
			}
		} else if err != nil && ctx.Err() == nil {
			g.opts.Log.Error(err, "Cannot check a part of admission", "object", object)
		}
	}
	g.reported.others = missing
}
