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
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

const (
	// OperatorSecretName names the Secret, in the operator's namespace, that holds the CA of the admission webhooks.
	OperatorSecretName = "pat-operator-ca"
	// VerifierSecretName names the Secret, there too, that holds the CA of what the verifier serves: the one that
	// kube-apiserver has a copy of.
	VerifierSecretName = authnconfig.CASecretName
	// ProxySecretName names the Secret, there too, that holds the CA of the proxy.
	ProxySecretName = "pat-operator-proxy-ca"
	// APISecretName names the Secret, there too, that holds the CA of the API face.
	APISecretName = "pat-operator-api-ca"

	// bundleKey is the key of that Secret which holds the certificates to trust.
	bundleKey = "ca.crt"
)

const (
	day = 24 * time.Hour

	// defaultCARotateBefore is one year.
	defaultCARotateBefore = 365 * day
	// defaultLeafValidity is a week, of which a third remains when a leaf is renewed.
	defaultLeafValidity = 7 * day
	// defaultInterval is how often the Secret and the webhook configurations are read.
	defaultInterval = time.Minute
)

// Options say whom an Authority serves, and for how long.
type Options struct {
	// Namespace of the CA Secret: the operator's own.
	Namespace string
	// SecretName is one of OperatorSecretName, VerifierSecretName, ProxySecretName and APISecretName: each process has a key of its own.
	SecretName string

	// DNSNames and IPAddresses are what leaves are valid for; at least one is needed.
	DNSNames    []string
	IPAddresses []net.IP

	// WebhookConfigurationName names both the MutatingWebhookConfiguration and the
	// ValidatingWebhookConfiguration that get the bundle. Empty: neither does.
	WebhookConfigurationName string

	// Publish, if set, is called with the bundle each time the Secret was read. A failure is logged and tried again, and keeps no
	// replica from serving.
	Publish func(ctx context.Context, c client.Client, bundle []byte) error

	// CAValidity is how long a new CA is valid.
	CAValidity time.Duration
	// CARotateBefore is how long before its end a CA gets a successor.
	CARotateBefore time.Duration
	// Overlap is how long a successor has been in the bundle before it signs. It must exceed
	// the five minutes that kube-apiserver takes to follow a CA file.
	Overlap time.Duration
	// LeafValidity is how long a leaf is valid; it is renewed after two thirds.
	LeafValidity time.Duration
	// Interval is how often the Secret and the webhook configurations are read.
	Interval time.Duration

	// Clock decides what is valid and what is due. Default: the real one.
	Clock clock.PassiveClock
	// ClockCheck says why the clock is not to be trusted; no CA is made or rotated by such a clock.
	// nil: it is trusted.
	ClockCheck func() error
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&o.CAValidity, authnconfig.CAValidity},
		{&o.CARotateBefore, defaultCARotateBefore},
		{&o.Overlap, authnconfig.CAOverlap},
		{&o.LeafValidity, defaultLeafValidity},
		{&o.Interval, defaultInterval},
	} {
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.ClockCheck == nil {
		o.ClockCheck = func() error { return nil }
	}
	return o
}

// Validate reports everything that is wrong with o; a zero duration stands for its default.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	if o.Namespace == "" {
		errs = append(errs, errors.New("the namespace of the CA Secret is not set"))
	}
	if o.SecretName == "" {
		errs = append(errs, errors.New("the name of the CA Secret is not set"))
	}
	if len(o.DNSNames)+len(o.IPAddresses) == 0 {
		errs = append(errs, errors.New("serving certificates need at least one DNS name or IP address"))
	}
	for _, name := range o.DNSNames {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			errs = append(errs, fmt.Errorf("serving name %q is not a DNS name: %s", name, problems[0]))
		}
	}
	for _, ip := range o.IPAddresses {
		if ip.To16() == nil {
			errs = append(errs, fmt.Errorf("serving address %q is not an IP address", ip.String()))
		}
	}
	if o.Overlap <= 0 || o.LeafValidity <= 0 || o.Interval <= 0 {
		errs = append(errs, errors.New("overlap, leaf validity and interval must be positive"))
	}
	if o.CARotateBefore <= o.Overlap {
		errs = append(errs, fmt.Errorf("a CA rotated %s before its end leaves no room for an overlap of %s", o.CARotateBefore, o.Overlap))
	}
	if o.CAValidity <= o.CARotateBefore {
		errs = append(errs, fmt.Errorf("a CA valid for %s cannot be rotated %s before its end", o.CAValidity, o.CARotateBefore))
	}
	return errors.Join(errs...)
}

// afterNewCA tells the admin what to do after a new CA, if anything: webhook configurations are updated automatically.
func (o Options) afterNewCA(joint string) string {
	switch {
	case o.WebhookConfigurationName != "":
		return ""
	case o.SecretName == ProxySecretName:
		return joint + "write the kubeconfigs of the proxy's clients again, with ca.crt of the ConfigMap pat-operator-proxy"
	}
	return joint + "copy ca.crt of the ConfigMap pat-operator-authn to every kube-apiserver"
}
