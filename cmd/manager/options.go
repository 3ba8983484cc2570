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
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/host"
)

const (
	defaultOperatorNamespace = "pat-operator-system"
	// bodiesLogged is the verbosity from which client-go logs the bodies of requests and answers.
	bodiesLogged = 8
	// maxMaxLifetime is the longest life that spec.expiresInDays can ask for.
	maxMaxLifetime = v1alpha1.MaxExpiresInDays * v1alpha1.Day
)

// commonOptions are the flags of every command that serves.
type commonOptions struct {
	kubeconfig        string
	operatorNamespace string
	recordsNamespace  string
	probeAddress      string
	metricsAddress    string
	auditLog          string
	servingHosts      []string
	maxClockSkew      time.Duration
	maxLifetime       time.Duration
	policies          bool
	zap               zap.Options
}

func (o *commonOptions) bind(fs *pflag.FlagSet) {
	bindCluster(fs, &o.kubeconfig, &o.operatorNamespace)
	fs.StringVar(&o.recordsNamespace, "records-namespace", "pat-operator-records", "namespace of the records; it holds nothing else")
	fs.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served (http)")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "where /metrics is served (https, to clients with the right to get that path); 0 disables it")
	fs.StringVar(&o.auditLog, "audit-log", audit.Off, "where security events are written as lines of JSON: a file, or - for standard output; off disables it")
	fs.StringSliceVar(&o.servingHosts, "serving-host", nil, "a further name or IP address in the serving certificates; may be repeated")
	fs.DurationVar(&o.maxClockSkew, "max-clock-skew", time.Minute, "how far this clock may be off the API server's before nothing is written or verified and the replica is unready")
	fs.DurationVar(&o.maxLifetime, "max-lifetime", 366*v1alpha1.Day, "the longest life that a token may ask for: the operator holds tokens to it, and the console offers no longer one")
	fs.BoolVar(&o.policies, "policies", true, "read TokenPolicies; false is for installations without that API")
	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.zap.BindFlags(zapFlags)
	fs.AddGoFlagSet(zapFlags)
	// The defaults of zap. Its help omits them, and names a value that zap does not accept.
	for name, value := range map[string]string{"zap-log-level": "info", "zap-encoder": "json", "zap-stacktrace-level": "error", "zap-time-encoding": "epoch"} {
		fs.Lookup(name).DefValue = value
	}
	fs.Lookup("zap-time-encoding").Usage = "how times are logged: 'epoch', 'millis', 'nanos', 'iso8601', 'rfc3339' or 'rfc3339nano'"
}

// flagError names a value that can be, where pflag says only that one cannot.
func flagError(_ *cobra.Command, err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	f := invalid.GetFlag()
	return fmt.Errorf("%w; set it as --%s=%s", err, f.Name, strings.Trim(f.DefValue, "[]"))
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
		if len(validation.IsDNS1123Label(ns)) > 0 {
			errs = append(errs, notANamespace(name, ns))
		}
	}
	if o.operatorNamespace == o.recordsNamespace {
		errs = append(errs, fmt.Errorf("--records-namespace and --operator-namespace are both %q: a reader of records must not be able to read keys; name two, as --records-namespace=pat-operator-records", o.recordsNamespace))
	}
	for name, address := range map[string]string{"--health-probe-bind-address": o.probeAddress, "--metrics-bind-address": o.metricsAddress} {
		if address == off {
			continue
		}
		if err := validateAddress(name, address); err != nil {
			errs = append(errs, err)
		}
	}
	if err := audit.Check("--audit-log", o.auditLog); err != nil {
		errs = append(errs, err)
	}
	if o.maxClockSkew < 2*time.Second {
		errs = append(errs, fmt.Errorf("--max-clock-skew %v is less than 2s: the API server's Date counts whole seconds; set it as --max-clock-skew=1m", o.maxClockSkew))
	}
	if o.maxLifetime < v1alpha1.Day || o.maxLifetime > maxMaxLifetime {
		errs = append(errs, fmt.Errorf("--max-lifetime %v is not between 24h and %v (%d days); set it as --max-lifetime=8784h", o.maxLifetime, maxMaxLifetime, v1alpha1.MaxExpiresInDays))
	}
	for _, name := range o.servingHosts {
		if !host.Valid(name) {
			errs = append(errs, fmt.Errorf("--serving-host %q is neither a DNS name nor an IP address; set it as --serving-host=pat.example.com or --serving-host=10.0.0.30", name))
		}
	}
	switch level := o.zap.Level; {
	case level == nil:
	case level.Enabled(-zapcore.Level(bodiesLogged)), !level.Enabled(zapcore.PanicLevel): // zap keeps a level in one byte
		errs = append(errs, fmt.Errorf("--zap-log-level is %d or more, at which client-go logs the bodies of Secrets; set at most --zap-log-level=%d", bodiesLogged, bodiesLogged-1))
	}
	return errors.Join(errs...)
}

func notANamespace(flag, value string) error {
	return fmt.Errorf("%s %q is not a namespace; set names of a-z, 0-9 and '-', as %[1]s=team-a", flag, value)
}

// validateAddress returns why a process cannot serve at an address.
func validateAddress(flag, address string) error {
	name, port, err := net.SplitHostPort(address)
	_, badPort := strconv.ParseUint(port, 10, 16)
	name, _, _ = strings.Cut(name, "%") // a zone
	if err != nil || badPort != nil || name != "" && !host.Valid(name) {
		return fmt.Errorf("%s %q is not [HOST]:PORT; set it as %[1]s=:9443 or %[1]s=127.0.0.1:9443", flag, address)
	}
	return nil
}
