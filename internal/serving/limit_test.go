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
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"

	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/env"
)

// crowded is a server whose limits a test can fill, and whose timeouts do not help it.
type crowded struct {
	*ledger
	address string
	trust   *tls.Config
}

func newCrowded(t *testing.T, limits Limits) *crowded {
	t.Helper()
	config, trust, err := abuse.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, "served")
		}
	}), config, limits, logr.Discard())
	s.HTTP.ReadHeaderTimeout, s.HTTP.ReadTimeout, s.HTTP.WriteTimeout = time.Hour, time.Hour, time.Hour
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- s.Run(ctx, listener, nil, 0) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return &crowded{s.ledger, listener.Addr().String(), trust}
}

// client is one that has connections of its own, from a source.
func (c *crowded) client(source int, protocol string) *http.Client {
	config := c.trust.Clone()
	config.NextProtos = []string{protocol}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: abuse.Source(source)}}
	transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: protocol == "h2"}
	if protocol != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// streams is how many an attack opens on a connection.
const streams = 20

// newcomer is a source that had no connection before.
var newcomer = 5000

// serves reports an error if a source that holds nothing is not served.
func (c *crowded) serves() error {
	for _, protocol := range []string{"http/1.1", "h2"} {
		newcomer++
		client := c.client(newcomer, protocol)
		resp, err := client.Post("https://"+c.address, "", strings.NewReader("hello"))
		if err != nil {
			return fmt.Errorf("%s: %w", protocol, err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		client.CloseIdleConnections()
		if err != nil || string(body) != "served" {
			return fmt.Errorf("%s: %s %q, %w", protocol, resp.Status, body, err)
		}
	}
	return nil
}

func (c *crowded) held() (slots, sources int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken, len(c.holders)
}

// holds are ways to take a connection and keep it until ctx ends or the server closes it.
func (c *crowded) holds() map[string]func(ctx context.Context, source int) error {
	dial := func(ctx context.Context, source int) (net.Conn, error) {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: abuse.Source(source)}}).DialContext(ctx, "tcp", c.address)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	says := func(protocol, text string) func(context.Context, int) error {
		return func(ctx context.Context, source int) error {
			conn, err := dial(ctx, source)
			if err != nil {
				return err
			}
			config := c.trust.Clone()
			config.NextProtos = []string{protocol}
			config.ServerName = "127.0.0.1"
			secured := tls.Client(conn, config)
			if err := secured.HandshakeContext(ctx); err != nil {
				return err
			}
			if _, err = io.WriteString(secured, text); err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, secured)
			return nil
		}
	}
	return map[string]func(context.Context, int) error{
		"half-open handshakes": func(ctx context.Context, source int) error {
			conn, err := dial(ctx, source)
			if err != nil {
				return err
			}
			_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1})
			_, _ = io.Copy(io.Discard, conn)
			return nil
		},
		"idle connections": says("http/1.1", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"slow headers":     says("http/1.1", "GET / HTTP/1.1\r\n"),
		"slow bodies":      says("http/1.1", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{"),
		"streams": func(ctx context.Context, source int) error {
			client := c.client(source, "h2")
			transport := client.Transport.(*http.Transport)
			transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return dial(ctx, source) }
			transport.MaxConnsPerHost = 1 // it would dial for each stream
			defer client.CloseIdleConnections()
			var holding sync.WaitGroup
			for range streams {
				holding.Go(func() {
					body, _ := io.Pipe()
					r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.address, body)
					if err != nil {
						return
					}
					if resp, err := client.Do(r); err == nil {
						_ = resp.Body.Close()
					}
				})
			}
			holding.Wait()
			return nil
		},
	}
}

// Sources take all that they may, one after another, keep it, and come back at once when the server closes a connection. A
// client from another source is served all the while, and nothing stays when the sources are gone.
func TestCase47_ANewcomerIsServed(t *testing.T) {
	for name := range (&crowded{}).holds() {
		for _, sources := range []int{2, 14} {
			t.Run(fmt.Sprintf("%s of %d", name, sources), func(t *testing.T) {
				g := NewWithT(t)
				c := newCrowded(t, Limits{Slots: 64, Body: 64 << 10})
				if err := c.serves(); err != nil {
					t.Fatal(err)
				}
				baseline := runtime.NumGoroutine()
				hold := c.holds()[name]
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var holding sync.WaitGroup
				for source := 1; source <= sources; source++ {
					each := 64/sources + 4
					if name == "streams" {
						each = 64/streams/sources + 2
					}
					for range each {
						holding.Go(func() {
							for ctx.Err() == nil {
								_ = hold(ctx, source)
								select {
								case <-ctx.Done():
								case <-time.After(10 * time.Millisecond):
								}
							}
						})
					}
				}
				taken := func() int { slots, _ := c.held(); return slots }
				g.Eventually(taken).WithTimeout(env.Patience).Should(BeNumerically(">=", 64), "slots are left")
				for i := range 3 {
					if err := c.serves(); err != nil {
						t.Errorf("request %d of a newcomer: %v", i, err)
					}
				}
				cancel()
				holding.Wait()
				g.Eventually(func() int {
					slots, sources := c.held()
					return slots + sources
				}).WithTimeout(env.Patience).Should(BeZero(), "something stays counted")
				g.Eventually(runtime.NumGoroutine).WithTimeout(env.Patience).Should(BeNumerically("<=", baseline+4))
			})
		}
	}
}

// More sources than connections each keep one.
func TestCase47_ANewcomerIsServedAmongManySources(t *testing.T) {
	c := newCrowded(t, Limits{Slots: 64, Body: 64 << 10})
	const sources, most = 200, 64
	var ended atomic.Int64
	for source := 1; source <= sources; source++ {
		go func() {
			_ = c.holds()["slow bodies"](t.Context(), source)
			ended.Add(1)
		}()
	}
	// One that arrives later may take the place of the newcomer, as of any other.
	NewWithT(t).Eventually(func() bool {
		slots, _ := c.held()
		return slots == most && ended.Load() == sources-most
	}).WithTimeout(env.Patience).Should(BeTrue(), "the connections do not come to rest")
	if err := c.serves(); err != nil {
		t.Error(err)
	}
}

// fill lets a source take all that it may: connections with this many requests on each. It returns how many it got.
func (l *ledger) fill(source string, requests int) (taken int) {
	for c := l.open(&fakeConn{address: source}); c != nil; c = l.open(&fakeConn{address: source}) {
		for range requests {
			if !l.begin(c, 1) {
				break
			}
		}
	}
	return l.holds(source)
}

func (l *ledger) holds(source string) int {
	if h := l.holders[sourceOf(&fakeConn{address: source})]; h != nil {
		return h.taken
	}
	return 0
}

// Sources take all that they may, again and again: in the end each has as much as the others, and one that comes late, too.
func TestCase47_SourcesShareAlike(t *testing.T) {
	const slots = 840
	for _, requests := range []int{0, 1, 5} {
		for _, sources := range []int{1, 2, 3, 14, 40} {
			t.Run(fmt.Sprintf("%d sources, %d requests on a connection", sources, requests), func(t *testing.T) {
				l := newLedger(Limits{Slots: slots})
				source := func(i int) string { return fmt.Sprintf("10.0.0.%d:1", i) }
				for range 3 {
					for i := range sources {
						l.fill(source(i), requests)
					}
				}
				for i := range sources {
					// A connection goes with the requests on it.
					if got, want := l.holds(source(i)), min(slots/2, slots/sources); got < want-3*max(requests, 1) || got > want+3*max(requests, 1) {
						t.Errorf("source %d holds %d slots, want about %d", i, got, want)
					}
				}
				if got, want := l.fill("10.0.1.1:1", requests), min(slots/2, slots/(sources+1)); got < want-3*max(requests, 1) {
					t.Errorf("a newcomer gets %d slots, want about %d", got, want)
				}
			})
		}
	}
}

// The connections of a source that have no request are closed first.
func TestCase47_IdleConnectionsAreClosedFirst(t *testing.T) {
	l := newLedger(Limits{Slots: 8})
	open := func(source string) *conn { return l.open(&fakeConn{address: source}) }
	busy, idle := open("10.0.0.1:1"), open("10.0.0.1:2")
	if !l.begin(busy, 3) || l.begin(busy, 1) {
		t.Error("a source does not get half, or gets more")
	}
	for _, other := range []string{"10.0.0.2:1", "10.0.0.2:2", "10.0.0.3:1", "10.0.0.3:2"} {
		open(other)
	}
	if open("10.0.0.4:1") == nil || idle.requests != closed || busy.requests != 3 {
		t.Errorf("for a newcomer: idle %d, busy %d, want the idle connection closed", idle.requests, busy.requests)
	}
	if open("10.0.0.5:1") == nil || busy.requests != closed {
		t.Errorf("for another newcomer: busy %d, want the connection of the largest source closed", busy.requests)
	}
}

// A source that holds little loses nothing to those that hold more.
func TestCase47_OneThatHoldsLittleKeepsIt(t *testing.T) {
	l := newLedger(Limits{Slots: 8})
	small := l.open(&fakeConn{address: "10.0.0.1:1"})
	if !l.begin(small, 1) {
		t.Fatal("the first request is refused")
	}
	for range 3 {
		for _, source := range []string{"10.0.0.2:1", "10.0.0.3:1", "[2001:db8::1]:1", "[2001:db8::2]:1"} {
			l.fill(source, 1)
		}
	}
	if small.requests != 1 {
		t.Error("the source that holds one connection has lost it")
	}
	if len(l.holders) != 4 {
		t.Errorf("%d sources, want the three IPv4 addresses and one IPv6 /64", len(l.holders))
	}
}

// Closing a connection waits for the goroutine that reads from it. New connections do not wait for that.
func TestCase47_ANewcomerDoesNotWaitForAConnectionToClose(t *testing.T) {
	l := newLedger(Limits{Slots: 8})
	release, closing := make(chan struct{}), make(chan struct{})
	for i := range 8 {
		l.open(&fakeConn{address: fmt.Sprintf("10.0.0.%d:1", i), close: func() { close(closing); <-release }})
	}
	opened := make(chan *conn, 1)
	go func() { opened <- l.open(&fakeConn{address: "10.0.1.1:1"}) }()
	<-closing
	NewWithT(t).Eventually(opened).WithTimeout(30 * time.Second).Should(Receive(Not(BeNil())))
	close(release)
}

// A request that ends after its connection was closed changes nothing.
func TestALateEndOfARequestCountsOnce(t *testing.T) {
	l := newLedger(Limits{Slots: 8})
	c := l.open(&fakeConn{address: "10.0.0.1:1"})
	if !l.begin(c, 2) {
		t.Fatal("the request is refused")
	}
	for range 2 {
		_ = c.Close()
		l.end(c, 2)
	}
	if l.begin(c, 1) || l.taken != 0 || len(l.holders) != 0 {
		t.Errorf("%d slots of %d sources", l.taken, len(l.holders))
	}
}

// A long body counts as what it takes of memory, and a source gets half.
func TestCase47_LongBodiesCountMore(t *testing.T) {
	c := newCrowded(t, Limits{Slots: 8, Body: 1 << 20})
	for length, want := range map[int]int{1: 200, 256 << 10: 200, 256<<10 + 1: 500, 1<<20 + 1: 413} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(strings.Repeat("x", length))
			want := want
			if chunked {
				body, want = io.MultiReader(body), 500 // counts as the longest
			}
			client := c.client(1, "h2")
			resp, err := client.Post("https://"+c.address, "", body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			client.CloseIdleConnections()
			NewWithT(t).Eventually(func() int { slots, _ := c.held(); return slots }).WithTimeout(env.Patience).Should(BeZero())
			if resp.StatusCode != want {
				t.Errorf("%d bytes, chunked: %v: %d, want %d", length, chunked, resp.StatusCode, want)
			}
			if want == 500 && (resp.Header.Get("Retry-After") != "0" || resp.ContentLength != 0) {
				t.Errorf("%v, want what sends kube-apiserver elsewhere, and no body", resp.Header)
			}
		}
	}
}

func TestSourceOf(t *testing.T) {
	for address, want := range map[string]string{
		"10.1.2.3:4": "10.1.2.3/32", "[::ffff:10.1.2.3]:4": "10.1.2.3/32", "[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:7": "fe80::/64", "@": "invalid Prefix", "": "invalid Prefix",
	} {
		if got := sourceOf((&fakeConn{address: address}).RemoteAddr()).String(); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

type fakeConn struct {
	net.Conn
	address string
	close   func()
}

func (c *fakeConn) RemoteAddr() net.Addr { return c }
func (c *fakeConn) Network() string      { return "tcp" }
func (c *fakeConn) String() string       { return c.address }

func (c *fakeConn) Close() error {
	if c.close != nil {
		c.close()
	}
	return nil
}

type connFrom struct {
	net.Conn
	address net.Addr
}

func (c connFrom) RemoteAddr() net.Addr { return c.address }

// A load balancer is told from its neighbors in an IPv6 /64, who share their slots.
func TestALoadBalancerIsOneAddress(t *testing.T) {
	l := newLedger(Limits{Slots: 10})
	l.exempt = []netip.Prefix{netip.MustParsePrefix("2001:db8::5/128"), netip.MustParsePrefix("10.0.0.0/24")}
	for address, want := range map[string]bool{"2001:db8::5": true, "2001:db8::6": false, "2001:db8::": false, "10.0.0.7": true, "::ffff:10.0.0.7": true, "10.0.1.7": false} {
		if got := l.open(connFrom{address: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}}).exempt; got != want {
			t.Errorf("%s: exempt %v", address, got)
		}
	}
}
