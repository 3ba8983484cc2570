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

package serving_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/abuse"
)

// startStreams returns the address of a server of streams that answers 204, and how a client trusts it.
func startStreams(t *testing.T, slots int, exempt ...netip.Prefix) (string, *tls.Config) {
	t.Helper()
	secured, trust, err := abuse.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := serving.NewStreamServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), secured, slots, exempt, logr.Discard())
	go func() { _ = server.HTTP.ServeTLS(server.Limit(listener), "", "") }()
	t.Cleanup(func() { _ = server.HTTP.Close() })
	return listener.Addr().String(), trust
}

func TestStreamsTakeGoodCiphersOnly(t *testing.T) {
	address, trust := startStreams(t, 100)
	for _, tc := range []struct {
		name   string
		max    uint16
		cipher uint16
		want   bool
	}{
		{"TLS 1.3", tls.VersionTLS13, 0, true},
		{"TLS 1.2 with GCM", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{"TLS 1.2 with CBC", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{"TLS 1.1", tls.VersionTLS11, 0, false},
	} {
		config := trust.Clone()
		config.MinVersion, config.MaxVersion, config.NextProtos = tls.VersionTLS10, tc.max, nil
		if tc.cipher != 0 {
			config.CipherSuites = []uint16{tc.cipher}
		}
		conn, err := tls.Dial("tcp", address, config)
		if (err == nil) != tc.want {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func TestOptionsOfEverythingAreForTheHandler(t *testing.T) {
	address, trust := startStreams(t, 100)
	config := trust.Clone()
	config.NextProtos = nil
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if text, _ := io.ReadAll(conn); len(text) < 12 || string(text[9:12]) != "204" {
		t.Errorf("%q", text)
	}
}

func TestConnectionsOfLoadBalancersDoNotCount(t *testing.T) {
	for _, tc := range []struct {
		name   string
		exempt []netip.Prefix
		want   bool
	}{
		{"a client", nil, false},
		{"a load balancer", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true},
	} {
		address, trust := startStreams(t, 4, tc.exempt...)
		config := trust.Clone()
		config.ServerName = "127.0.0.1"
		config.NextProtos = nil
		all := true
		for range 5 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			secured := tls.Client(conn, config)
			all = secured.Handshake() == nil && all
			defer func() { _ = conn.Close() }()
		}
		if all != tc.want {
			t.Errorf("%s: all five connections are kept: %v", tc.name, all)
		}
	}
}
