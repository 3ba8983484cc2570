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
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/controllers"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/certs"
	patclock "github.com/pat-operator/pat-operator/internal/clock"
	"github.com/pat-operator/pat-operator/internal/serving"
)

const (
	leaseName = "pat-operator"
	// defaultShutdown is how long a process may take to end.
	defaultShutdown = 30 * time.Second
)

// The limits of what an administrator's tools ask, and kubelet.
var (
	healthLimits  = serving.Limits{Slots: 256}
	metricsLimits = serving.Limits{Slots: 64}
)

// component is the operator, the verifier or the proxy: its certificates, and how to set it up.
type component struct {
	name         string
	certificates certs.Options
	setup        func(context.Context, *componentHost) error
	// shutdown is how long it may take to end.
	shutdown time.Duration
}

// componentHost is the process that components are set up in.
type componentHost struct {
	*commonOptions
	manager.Manager
	audit *audit.Log
	skew  *patclock.Skew
	// authority signs the certificates of the component that is being set up.
	authority *certs.Authority
	// ready says by name whether this replica is to be asked.
	ready map[string]healthz.Checker
}

// serve runs one component, or both, until ctx ends.
func (o *commonOptions) serve(ctx context.Context, leaderElect bool, components ...component) error {
	if err := noticeDeadConnections(); err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.zap)))
	klog.SetLogger(ctrl.Log)
	config, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	skew := patclock.NewSkew(clock.RealClock{}, o.maxClockSkew)
	config.Wrap(skew.Wrap)
	config.Wrap(controllers.NoRetryOnSecretCreate)

	var authorities []*certs.Authority
	shutdown := defaultShutdown
	for _, c := range components {
		shutdown = max(shutdown, c.shutdown)
		authority, err := o.authority(config, skew, c.certificates)
		if err != nil {
			return err
		}
		authorities = append(authorities, authority)
	}
	mgr, err := o.manager(config, leaderElect, shutdown)
	if err != nil {
		return err
	}
	events, err := audit.Open(o.auditLog, ctrl.Log.WithName("audit"))
	if err != nil {
		return fmt.Errorf("--audit-log: %w", err)
	}
	defer events.Close()
	p := &componentHost{commonOptions: o, Manager: mgr, audit: events, skew: skew, ready: map[string]healthz.Checker{"clock": skew.Ready}}
	for i, c := range components {
		p.authority = authorities[i]
		if err := mgr.Add(p.authority); err != nil {
			return err
		}
		p.ready[c.name+"-certificates"] = p.authority.Ready
		if err := c.setup(ctx, p); err != nil {
			return err
		}
	}
	if err := errors.Join(registerProcess(p.ready), p.serveHealth(), p.serveMetrics(authorities[0])); err != nil {
		return err
	}
	events.Write(audit.Event{Event: "Started", Message: version})
	defer events.Write(audit.Event{Event: "Stopped", Message: version})
	return mgr.Start(ctx)
}

// noticeDeadConnections makes client-go give up a connection whose other end is gone without a word after 10 seconds, where
// nobody has said otherwise, and not after 45: by then a verifier could not prove any more that it is up to date, though
// other API servers are there.
func noticeDeadConnections() error {
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if err := os.Setenv(name, "5"); err != nil {
			return err
		}
	}
	return nil
}

// restConfig is how to reach the cluster. Priority and Fairness throttle on the server, better than a client can.
func restConfig(kubeconfig string) (*rest.Config, error) {
	config, err := loadConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("no way to the cluster (set --kubeconfig, or run in a pod): %w", err)
	}
	config.QPS = -1
	config.UserAgent = "pat-operator/" + version
	return config, nil
}

// loadConfig reads the kubeconfig named, or finds one as every controller does.
func loadConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		return clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	return ctrl.GetConfig()
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return scheme, v1alpha1.AddToScheme(scheme)
}

func (o *commonOptions) manager(config *rest.Config, leaderElect bool, shutdown time.Duration) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(o.recordsNamespace),
		HealthProbeBindAddress:        off, // serveHealth
		LeaderElection:                leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       o.operatorNamespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &shutdown,
		Metrics:                       metricsserver.Options{BindAddress: off}, // serveMetrics
	})
}

// authority completes the certificate options of a component with those that all components share.
func (o *commonOptions) authority(config *rest.Config, skew *patclock.Skew, opts certs.Options) (*certs.Authority, error) {
	c, err := client.New(config, client.Options{})
	if err != nil {
		return nil, err
	}
	opts.Namespace = o.operatorNamespace
	opts.DNSNames = append(opts.DNSNames, "localhost")
	opts.IPAddresses = append(opts.IPAddresses, net.IPv4(127, 0, 0, 1), net.IPv6loopback)
	opts.ClockCheck = skew.Check
	for _, host := range o.servingHosts {
		if ip := net.ParseIP(host); ip != nil {
			opts.IPAddresses = append(opts.IPAddresses, ip)
		} else {
			opts.DNSNames = append(opts.DNSNames, host)
		}
	}
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	return certs.NewAuthority(c, opts), nil
}

// serviceHost is how the API server names a Service, and so a name in the certificate of what it leads to.
func serviceHost(service, namespace string) string { return service + "." + namespace + ".svc" }

// requireClients is how a component serves TLS: to holders of a certificate of the CAs in the file of --NAME-client-ca-file, if
// that is set, and to everybody if not.
func (p *componentHost) requireClients(name, file string) (*tls.Config, error) {
	config := p.authority.TLSConfig()
	if file == "" {
		return config, nil
	}
	clients, err := serving.NewClientCA(file)
	if err != nil {
		return nil, fmt.Errorf("--%s-client-ca-file: %w", name, err)
	}
	return clients.Require(config), p.Add(clients)
}

// serveTLS adds an HTTPS server that every replica runs. It listens at once, so that a port in use is known at once.
func (p *componentHost) serveTLS(name, address string, handler http.Handler, config *tls.Config, limits serving.Limits, drain *serving.Drain) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--%s-bind-address: %w", name, err)
	}
	log := p.GetLogger().WithName(name)
	return p.Add(everywhere(func(ctx context.Context) error {
		log.Info("Serving", "address", listener.Addr().String())
		return serving.NewServer(handler, config, limits, log).Run(ctx, listener, drain, drainGrace)
	}))
}

// serveHealth answers probes from the start until everything else has ended.
func (p *componentHost) serveHealth() error {
	if p.probeAddress == off || p.probeAddress == "" {
		return nil
	}
	listener, err := net.Listen("tcp", p.probeAddress)
	if err != nil {
		return fmt.Errorf("--health-probe-bind-address: %w", err)
	}
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{"/healthz": {"ping": healthz.Ping}, "/readyz": p.ready} {
		handler := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, handler)
		mux.Handle(path+"/", handler)
	}
	server := serving.NewServer(mux, nil, healthLimits, p.GetLogger().WithName("health"))
	return p.Add(&manager.Server{Name: "health", Server: server.HTTP, Listener: server.Limit(listener)})
}

// serveMetrics serves /metrics to clients with the right to get that path.
func (p *componentHost) serveMetrics(authority *certs.Authority) error {
	if p.metricsAddress == off || p.metricsAddress == "" {
		return nil
	}
	filter, err := filters.WithAuthenticationAndAuthorization(p.GetConfig(), p.GetHTTPClient())
	if err != nil {
		return err
	}
	handler, err := filter(p.GetLogger().WithName("metrics"), promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", handler)
	return p.serveTLS("metrics", p.metricsAddress, mux, authority.TLSConfig(), metricsLimits, nil)
}

// everywhere is a Runnable of every replica, the leader or not.
type everywhere func(context.Context) error

var _ manager.LeaderElectionRunnable = everywhere(nil)

func (f everywhere) Start(ctx context.Context) error { return f(ctx) }

func (everywhere) NeedLeaderElection() bool { return false }
