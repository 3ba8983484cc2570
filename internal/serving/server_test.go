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
	"github.com/pat-operator/pat-operator/test/env"
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

// patient is for tests that wait for none of the server's timeouts.
func patient(s *serving.Server) {
	s.HTTP.ReadHeaderTimeout, s.HTTP.ReadTimeout, s.HTTP.WriteTimeout, s.HTTP.IdleTimeout = time.Minute, time.Minute, time.Minute, time.Minute
	s.HTTP.HTTP2.WriteByteTimeout = time.Minute
}

func (r *running) post(t *testing.T, body io.Reader, edits ...func(*http.Request)) (status int, answer string) {
	t.Helper()
	status, answer, err := r.tryPost(t, body, edits...)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

func (r *running) tryPost(t *testing.T, body io.Reader, edits ...func(*http.Request)) (status int, answer string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.address, body)
	if err != nil {
		return 0, "", err
	}
	for _, edit := range edits {
		edit(req)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), nil
}

// answers waits until a request is answered with a status: one of the server's short timeouts may end where the machine stands
// still for as long.
func (r *running) answers(t *testing.T, length, want int) {
	t.Helper()
	var status int
	var err error
	env.Eventually(t, env.Patience, func() bool {
		status, _, err = r.tryPost(t, bytes.NewReader(make([]byte, length)))
		return status == want
	}, func() string { return fmt.Sprintf("%d bytes: %d, %v, want %d", length, status, err, want) })
}

// slow sends the start of a request over a raw HTTP/1.1 connection, then a byte now and then, until the server has had enough
// and has answered as a test wants it.
func (r *running) slow(t *testing.T, start string, want func(answer string) bool, body ...byte) {
	t.Helper()
	got := ""
	env.Eventually(t, env.Patience, func() bool {
		conn, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			got = err.Error()
			return false
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, start); err != nil {
			got = err.Error()
			return false
		}
		if len(body) > 0 {
			go func() { _, _ = conn.Write(body) }()
		}
		got = drip(t, conn)
		return want(got)
	}, func() string { return fmt.Sprintf("%.40q: the answer is %.80q", start, got) })
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
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	b, err := io.ReadAll(bufio.NewReader(conn))
	if errors.Is(err, context.DeadlineExceeded) || (err != nil && strings.Contains(err.Error(), "i/o timeout")) {
		t.Error("the server let a slow client stay")
	}
	return string(b)
}

func TestCase24_SlowAndOversizedClientsAreCutOff(t *testing.T) {
	g := NewWithT(t)
	r := serve(t, echo, nil, func(s *serving.Server) { s.HTTP.WriteTimeout = time.Minute })
	r.answers(t, 5, http.StatusOK)
	r.client.CloseIdleConnections()
	baseline := runtime.NumGoroutine()
	const head = "POST / HTTP/1.1\r\nHost: x\r\n"

	says := func(status string) func(string) bool {
		return func(answer string) bool { return strings.HasPrefix(answer, "HTTP/1.1 "+status+" ") }
	}
	r.slow(t, head+"X-Slow: ", func(answer string) bool { return !strings.Contains(answer, "200 OK") })
	r.slow(t, head+"Content-Length: 1000\r\n\r\n{", says("408"))
	r.slow(t, head+"X-Long: "+strings.Repeat("x", 128<<10)+"\r\n\r\n", says("431"))
	r.answers(t, int(limits.Body), http.StatusOK)
	r.answers(t, int(limits.Body)+1, http.StatusRequestEntityTooLarge)
	r.client.CloseIdleConnections()
	// 10 MiB without a length: the server answers, or closes while the client still writes.
	r.slow(t, head+"Transfer-Encoding: chunked\r\n\r\na00000\r\n", func(answer string) bool { return answer == "" || says("413")(answer) },
		make([]byte, 10<<20)...)
	g.Eventually(runtime.NumGoroutine).WithTimeout(env.Patience).Should(BeNumerically("<=", baseline))
	r.answers(t, 5, http.StatusOK)
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
			}), drain, patient)
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
			g.Eventually(drain.Begun).WithTimeout(env.Patience).Should(BeTrue())
			g.Consistently(r.stopped, 50*time.Millisecond).ShouldNot(Receive())
			close(release)
			g.Eventually(held).WithTimeout(env.Patience).Should(Receive(Equal(protocol)))
			g.Eventually(r.stopped).WithTimeout(env.Patience).Should(Receive(BeNil()))
		})
	}
}
