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

package serving

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/pires/go-proxyproto"

	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/env"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// proxied is a listener behind a load balancer, which is the test.
type proxied struct {
	*headerListener
	mu      sync.Mutex
	reasons []string
}

func newProxied(t *testing.T, slots int, timeout time.Duration, trusted ...netip.Prefix) *proxied {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxied{}
	p.headerListener = newHeaderListener(inner, trusted, slots, timeout, func(_ netip.Addr, why string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.reasons = append(p.reasons, why)
	})
	go p.run()
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func (p *proxied) refusals() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.reasons, " ")
}

// dial opens a connection that begins with some bytes.
func (p *proxied) dial(t *testing.T, begin string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(env.Patience))
	if _, err := io.WriteString(c, begin); err != nil {
		t.Fatal(err)
	}
	return c
}

// proxyHeader is a header as a load balancer writes it.
func proxyHeader(t *testing.T, version byte, transport proxyproto.AddressFamilyAndProtocol, source string, tlvs ...proxyproto.TLV) string {
	t.Helper()
	address := &net.TCPAddr{IP: net.ParseIP(source), Port: 4711}
	h := &proxyproto.Header{
		Version: version, Command: proxyproto.PROXY, TransportProtocol: transport, SourceAddr: address, DestinationAddr: address,
	}
	switch {
	case transport == proxyproto.UNSPEC:
		h.Command = proxyproto.LOCAL
	case transport.IsDatagram():
		h.SourceAddr = &net.UDPAddr{IP: address.IP, Port: address.Port}
		h.DestinationAddr = h.SourceAddr
	}
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCase70_TheAddressOfTheProxyProtocol(t *testing.T) {
	elsewhere := netip.MustParsePrefix("192.0.2.0/24")
	v2 := func(transport proxyproto.AddressFamilyAndProtocol, source string, tlvs ...proxyproto.TLV) string {
		return proxyHeader(t, 2, transport, source, tlvs...)
	}
	for name, tc := range map[string]struct {
		begin   string
		trusted netip.Prefix
		source  string // of the connection; "" if it is refused
		reason  string
	}{
		"v1":                        {proxyHeader(t, 1, proxyproto.TCPv4, "192.0.2.7"), loopback, "192.0.2.7/32", ""},
		"v1, IPv6":                  {proxyHeader(t, 1, proxyproto.TCPv6, "2001:db8::7"), loopback, "2001:db8::/64", ""},
		"v1, IPv4 in IPv6":          {proxyHeader(t, 1, proxyproto.TCPv6, "192.0.2.7"), loopback, "192.0.2.7/32", ""},
		"v2":                        {v2(proxyproto.TCPv4, "192.0.2.7"), loopback, "192.0.2.7/32", ""},
		"v2, IPv6":                  {v2(proxyproto.TCPv6, "2001:db8::7"), loopback, "2001:db8::/64", ""},
		"v2, IPv4 in IPv6":          {v2(proxyproto.TCPv6, "192.0.2.7"), loopback, "192.0.2.7/32", ""},
		"v2, with more":             {v2(proxyproto.TCPv4, "192.0.2.7", proxyproto.TLV{Type: 0xEA, Value: []byte("\x01vpce-1")}), loopback, "192.0.2.7/32", ""},
		"v2, health check":          {v2(proxyproto.UNSPEC, ""), loopback, "127.0.0.1/32", ""},
		"v1, health check":          {"PROXY UNKNOWN\r\n", loopback, "127.0.0.1/32", ""},
		"another one by the client": {v2(proxyproto.TCPv4, "192.0.2.7") + v2(proxyproto.TCPv4, "192.0.2.8"), loopback, "192.0.2.7/32", ""},

		"untrusted, v1":              {proxyHeader(t, 1, proxyproto.TCPv4, "192.0.2.7"), elsewhere, "", RefusedPeer},
		"untrusted, v2":              {v2(proxyproto.TCPv4, "192.0.2.7"), elsewhere, "", RefusedPeer},
		"untrusted, health check":    {v2(proxyproto.UNSPEC, ""), elsewhere, "", RefusedPeer},
		"untrusted, without":         {"GET / HTTP/1.1\r\n\r\n", elsewhere, "", RefusedPeer},
		"trusted, without":           {"GET / HTTP/1.1\r\n\r\n", loopback, "", RefusedHeader},
		"trusted, TLS":               {"\x16\x03\x01\x00\xff", loopback, "", RefusedHeader},
		"v2, UDP":                    {v2(proxyproto.UDPv4, "192.0.2.7"), loopback, "", RefusedHeader},
		"v2, of nothing":             {"\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00", loopback, "", RefusedHeader},
		"v2, an unknown command":     {"\r\n\r\n\x00\r\nQUIT\n\x2f\x11\x00\x0c" + strings.Repeat("\x01", 12), loopback, "", RefusedHeader},
		"v2, longer than it may be":  {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("\x01", 12), loopback, "", RefusedHeader},
		"v2, shorter than its parts": {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04" + strings.Repeat("\x01", 12), loopback, "", RefusedHeader},
		"v1, a name":                 {"PROXY TCP4 office 192.0.2.1 1 2\r\n", loopback, "", RefusedHeader},
		"v1, without an end":         {"PROXY TCP4 " + strings.Repeat("1", 200), loopback, "", RefusedHeader},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxied(t, 10, env.Patience, tc.trusted)
			c := p.dial(t, tc.begin+"then")
			if tc.source == "" {
				let := make(chan net.Addr, 1)
				go func() {
					if got, err := p.Accept(); err == nil {
						let <- got.RemoteAddr()
					}
				}()
				env.Eventually(t, env.Patience, func() bool {
					select {
					case address := <-let:
						t.Fatalf("it is accepted, as of %s", address)
					default:
					}
					return p.refusals() == tc.reason
				}, p.refusals)
				_, err := io.ReadAll(c)
				if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
					t.Error("the connection stays open")
				}
				return
			}
			got, err := p.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = got.Close() }()
			if is := sourceOf(got.RemoteAddr()).String(); is != tc.source || p.refusals() != "" {
				t.Errorf("it is of %s, want %s; refused for %q", is, tc.source, p.refusals())
			}
			rest := make([]byte, 4)
			if _, err := io.ReadFull(got, rest); err != nil || name != "another one by the client" && string(rest) != "then" {
				t.Errorf("then it reads %q, %v", rest, err)
			}
		})
	}
}

// Peers that say nothing hold nobody up, and go when their time is over.
func TestASilentPeerHoldsNobodyUp(t *testing.T) {
	p := newProxied(t, 100, env.Patience, loopback)
	for range 10 {
		p.dial(t, "PROXY ")
		p.dial(t, "")
	}
	p.dial(t, proxyHeader(t, 2, proxyproto.TCPv4, "192.0.2.7"))
	got, err := p.Accept()
	if err != nil || sourceOf(got.RemoteAddr()).String() != "192.0.2.7/32" {
		t.Fatal(got, err)
	}
	_ = got.Close()

	p = newProxied(t, 100, time.Millisecond, loopback)
	if text, err := io.ReadAll(p.dial(t, "")); len(text) > 0 || err != nil {
		t.Errorf("%q %v; want the end of the connection", text, err)
	}
	env.Eventually(t, env.Patience, func() bool { return p.refusals() == RefusedHeader }, p.refusals)
}

// Connections of one peer that say nothing hold half of the places at most. Where they do, the oldest gives way to the newest, so
// that one client of a load balancer does not lock out the others.
func TestSilentPeersHaveAShare(t *testing.T) {
	p := newProxied(t, 4, env.Patience, loopback)
	waiting := func(n int) func() bool {
		return func() bool {
			p.waiting.mu.Lock()
			defer p.waiting.mu.Unlock()
			return p.waiting.taken == n
		}
	}
	header := proxyHeader(t, 1, proxyproto.TCPv4, "192.0.2.7")
	accepts := func(who string) {
		t.Helper()
		got, err := p.Accept()
		if err != nil {
			t.Fatalf("%s: %v", who, err)
		}
		if source := sourceOf(got.RemoteAddr()).String(); source != "192.0.2.7/32" {
			t.Errorf("%s is of %s", who, source)
		}
		t.Cleanup(func() { _ = got.Close() })
	}
	ends := func(who string, c net.Conn) {
		t.Helper()
		_, err := c.Read(make([]byte, 1))
		if timeout, ok := errors.AsType[net.Error](err); err == nil || ok && timeout.Timeout() {
			t.Fatalf("%s stays open: %v", who, err)
		}
	}
	first, second := p.dial(t, ""), p.dial(t, "")
	env.Eventually(t, env.Patience, waiting(2), func() string { return "two do not wait" })
	third := p.dial(t, "")
	ends("the first of three", first)
	env.Eventually(t, env.Patience, waiting(2), func() string { return "the second and the third do not wait" })
	p.dial(t, header)
	accepts("one that speaks, where two wait")
	ends("the second", second)
	if _, err := io.WriteString(third, header); err != nil {
		t.Fatal(err)
	}
	accepts("the third, which waited")
	env.Eventually(t, env.Patience, waiting(0), func() string { return "those whose headers were read are still counted" })
	_ = p.dial(t, "").Close()
	p.dial(t, header)
	accepts("one after one that went")
	env.Eventually(t, env.Patience, waiting(0), func() string { return "one that went is still counted" })
	if got := p.refusals(); got != "" {
		t.Errorf("refused for %q", got)
	}
}

// Health checks that open a connection and close it do not tell of a load balancer without the protocol.
func TestAPeerThatClosesWithoutAByteIsNotRefused(t *testing.T) {
	p := newProxied(t, 4, env.Patience, loopback)
	pairs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pairs.Close() })
	for _, tc := range []struct {
		name, begin string
		reset       bool
		want        string
	}{
		{"closes", "", false, ""},
		{"resets", "", true, ""},
		{"closes within the header", "PROXY ", false, RefusedHeader},
	} {
		client, err := net.Dial("tcp", pairs.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := pairs.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(client, tc.begin); err != nil {
			t.Fatal(err)
		}
		if tc.reset {
			_ = client.(*net.TCPConn).SetLinger(0)
		}
		_ = client.Close()
		p.read(p.waiting.open(raw), addressOf(raw.RemoteAddr()))
		if got := p.refusals(); got != tc.want {
			t.Errorf("one that %s is refused for %q, want %q", tc.name, got, tc.want)
		}
	}
}

// The clients behind one load balancer have a share each.
func TestCase70_SharesAreOfTheClients(t *testing.T) {
	secured, trust, err := abuse.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	p := newProxied(t, 100, env.Patience, loopback)
	server := NewStreamServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), secured, 6, nil, logr.Discard())
	go func() { _ = server.HTTP.ServeTLS(server.Limit(p), "", "") }()
	t.Cleanup(func() { _ = server.HTTP.Close() })
	config := trust.Clone()
	config.ServerName, config.NextProtos = "127.0.0.1", nil
	served := func(source string) bool {
		return tls.Client(p.dial(t, proxyHeader(t, 2, proxyproto.TCPv4, source)), config).Handshake() == nil
	}
	for i := range 3 {
		if !served("192.0.2.7") {
			t.Errorf("connection %d of a client is refused", i)
		}
	}
	if served("192.0.2.7") {
		t.Error("a client has more than half")
	}
	if !served("192.0.2.8") {
		t.Error("another client is refused")
	}
}

func TestAClosedListenerAcceptsNothing(t *testing.T) {
	p := newProxied(t, 4, env.Patience, loopback)
	header := proxyHeader(t, 1, proxyproto.TCPv4, "192.0.2.7")
	c := p.dial(t, header)
	_ = p.Close()
	_ = p.Close()
	if got, err := p.Accept(); err == nil {
		_ = got.Close() // It was taken before.
	} else if !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, net.ErrClosed) {
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			t.Error("its connection stays open")
		}
	}
	if _, err := p.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
