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

package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/console"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/long"
)

// Fourteen sources, one after another, hold twice the connections that a port has. A newcomer is served.
func TestCase47_ANewcomerIsServedOnEveryPort(t *testing.T) {
	long.Only(t)
	secured, trust, err := abuse.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, port := range map[string]struct {
		limits serving.Limits
		config *tls.Config
	}{
		"verifier":  {authn.Limits, secured},
		"admission": {admissionLimits, secured},
		"console":   {console.Limits, secured},
		"metrics":   {metricsLimits, secured},
		"health":    {healthLimits, nil},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			stopped := make(chan error, 1)
			server := serving.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), port.config, port.limits, logr.Discard())
			go func() { stopped <- server.Run(ctx, listener, nil, 0) }()
			defer func() {
				stop()
				if err := <-stopped; err != nil {
					t.Error(err)
				}
			}()
			for source := 1; source <= 14; source++ {
				dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: abuse.Source(source)}}
				for range port.limits.Slots/7 + 1 { // twice what there is
					conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = conn.Close() }()
				}
			}
			scheme := "http"
			transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: abuse.Source(100)}}).DialContext}
			if port.config != nil {
				scheme, transport.TLSClientConfig = "https", trust.Clone()
			}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: time.Minute}
			for range 3 {
				transport.CloseIdleConnections()
				resp, err := client.Get(scheme + "://" + listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("HTTP %d", resp.StatusCode)
				}
			}
		})
	}
}
