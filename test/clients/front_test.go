//go:build clients

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

package clients

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/test/env"
)

// front is a reverse proxy that runs in front of an upstream.
type front struct {
	address string
	up      *upstream
}

// upstream is the protected API: it answers with the request that reached it.
type upstream struct {
	*httptest.Server
	requests atomic.Int64
}

// seen is a request as the protected API has received it.
type seen struct {
	Method string
	URI    string
	Header http.Header
	Body   int
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.requests.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the body at the upstream: %v", err)
		}
		_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Header, len(body)})
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) address() string { return strings.TrimPrefix(u.URL, "http://") }

// program finds an installed program, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, try := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(try); err == nil {
			return path
		}
	}
	missing(t, name)
	return ""
}

// missing skips a test whose client is not installed; .ci/run does not let it.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("PAT_REQUIRE_CLIENTS") != "" {
		t.Fatalf("%s is missing: hack/tools/clients.sh installs it", what)
	}
	t.Skipf("SKIPPED: %s is missing; hack/tools/clients.sh installs it", what)
}

// write writes a file into a folder, and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// address is a free HOST:PORT.
func address(t *testing.T) string {
	t.Helper()
	address, _, err := product.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// serve runs a program in the foreground until the test ends, and waits until it listens.
func serve(t *testing.T, listens, dir, path string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(suite)
	cmd := product.Command(ctx, "", path, args...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cancel() // Kills what it has started, too.
		<-ended
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("the log of %s:\n%s", filepath.Base(path), text[max(0, len(text)-8000):])
		}
	})
	if err := env.Poll(t.Context(), env.Patience, func() error {
		select {
		case <-ended:
			cancel()
			return nil
		default:
		}
		connection, err := net.Dial("tcp", listens)
		if err == nil {
			_ = connection.Close()
		}
		return err
	}); err != nil || ctx.Err() != nil {
		t.Fatalf("%s does not listen: %v", filepath.Base(path), err)
	}
}

// answer is what a client of the protected API gets.
type answer struct {
	code   int
	header http.Header
	text   string
	seen   seen
}

// ask sends a request whose header lines are as they are given, by HTTP/1.1.
func (f *front) ask(t *testing.T, method string, body int, lines ...string) (*answer, error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(env.Must[[]byte](t)(os.ReadFile(frontCA)))
	connection, err := tls.Dial("tcp", f.address, &tls.Config{RootCAs: pool, ServerName: frontName, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(env.Patience)); err != nil {
		return nil, err
	}
	request := fmt.Sprintf("%s /lists?a=b HTTP/1.1\r\nHost: %s\r\n", method, frontName)
	if body > 0 {
		request += fmt.Sprintf("Content-Length: %d\r\n", body)
	}
	for _, line := range lines {
		request += line + "\r\n"
	}
	if _, err := io.WriteString(connection, request+"\r\n"+strings.Repeat("x", body)); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	a := &answer{code: response.StatusCode, header: response.Header, text: string(text)}
	if err == nil && a.code == http.StatusOK {
		err = json.Unmarshal(text, &a.seen)
	}
	return a, err
}

// get is ask without a body, and expects an answer.
func (f *front) get(t *testing.T, lines ...string) *answer {
	t.Helper()
	return env.Must[*answer](t)(f.ask(t, http.MethodGet, 0, lines...))
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// refuses is for measureRevocation.
func (f *front) refuses(t *testing.T, token string) func() error {
	return func() error {
		a, err := f.ask(t, http.MethodGet, 0, bearer(token))
		if err == nil && a.code != http.StatusUnauthorized {
			err = fmt.Errorf("HTTP %d", a.code)
			if a.code != http.StatusOK {
				err = errors.Join(err, errors.New(a.text))
			}
		}
		return err
	}
}
