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

// Package proxy stands between a replica and the API server and breaks what passes through it, on demand and while it is
// in use: connections, answers, or only watches. It terminates TLS, so that it can tell a watch from a list; credentials
// pass through in the Authorization header.
package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/endpoints/request"
)

// Options of a proxy; all but the functions are needed.
type Options struct {
	// Upstream is the API server, https://HOST:PORT, and RootCAs verifies it.
	Upstream string
	RootCAs  *x509.CertPool
	// Certificate is what the proxy serves with, good for 127.0.0.1.
	Certificate tls.Certificate
	// Seen is told of every request before it is passed on, several at once; it may read the body if it puts it back.
	Seen func(*request.RequestInfo, *http.Request)
	// Answer may answer a request in the API server's place, and reports whether it did.
	Answer func(*request.RequestInfo, http.ResponseWriter, *http.Request) bool
	// Change may change an answer of the API server.
	Change func(*request.RequestInfo, *http.Response) error
}

// Proxy passes on what it gets until it is told otherwise. Its methods are safe for concurrent use.
type Proxy struct {
	// URL is where the proxy serves, the same for its life.
	URL string

	opts    Options
	address string
	holder  net.PacketConn // of the UDP port of the same number: see listenAnywhere
	gate    *gate
	counts  counts

	server    *http.Server
	transport *http.Transport
	accepted  chan net.Conn
	closed    chan struct{}
	running   sync.WaitGroup

	setting  sync.Mutex // one Set or Close at a time
	listener net.Listener
	accepts  chan struct{} // closed when the goroutine that accepts for listener has ended

	mu    sync.Mutex
	conns map[*conn]struct{} // nil while none are let in
}

// New returns a proxy that passes.
func New(opts Options) (*Proxy, error) {
	upstream, err := url.Parse(opts.Upstream)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		opts: opts,
		gate: newGate(),
		transport: &http.Transport{
			TLSClientConfig:    &tls.Config{RootCAs: opts.RootCAs, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:  true,
			DisableCompression: true, // what the replica asked for is passed on as it comes
		},
		accepted: make(chan net.Conn),
		closed:   make(chan struct{}),
	}
	discard := log.New(io.Discard, "", 0) // that connections break is what it is for
	p.server = &http.Server{
		Handler: p.handler(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(upstream)
				r.Out.Host = upstream.Host
			},
			Transport:      p.transport,
			FlushInterval:  -1,
			ModifyResponse: p.modify,
			// An answer of ours would look like one of the API server's.
			ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
			ErrorLog:     discard,
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{opts.Certificate}, MinVersion: tls.VersionTLS12},
		ErrorLog:  discard,
	}
	listener, holder, err := listenAnywhere()
	if err != nil {
		return nil, err
	}
	p.holder, p.address = holder, listener.Addr().String()
	p.URL = "https://" + p.address
	p.accept(listener)
	p.running.Go(func() { _ = p.server.ServeTLS(accepted{p}, "", "") })
	return p, nil
}

// listenAnywhere listens on a port below those of outgoing connections, which could otherwise take it while it is cut,
// and holds it as test/cluster does, so that nobody else takes it either.
func listenAnywhere() (net.Listener, net.PacketConn, error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		holder, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		if listener, err := net.Listen("tcp", address); err == nil {
			return listener, holder, nil
		}
		_ = holder.Close()
	}
	return nil, nil, errors.New("no free port found on 127.0.0.1")
}

// Set changes what the proxy does with everything that passes from now on, and with what is on its way.
func (p *Proxy) Set(mode Mode) error {
	p.setting.Lock()
	defer p.setting.Unlock()
	select {
	case <-p.closed:
		return errors.New("the proxy is closed")
	default:
	}
	p.gate.set(mode)
	switch {
	case mode.cuts():
		p.cut()
	case p.listener == nil:
		listener, err := net.Listen("tcp", p.address)
		if err != nil {
			return err
		}
		p.accept(listener)
	}
	return nil
}

// Close ends every connection and returns when nothing of the proxy runs any more.
func (p *Proxy) Close() {
	p.setting.Lock()
	defer p.setting.Unlock()
	select {
	case <-p.closed:
		return
	default:
	}
	p.mu.Lock()
	close(p.closed)
	p.mu.Unlock()
	p.cut() // before the server, whose farewell a stalled connection would hold back
	_ = p.server.Close()
	p.running.Wait()
	p.transport.CloseIdleConnections()
	_ = p.holder.Close()
}

// cut stops listening and closes every connection.
func (p *Proxy) cut() {
	if p.listener != nil {
		_ = p.listener.Close()
		<-p.accepts
		p.listener = nil
	}
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for c := range conns {
		p.counts.cut.Add(1)
		_ = c.Close()
	}
}

// accept hands the connections of a listener to the server.
func (p *Proxy) accept(listener net.Listener) {
	p.mu.Lock()
	p.conns = map[*conn]struct{}{}
	p.mu.Unlock()
	ended := make(chan struct{})
	p.listener, p.accepts = listener, ended
	go func() {
		defer close(ended)
		for {
			raw, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // no file descriptor left, for instance
				time.Sleep(10 * time.Millisecond)
				continue
			}
			p.counts.connections.Add(1)
			c := &conn{Conn: raw, proxy: p, closed: make(chan struct{})}
			p.mu.Lock()
			p.conns[c] = struct{}{}
			p.mu.Unlock()
			select {
			case p.accepted <- c:
			case <-p.closed:
				_ = c.Close()
			}
		}
	}()
}

// accepted is the server's net.Listener; it outlives the real ones.
type accepted struct{ proxy *Proxy }

func (a accepted) Accept() (net.Conn, error) {
	select {
	case c := <-a.proxy.accepted:
		return c, nil
	case <-a.proxy.closed:
		return nil, net.ErrClosed
	}
}

func (a accepted) Close() error { return nil }

func (a accepted) Addr() net.Addr { return a.proxy.holder.LocalAddr() }

// enter counts a request in, so that Close waits for it; false: it comes too late.
func (p *Proxy) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return false
	default:
		p.running.Add(1)
		return true
	}
}
