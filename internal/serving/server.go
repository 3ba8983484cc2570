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

// Package serving holds the HTTP servers to limits that no client can exceed, and shares them between clients.
package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 15 * time.Second
	idleTimeout       = 90 * time.Second
	maxHeaderBytes    = 64 << 10

	// maxStreams is per connection, the least that RFC 9113 recommends. A client that needs more opens another connection.
	maxStreams = 100
	// maxUnread is how much a connection may send before the handlers read it: a unit for a stream, two for all its
	// streams. The default of net/http is 1 MiB each.
	maxUnread, maxUnreadOfConn = unit, 2 * unit
	// stuckTimeout ends an HTTP/2 connection that takes no byte. HTTP/1.1 has writeTimeout for it.
	stuckTimeout = 10 * time.Second

	// shutdownTimeout lets the slowest request that the timeouts above allow finish.
	shutdownTimeout = writeTimeout + readHeaderTimeout
)

// Server is an HTTP server with limits.
type Server struct {
	// HTTP is for the listener that Limit returns, and no other.
	HTTP   *http.Server
	ledger *ledger
}

// NewServer returns a server of HTTPS, or of HTTP if config is nil. A config that does not say so takes no TLS 1.2.
func NewServer(handler http.Handler, config *tls.Config, limits Limits, log logr.Logger) *Server {
	if config = config.Clone(); config != nil && config.MinVersion < tls.VersionTLS12 {
		config.MinVersion = tls.VersionTLS13
	}
	l := newLedger(limits)
	return &Server{ledger: l, HTTP: &http.Server{
		Handler:           l.handler(handler),
		ConnContext:       withConn,
		TLSConfig:         config,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerStream:     maxUnread,
			MaxReceiveBufferPerConnection: maxUnreadOfConn,
			WriteByteTimeout:              stuckTimeout,
		},
		ErrorLog: errorLog(log),
	}}
}

// The limits of a server of streams. A request, and the answer to it, may take any time.
const (
	streamHeaderTimeout = 10 * time.Second
	streamIdleTimeout   = 180 * time.Second
	// maxStreamsOfClient is what kube-apiserver allows.
	maxStreamsOfClient = 250
	pingAfter          = 30 * time.Second
	pingTimeout        = 15 * time.Second
	streamStuckTimeout = 60 * time.Second
)

// goodCiphers are those of TLS 1.2 that are as good as those of TLS 1.3.
var goodCiphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// WithTLS12 returns a configuration that takes TLS 1.2, too, as clients outside of the cluster may need.
func WithTLS12(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.MinVersion, config.CipherSuites = tls.VersionTLS12, goodCiphers
	return config
}

// NewStreamServer returns a server of HTTPS for a handler that passes on what comes, and keeps none of it: bodies may have any
// length, and a request takes one slot. Connections of the exempt networks, those of load balancers, do not count.
func NewStreamServer(handler http.Handler, config *tls.Config, slots int, exempt []netip.Prefix, log logr.Logger) *Server {
	config = WithTLS12(config)
	l := newLedger(Limits{Slots: slots})
	l.exempt = exempt
	return &Server{ledger: l, HTTP: &http.Server{
		Handler: l.streams(handler),
		// OPTIONS * is for the handler, as everything is.
		DisableGeneralOptionsHandler: true,
		ConnContext:                  withConn,
		TLSConfig:                    config,
		ReadHeaderTimeout:            streamHeaderTimeout,
		IdleTimeout:                  streamIdleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreamsOfClient,
			MaxReceiveBufferPerStream:     maxUnread,
			MaxReceiveBufferPerConnection: maxUnreadOfConn,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingTimeout,
			WriteByteTimeout:              streamStuckTimeout,
		},
		ErrorLog: errorLog(log),
	}}
}

// Limit returns the listener with the server's limits.
func (s *Server) Limit(listener net.Listener) net.Listener {
	return &limitedListener{Listener: listener, ledger: s.ledger}
}

// Run serves on a listener until ctx ends. It then begins the drain, if there is one, answers for another grace, so that
// callers find another replica, and shuts down without cutting off a request.
func (s *Server) Run(ctx context.Context, listener net.Listener, drain *Drain, grace time.Duration) error {
	listener = s.Limit(listener)
	failed := make(chan error, 1)
	go func() {
		if s.HTTP.TLSConfig == nil {
			failed <- s.HTTP.Serve(listener)
		} else {
			failed <- s.HTTP.ServeTLS(listener, "", "")
		}
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("cannot serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	if drain != nil {
		drain.Begin(s.HTTP)
		select {
		case err := <-failed:
			return fmt.Errorf("cannot serve on %s: %w", listener.Addr(), err)
		case <-time.After(grace):
		}
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.HTTP.Shutdown(shutdown); err != nil {
		return errors.Join(fmt.Errorf("cannot shut down %s: %w", listener.Addr(), err), s.HTTP.Close())
	}
	return nil
}

// Drain says whether a replica is about to go. Its zero value says no.
type Drain struct{ on atomic.Bool }

// Begin makes the handlers that share the drain send callers elsewhere, and closes the servers' idle connections.
func (d *Drain) Begin(servers ...*http.Server) {
	d.on.Store(true)
	for _, s := range servers {
		s.SetKeepAlivesEnabled(false)
	}
}

// Begun reports whether the replica is about to go.
func (d *Drain) Begun() bool { return d.on.Load() }

// errorLog passes on what kind of thing net/http complains of, and never its text, which quotes clients and panics.
func errorLog(logger logr.Logger) *log.Logger { return log.New(errorWriter{logger}, "", 0) }

type errorWriter struct{ log logr.Logger }

func (w errorWriter) Write(b []byte) (int, error) {
	switch line := string(b); {
	case strings.Contains(line, "panic serving"):
		w.log.Error(nil, "Panic while serving a request")
	case strings.Contains(line, "TLS handshake error"):
		w.log.V(1).Info("TLS handshake failed")
	case strings.Contains(line, "Accept error"):
		w.log.Error(nil, "Cannot accept connections; trying again")
	default:
		w.log.V(1).Info("Connection failed")
	}
	return len(b), nil
}
