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
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/pat-operator/pat-operator/internal/api"
	"github.com/pat-operator/pat-operator/internal/certs"
	"github.com/pat-operator/pat-operator/internal/serving"
)

const (
	// apiName is that of the face's Service and of the ConfigMap that says where it is.
	apiName = "pat-operator-api"
	// maxRevokeRate keeps a slip of the pen from flooding the API server.
	maxRevokeRate = 1000
)

// apiOptions are the flags of the face for other HTTP APIs.
type apiOptions struct {
	address           string
	url               string
	audience          string
	trustedProxies    []string
	clientCAFile      string
	certFile, keyFile string
	maxAge            time.Duration
	revokeRate        int
}

func (o *apiOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.address, "api-bind-address", ":9446", "where the API face is served (https)")
	fs.StringVar(&o.url, "api-external-url", "", "where other APIs reach the API face, https://HOST[:PORT]; required for it")
	fs.StringVar(&o.audience, "api-audience", api.DefaultAudience, "audience that the credentials of those who ask the API face about tokens must be for")
	fs.StringSliceVar(&o.trustedProxies, "api-trusted-proxies", nil, "networks of load balancers and reverse proxies whose X-Forwarded-For is believed; may be repeated")
	fs.StringVar(&o.clientCAFile, "api-client-ca-file", "", "file with the CAs of client certificates that callers of the API face may have; followed when it changes")
	fs.StringVar(&o.certFile, "api-tls-cert-file", "", "file with the serving certificate; followed when it changes. Without it, the API face's own CA signs one")
	fs.StringVar(&o.keyFile, "api-tls-key-file", "", "file with the key of --api-tls-cert-file")
	fs.DurationVar(&o.maxAge, "introspection-max-age", api.DefaultMaxAge, "how long those who introspect a token may remember the answer, by its exp: many do")
	fs.IntVar(&o.revokeRate, "revoke-rate", api.DefaultRevokeRate, "how many revocations a second, at most, this replica writes for holders of tokens; a network gets a fifth of them")
}

func (o *apiOptions) validate(own []string) error {
	errs := []error{
		validateAddress("--api-bind-address", o.address),
		validateServer("--api-external-url", o.url, "https://pat-api.example.com"),
		validatePair("--api-tls-cert-file", o.certFile, "--api-tls-key-file", o.keyFile),
	}
	if _, err := o.trusted(); err != nil {
		errs = append(errs, err)
	}
	if o.audience == "" || slices.Contains(own, o.audience) {
		errs = append(errs, fmt.Errorf("--api-audience %q is empty or the API server's own (--api-audiences), so every token could ask; set it as --api-audience=%s", o.audience, api.DefaultAudience))
	}
	if o.maxAge < api.MinMaxAge || o.maxAge > time.Hour {
		errs = append(errs, fmt.Errorf("--introspection-max-age %v is not between %v and 1h; set it as --introspection-max-age=1m", o.maxAge, api.MinMaxAge))
	}
	if o.revokeRate < 1 || o.revokeRate > maxRevokeRate {
		errs = append(errs, fmt.Errorf("--revoke-rate %d is not between 1 and %d; set it as --revoke-rate=10", o.revokeRate, maxRevokeRate))
	}
	return errors.Join(errs...)
}

func (o *apiOptions) trusted() ([]netip.Prefix, error) {
	return parseNetworks("--api-trusted-proxies", o.trustedProxies)
}

func (o *apiOptions) component(common *commonOptions, verifying *verifyingOptions) component {
	c := component{
		name: "api",
		certificates: certs.Options{
			SecretName: certs.APISecretName,
			DNSNames:   []string{serviceHost(apiName, common.operatorNamespace)},
			Publish: certs.URLConfigMap{
				Namespace: common.operatorNamespace, Name: apiName, URL: o.origin(), OwnCertificate: o.certFile != "",
			}.Publish,
		},
		setup: func(_ context.Context, p *componentHost) error { return o.setup(p, verifying) },
	}
	addHost(&c.certificates, o.url)
	return c
}

func (o *apiOptions) origin() string { return strings.TrimSuffix(o.url, "/") }

// setup wires the face: what knows the tokens, what asks about callers, and what serves.
func (o *apiOptions) setup(p *componentHost, verifying *verifyingOptions) error {
	log := p.GetLogger().WithName("api")
	index, c, err := verifying.index(p, log)
	if err != nil {
		return err
	}
	trusted, err := o.trusted()
	if err != nil {
		return err
	}
	tokens, authorizer, err := api.Delegate(p.GetConfig(), p.GetHTTPClient())
	if err != nil {
		return err
	}
	config, watcher, err := p.ownCertificate("--api-tls-cert-file", o.certFile, o.keyFile)
	if err != nil {
		return err
	}
	if watcher != nil {
		if err := p.Add(everywhere(watcher.Start)); err != nil {
			return err
		}
	}
	if o.clientCAFile != "" {
		clients, err := serving.NewClientCA(o.clientCAFile)
		if err != nil {
			return fmt.Errorf("--api-client-ca-file: %w", err)
		}
		if err := p.Add(clients); err != nil {
			return err
		}
		config = clients.Accept(config)
	}
	api.RegisterMetrics()
	face, err := api.New(api.Options{
		Index: index, URL: o.origin(), Audience: o.audience, MaxAge: o.maxAge, Tokens: tokens, Authorizer: authorizer,
		ClientCertificates: o.clientCAFile != "", TrustedProxies: trusted, Client: c, RevokeRate: o.revokeRate, Log: log, Audit: p.audit,
	})
	if err != nil {
		return err
	}
	p.ready["api"] = func(*http.Request) error { return index.Ready(time.Now()) }
	return p.serveTLS("api", o.address, face, config, api.Limits, &serving.Drain{})
}
