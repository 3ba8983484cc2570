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
	"crypto/x509"
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

// A certificate is that of the CA which signs ("ca"), of a new CA that waits to sign ("next_ca"), or the one that is served.
const (
	certificateCA      = "ca"
	certificateNextCA  = "next_ca"
	certificateServing = "serving"
)

var (
	certificateLabels = []string{"secret", "certificate"}
	notBefore         = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "pat_operator_certificate_not_before_timestamp_seconds",
		Help: "From when a certificate is valid, in seconds since 1970, by the Secret of its CA.",
	}, certificateLabels)
	notAfter = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "pat_operator_certificate_not_after_timestamp_seconds",
		Help: "Until when a certificate is valid, in seconds since 1970, by the Secret of its CA.",
	}, certificateLabels)
)

func init() { metrics.Registry.MustRegister(renewalDeadline, notBefore, notAfter) }

// measure reports how long a certificate is valid; nil stands for one that is not there.
func (a *Authority) measure(certificate string, cert *x509.Certificate) {
	if cert == nil {
		notBefore.DeleteLabelValues(a.options.SecretName, certificate)
		notAfter.DeleteLabelValues(a.options.SecretName, certificate)
		return
	}
	notBefore.WithLabelValues(a.options.SecretName, certificate).Set(float64(cert.NotBefore.Unix()))
	notAfter.WithLabelValues(a.options.SecretName, certificate).Set(float64(cert.NotAfter.Unix()))
}

// OnRenewal has f called with the renewal deadline, at once and then every day, while a new CA waits to sign. Call OnRenewal
// before Start.
func (a *Authority) OnRenewal(f func(deadline time.Time)) { a.remind = f }

// renewal reports the time by which administrators must have copied the bundle. The operator itself distributes the bundle of an
// Authority with webhook configurations.
func (a *Authority) renewal(held *contents) {
	a.measure(certificateCA, held.signer.cert)
	if held.next == nil {
		a.measure(certificateNextCA, nil)
	} else {
		a.measure(certificateNextCA, held.next.cert)
	}
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
