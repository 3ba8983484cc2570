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
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
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

	// maxStreams is of a connection, the least that RFC 9113 recommends: reviews are short, so kube-apiserver has few at
	// once, and opens another connection if need be.
	maxStreams = 100
	// maxUnread is what a connection may send ahead of the handlers that read it: of a stream a whole review, of all its
	// streams together a few. net/http's own is 1 MiB each.
	maxUnread, maxUnreadOfConn = maxReviewBytes, 2 * maxReviewBytes
	// socketBuffer is what the kernel keeps of a connection in each direction.
	socketBuffer = 64 << 10
	// stuckTimeout ends an HTTP/2 connection that takes no byte. HTTP/1.1 has writeTimeout for it.
	stuckTimeout = 10 * time.Second

	// maxConnections and maxRequests, at once, are shared by those who connect; see shares. They are what fits into
	// the memory of a pod, and far beyond what kube-apiservers and proxies open.
	maxConnections = 8192
	maxRequests    = 8192

	// shutdownTimeout lets the slowest request that the timeouts above allow finish.
	shutdownTimeout = writeTimeout + readHeaderTimeout
)

// NewServer returns a server whose limits no client can outlast, for Serve. Limits of the body are the handler's matter.
func NewServer(handler http.Handler, tlsConfig *tls.Config, log logr.Logger) *http.Server {
	tlsConfig = tlsConfig.Clone()
	if tlsConfig != nil && tlsConfig.MinVersion < tls.VersionTLS13 {
		tlsConfig.MinVersion = tls.VersionTLS13
	}
	return &http.Server{
		Handler:           limitRequests(handler, newShares(maxRequests)),
		TLSConfig:         tlsConfig,
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
	}
}

// Serve serves TLS on a listener until ctx ends. It then begins the drain, if there is one, answers for another grace,
// so that callers find another replica, and shuts down without cutting off a request.
func Serve(ctx context.Context, server *http.Server, listener net.Listener, drain *Drain, grace time.Duration) error {
	listener = &fairListener{Listener: listener, shares: newShares(maxConnections)}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	if drain != nil {
		drain.Begin(server)
		select {
		case err := <-failed:
			return fmt.Errorf("serving on %s: %w", listener.Addr(), err)
		case <-time.After(grace):
		}
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(shutdown); err != nil {
		return errors.Join(fmt.Errorf("shutting down %s: %w", listener.Addr(), err), server.Close())
	}
	return nil
}

// Drain is whether a replica is about to go. Its zero value is not.
type Drain struct{ on atomic.Bool }

// Begin makes handlers that share the drain send callers elsewhere, and lets go of the servers' idle connections.
func (d *Drain) Begin(servers ...*http.Server) {
	d.on.Store(true)
	for _, s := range servers {
		s.SetKeepAlivesEnabled(false)
	}
}

func (d *Drain) begun() bool { return d.on.Load() }

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
