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

package certs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

// handshake connects client to server and returns what each side made of it.
func handshake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = listener.Close() }()
	done := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = tls.Server(conn, server).HandshakeContext(t.Context())
			_ = conn.Close()
		}
		done <- err
	}()
	raw := must[net.Conn](t)(net.Dial("tcp", listener.Addr().String()))
	defer func() { _ = raw.Close() }()
	conn := tls.Client(raw, client)
	clientErr = conn.HandshakeContext(t.Context())
	return conn.ConnectionState(), <-done, clientErr
}

func TestHandshake(t *testing.T) {
	a := NewAuthority(nil, testOptions("ns", clocktesting.NewFakePassiveClock(time.Now())))
	now := a.options.Clock.Now()
	held := must[*contents](t)(newContents(now, a.options))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(held.bundle())
	client := func(edit func(*tls.Config)) *tls.Config {
		c := &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"}}
		edit(c)
		return c
	}

	_, serverErr, clientErr := handshake(t, a.TLSConfig(), client(func(*tls.Config) {}))
	if clientErr == nil || serverErr == nil || !strings.Contains(serverErr.Error(), "no serving certificate has been issued yet: the CA has not been read yet") {
		t.Fatalf("before the first leaf: server %v, client %v", serverErr, clientErr)
	}
	if err := a.Ready(nil); err == nil {
		t.Error("ready before the first leaf")
	}
	if err := a.renewLeaf(held.signer); err != nil {
		t.Fatal(err)
	}
	if err := a.Ready(nil); err != nil {
		t.Error(err)
	}

	for _, c := range []struct {
		name string
		edit func(*tls.Config)
		want string
	}{
		{"TLS 1.3 with the bundle", func(*tls.Config) {}, ""},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "protocol version not supported"},
		{"another bundle", func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, "unknown authority"},
		{"another name", func(c *tls.Config) { c.ServerName = "example.com" }, "not example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			state, _, err := handshake(t, a.TLSConfig(), client(c.edit))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("client error = %v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
				t.Errorf("negotiated %s, %q", tls.VersionName(state.Version), state.NegotiatedProtocol)
			}
		})
	}
}

func TestNotReadyWithAnExpiredLeaf(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(epoch)
	a := NewAuthority(nil, testOptions("ns", clock))
	if err := a.renewLeaf(must[*authority](t)(newAuthority("ca", epoch, authnconfig.CAValidity))); err != nil {
		t.Fatal(err)
	}
	clock.SetTime(epoch.Add(8 * day))
	if err := a.Ready(nil); err == nil || !strings.Contains(err.Error(), "valid from 2026-03-01T11:55:00Z to 2026-03-08T12:00:00Z only") {
		t.Errorf("Ready = %v", err)
	}
}
