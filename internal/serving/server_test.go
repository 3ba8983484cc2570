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

package serving_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"

	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/abuse"
)

// limits are small, so that a test can fill them.
var limits = serving.Limits{Slots: 64, Body: 64 << 10}

// echo answers with the body that it read.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.WriteHeader(http.StatusRequestTimeout)
	case err != nil:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	default:
		_, _ = w.Write(body)
	}
})

type running struct {
	address string
	server  *serving.Server
	client  *http.Client
	stop    context.CancelFunc
	stopped chan error
}

// serve runs a server whose timeouts are short, so that a test can wait for them.
func serve(t *testing.T, handler http.Handler, drain *serving.Drain, edits ...func(*serving.Server)) *running {
	t.Helper()
	config, trust, err := abuse.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serving.NewServer(handler, config, limits, logr.Discard())
	s.HTTP.ReadHeaderTimeout, s.HTTP.ReadTimeout, s.HTTP.WriteTimeout, s.HTTP.IdleTimeout =
		400*time.Millisecond, 800*time.Millisecond, 1200*time.Millisecond, 800*time.Millisecond
	s.HTTP.HTTP2.WriteByteTimeout = 800 * time.Millisecond
	for _, edit := range edits {
		edit(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{address: listener.Addr().String(), server: s, stop: stop, stopped: make(chan error, 1),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}}}
	go func() { r.stopped <- s.Run(ctx, listener, drain, 0) }()
	t.Cleanup(stop)
	return r
}

func (r *running) post(t *testing.T, body io.Reader, edits ...func(*http.Request)) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.address, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range edits {
		edit(req)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// dial opens a raw HTTP/1.1 connection and writes the start of a request.
func (r *running) dial(t *testing.T, start string) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, start); err != nil {
		t.Fatal(err)
	}
	return conn
}

// drip writes a byte now and then until the server has had enough, and returns what it answered.
func drip(t *testing.T, conn net.Conn) string {
	t.Helper()
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				if _, err := io.WriteString(conn, "a"); err != nil {
					return
				}
			}
		}
	}()
	defer close(stop)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	b, err := io.ReadAll(bufio.NewReader(conn))
	if errors.Is(err, context.DeadlineExceeded) || (err != nil && strings.Contains(err.Error(), "i/o timeout")) {
		t.Error("the server let a slow client stay")
	}
	return string(b)
}

func TestCase24_SlowAndOversizedClientsAreCutOff(t *testing.T) {
	g := NewWithT(t)
	r := serve(t, echo, nil)
	if status, _ := r.post(t, strings.NewReader("hello")); status != http.StatusOK {
		t.Fatalf("a good request: %d", status)
	}
	r.client.CloseIdleConnections()
	baseline := runtime.NumGoroutine()
	const head = "POST / HTTP/1.1\r\nHost: x\r\n"

	if got := drip(t, r.dial(t, head+"X-Slow: ")); strings.Contains(got, "200 OK") {
		t.Errorf("slow headers: %q", got)
	}
	if got := drip(t, r.dial(t, head+"Content-Length: 1000\r\n\r\n{")); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("slow body: %q, want 408", got)
	}
	if got := drip(t, r.dial(t, head+"X-Long: "+strings.Repeat("x", 128<<10)+"\r\n\r\n")); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("128 KiB of headers: %.80q, want 431", got)
	}
	for length, want := range map[int]int{int(limits.Body): http.StatusOK, int(limits.Body) + 1: http.StatusRequestEntityTooLarge} {
		if status, _ := r.post(t, bytes.NewReader(make([]byte, length))); status != want {
			t.Errorf("%d bytes: %d, want %d", length, status, want)
		}
	}
	r.client.CloseIdleConnections()
	// 10 MiB without a length: the server answers, or closes while the client still writes.
	conn := r.dial(t, head+"Transfer-Encoding: chunked\r\n\r\na00000\r\n")
	go func() { _, _ = conn.Write(make([]byte, 10<<20)) }()
	if got := drip(t, conn); got != "" && !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Errorf("10 MiB: %.80q, want 413", got)
	}
	g.Eventually(runtime.NumGoroutine).WithTimeout(10 * time.Second).Should(BeNumerically("<=", baseline))
	if status, _ := r.post(t, strings.NewReader("hello")); status != http.StatusOK {
		t.Errorf("a good request afterwards: %d", status)
	}
}

func TestServerTakesOnlyTLS13(t *testing.T) {
	r := serve(t, echo, nil)
	_, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		t.Error("TLS 1.2 was accepted")
	}
	if got := r.server.HTTP.TLSConfig.MinVersion; got != tls.VersionTLS13 {
		t.Errorf("minimum %s", tls.VersionName(got))
	}
}

func TestShutdownDrainsAndEndsWithoutCuttingOff(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			g := NewWithT(t)
			drain := &serving.Drain{}
			entered, release := make(chan struct{}), make(chan struct{})
			r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if q.Header.Get("X-Hold") != "" {
					close(entered)
					<-release
					_, _ = fmt.Fprint(w, q.Proto)
					return
				}
			}), drain)
			if protocol == "HTTP/1.1" {
				transport := r.client.Transport.(*http.Transport)
				transport.ForceAttemptHTTP2, transport.TLSClientConfig.NextProtos = false, []string{"http/1.1"}
			}
			held := make(chan string, 1)
			go func() {
				_, answer := r.post(t, http.NoBody, func(q *http.Request) { q.Header.Set("X-Hold", "1") })
				held <- answer
			}()
			<-entered
			r.stop()
			g.Eventually(drain.Begun).Should(BeTrue())
			g.Consistently(r.stopped, 50*time.Millisecond).ShouldNot(Receive())
			close(release)
			g.Eventually(held).Should(Receive(Equal(protocol)))
			g.Eventually(r.stopped).WithTimeout(5 * time.Second).Should(Receive(BeNil()))
		})
	}
}
