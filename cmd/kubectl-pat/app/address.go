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

package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"

	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/host"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// publicCA is the value of --server-ca for a certificate that every system trusts.
const publicCA = "public"

// cluster returns where the holder connects to: the proxy where one is published, unless the flags say otherwise, else the API
// server.
func (o *kubeconfigOptions) cluster(ctx context.Context) (cluster *clientcmdv1.Cluster, proxied bool, err error) {
	if !o.noProxy && o.server == "" {
		if proxy, err := o.publishedProxy(ctx); err != nil {
			return nil, false, err
		} else if proxy != nil {
			return &clientcmdv1.Cluster{Server: proxy.URL, CertificateAuthorityData: proxy.CA}, true, nil
		}
	}
	cluster, err = o.ofContext()
	return cluster, false, err
}

// publishedProxy reads where the proxy is; nil without a proxy that the caller may know of.
func (o *kubeconfigOptions) publishedProxy(ctx context.Context) (*proxyconfig.Config, error) {
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	o.operator.find(ctx, c)
	proxy, err := o.operator.proxy(ctx, c)
	if unusable, ok := errors.AsType[unusableProxyError](err); ok {
		err = fmt.Errorf("%w. For the API server itself add --no-proxy", unusable)
	}
	return proxy, err
}

// givenCA reads the CA of --server-ca; nil without one.
func (o *kubeconfigOptions) givenCA() ([]byte, error) {
	if o.serverCA == "" || o.serverCA == publicCA {
		return nil, nil
	}
	text, err := readFile(o.serverCA, maxTokenFile)
	if err != nil {
		return nil, fmt.Errorf("--server-ca: %w", err)
	}
	certs, err := cacert.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("--server-ca: %s %w", o.serverCA, err)
	}
	return cacert.Encode(certs...), nil
}

// ofContext returns the cluster of the current context, without anything secret.
func (o *kubeconfigOptions) ofContext() (*clientcmdv1.Cluster, error) {
	config, err := restConfig(o.flags)
	if err != nil {
		return nil, err
	}
	if o.server != "" {
		config = rest.CopyConfig(config)
		config.Host = o.server
	}
	server, err := serverOf(config)
	if err != nil {
		return nil, err
	}
	if server.Scheme != "https" {
		return nil, errNoTLS
	}
	if o.server != "" && !host.Valid(strings.ToLower(server.Hostname())) {
		return nil, usagef("--server %q has no valid host: give a URL such as --server https://api.example.com:6443", o.server)
	}
	if server.User != nil {
		return nil, usagef("the API server's address contains a user name, which would be in the kubeconfig: give another address with --server URL")
	}
	ca, err := o.givenCA()
	if err != nil {
		return nil, err
	}
	if o.serverCA != "" {
		return &clientcmdv1.Cluster{Server: server.String(), CertificateAuthorityData: ca}, nil
	}
	cluster := &clientcmdv1.Cluster{
		Server:                   server.String(),
		TLSServerName:            config.ServerName,
		CertificateAuthorityData: config.CAData,
		InsecureSkipTLSVerify:    config.Insecure,
		DisableCompression:       config.DisableCompression,
	}
	if config.CAFile != "" && len(config.CAData) == 0 {
		if cluster.CertificateAuthorityData, err = os.ReadFile(config.CAFile); err != nil {
			return nil, err
		}
	}
	if config.Proxy != nil {
		proxy, err := config.Proxy(&http.Request{URL: server})
		if err != nil {
			return nil, err
		}
		switch {
		case proxy == nil:
		case proxy.User != nil: // the holder could not connect without it
			return nil, usagef("the proxy-url of your kubeconfig contains a user name or password, which would be in the holder's: give a kubeconfig with --kubeconfig whose proxy-url has neither and works for the holder")
		default:
			cluster.ProxyURL = proxy.String()
		}
	}
	return cluster, nil
}

// reachable reports whether people elsewhere may reach a host, as far as its name shows.
func reachable(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate() && !sharedAddresses.Contains(ip)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !strings.Contains(host, ".") {
		return false
	}
	for _, local := range []string{".localhost", ".local", ".internal", ".svc", ".cluster.local"} {
		if strings.HasSuffix(host, local) {
			return false
		}
	}
	return true
}

// sharedAddresses are those of RFC 6598, between a provider and its customers.
var sharedAddresses = &net.IPNet{IP: net.IPv4(100, 64, 0, 0).To4(), Mask: net.CIDRMask(10, 32)}
