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
)

const (
	defaultOperatorNamespace = "pat-operator-system"
	// bodiesLogged is the verbosity from which client-go logs the bodies of requests and answers.
	bodiesLogged = 8
)

// commonOptions are the flags of every command that serves.
type commonOptions struct {
	kubeconfig        string
	operatorNamespace string
	recordsNamespace  string
	probeAddress      string
	metricsAddress    string
	servingHosts      []string
	maxClockSkew      time.Duration
	zap               zap.Options
}

func (o *commonOptions) bind(fs *pflag.FlagSet) {
	bindCluster(fs, &o.kubeconfig, &o.operatorNamespace)
	fs.StringVar(&o.recordsNamespace, "records-namespace", "pat-operator-records", "namespace of the records; it holds nothing else")
	fs.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served (http)")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", "0", "where /metrics is served (https, for who may get it); 0 serves none")
	fs.StringSliceVar(&o.servingHosts, "serving-host", nil, "a further name or IP address in the serving certificates; may be repeated")
	fs.DurationVar(&o.maxClockSkew, "max-clock-skew", time.Minute, "how far this clock may be off the API server's before nothing is written or verified and the replica is unready")
	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.zap.BindFlags(zapFlags)
	fs.AddGoFlagSet(zapFlags)
}

// bindCluster binds the flags that every command which talks to the cluster has.
func bindCluster(fs *pflag.FlagSet, kubeconfig, operatorNamespace *string) {
	fs.StringVar(kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; in-cluster, then $KUBECONFIG, when empty")
	fs.StringVar(operatorNamespace, "operator-namespace", defaultOperatorNamespace, "namespace of the operator: its CAs and its lease")
}

// validate returns every flag that cannot be, with the way out.
func (o *commonOptions) validate() error {
	var errs []error
	for name, ns := range map[string]string{"--operator-namespace": o.operatorNamespace, "--records-namespace": o.recordsNamespace} {
		if msgs := validation.IsDNS1123Label(ns); len(msgs) > 0 {
			errs = append(errs, fmt.Errorf("%s %q is not a namespace: %s", name, ns, msgs[0]))
		}
	}
	if o.operatorNamespace == o.recordsNamespace {
		errs = append(errs, fmt.Errorf("--records-namespace and --operator-namespace are both %q: who may read records must not read keys; name two", o.recordsNamespace))
	}
	if o.maxClockSkew < 2*time.Second {
		errs = append(errs, fmt.Errorf("--max-clock-skew %v is less than 2s: the API server's Date counts whole seconds", o.maxClockSkew))
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

// validateAddress says why a flag is no address to serve at.
func validateAddress(flag, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s %q is not [HOST]:PORT", flag, address)
	}
	return nil
}
