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
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/pat-operator/pat-operator/internal/certs"
	"github.com/pat-operator/pat-operator/internal/host"
	"github.com/pat-operator/pat-operator/internal/serving"
)

// validateServer returns why a URL is not that of a server alone, or nil.
func validateServer(flag, server, example string) error {
	switch {
	case server == "":
		return fmt.Errorf("%s is not set; set it as %[1]s=%s", flag, example)
	case !host.Server(server):
		return fmt.Errorf("%s is not https://HOST[:PORT]; set it as %[1]s=%s", flag, example)
	}
	return nil
}

// validatePair returns why a certificate and its key are not both there, or nil.
func validatePair(certFlag, certFile, keyFlag, keyFile string) error {
	if (certFile == "") != (keyFile == "") {
		return fmt.Errorf("%s and %s go together: set both, or neither", certFlag, keyFlag)
	}
	return nil
}

// parseNetworks reads the networks of trusted proxies.
func parseNetworks(flag string, texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil || network.Masked() != network || network.Addr().Is4In6() {
			return nil, fmt.Errorf("%s %q is not a network; set it as %[1]s=10.0.0.0/8", flag, text)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// addHost puts the host of a URL into certificates.
func addHost(o *certs.Options, server string) {
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" {
		return
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil {
		o.IPAddresses = append(o.IPAddresses, ip)
	} else {
		o.DNSNames = append(o.DNSNames, strings.ToLower(u.Hostname()))
	}
}

// ownCertificate is how a component serves TLS to clients outside of the cluster: by the certificate of its flag, which the watcher
// follows, or else by one that its CA signs.
func (p *componentHost) ownCertificate(flag, certFile, keyFile string) (*tls.Config, *certwatcher.CertWatcher, error) {
	config := serving.WithTLS12(p.authority.TLSConfig())
	if certFile == "" {
		return config, nil, nil
	}
	watcher, err := certwatcher.New(certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", flag, err)
	}
	config.GetCertificate, config.Certificates = watcher.GetCertificate, nil
	return config, watcher, nil
}
