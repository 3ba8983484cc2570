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
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"github.com/pires/go-proxyproto"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

const (
	// unit is how much of a body takes one slot.
	unit = 64 << 10
	// socketBuffer is what the kernel keeps of a connection in each direction. By default that is megabytes for each
	// connection that is not read from, and they count as the pod's.
	socketBuffer = 64 << 10
)

// Limits of a server.
type Limits struct {
	// Slots is how much the server holds at once. A connection takes one slot, or as many as the requests on it: one for each
	// 64 KiB of a body, and at least one. A source, an IPv4 address or an IPv6 /64, gets half of the slots at most. When none is
	// left, the source that holds the most loses connections, idle ones first, to a source that holds less. So a source that
	// holds nothing is always served.
	Slots int
	// Body is the maximum length of a body in bytes.
	Body int64
}

var refusedForLoad = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pat_operator_refused_for_load_total",
	Help: "Connections and requests refused because their source had its share, and connections closed in favor of another source.",
}, []string{"what"})

func init() {
	metrics.Registry.MustRegister(refusedForLoad)
	for _, what := range []string{"connection", "request", "evicted"} {
		refusedForLoad.WithLabelValues(what)
	}
}

// sourceOf returns the IPv4 address or the IPv6 /64 of a peer. All other peers are one source, the zero Prefix.
func sourceOf(address net.Addr) netip.Prefix { return Origin{Address: addressOf(address)}.Source() }

// addressOf returns the IP address of a peer, an IPv4 address also where it is written as IPv6; the zero Addr without one.
func addressOf(address net.Addr) netip.Addr {
	addrPort, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return netip.Addr{}
	}
	return Canonical(addrPort.Addr())
}

// Canonical returns the form of an address that networks are compared with: without IPv6 around IPv4, and without a zone.
func Canonical(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }

// InAny reports whether a canonical address is in one of the networks.
func InAny(address netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}

// ledger counts what the sources hold.
type ledger struct {
	Limits
	// exempt are networks whose connections do not count.
	exempt []netip.Prefix

	mu    sync.Mutex
	taken int
	// opened is how many connections were counted so far.
	opened  uint64
	holders map[netip.Prefix]*holder
}

// holder is a source with connections.
type holder struct {
	taken int
	conns map[*conn]struct{}
}

type conn struct {
	net.Conn
	ledger *ledger
	source netip.Prefix
	// nth orders the connections by when they were opened.
	nth uint64
	// requests is how many slots the requests of the connection need; negative once it is closed.
	requests int
	// exempt reports that neither the connection nor its requests count.
	exempt bool
}

// closed is what conn.requests says of a connection that no longer counts.
const closed = -1

func newLedger(limits Limits) *ledger {
	return &ledger{Limits: limits, holders: map[netip.Prefix]*holder{}}
}

// open counts a connection, or returns nil if its source gets no more.
func (l *ledger) open(raw net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &conn{Conn: raw, ledger: l, source: sourceOf(raw.RemoteAddr())}
	if c.exempt = InAny(addressOf(raw.RemoteAddr()), l.exempt); c.exempt {
		return c
	}
	if !l.makeRoom(c.source, 1) {
		return nil
	}
	h := l.holders[c.source]
	if h == nil {
		h = &holder{conns: map[*conn]struct{}{}}
		l.holders[c.source] = h
	}
	l.opened++
	c.nth = l.opened
	h.conns[c] = struct{}{}
	l.count(h, 1)
	return c
}

// begin counts a request that needs some slots, or returns false if its source gets no more.
func (l *ledger) begin(c *conn, slots int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.exempt:
		return true
	case c.requests == closed:
		return false
	}
	more := max(1, c.requests+slots) - c.slots()
	if !l.makeRoom(c.source, more) {
		return false
	}
	c.requests += slots
	l.count(l.holders[c.source], more)
	return true
}

// end takes a request off, unless its connection has been taken off.
func (l *ledger) end(c *conn, slots int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.exempt || c.requests == closed {
		return
	}
	before := c.slots()
	c.requests -= slots
	l.count(l.holders[c.source], c.slots()-before)
}

// close takes a connection off with its requests, once.
func (l *ledger) close(c *conn) {
	if c.exempt || c.requests == closed {
		return
	}
	h := l.holders[c.source]
	l.count(h, -c.slots())
	c.requests = closed
	if delete(h.conns, c); len(h.conns) == 0 {
		delete(l.holders, c.source)
	}
}

// takeOldest takes off the connection that its source has held the longest, and returns it, or nil without one.
func (l *ledger) takeOldest(source netip.Prefix) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.holders[source]
	if h == nil {
		return nil
	}
	var oldest *conn
	for c := range h.conns {
		if oldest == nil || c.nth < oldest.nth {
			oldest = c
		}
	}
	l.close(oldest)
	return oldest
}

func (c *conn) slots() int { return max(1, c.requests) }

func (l *ledger) count(h *holder, slots int) {
	h.taken += slots
	l.taken += slots
}

// makeRoom reports whether a source gets more slots. Where too few are left, it closes connections of the source that holds
// the most. A source never takes from one that holds less than it would: the two would take from each other forever.
func (l *ledger) makeRoom(source netip.Prefix, slots int) bool {
	held := 0
	if h := l.holders[source]; h != nil {
		held = h.taken
	}
	if held+slots > l.Slots/2 {
		return false
	}
	for l.taken+slots > l.Slots {
		var most *holder
		for _, h := range l.holders {
			if most == nil || h.taken > most.taken {
				most = h
			}
		}
		if held > 0 && most.taken <= held+slots {
			return false
		}
		var victim *conn
		for c := range most.conns {
			if victim == nil || c.requests < victim.requests {
				victim = c
			}
		}
		l.close(victim)
		go func() { _ = victim.Conn.Close() }() // waits for the goroutine that reads from it
		refusedForLoad.WithLabelValues("evicted").Inc()
	}
	return true
}

// Read lets other goroutines run first. Otherwise a connection whose input never ends keeps its processor for 10 ms, and
// hundreds of them make the rest wait.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	runtime.Gosched()
	return n, err
}

func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// leave takes the connection off, and leaves it open. It reports whether the connection was counted until then.
func (c *conn) leave() bool {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	counted := c.requests != closed
	c.ledger.close(c)
	return counted
}

// limitedListener closes connections that their source gets no more of.
type limitedListener struct {
	net.Listener
	ledger *ledger
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.ledger.open(raw); c != nil {
			if proxied, ok := raw.(*proxyproto.Conn); ok {
				raw = proxied.Raw()
			}
			if waited, ok := raw.(*headerConn); ok {
				raw = waited.Conn
			}
			if tcp, ok := raw.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(socketBuffer)
				_ = tcp.SetWriteBuffer(socketBuffer)
			}
			return c, nil
		}
		refusedForLoad.WithLabelValues("connection").Inc()
		_ = raw.Close()
	}
}

type connKey struct{}

// withConn lets a request find its connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// Source returns who sent a request, by its context: an IPv4 address or an IPv6 /64.
func Source(ctx context.Context) netip.Prefix {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		return c.source
	}
	return netip.Prefix{}
}

// handler refuses requests that their source gets no more of, and bodies that are too long. A request counts until its
// answer has gone out, which HTTP/2 reports by the context: a client may give no window to send it in.
func (l *ledger) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		length := r.ContentLength
		if length < 0 {
			length = l.Body
		}
		c, slots := r.Context().Value(connKey{}).(*conn), int(max(length+unit-1, unit)/unit)
		switch {
		case length > l.Body:
			refuse(w, http.StatusRequestEntityTooLarge)
		case !l.begin(c, slots):
			refusedForLoad.WithLabelValues("request").Inc()
			w.Header().Set("Retry-After", "0")
			refuse(w, http.StatusInternalServerError)
		default:
			context.AfterFunc(r.Context(), func() { l.end(c, slots) })
			r.Body = http.MaxBytesReader(w, r.Body, l.Body)
			next.ServeHTTP(w, r)
		}
	})
}

// streams refuses requests that their source gets no more of.
func (l *ledger) streams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		if !ok || !l.begin(c, 1) {
			refusedForLoad.WithLabelValues("request").Inc()
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests)
			return
		}
		context.AfterFunc(r.Context(), func() { l.end(c, 1) })
		next.ServeHTTP(w, r)
	})
}

// HangUp closes the connection that a request came by, without a word.
func HangUp(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok {
		_ = c.Close()
	}
}

// refuse answers without a body, since headers need no window, and closes the connection. kube-apiserver takes a 500 with
// Retry-After to another replica at once.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}
