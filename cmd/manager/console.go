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
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console"
	"github.com/pat-operator/pat-operator/internal/host"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// off is the address that disables a server.
const off = "0"

// consoleOptions are the flags of the web page.
type consoleOptions struct {
	address          string
	url              string
	issuer, clientID string
	secretFile       string
	caFile           string
	scopes           []string
	byProxy          bool
	namespaces       []string
	apiServer        string
	apiServerCAFile  string
	issuerName       string
}

func (o *consoleOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.address, "console-bind-address", off, "where the web console is served (https); 0 disables it")
	fs.StringVar(&o.url, "console-url", "", "where browsers reach the console: https://HOST[:PORT]; what another origin sends is refused")
	fs.StringVar(&o.issuer, "console-oidc-issuer-url", "", "the OpenID Connect issuer at which people sign in to the console; the API server has to trust it")
	fs.StringVar(&o.clientID, "console-oidc-client-id", "", "the console's client at the issuer; the API server has to take ID tokens for it")
	fs.StringVar(&o.secretFile, "console-oidc-client-secret-file", "", "file with the client's secret; empty for a public client")
	fs.StringVar(&o.caFile, "console-oidc-ca-file", "", "file with the CAs that verify the issuer; the system's when empty")
	fs.StringSliceVar(&o.scopes, "console-oidc-scopes", []string{"profile", "email", "groups"}, "scopes that the console requests in addition to openid")
	fs.StringVar(&o.issuerName, "console-oidc-name", "", "what people call the issuer, on the button to sign in; its URL when empty")
	fs.BoolVar(&o.byProxy, "console-proxy-authorization", false, "a proxy in front of the console signs people in and sends their credential as Authorization: Bearer")
	fs.StringSliceVar(&o.namespaces, "console-namespaces", nil, "namespaces whose tokens the console looks for where its visitor may not list them everywhere")
	fs.StringVar(&o.apiServer, "console-api-server-url", "", "where those who have a token reach the API server, for the commands that the console shows; empty: at the proxy where there is one, else as the console does, from outside the cluster")
	fs.StringVar(&o.apiServerCAFile, "console-api-server-ca-file", "", "file with the CAs that verify --console-api-server-url; the system's when empty")
}

// validate returns every flag that cannot be, with the way out.
func (o *consoleOptions) validate() error {
	var errs []error
	if o.address == off {
		return nil
	}
	if err := validateAddress("--console-bind-address", o.address); err != nil {
		errs = append(errs, err)
	}
	if _, err := o.origin(); err != nil {
		errs = append(errs, err)
	}
	switch issuer, err := url.Parse(o.issuer); {
	case (o.issuer == "") != (o.clientID == ""):
		errs = append(errs, errors.New("--console-oidc-issuer-url and --console-oidc-client-id go together: set both, or neither"))
	case o.issuer == "" && (o.secretFile != "" || o.caFile != ""):
		errs = append(errs, errors.New("--console-oidc-client-secret-file and --console-oidc-ca-file say more about an issuer: set --console-oidc-issuer-url as well"))
	case o.issuer != "" && o.byProxy:
		errs = append(errs, errors.New("--console-oidc-issuer-url and --console-proxy-authorization are two ways to sign in: set one"))
	case o.issuer != "" && (err != nil || issuer.Scheme != "https" || !host.Valid(strings.ToLower(issuer.Hostname())) || issuer.RawQuery != "" || issuer.Fragment != ""):
		errs = append(errs, fmt.Errorf("--console-oidc-issuer-url %q is not an https URL without a query, which the API server needs as well; set it as --console-oidc-issuer-url=https://login.example.com", o.issuer))
	}
	if at, err := url.Parse(o.apiServer); o.apiServer != "" && (err != nil || !apiServerURL.MatchString(o.apiServer) || !host.Valid(strings.ToLower(at.Hostname()))) {
		errs = append(errs, fmt.Errorf("--console-api-server-url %q is not https://HOST[:PORT][/PATH]; set it as --console-api-server-url=https://kubernetes.example.com:6443", o.apiServer))
	}
	if o.apiServer == "" && o.apiServerCAFile != "" {
		errs = append(errs, errors.New("--console-api-server-ca-file verifies what --console-api-server-url names: set that as well"))
	}
	for _, namespace := range o.namespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			errs = append(errs, notANamespace("--console-namespaces", namespace))
		}
	}
	return errors.Join(errs...)
}

// apiServerURL has only letters that a shell takes as they are.
var apiServerURL = regexp.MustCompile(`^https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$`)

// cluster is how those who have a token reach the API server: as the flags say, else as this process does, unless it does so
// from inside the cluster.
func (o *consoleOptions) cluster(own *rest.Config) (*console.Cluster, error) {
	if o.apiServer != "" {
		cluster := &console.Cluster{Server: strings.TrimSuffix(o.apiServer, "/")}
		if o.apiServerCAFile == "" {
			return cluster, nil
		}
		var err error
		if cluster.CA, err = os.ReadFile(o.apiServerCAFile); err != nil {
			return nil, fmt.Errorf("--console-api-server-ca-file: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(cluster.CA) {
			return nil, fmt.Errorf("--console-api-server-ca-file: %s has no certificate in PEM form; name a file of CA certificates", o.apiServerCAFile)
		}
		return cluster, nil
	}
	inside := os.Getenv("KUBERNETES_SERVICE_HOST")
	if inside != "" && strings.Contains(own.Host, inside) || !apiServerURL.MatchString(own.Host) {
		return nil, nil
	}
	loaded := rest.CopyConfig(own)
	if err := rest.LoadTLSFiles(loaded); err != nil {
		return nil, err
	}
	return &console.Cluster{Server: strings.TrimSuffix(loaded.Host, "/"), CA: loaded.CAData}, nil
}

// origin is --console-url as browsers write it in the header Origin: in lower case, and without the default port.
func (o *consoleOptions) origin() (*url.URL, error) {
	wrong := fmt.Errorf("--console-url %q is not https://HOST[:PORT], as browsers reach the console; set it as --console-url=https://pat.example.com", o.url)
	u, err := url.Parse(o.url)
	if err != nil || u.Scheme != "https" || u.User != nil || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, wrong
	}
	name := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
		name = ip.String()
	} else if !host.Valid(name) {
		return nil, wrong
	}
	port := uint64(443)
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return nil, wrong
		}
	}
	at := &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(name, strconv.FormatUint(port, 10))}
	if port == 443 {
		at.Host = strings.TrimSuffix(at.Host, ":443")
	}
	return at, nil
}

// setup serves the console, if it is on. scopesEnforced reports whether tokens with scopes work now, and policies returns what limits
// tokens.
func (o *consoleOptions) setup(
	p *componentHost, c client.Client, scopesEnforced func() bool, policies func(namespace string, u *v1alpha1.UserInfo) policy.Limits,
) error {
	if o.address == off {
		return nil
	}
	log := p.GetLogger().WithName("console")
	at, err := o.origin()
	if err != nil {
		return err
	}
	keys := console.NewKeys(c, p.operatorNamespace, clock.RealClock{}, log)
	if err := p.Add(keys); err != nil {
		return err
	}
	oidc, err := o.oidc()
	if err != nil {
		return err
	}
	cluster, err := o.cluster(p.GetConfig())
	if err != nil {
		return err
	}
	proxyIn := p.operatorNamespace
	if o.apiServer != "" {
		proxyIn = "" // the flag says where tokens work
	}
	page, err := console.New(console.Options{
		URL: at, Config: p.GetConfig(), Keys: keys, OIDC: oidc, ProxyAuthorization: o.byProxy, Namespaces: o.namespaces,
		Cluster: cluster, OperatorNamespace: proxyIn, MaxLifetime: p.maxLifetime, ScopesEnforced: scopesEnforced, Policies: policies,
		Clock: clock.RealClock{}, Log: log,
	})
	if err != nil {
		return err
	}
	return p.serveTLS("console", o.address, page, p.authority.TLSConfig(), console.Limits, nil)
}

// oidc reads what the flags of the issuer name.
func (o *consoleOptions) oidc() (*console.OIDCOptions, error) {
	if o.issuer == "" {
		return nil, nil
	}
	options := &console.OIDCOptions{Issuer: o.issuer, Name: o.issuerName, ClientID: o.clientID, Scopes: o.scopes}
	if o.secretFile != "" {
		secret, err := os.ReadFile(o.secretFile)
		if err != nil {
			return nil, fmt.Errorf("--console-oidc-client-secret-file: %w", err)
		}
		options.ClientSecret = strings.TrimSpace(string(secret))
	}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, fmt.Errorf("--console-oidc-ca-file: %w", err)
		}
		options.CA = x509.NewCertPool()
		if !options.CA.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--console-oidc-ca-file: %s contains no certificate", o.caFile)
		}
	}
	return options, nil
}
