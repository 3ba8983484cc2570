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

package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	defaultOperatorNamespace = "pat-operator-system"
	// maxMaxLifetime is what spec.expiresInDays is bounded by.
	maxMaxLifetime = 3660 * 24 * time.Hour
	// bodiesLogged is the verbosity from which client-go logs the bodies of requests and answers.
	bodiesLogged = 8
	// maxTombstones is how many revoked holder-made tokens of a namespace are remembered.
	maxTombstones = 5000
)

// options are the flags of `manager run`.
type options struct {
	kubeconfig        string
	operatorNamespace string
	recordsNamespace  string

	admissionAddress string
	verifierAddress  string
	probeAddress     string
	metricsAddress   string
	servingHosts     []string

	leaderElect    bool
	secretDelivery bool
	maxLifetime    time.Duration
	maxClockSkew   time.Duration
	maxStaleness   time.Duration
	apiAudiences   []string

	restrictingExtraKeys []string

	zap zap.Options
}

func (o *options) bind(fs *pflag.FlagSet) {
	bindCluster(fs, &o.kubeconfig, &o.operatorNamespace)
	fs.StringVar(&o.recordsNamespace, "records-namespace", "pat-operator-records", "namespace of the records; it holds nothing else")
	fs.StringVar(&o.admissionAddress, "admission-bind-address", ":9443", "where the admission webhooks are served (https)")
	fs.StringVar(&o.verifierAddress, "verifier-bind-address", ":9444", "where TokenReviews are answered (https)")
	fs.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served (http)")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "where /metrics is served (https, for who may get it); 0 serves none")
	fs.StringSliceVar(&o.servingHosts, "serving-host", nil, "a further name or IP address in the serving certificates; may be repeated")
	fs.BoolVar(&o.leaderElect, "leader-elect", true, "reconcile only while holding the lease; every replica verifies")
	fs.BoolVar(&o.secretDelivery, "secret-delivery", true, "allow delivery in Secrets, which needs create and delete of Secrets in every namespace (config/rbac/secret_delivery.yaml)")
	fs.DurationVar(&o.maxLifetime, "max-lifetime", 366*24*time.Hour, "the longest life that a token may ask for")
	fs.DurationVar(&o.maxClockSkew, "max-clock-skew", time.Minute, "how far this clock may be off the API server's before nothing is written and the replica is unready")
	fs.DurationVar(&o.maxStaleness, "max-staleness", verifier.DefaultMaxStaleness, "how old what the verifier knows may be before it refuses to answer and is unready")
	fs.StringSliceVar(&o.apiAudiences, "api-audiences", nil, "the API server's own audiences; found out by a TokenReview of this process's token when empty")
	fs.StringSliceVar(&o.restrictingExtraKeys, "restricting-extra-keys", []string{"scopes.authorization.openshift.io"},
		"keys of a user's extra that narrow what the user may do, which a token could not keep: whoever has one makes no token")
	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.zap.BindFlags(zapFlags)
	fs.AddGoFlagSet(zapFlags)
}

// bindCluster binds the flags that every command which talks to the cluster has.
func bindCluster(fs *pflag.FlagSet, kubeconfig, operatorNamespace *string) {
	fs.StringVar(kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; in-cluster, then $KUBECONFIG, when empty")
	fs.StringVar(operatorNamespace, "operator-namespace", defaultOperatorNamespace, "namespace of the operator: its CA and its lease")
}

// validate returns every flag that cannot be, with the way out.
func (o *options) validate() error {
	var errs []error
	for name, ns := range map[string]string{"--operator-namespace": o.operatorNamespace, "--records-namespace": o.recordsNamespace} {
		if msgs := validation.IsDNS1123Label(ns); len(msgs) > 0 {
			errs = append(errs, fmt.Errorf("%s %q is not a namespace: %s", name, ns, msgs[0]))
		}
	}
	if o.operatorNamespace == o.recordsNamespace {
		errs = append(errs, fmt.Errorf("--records-namespace and --operator-namespace are both %q: who may read records must not read keys; name two", o.recordsNamespace))
	}
	for name, addr := range map[string]string{"--admission-bind-address": o.admissionAddress, "--verifier-bind-address": o.verifierAddress} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			errs = append(errs, fmt.Errorf("%s %q is not [HOST]:PORT", name, addr))
		}
	}
	if o.maxLifetime < 24*time.Hour || o.maxLifetime > maxMaxLifetime {
		errs = append(errs, fmt.Errorf("--max-lifetime %v is not between 24h and %v (3660 days)", o.maxLifetime, maxMaxLifetime))
	}
	if o.maxClockSkew < 2*time.Second {
		errs = append(errs, fmt.Errorf("--max-clock-skew %v is less than 2s: the API server's Date counts whole seconds", o.maxClockSkew))
	}
	if o.maxStaleness < verifier.MinMaxStaleness {
		errs = append(errs, fmt.Errorf("--max-staleness %v is less than %v: a proof takes up to half of it", o.maxStaleness, verifier.MinMaxStaleness))
	}
	for _, host := range o.servingHosts {
		if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(host)) > 0 {
			errs = append(errs, fmt.Errorf("--serving-host %q is neither a DNS name nor an IP address", host))
		}
	}
	if o.zap.Level != nil && o.zap.Level.Enabled(-zapcore.Level(bodiesLogged)) {
		errs = append(errs, fmt.Errorf("--zap-log-level is %d or more, at which client-go logs the bodies of Secrets; set at most %d", bodiesLogged, bodiesLogged-1))
	}
	return errors.Join(errs...)
}

func (o *options) lifecycle() lifecycle.Config {
	return lifecycle.Config{MaxLifetime: o.maxLifetime, SecretDelivery: o.secretDelivery, MaxTombstones: maxTombstones}
}
