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

package certs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// remindEvery is the time between two reminders.
const remindEvery = 24 * time.Hour

var renewalDeadline = prometheus.NewGauge(prometheus.GaugeOpts{
	Name: "pat_operator_ca_renewal_deadline_timestamp_seconds",
	Help: "When a new CA starts to sign the verifier's certificate, in seconds since 1970. Every kube-apiserver needs the present " +
		"ca.crt of the ConfigMap pat-operator-authn before. 0 while no new CA waits.",
})

func init() { metrics.Registry.MustRegister(renewalDeadline) }

// OnRenewal has f called with the renewal deadline, at once and then every day, while a new CA waits to sign. Call OnRenewal
// before Start.
func (a *Authority) OnRenewal(f func(deadline time.Time)) { a.remind = f }

// renewal reports the time by which administrators must have copied the bundle. The operator itself distributes the bundle of an
// Authority with webhook configurations.
func (a *Authority) renewal(held *contents) {
	if a.options.WebhookConfigurationName != "" {
		return
	}
	if held.next == nil {
		renewalDeadline.Set(0)
		return
	}
	deadline := held.next.madeAt().Add(a.options.Overlap)
	renewalDeadline.Set(float64(deadline.Unix()))
	if now := a.options.Clock.Now(); a.remind != nil && now.Sub(a.reminded) >= remindEvery {
		a.reminded = now
		a.remind(deadline)
	}
}
