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
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/certs"
	"github.com/pat-operator/pat-operator/internal/lastused"
	"github.com/pat-operator/pat-operator/internal/proxy"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	proxyService = "pat-operator-proxy"
	// maxProxyLimit keeps a slip of the pen from being a limit in name only.
	maxProxyLimit = 1 << 20
	// proxyGoodbye is what is left after the drain to end the process.
	proxyGoodbye = 15 * time.Second
	// refuseGroups and dropGroups are the values of --proxy-unlisted-groups.
	refuseGroups = "refuse"
	dropGroups   = "drop"
)

// proxyOptions are the flags of the proxy.
type proxyOptions struct {
	verifyingOptions
	address           string
	url               string
	certFile, keyFile string
	trustedProxies    []string
	proxyProtocol     bool
	upstream          string
	impersonator      string
	maxConnections    int
	maxRequests       int
	maxPerToken       int
	maxSession        time.Duration
	drain             proxy.Drain
	auditLog          string
	unlimited         bool
	unlistedGroups    string
	lastUsedFrom      bool
}

func proxyCommand() *cobra.Command {
	common, o := &commonOptions{}, &proxyOptions{}
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run the proxy, by which tokens work with an API server that has no webhook; every replica serves",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(common.validate(), o.validate()); err != nil {
				return err
			}
			return common.serve(cmd.Context(), false, o.component(common))
		},
	}
	common.bind(cmd.Flags())
	o.bind(cmd.Flags())
	return cmd
}

func (o *proxyOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.address, "proxy-bind-address", ":6443", "where the Kubernetes API is served to holders of tokens (https)")
	fs.StringVar(&o.url, "proxy-external-url", "", "where clients reach the proxy, https://HOST[:PORT]; required")
	fs.StringVar(&o.certFile, "proxy-tls-cert-file", "", "file with the serving certificate; followed when it changes. Without it, the proxy's own CA signs one")
	fs.StringVar(&o.keyFile, "proxy-tls-key-file", "", "file with the key of --proxy-tls-cert-file")
	fs.StringSliceVar(&o.trustedProxies, "proxy-trusted-proxies", nil, "networks of load balancers whose X-Forwarded-For, or PROXY protocol, is believed; may be repeated")
	fs.BoolVar(&o.proxyProtocol, "proxy-protocol", false, "take connections only from --proxy-trusted-proxies, and the client's address from the PROXY protocol (v1 or v2) that they must begin with")
	fs.StringVar(&o.upstream, "proxy-upstream", "", "the API server that requests are sent on to, https://HOST[:PORT]; the one that this process uses when empty")
	fs.StringVar(&o.impersonator, "proxy-impersonator", proxy.DefaultImpersonator, "service account, in the operator's namespace, that requests are sent on as")
	fs.IntVar(&o.maxConnections, "proxy-max-connections", 8192, "how many connections, or requests on them, this replica holds; a client's network gets half of them at most")
	fs.IntVar(&o.maxRequests, "proxy-max-requests", 8192, "how many requests with a valid token are open at once; a client's network gets half of them at most")
	fs.IntVar(&o.maxPerToken, "proxy-max-requests-per-token", 1000, "how many requests with one token are open at once, watches and shells included")
	fs.DurationVar(&o.maxSession, "proxy-max-session", 0, "how long a request may take, a watch or a shell, before it is cut; 0 is without a limit")
	fs.DurationVar(&o.drain.Delay, "proxy-drain-delay", 30*time.Second, "how long a proxy that is going away serves on, unready, until load balancers know")
	fs.DurationVar(&o.drain.Time, "proxy-drain", time.Minute, "how long open requests have after that: watches are cut in the first half, shells at the end")
	fs.StringVar(&o.auditLog, "proxy-audit-log", audit.Stdout, "where a line of JSON for each request is written: a file, or - for standard output; off disables it")
	fs.BoolVar(&o.unlimited, "proxy-allow-unlimited-impersonation", false, "be ready although the impersonating account may act as every user, and so as an administrator of the cluster")
	fs.StringVar(&o.unlistedGroups, "proxy-unlisted-groups", refuseGroups, "what becomes of a request of a user with groups that the impersonating account may not act for: refuse has the API server refuse it, drop sends it without these groups")
	o.verifyingOptions.bind(fs, "refuses requests and cuts open ones")
	fs.BoolVar(&o.lastUsedFrom, "last-used-from", true, "record in status the address from which a token was last used")
}

func (o *proxyOptions) validate() error {
	errs := []error{validateAddress("--proxy-bind-address", o.address), o.verifyingOptions.validate()}
	errs = append(errs, validateServer("--proxy-external-url", o.url, "https://pat.example.com"))
	if o.upstream != "" {
		errs = append(errs, validateServer("--proxy-upstream", o.upstream, "https://10.0.0.1:6443"))
	}
	errs = append(errs, validatePair("--proxy-tls-cert-file", o.certFile, "--proxy-tls-key-file", o.keyFile))
	if _, err := o.trusted(); err != nil {
		errs = append(errs, err)
	}
	if o.proxyProtocol && len(o.trustedProxies) == 0 {
		errs = append(errs, errors.New("--proxy-protocol needs the networks of the load balancers that write it; set them as --proxy-trusted-proxies=10.0.0.0/8"))
	}
	if len(validation.IsDNS1123Subdomain(o.impersonator)) > 0 {
		errs = append(errs, fmt.Errorf("--proxy-impersonator %q is not the name of a service account; set it as --proxy-impersonator=%s", o.impersonator, proxy.DefaultImpersonator))
	}
	for flag, limit := range map[string]int{
		"--proxy-max-connections": o.maxConnections, "--proxy-max-requests": o.maxRequests, "--proxy-max-requests-per-token": o.maxPerToken,
	} {
		if limit < 2 || limit > maxProxyLimit {
			errs = append(errs, fmt.Errorf("%s %d is not between 2 and %d; set it as %[1]s=1000", flag, limit, maxProxyLimit))
		}
	}
	for flag, time := range map[string]time.Duration{
		"--proxy-max-session": o.maxSession, "--proxy-drain-delay": o.drain.Delay, "--proxy-drain": o.drain.Time,
	} {
		if time < 0 {
			errs = append(errs, fmt.Errorf("%s %v is less than nothing; set it as %[1]s=1m", flag, time))
		}
	}
	if o.unlistedGroups != refuseGroups && o.unlistedGroups != dropGroups {
		errs = append(errs, fmt.Errorf("--proxy-unlisted-groups %q is neither refuse nor drop; set it as --proxy-unlisted-groups=%s", o.unlistedGroups, refuseGroups))
	}
	errs = append(errs, audit.Check("--proxy-audit-log", o.auditLog))
	return errors.Join(errs...)
}

func (o *proxyOptions) trusted() ([]netip.Prefix, error) {
	return parseNetworks("--proxy-trusted-proxies", o.trustedProxies)
}

func (o *proxyOptions) component(common *commonOptions) component {
	external := strings.TrimSuffix(o.url, "/")
	c := component{
		name: "proxy",
		certificates: certs.Options{
			SecretName: certs.ProxySecretName,
			DNSNames:   []string{serviceHost(proxyService, common.operatorNamespace)},
			Publish: certs.URLConfigMap{
				Namespace: common.operatorNamespace, Name: proxyconfig.ConfigMapName, URL: external, OwnCertificate: o.certFile != "",
			}.Publish,
		},
		setup:    o.setup,
		shutdown: o.drain.Delay + o.drain.Time + proxyGoodbye,
	}
	addHost(&c.certificates, external)
	return c
}

// setup wires the proxy: what knows the tokens, what leads to the API server, and what serves.
func (o *proxyOptions) setup(_ context.Context, p *componentHost) error {
	log := p.GetLogger().WithName("proxy")
	index := verifier.NewIndex(log)
	c, err := client.NewWithWatch(p.GetConfig(), client.Options{HTTPClient: p.GetHTTPClient(), Scheme: p.GetScheme(), Mapper: p.GetRESTMapper()})
	if err != nil {
		return err
	}
	upstreamConfig := rest.CopyConfig(p.GetConfig())
	if o.upstream != "" {
		upstreamConfig.Host = o.upstream
	}
	upstream, _, err := rest.DefaultServerUrlFor(upstreamConfig)
	if err != nil {
		return fmt.Errorf("cannot tell where the API server is: %w", err)
	}
	if upstream.Scheme != "https" || strings.Trim(upstream.Path, "/") != "" {
		return errors.New("the API server is not reached at https://HOST[:PORT]; set --proxy-upstream")
	}
	transport, err := proxy.NewTransport(upstreamConfig)
	if err != nil {
		return err
	}
	impersonator := proxy.NewImpersonator(c, client.ObjectKey{Namespace: p.operatorNamespace, Name: o.impersonator}, log)
	proxy.RegisterMetrics()
	test, err := proxy.NewSelfTest(upstream.Scheme+"://"+upstream.Host, transport, impersonator, o.unlimited, log)
	if err != nil {
		return err
	}
	trusted, err := o.trusted()
	if err != nil {
		return err
	}
	lines, err := audit.Open(o.auditLog, log.WithName("audit"))
	if err != nil {
		return fmt.Errorf("--proxy-audit-log: %w", err)
	}
	published := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.operatorNamespace, Name: proxyconfig.ConfigMapName},
	}
	recorder := p.GetEventRecorder("pat-operator-proxy")
	forwarders := trusted
	if o.proxyProtocol {
		forwarders = nil // Whom a load balancer of layer 4 carries has written X-Forwarded-For itself.
	}
	nodes := proxy.NewNodes(c, log)
	options := proxy.Options{
		Index: index, Upstream: upstream, Transport: transport.As(impersonator.Token, impersonator.Refused), TrustedProxies: forwarders, Nodes: nodes,
		MaxRequests: o.maxRequests, MaxRequestsPerToken: o.maxPerToken, MaxSession: o.maxSession, Audit: lines, Log: log,
		Crowded: func(r *verifier.Result) {
			recorder.Eventf(published, nil, corev1.EventTypeWarning, "TooManyRequests", "Refuse",
				"PersonalAccessToken %s/%s has reached --proxy-max-requests-per-token (%d)", r.Namespace, r.Name, o.maxPerToken)
		},
	}
	if o.unlistedGroups == dropGroups {
		options.Groups = proxy.NewGroups(test)
	}
	runs := runnables{transport, impersonator, test, nodes, verifier.NewFeeds(c, index, verifier.FeedOptions{
		RecordsNamespace: p.recordsNamespace, MaxStaleness: o.maxStaleness, Policies: p.policies, ClockOff: p.skew.Off, Clock: clock.RealClock{}, Log: log,
	})}
	if len(o.apiAudiences) > 0 {
		index.SetAPIAudiences(o.apiAudiences)
	} else {
		own, err := verifier.OwnToken(p.GetConfig())
		if err != nil {
			return err
		}
		runs = append(runs, verifier.NewDiscovery(index.SetAPIAudiences, c, own, log))
	}
	if o.lastUsedRate > 0 {
		tracker := lastused.NewTracker(index, c.Status(), o.lastUsedRate, clock.RealClock{}, log)
		tracker.Audit = p.audit
		runs = append(runs, tracker)
		options.Used = func(r *verifier.Result, at time.Time, from string) {
			if !o.lastUsedFrom {
				from = ""
			}
			tracker.UsedFrom(r, at, from)
		}
	}
	handler := proxy.New(options)
	index.OnChange(handler.Recheck)
	readiness := proxy.NewReadiness(index.Ready, p.reach, handler.Leaving)
	runs = append(runs, everywhere(handler.Sweep), readiness)
	p.ready["proxy"], p.ready["impersonator"] = readiness.Ready, test.Ready

	config, watcher, err := p.ownCertificate("--proxy-tls-cert-file", o.certFile, o.keyFile)
	if err != nil {
		return err
	}
	if watcher != nil {
		runs = append(runs, watcher)
	}
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return fmt.Errorf("--proxy-bind-address: %w", err)
	}
	if o.proxyProtocol {
		listener = serving.ProxyProtocol(listener, trusted, o.maxConnections, proxy.RefusedConnections(log))
	}
	server := serving.NewStreamServer(handler, config, o.maxConnections, forwarders, log)
	return p.Add(everywhere(func(ctx context.Context) error {
		log.Info("Serving", "address", listener.Addr().String(), "url", o.url)
		defer lines.Close()
		return runs.around(ctx, func() error { return handler.Serve(ctx, server, listener, o.drain) })
	}))
}

// reach asks whether the API server answers.
func (p *componentHost) reach(ctx context.Context) error {
	u, _, err := rest.DefaultServerUrlFor(p.GetConfig())
	if err != nil {
		return err
	}
	return getOK(ctx, p.GetHTTPClient(), u.JoinPath("/readyz").String())
}

func getOK(ctx context.Context, c *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %d", url, response.StatusCode)
	}
	return nil
}

// runnables are what a server needs until it has drained.
type runnables []manager.Runnable

// around runs all of them while serve does, and not only until ctx ends: while clients are let go, tokens still end. If one fails,
// the error is returned at once.
func (all runnables) around(ctx context.Context, serve func() error) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	failed := make(chan error, len(all)+1)
	for _, r := range slices.Clone(all) {
		running.Go(func() {
			if err := r.Start(inner); err != nil {
				failed <- err
			}
		})
	}
	go func() { failed <- serve() }()
	return <-failed
}
