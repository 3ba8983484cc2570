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
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/controllers"
	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/certs"
	patclock "github.com/pat-operator/pat-operator/internal/clock"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	// webhookConfiguration is the name of both webhook configurations, whose caBundle is kept.
	webhookConfiguration = "pat-operator"
	admissionService     = "pat-operator-admission"
	verifierService      = "pat-operator-verifier"
	leaseName            = "pat-operator"

	// drainGrace is how long a verifier that is going away sends callers to another.
	drainGrace = 2 * time.Second
)

// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=pat-operator-system,resources=secrets,resourceNames=pat-operator-ca,verbs=get;update
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations;validatingwebhookconfigurations,resourceNames=pat-operator,verbs=get;patch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

func runCommand() *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the operator and the verifier in one process",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context())
		},
	}
	o.bind(cmd.Flags())
	return cmd
}

func (o *options) run(ctx context.Context) error {
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.zap)))
	config, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	skew := patclock.NewSkew(clock.RealClock{}, o.maxClockSkew)
	config.Wrap(skew.Wrap)
	config.Wrap(controllers.AskOnce)

	authority, err := o.authority(config, skew)
	if err != nil {
		return err
	}
	mgr, err := o.manager(config, authority)
	if err != nil {
		return err
	}
	if err := mgr.Add(authority); err != nil {
		return err
	}
	if err := o.setupOperator(ctx, mgr, authority, skew); err != nil {
		return err
	}
	if err := o.setupVerifier(ctx, mgr, authority); err != nil {
		return err
	}
	for name, check := range map[string]healthz.Checker{"certificates": authority.Ready, "clock": skew.Ready} {
		if err := mgr.AddReadyzCheck(name, check); err != nil {
			return err
		}
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.Start(ctx)
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

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return scheme, v1alpha1.AddToScheme(scheme)
}

func (o *options) manager(config *rest.Config, authority *certs.Authority) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         verifier.CacheOptions(o.recordsNamespace),
		HealthProbeBindAddress:        o.probeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       o.operatorNamespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics: metricsserver.Options{
			BindAddress:    o.metricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
			TLSOpts: []func(*tls.Config){func(c *tls.Config) {
				c.MinVersion = tls.VersionTLS13
				c.GetCertificate = authority.TLSConfig().GetCertificate
			}},
		},
	})
}

// authority serves both halves: each has its own in a later split into two processes.
func (o *options) authority(config *rest.Config, skew *patclock.Skew) (*certs.Authority, error) {
	c, err := client.New(config, client.Options{})
	if err != nil {
		return nil, err
	}
	opts := certs.Options{
		Namespace: o.operatorNamespace,
		DNSNames: []string{
			admissionService + "." + o.operatorNamespace + ".svc", verifierService + "." + o.operatorNamespace + ".svc", "localhost",
		},
		IPAddresses:              []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		WebhookConfigurationName: webhookConfiguration,
		ClockCheck:               skew.Check,
	}
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

// setupOperator wires what writes: the controller and the admission webhooks.
func (o *options) setupOperator(ctx context.Context, mgr ctrl.Manager, authority *certs.Authority, skew *patclock.Skew) error {
	reconciler := &controllers.Reconciler{
		Client:           mgr.GetClient(),
		Live:             mgr.GetAPIReader(),
		Recorder:         mgr.GetEventRecorder("pat-operator"),
		Clock:            clock.RealClock{},
		ClockCheck:       skew.Check,
		Random:           rand.Reader,
		RecordsNamespace: o.recordsNamespace,
		Config:           o.lifecycle(),
	}
	if err := reconciler.SetupWithManager(ctx, mgr); err != nil {
		return err
	}
	handlers, err := admission.Handlers(admission.Config{
		MaxLifetime:          o.maxLifetime,
		SecretDelivery:       o.secretDelivery,
		RestrictingExtraKeys: o.restrictingExtraKeys,
		Client:               mgr.GetClient(),
		ServiceAccounts:      mgr.GetAPIReader(),
		IssuedAt:             o.issuedAt(mgr.GetAPIReader()),
		Now:                  time.Now,
	}, mgr.GetScheme())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for path, handler := range handlers {
		mux.Handle("POST "+path, handler)
	}
	return serve(mgr, "admission", o.admissionAddress, mux, authority, nil)
}

// issuedAt reads live from a resource's record when its token was issued. A record that cannot be read counts as one of
// a token as old as its resource, so that nothing is gained by spoiling it.
func (o *options) issuedAt(live client.Reader) func(context.Context, *v1alpha1.PersonalAccessToken) (time.Time, error) {
	return func(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (time.Time, error) {
		rec, _, invalid, err := record.Get(ctx, live, o.recordsNamespace, pat.UID)
		switch {
		case err != nil:
			return time.Time{}, err
		case invalid != nil, rec != nil && !rec.Of(pat):
			return pat.CreationTimestamp.Time, nil
		case rec == nil || rec.Current == nil:
			return time.Time{}, nil
		}
		return rec.Current.IssuedAt, nil
	}
}

// setupVerifier wires what verifies: the index, its feeds, and the TokenReview face.
func (o *options) setupVerifier(ctx context.Context, mgr ctrl.Manager, authority *certs.Authority) error {
	log := mgr.GetLogger().WithName("verifier")
	index := verifier.NewIndex(log)
	if err := index.Register(ctx, mgr.GetCache(), o.recordsNamespace); err != nil {
		return err
	}
	if len(o.apiAudiences) > 0 {
		index.SetAPIAudiences(o.apiAudiences)
	} else {
		own, err := verifier.OwnToken(mgr.GetConfig())
		if err != nil {
			return err
		}
		if err := mgr.Add(verifier.NewDiscovery(index, mgr.GetClient(), own, log)); err != nil {
			return err
		}
	}
	if err := mgr.AddReadyzCheck("verifier", func(*http.Request) error { return index.Ready() }); err != nil {
		return err
	}
	drain := &authn.Drain{}
	mux := http.NewServeMux()
	mux.Handle(authn.TokenReviewPath, authn.NewTokenReviewHandler(index, authn.Options{Log: log, Drain: drain}))
	return serve(mgr, "verifier", o.verifierAddress, mux, authority, drain)
}

// serve adds an HTTPS server that every replica runs. It listens at once, so that a port in use is known at once.
func serve(mgr ctrl.Manager, name, address string, handler http.Handler, authority *certs.Authority, drain *authn.Drain) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--%s-bind-address: %w", name, err)
	}
	log := mgr.GetLogger().WithName(name)
	return mgr.Add(everywhere(func(ctx context.Context) error {
		log.Info("Serving", "address", listener.Addr().String())
		return authn.Serve(ctx, authn.NewServer(handler, authority.TLSConfig(), log), listener, drain, drainGrace)
	}))
}

// everywhere is a Runnable of every replica, the leader or not.
type everywhere func(context.Context) error

var _ manager.LeaderElectionRunnable = everywhere(nil)

func (f everywhere) Start(ctx context.Context) error { return f(ctx) }

func (everywhere) NeedLeaderElection() bool { return false }
