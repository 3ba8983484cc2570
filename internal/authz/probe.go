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

package authz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

// The probe's own RBAC, the SubjectAccessReviews aside. Leases are listed in every namespace, since nothing of ours may be in
// kube-system.
// +kubebuilder:rbac:groups=discovery.k8s.io,namespace=default,resources=endpointslices,verbs=list
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=list

const (
	// probeInterval is how often every kube-apiserver is asked, probeTimeout how long it may take, and probeValid how long
	// its answers count.
	probeInterval = 10 * time.Second
	probeTimeout  = 3 * time.Second
	probeValid    = 30 * time.Second

	// leaseAge is how much older than the newest one the Lease of a kube-apiserver may be that still runs: it is renewed every
	// 10 s.
	leaseAge = time.Minute

	// serverName is in the certificate of every kube-apiserver.
	serverName = "kubernetes.default.svc"

	identityKey  = "apiserver.kubernetes.io/identity"
	identityName = "kube-apiserver"
)

var (
	enforced = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pat_operator_scopes_enforced",
		Help: "1 if every kube-apiserver is proven to enforce scopes, so that tokens with scopes work; 0 otherwise.",
	})
	probeFailures = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pat_operator_scopes_probe_failures_total",
		Help: "Probes of a kube-apiserver that did not prove that it enforces scopes.",
	})
)

func init() { metrics.Registry.MustRegister(enforced, probeFailures) }

// ProbeOptions say how kube-apiservers are found.
type ProbeOptions struct {
	// Servers are the addresses of every kube-apiserver, HOST:PORT. Empty: those of the EndpointSlices of the Service kubernetes.
	Servers []string
	// TrustPath takes fewer addresses than there are kube-apiservers: one address leads to all of them.
	TrustPath bool
	// Installation is what the authorizer of this installation answers with. Empty: it is not known yet.
	Installation func() string
	// Publish tells everybody whether tokens with scopes work; nil: nobody is told.
	Publish func(ctx context.Context, enforced bool) error
	Clock   clock.Clock
	Log     logr.Logger
}

// Probe proves again and again that every kube-apiserver asks the authorizer of this installation, and denies where it does not
// answer. It asks each at its own address for a user that does not exist: one review that the authorizer denies by a reason that
// only it can know, and one that it fails.
type Probe struct {
	ProbeOptions
	reader client.Reader
	config *rest.Config

	mu      sync.Mutex
	servers map[string]*server
	// complete is when the list of servers was last known to be whole.
	complete time.Time
	problem  error
}

// server is one kube-apiserver.
type server struct {
	client rest.Interface
	passed time.Time
}

// errNotEnforced is that a kube-apiserver has answered, and does not enforce scopes. One that does not answer may be starting, and
// its last proof counts until it is too old.
var errNotEnforced = errors.New("scopes are not enforced")

// NewProbe returns a probe that works once it is started. The reader must ask the API server itself.
func NewProbe(reader client.Reader, config *rest.Config, o ProbeOptions) *Probe {
	return &Probe{ProbeOptions: o, reader: reader, config: config, servers: map[string]*server{}, problem: errors.New("no probe has ended yet")}
}

// Enforced returns nil if every kube-apiserver enforces scopes, or what is known to be wrong.
func (p *Probe) Enforced() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Clock.Now()
	if p.problem == nil && now.Sub(p.complete) > probeValid {
		return errors.New("the last probe is too long ago")
	}
	if p.problem != nil {
		return p.problem
	}
	for address, s := range p.servers {
		if now.Sub(s.passed) > probeValid {
			return fmt.Errorf("kube-apiserver at %s has not proven that it enforces scopes", address)
		}
	}
	return nil
}

// Start probes until ctx ends.
func (p *Probe) Start(ctx context.Context) error {
	was := "unset"
	for {
		p.probe(ctx)
		if ctx.Err() != nil {
			return nil
		}
		is := ""
		if err := p.Enforced(); err != nil {
			is = err.Error()
		}
		enforced.Set(map[bool]float64{true: 1}[is == ""])
		if p.Publish != nil {
			if err := p.Publish(ctx, is == ""); err != nil && ctx.Err() == nil {
				p.Log.Error(err, "Cannot publish whether tokens with scopes work")
			}
		}
		switch is {
		case was:
		case "":
			p.Log.Info("Every kube-apiserver enforces scopes: tokens with scopes work")
		default:
			p.Log.Info("Tokens with scopes do not work", "why", is)
		}
		was = is
		select {
		case <-ctx.Done():
			return nil
		case <-p.Clock.After(probeInterval):
		}
	}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica probes.
func (p *Probe) NeedLeaderElection() bool { return false }

// probe asks every kube-apiserver once.
func (p *Probe) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	started := p.Clock.Now()
	addresses, err := p.find(ctx)
	if err == nil && p.Installation() == "" {
		err = errors.New("the CA of the verifier has not been read yet")
	}
	p.mu.Lock()
	if p.problem = err; err != nil {
		p.mu.Unlock()
		return
	}
	p.complete = started
	for address := range p.servers {
		if !slices.Contains(addresses, address) {
			delete(p.servers, address)
		}
	}
	for _, address := range addresses {
		if p.servers[address] == nil {
			p.servers[address] = &server{}
		}
	}
	p.mu.Unlock()

	var all sync.WaitGroup
	for _, address := range addresses {
		all.Go(func() {
			err := p.ask(ctx, address)
			if err != nil {
				probeFailures.Inc()
				p.Log.V(1).Info("A kube-apiserver has not proven that it enforces scopes", "address", address, "why", err.Error())
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			switch s := p.servers[address]; {
			case s == nil:
			case err == nil:
				s.passed = started
			case errors.Is(err, errNotEnforced):
				s.passed = time.Time{}
			}
		})
	}
	all.Wait()
}

// find returns the addresses of every kube-apiserver, or why they are not known to be all.
func (p *Probe) find(ctx context.Context) ([]string, error) {
	if len(p.Servers) > 0 {
		return p.Servers, nil
	}
	var listed discoveryv1.EndpointSliceList
	if err := p.reader.List(ctx, &listed, client.InNamespace(metav1.NamespaceDefault), client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"}); err != nil {
		return nil, fmt.Errorf("cannot list the addresses of kube-apiserver: %w", err)
	}
	var leases coordinationv1.LeaseList
	if err := p.reader.List(ctx, &leases, client.InNamespace(metav1.NamespaceSystem), client.MatchingLabels{identityKey: identityName}); err != nil {
		return nil, fmt.Errorf("cannot list the Leases of kube-apiserver: %w", err)
	}
	addresses := addressesOf(listed.Items)
	if len(addresses) == 0 {
		return nil, errors.New("the Service kubernetes has no addresses; set --kube-apiservers")
	}
	if running := countRunning(leases.Items); !p.TrustPath && len(addresses) < running {
		return nil, fmt.Errorf("%d kube-apiservers run, and the Service kubernetes has only %d of their addresses; set --kube-apiservers, or --scoped-tokens-trust-path if an address leads to all of them",
			running, len(addresses))
	}
	return addresses, nil
}

func addressesOf(all []discoveryv1.EndpointSlice) []string {
	var addresses []string
	for i := range all {
		port := 443
		for _, listed := range all[i].Ports {
			if listed.Port != nil && (listed.Name == nil || *listed.Name == "https" || *listed.Name == "") {
				port = int(*listed.Port)
			}
		}
		for _, endpoint := range all[i].Endpoints {
			for _, host := range endpoint.Addresses {
				if address := net.JoinHostPort(host, strconv.Itoa(port)); !slices.Contains(addresses, address) {
					addresses = append(addresses, address)
				}
			}
		}
	}
	return addresses
}

// countRunning counts the kube-apiservers that have renewed their Lease lately; that of a server that is gone stays for an hour.
func countRunning(leases []coordinationv1.Lease) int {
	var newest time.Time
	for i := range leases {
		if at := leases[i].Spec.RenewTime; at != nil && at.After(newest) {
			newest = at.Time
		}
	}
	running := 0
	for i := range leases {
		if at := leases[i].Spec.RenewTime; at == nil || newest.Sub(at.Time) < leaseAge {
			running++
		}
	}
	return running
}

// ask returns why a kube-apiserver has not proven that it enforces scopes.
func (p *Probe) ask(ctx context.Context, address string) error {
	c, err := p.clientOf(address)
	if err != nil {
		return err
	}
	found, cause, err := authnconfig.Probe(ctx, p.Installation(), func(ctx context.Context, review *authorizationv1.SubjectAccessReview) (authorizationv1.SubjectAccessReviewStatus, error) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		answer := &authorizationv1.SubjectAccessReview{}
		err := c.Post().Resource("subjectaccessreviews").Body(review).Do(ctx).Into(answer)
		return answer.Status, err
	})
	if err == nil && found != authnconfig.Enforced {
		err = fmt.Errorf("%w: %s %s", errNotEnforced, found, cause)
	}
	return err
}

// clientOf returns a client of one kube-apiserver, at its own address, which its certificate need not have.
func (p *Probe) clientOf(address string) (rest.Interface, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.servers[address]
	if s == nil {
		return nil, errors.New("it has gone")
	}
	if s.client != nil {
		return s.client, nil
	}
	c, err := clientAt(p.config, address)
	if err != nil {
		return nil, err
	}
	s.client = c
	return c, nil
}

func clientAt(config *rest.Config, address string) (rest.Interface, error) {
	at := rest.CopyConfig(config)
	at.Host, at.APIPath = "https://"+address, "/apis"
	at.ServerName = serverName
	at.GroupVersion, at.NegotiatedSerializer = &authorizationv1.SchemeGroupVersion, scheme.Codecs.WithoutConversion()
	at.ContentType, at.QPS = "application/json", -1
	return rest.RESTClientFor(at)
}
