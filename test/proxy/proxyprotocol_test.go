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

package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// carried sends a request with a token as a load balancer with an address does, after a header of the PROXY protocol, if there is
// one.
func carried(t *testing.T, by *manager, balancer string, header *proxyproto.Header, bearer, forwarded string) (int, string, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(by.ca)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(balancer)}}).DialContext(ctx, network, address)
			if err != nil || header == nil {
				return c, err
			}
			_, err = header.WriteTo(c)
			return c, err
		},
	}
	defer transport.CloseIdleConnections()
	request := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, by.url+"/api/v1/namespaces/team-a/configmaps", nil))
	request.Header.Set("Authorization", "Bearer "+bearer)
	if forwarded != "" {
		request.Header.Set("X-Forwarded-For", forwarded)
	}
	response, err := (&http.Client{Transport: transport, Timeout: env.Patience}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func TestCase70_TheProxyProtocolSaysWhoTheClientIs(t *testing.T) {
	long.Only(t)
	token := issue(t, "carried", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = []string{"192.0.2.0/24"} })
	behind := startManager(t, apiServer.Config(t), binary, "carried", "--proxy-protocol", "--proxy-trusted-proxies=127.0.0.1/32")
	defer behind.stop()
	const balancer, elsewhere = "127.0.0.1", "127.0.0.2"
	of := func(version byte, transport proxyproto.AddressFamilyAndProtocol, client string) *proxyproto.Header {
		address := &net.TCPAddr{IP: net.ParseIP(client), Port: 4711}
		return &proxyproto.Header{Version: version, Command: proxyproto.PROXY, TransportProtocol: transport, SourceAddr: address, DestinationAddr: address}
	}
	inside := of(2, proxyproto.TCPv4, "192.0.2.7")
	if err := env.Poll(t.Context(), env.Patience, func() error {
		code, text, err := carried(t, behind, balancer, inside, token.Bearer, "")
		if err == nil && code == http.StatusUnauthorized {
			err = errors.New(text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		peer      string
		header    *proxyproto.Header
		forwarded string
		want      int // 0: the connection is closed
		says      string
	}{
		"inside":                    {balancer, inside, "", http.StatusOK, ""},
		"inside, v1":                {balancer, of(1, proxyproto.TCPv4, "192.0.2.7"), "", http.StatusOK, ""},
		"inside, IPv4 in IPv6":      {balancer, of(2, proxyproto.TCPv6, "192.0.2.7"), "", http.StatusOK, ""},
		"inside, v1, IPv4 in IPv6":  {balancer, of(1, proxyproto.TCPv6, "192.0.2.7"), "", http.StatusOK, ""},
		"outside":                   {balancer, of(2, proxyproto.TCPv4, "198.51.100.7"), "", http.StatusForbidden, "may not be used from 198.51.100.7"},
		"outside, forged as inside": {balancer, of(2, proxyproto.TCPv4, "198.51.100.7"), "192.0.2.7", http.StatusForbidden, "may not be used from 198.51.100.7"},
		"a trusted address, forged": {balancer, of(2, proxyproto.TCPv4, "127.0.0.1"), "192.0.2.7", http.StatusForbidden, "may not be used from 127.0.0.1"},
		"a health check, forged":    {balancer, &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}, "192.0.2.7", http.StatusForbidden, "may not be used from 127.0.0.1"},
		"without a header":          {balancer, nil, "192.0.2.7", 0, ""},
		"a header from elsewhere":   {elsewhere, inside, "", 0, ""},
		"no header, from elsewhere": {elsewhere, nil, "", 0, ""},
	} {
		code, text, err := carried(t, behind, tc.peer, tc.header, token.Bearer, tc.forwarded)
		if code != tc.want || (err == nil) != (tc.want != 0) || !strings.Contains(text, tc.says) {
			t.Errorf("%s: HTTP %d %s %v; want %d", name, code, text, err, tc.want)
		}
	}
	env.Eventually(t, env.Patience, func() bool {
		return strings.Contains(behind.log.String(), "Closing connections without a PROXY protocol header of a trusted proxy")
	}, func() string { return "the log does not say what was closed:\n" + behind.log.String() })
}
