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

package authn

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var refusedForLoad = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pat_operator_refused_for_load_total",
	Help: "Connections and requests refused because their source had more than its share of them at once.",
}, []string{"what"})

func init() { metrics.Registry.MustRegister(refusedForLoad) }

// shares bounds how many of something there are at once without letting anybody lock others out: a source may have as
// many as are still free. One source alone gets half, two get a third each, and a hundred that take what they can leave
// a hundredth free, of which somebody who comes then gets his part.
type shares struct {
	limit int

	mu    sync.Mutex
	total int
	by    map[netip.Addr]int
}

func newShares(limit int) *shares { return &shares{limit: limit, by: map[netip.Addr]int{}} }

// take takes one for a source, unless the source has its share.
func (s *shares) take(source netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[source] >= s.limit-s.total {
		return false
	}
	s.by[source]++
	s.total++
	return true
}

func (s *shares) release(source netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.by[source]--; s.by[source] == 0 {
		delete(s.by, source)
	}
}

// sourceOf is the address part of host:port; whatever else there may be is one source.
func sourceOf(address string) netip.Addr {
	addrPort, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return addrPort.Addr().Unmap()
}

// fairListener closes at once what its source has no share left for. netutil.LimitListener would let whoever fills it
// lock everybody out.
type fairListener struct {
	net.Listener
	shares *shares
}

func (l *fairListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(conn.RemoteAddr().String())
		if l.shares.take(source) {
			if tcp, ok := conn.(*net.TCPConn); ok {
				// The kernel's own measure is megabytes for each connection that is not read from, and they count as the pod's.
				_ = tcp.SetReadBuffer(socketBuffer)
				_ = tcp.SetWriteBuffer(socketBuffer)
			}
			return &sharedConn{Conn: conn, release: sync.OnceFunc(func() { l.shares.release(source) })}, nil
		}
		refusedForLoad.WithLabelValues("connection").Inc()
		_ = conn.Close()
	}
}

type sharedConn struct {
	net.Conn
	release func()
}

// Read lets every other connection that has something to do go first. Without this a goroutine that never runs out of
// input keeps its processor for 10 ms, and so does each of hundreds, before it is somebody else's turn.
func (c *sharedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	runtime.Gosched()
	return n, err
}

func (c *sharedConn) Close() error {
	c.release()
	return c.Conn.Close()
}

// LimitRequests allows so many requests at once, shared by those who send them, where a handler takes fewer than NewServer.
func LimitRequests(next http.Handler, atOnce int) http.Handler {
	return limitRequests(next, newShares(atOnce))
}

// limitRequests answers a request that its source has no share left for like a replica that is not ready. A request
// counts until its answer has gone out, which HTTP/2 tells by the context: a client may give no window to send it in.
func limitRequests(next http.Handler, shares *shares) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		source := sourceOf(r.RemoteAddr)
		if !shares.take(source) {
			refusedForLoad.WithLabelValues("request").Inc()
			// No body: headers need no window. The close keeps the connection from bringing more.
			w.Header().Set("Connection", "close")
			w.Header().Set("Retry-After", "0")
			w.Header().Set("Content-Length", "0")
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		context.AfterFunc(r.Context(), func() { shares.release(source) })
		next.ServeHTTP(w, r)
	})
}
