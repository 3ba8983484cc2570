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
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/authz"
	"github.com/pat-operator/pat-operator/internal/certs"
	"github.com/pat-operator/pat-operator/internal/lastused"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// drainGrace is how long a verifier that is going away sends callers to another.
const drainGrace = 2 * time.Second

// verifierOptions are the flags of what verifies.
type verifierOptions struct {
	verifyingOptions
	faces           []string
	api             apiOptions
	verifierAddress string
	clientCAFile    string
	url             string
	kubeAPIServers  []string
	trustPath       bool
	console         consoleOptions
	upstream        upstreamOptions
}

func verifierCommand() *cobra.Command {
	common, o := &commonOptions{}, &verifierOptions{}
	cmd := &cobra.Command{
		Use:   "verifier",
		Short: "Run a verifier, which decides whether a token is valid; every replica answers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(common.validate(), o.validate()); err != nil {
				return err
			}
			return common.serve(cmd.Context(), false, o.components(common)...)
		},
	}
	common.bind(cmd.Flags())
	o.bind(cmd.Flags())
	return cmd
}

func (o *verifierOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.verifierAddress, "verifier-bind-address", ":9444", "where TokenReviews are answered (https)")
	fs.StringVar(&o.clientCAFile, "verifier-client-ca-file", "", "file with the CAs of client certificates: only holders of one connect; followed when it changes")
	fs.StringVar(&o.url, "verifier-url", "", "URL at which kube-apiserver reaches the verifier, https://HOST[:PORT]/authenticate, for the ConfigMap pat-operator-authn; the ClusterIP of its Service when empty")
	o.verifyingOptions.bind(fs, "refuses to answer and is unready")
	fs.StringSliceVar(&o.kubeAPIServers, "kube-apiservers", nil, "HOST:PORT of every kube-apiserver, each of which must prove that it enforces scopes; those of the EndpointSlices of the Service kubernetes when empty")
	fs.BoolVar(&o.trustPath, "scoped-tokens-trust-path", false, "accept tokens with scopes although fewer addresses of kube-apiserver are known than there are servers, as behind a load balancer")
	o.console.bind(fs)
	fs.StringSliceVar(&o.faces, "faces", []string{faceTokenReview}, "what is served: tokenreview, for kube-apiserver, and api, for other HTTP APIs; each should have a process and an account of its own")
	o.api.bind(fs)
	o.upstream.bind(fs)
}

func (o *verifierOptions) validate() error {
	errs := []error{
		validateAddress("--verifier-bind-address", o.verifierAddress), o.console.validate(),
		o.verifyingOptions.validate(), o.upstream.validate(),
	}
	for _, face := range o.faces {
		if face != faceTokenReview && face != faceAPI {
			errs = append(errs, fmt.Errorf("--faces %q is neither tokenreview nor api; set it as --faces=tokenreview", face))
		}
	}
	switch {
	case len(o.faces) == 0:
		errs = append(errs, errors.New("--faces is empty, so nothing would be served; set it as --faces=tokenreview"))
	case !slices.Contains(o.faces, faceTokenReview) && o.console.address != off:
		errs = append(errs, errors.New("--console-bind-address needs the face that answers kube-apiserver; set it as --console-bind-address=0"))
	}
	if slices.Contains(o.faces, faceAPI) {
		errs = append(errs, o.api.validate(o.apiAudiences))
	}
	if o.url != "" {
		errs = append(errs, authnconfig.CheckURL("--verifier-url", o.url))
	}
	for _, address := range o.kubeAPIServers {
		if err := validateAddress("--kube-apiservers", address); err != nil || strings.HasPrefix(address, ":") {
			errs = append(errs, fmt.Errorf("--kube-apiservers %q is not a host and a port; set it as --kube-apiservers=10.0.0.1:6443,10.0.0.2:6443", address))
		}
	}
	return errors.Join(errs...)
}

// The values of --faces.
const (
	faceTokenReview = "tokenreview"
	faceAPI         = "api"
)

// components are those of the faces.
func (o *verifierOptions) components(common *commonOptions) (all []component) {
	if slices.Contains(o.faces, faceTokenReview) {
		all = append(all, o.component(common))
	}
	if slices.Contains(o.faces, faceAPI) {
		all = append(all, o.api.component(common, &o.verifyingOptions))
	}
	return all
}

func (o *verifierOptions) component(common *commonOptions) component {
	return component{
		name: "verifier",
		certificates: certs.Options{
			SecretName: certs.VerifierSecretName,
			DNSNames:   []string{authnconfig.ServerName(common.operatorNamespace)},
			Publish: certs.AuthnConfigMap{
				Namespace: common.operatorNamespace, URL: o.url,
			}.Publish,
		},
		setup: o.setup,
	}
}

// setup wires what answers kube-apiserver: TokenReviews, the authorizer, and what writes down when tokens are used.
func (o *verifierOptions) setup(_ context.Context, p *componentHost) error {
	log := p.GetLogger().WithName("verifier")
	index, c, err := o.index(p, log)
	if err != nil {
		return err
	}
	upstream, err := o.upstream.webhook(log)
	if err != nil {
		return err
	}
	ready := func(*http.Request) error { return index.Ready(time.Now()) }
	if upstream != nil {
		ready = onceReady(ready)
	}
	p.ready["verifier"] = ready

	config, err := p.requireClients("verifier", o.clientCAFile)
	if err != nil {
		return err
	}
	var used func(*verifier.Result, time.Time)
	if o.lastUsedRate > 0 {
		tracker := lastused.NewTracker(index, c.Status(), o.lastUsedRate, clock.RealClock{}, log)
		tracker.Audit = p.audit
		if err := p.Add(tracker); err != nil {
			return err
		}
		used = tracker.Used
	}
	published := &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.operatorNamespace, Name: authnconfig.ConfigMapName},
	}
	recorder := p.GetEventRecorder("pat-operator-verifier")
	p.authority.OnRenewal(func(deadline time.Time) {
		recorder.Eventf(published, nil, corev1.EventTypeWarning, "CARenewalDue", "Renew",
			"A new CA signs the verifier's certificate from %s; copy ca.crt of this ConfigMap to every kube-apiserver before", deadline.UTC().Format(time.RFC3339))
	})
	installation := func() string { return string(p.authority.UID()) }
	probe := authz.NewProbe(c, p.GetConfig(), authz.ProbeOptions{
		Servers: o.kubeAPIServers, TrustPath: o.trustPath, Installation: installation, Clock: clock.RealClock{}, Log: log,
		Publish: func(ctx context.Context, enforced bool) error {
			return certs.AuthnConfigMap{Namespace: p.operatorNamespace}.PublishScopes(ctx, c, installation(), enforced)
		},
	})
	if err := p.Add(probe); err != nil {
		return err
	}
	scopesEnforced := func() bool { return probe.Enforced() == nil }
	drain := &serving.Drain{}
	mux := http.NewServeMux()
	tokenReviews := authn.NewTokenReviewHandler(index, authn.Options{
		Log: log, Drain: drain, Used: used, Audit: p.audit, Enforced: scopesEnforced, Upstream: upstream,
	})
	mux.Handle(authnconfig.TokenReviewPath, tokenReviews)
	mux.Handle(authnconfig.ScopedPath, tokenReviews)
	mux.Handle(authnconfig.AuthorizePath, authz.NewHandler(index, authz.Options{Log: log, Installation: installation}))
	if err := o.console.setup(p, c, scopesEnforced, index.Policies().For); err != nil {
		return err
	}
	return p.serveTLS("verifier", o.verifierAddress, mux, config, authn.Limits, drain)
}
