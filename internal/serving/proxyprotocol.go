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
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// Why the PROXY protocol refuses a connection.
const (
	// RefusedPeer: the peer is not one of the trusted proxies, whatever it sends.
	RefusedPeer = "peer"
	// RefusedHeader: a trusted proxy sent no header, none in time, or one of something else than TCP.
	RefusedHeader = "header"
)

// ProxyProtocol returns a listener whose connections begin with a header of the PROXY protocol, version 1 or 2. Only peers in the
// trusted networks may write one, and must: every other connection is closed. What it says is the connection's remote address,
// except of what a load balancer asks for itself (LOCAL, or UNKNOWN), which keeps its own. refused is told of each connection
// that is closed, and why, except where the peer closed it before it sent a byte, as health checks do.
//
// Headers are read side by side, so that a silent peer holds nobody up. The connections that wait for theirs take slots of their
// own, which are shared between the peers as a server shares its. A peer is a load balancer here, with many clients: where it has
// its share, its newest connection takes the place of its oldest.
func ProxyProtocol(listener net.Listener, trusted []netip.Prefix, slots int, refused func(peer netip.Addr, why string)) net.Listener {
	l := newHeaderListener(listener, trusted, slots, streamHeaderTimeout, refused)
	go l.run()
	return l
}

func newHeaderListener(listener net.Listener, trusted []netip.Prefix, slots int, timeout time.Duration, refused func(netip.Addr, string)) *headerListener {
	return &headerListener{
		Listener: listener, trusted: trusted, waiting: newLedger(Limits{Slots: slots}), refused: refused,
		timeout: timeout, accepted: make(chan accepted), closed: make(chan struct{}),
	}
}

type headerListener struct {
	net.Listener
	trusted []netip.Prefix
	waiting *ledger
	refused func(netip.Addr, string)
	// timeout is how long a header may take.
	timeout  time.Duration
	accepted chan accepted
	close    sync.Once
	closed   chan struct{}
}

// accepted is what Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

// Accept returns a connection whose header was read.
func (l *headerListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *headerListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// run takes connections until the listener is closed. net/http waits after an error, so the next one waits for it.
func (l *headerListener) run() {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			if !l.hand(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		peer := addressOf(raw.RemoteAddr())
		if !InAny(peer, l.trusted) {
			l.refuse(raw, peer, RefusedPeer)
			continue
		}
		c := l.waiting.open(raw)
		if c == nil {
			refusedForLoad.WithLabelValues("connection").Inc()
			if oldest := l.waiting.takeOldest(sourceOf(raw.RemoteAddr())); oldest != nil {
				_ = oldest.Conn.Close()
				c = l.waiting.open(raw)
			}
		}
		if c == nil {
			_ = raw.Close()
			continue
		}
		go l.read(c, peer)
	}
}

// read reads the header of a connection and hands the connection on.
func (l *headerListener) read(c *conn, peer netip.Addr) {
	raw := &headerConn{Conn: c.Conn}
	proxied := proxyproto.NewConn(raw, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(l.timeout), proxyproto.ValidateHeader(ofTCP))
	header := proxied.ProxyHeader()
	switch counted := c.leave(); {
	case !counted || raw.gone: // Closed here for another one, or by the peer.
		_ = raw.Close()
	case header == nil:
		l.refuse(raw, peer, RefusedHeader)
	case !l.hand(accepted{conn: proxied}):
		_ = raw.Close()
	}
}

// headerConn notes whether the peer closed the connection before it sent a byte.
type headerConn struct {
	net.Conn
	heard, gone bool
}

func (c *headerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heard = c.heard || n > 0
	c.gone = !c.heard && err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	return n, err
}

var errNotTCP = errors.New("the header is not of a TCP connection")

// ofTCP accepts headers that name a client by its address, and those of connections that the sender opened for itself.
func ofTCP(h *proxyproto.Header) error {
	if h.Command.IsLocal() || h.TransportProtocol == proxyproto.TCPv4 || h.TransportProtocol == proxyproto.TCPv6 {
		return nil
	}
	return errNotTCP
}

// hand waits until Accept takes something, and reports whether it did before the listener was closed.
func (l *headerListener) hand(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
		return false
	}
}

func (l *headerListener) refuse(raw net.Conn, peer netip.Addr, why string) {
	_ = raw.Close()
	l.refused(peer, why)
}
