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
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

const (
	// unit is how much of a body counts as one request.
	unit = 64 << 10
	// socketBuffer is what the kernel keeps of a connection in each direction. By default that is megabytes for each
	// connection that is not read from, and they count as the pod's.
	socketBuffer = 64 << 10
)

// Limits of a server. One source gets half of the connections and of the requests at most. When all are taken, the source
// that holds the most loses a connection to a source that holds none, or fewer by two at least: a newcomer always gets one,
// and sources that hold their share do not take from each other.
type Limits struct {
	// Connections is the number of connections at once.
	Connections int
	// Requests is the number of requests at once. One with a longer body than 64 KiB counts once for each 64 KiB.
	Requests int
	// Body is the maximum length of a body in bytes.
	Body int64
}

var refusedForLoad = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pat_operator_refused_for_load_total",
	Help: "Connections and requests refused because their source had its share, and connections closed in favor of another source.",
}, []string{"what"})

func init() { metrics.Registry.MustRegister(refusedForLoad) }

// sourceOf returns the IPv4 address or the IPv6 /64 of a peer. All other peers are one source, the zero Prefix.
func sourceOf(address net.Addr) netip.Prefix {
	addrPort, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := addrPort.Addr().Unmap().WithZone("")
	source, _ := ip.Prefix(min(ip.BitLen(), 64)) // fails only for more bits than an address has
	return source
}

// ledger counts what the sources hold.
type ledger struct {
	Limits

	mu          sync.Mutex
	holders     map[netip.Prefix]*holder
	connections int
	requests    int
}

// holder is a source with connections.
type holder struct {
	conns    map[*conn]struct{}
	requests int
}

type conn struct {
	net.Conn
	ledger   *ledger
	source   netip.Prefix
	holder   *holder
	requests int
	closed   bool
}

func newLedger(limits Limits) *ledger {
	return &ledger{Limits: limits, holders: map[netip.Prefix]*holder{}}
}

// open counts a connection, or returns nil if its source gets no more.
func (l *ledger) open(raw net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &conn{Conn: raw, ledger: l, source: sourceOf(raw.RemoteAddr())}
	c.holder = l.holders[c.source]
	if c.holder == nil {
		c.holder = &holder{conns: map[*conn]struct{}{}}
	}
	held := len(c.holder.conns)
	if held >= l.Connections/2 {
		return nil
	}
	if l.connections >= l.Connections {
		most := l.largest(func(h *holder) int { return len(h.conns) })
		if held > 0 && len(most.conns) < held+2 {
			return nil
		}
		l.evict(most, func(c *conn) int { return -c.requests }) // an idle one first
	}
	l.holders[c.source] = c.holder
	c.holder.conns[c] = struct{}{}
	l.connections++
	return c
}

// begin counts a request of the given size, or returns false if its source gets no more.
func (l *ledger) begin(c *conn, size int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed || c.holder.requests+size > l.Requests/2 {
		return false
	}
	for held := c.holder.requests; l.requests+size > l.Requests; {
		most := l.largest(func(h *holder) int { return h.requests })
		if most.requests < size || held > 0 && most.requests < held+size+1 {
			return false
		}
		l.evict(most, func(c *conn) int { return c.requests })
	}
	l.count(c, size)
	return true
}

// end takes a request off, unless it ended with its connection.
func (l *ledger) end(c *conn, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.closed {
		l.count(c, -size)
	}
}

func (l *ledger) count(c *conn, requests int) {
	c.requests += requests
	c.holder.requests += requests
	l.requests += requests
}

// close takes a connection off with its requests, once.
func (l *ledger) close(c *conn) {
	if c.closed {
		return
	}
	l.count(c, -c.requests)
	c.closed = true
	l.connections--
	if delete(c.holder.conns, c); len(c.holder.conns) == 0 {
		delete(l.holders, c.source)
	}
}

func (l *ledger) largest(size func(*holder) int) (largest *holder) {
	for _, h := range l.holders {
		if largest == nil || size(h) > size(largest) {
			largest = h
		}
	}
	return largest
}

// evict closes the connection of a source that comes first.
func (l *ledger) evict(from *holder, first func(*conn) int) {
	var victim *conn
	for c := range from.conns {
		if victim == nil || first(c) > first(victim) {
			victim = c
		}
	}
	l.close(victim)
	_ = victim.Conn.Close()
	refusedForLoad.WithLabelValues("evicted").Inc()
}

// Read lets other goroutines run first. Otherwise a connection whose input never ends keeps its processor for 10 ms, and
// hundreds of them make the rest wait.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	runtime.Gosched()
	return n, err
}

func (c *conn) Close() error {
	c.ledger.mu.Lock()
	c.ledger.close(c)
	c.ledger.mu.Unlock()
	return c.Conn.Close()
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
		c, size := r.Context().Value(connKey{}).(*conn), int(max(length+unit-1, unit)/unit)
		switch {
		case length > l.Body:
			refuse(w, http.StatusRequestEntityTooLarge)
		case !l.begin(c, size):
			refusedForLoad.WithLabelValues("request").Inc()
			w.Header().Set("Retry-After", "0")
			refuse(w, http.StatusInternalServerError)
		default:
			context.AfterFunc(r.Context(), func() { l.end(c, size) })
			r.Body = http.MaxBytesReader(w, r.Body, l.Body)
			next.ServeHTTP(w, r)
		}
	})
}

// refuse answers without a body, since headers need no window, and closes the connection. kube-apiserver takes a 500 with
// Retry-After to another replica at once.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}
