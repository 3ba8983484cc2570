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

package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	clienttransport "k8s.io/client-go/transport"
)

const (
	dialTimeout   = 10 * time.Second
	keepAlive     = 30 * time.Second
	idleUpstream  = 90 * time.Second
	idleConns     = 256
	minConnection = 5 * time.Minute
	maxConnection = 10 * time.Minute
	// maxAnswerHeader is how long the header of an answer may be. It is held until the client takes it, and who runs a pod or an
	// aggregated API may have written it.
	maxAnswerHeader = 256 << 10
)

// Transport leads to one API server, over HTTP/1.1: over HTTP/2 writes are lost when it closes a connection, and clients that
// read nothing cost memory here. It never has a client certificate, because the owner of an upgraded connection would have it,
// too. It is a Runnable of every replica.
type Transport struct {
	config *tls.Config
	proxy  func(*http.Request) (*url.URL, error)
	now    atomic.Pointer[http.Transport]
}

// NewTransport returns the way to the API server of a configuration, of which it takes no credential.
func NewTransport(c *rest.Config) (*Transport, error) {
	bare, err := rest.AnonymousClientConfig(c).TransportConfig()
	if err != nil {
		return nil, err
	}
	config, err := clienttransport.TLSConfigFor(bare)
	if err != nil {
		return nil, fmt.Errorf("cannot read how to trust the API server: %w", err)
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.NextProtos = []string{"http/1.1"}
	t := &Transport{config: config, proxy: c.Proxy}
	t.now.Store(t.generation())
	return t, nil
}

// As returns the transport as the account that a token is of. refused is called with a token that the API server does not take; nil
// is allowed.
func (t *Transport) As(token func() (string, bool), refused func(token string)) http.RoundTripper {
	return &guard{base: t, token: token, refused: refused}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.now.Load().RoundTrip(r)
}

// NeedLeaderElection is false: every replica serves.
func (*Transport) NeedLeaderElection() bool { return false }

// Start retires connections after some minutes, so that an API server that was restarted gets its share of the load again. Those
// that are in use go on until they are not.
func (t *Transport) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			t.now.Load().CloseIdleConnections()
			return nil
		case <-time.After(minConnection + rand.N(maxConnection-minConnection)): //nolint:gosec // only spreads what replicas do
			t.now.Swap(t.generation()).CloseIdleConnections()
		}
	}
}

func (t *Transport) generation() *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  t.proxy,
		TLSClientConfig:        t.config.Clone(),
		Protocols:              protocols,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        idleUpstream,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableCompression:     true, // Client and API server agree on one between them.
	}
}
