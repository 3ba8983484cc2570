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

package patauth

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, content)
	return path
}

func rewrite(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func caFile(t testing.TB, server *httptest.Server) string {
	t.Helper()
	return writeFile(t, "ca.crt", pemOf(server.Certificate().Raw))
}

func pemOf(certificate []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
}

// asking returns what a source makes of a server, by the face of introspection.
func asking(t *testing.T, server *httptest.Server, timeout time.Duration) outcome {
	t.Helper()
	a := newAuthenticator(t, &Introspection{URL: server.URL, CAFile: caFile(t, server), TokenFile: writeFile(t, "token", "own")},
		func(o *Options) { o.Timeout = timeout })
	identity, err := a.Verify(t.Context(), tokenOf(1))
	if err != nil && strings.Contains(err.Error(), "kubepat_") {
		t.Errorf("%v quotes the token", err)
	}
	return outcomeOf(identity, err)
}

// zeros is a gzip bomb: four times what is read of an answer.
func zeros(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 4 {
		if _, err := z.Write(make([]byte, maxAnswer)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileServers(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect is followed to %s", r.URL)
	}))
	defer elsewhere.Close()
	active := func() string {
		return strings.Replace(goodIntrospection, `2060`, "99999999999", 1)
	}
	bomb := zeros(t)
	for name, tc := range map[string]struct {
		answer  func(http.ResponseWriter, *http.Request)
		timeout time.Duration
		want    outcome
	}{
		"honest": {want: accepted, answer: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(active()))
		}},
		"redirect": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}},
		"redirect, permanent": {answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusPermanentRedirect)
		}},
		"never answers": {timeout: 50 * time.Millisecond, answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"never ends": {timeout: 50 * time.Millisecond, answer: func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(active()[:50]))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}},
		"endless": {answer: func(w http.ResponseWriter, _ *http.Request) {
			for page := bytes.Repeat([]byte(" "), 64<<10); ; {
				if _, err := w.Write(page); err != nil {
					return
				}
			}
		}},
		"one byte too long": {answer: func(w http.ResponseWriter, _ *http.Request) {
			body := active()
			_, _ = w.Write([]byte(body + strings.Repeat(" ", maxAnswer+1-len(body))))
		}},
		"as long as may be": {want: accepted, answer: func(w http.ResponseWriter, _ *http.Request) {
			body := active()
			_, _ = w.Write([]byte(body + strings.Repeat(" ", maxAnswer-len(body))))
		}},
		"a gzip bomb": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}},
		"endless headers": {answer: func(w http.ResponseWriter, _ *http.Request) {
			for i := range 1000 {
				w.Header().Add("X", strings.Repeat("x", 100+i))
			}
			_, _ = w.Write([]byte(active()))
		}},
		"another type": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(active()))
		}},
		"hangs up": {answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"hangs up in the middle": {answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = w.Write([]byte(active()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Accept-Encoding") != "" {
					t.Errorf("compression is accepted: %v", r.Header)
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.Copy(io.Discard, r.Body) // From here on, the server sees that a client hangs up.
				tc.answer(w, r)
			}))
			defer server.Close()
			if tc.timeout == 0 {
				tc.timeout = time.Minute
			}
			if tc.want == "" {
				tc.want = failed
			}
			if got := asking(t, server, tc.timeout); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestServersThatAreNotTrusted(t *testing.T) {
	own, other := httptest.NewUnstartedServer(nil), httptest.NewTLSServer(nil)
	defer other.Close()
	own.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	own.StartTLS()
	defer own.Close()
	old := httptest.NewUnstartedServer(nil)
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	for name, s := range map[string]*Introspection{
		"another CA":    {URL: own.URL, CAFile: caFile(t, other)},
		"system's CAs":  {URL: own.URL},
		"TLS 1.1":       {URL: old.URL, CAFile: caFile(t, old)},
		"no connection": {URL: "https://127.0.0.1:1", CAFile: caFile(t, own)},
		"no TLS":        {URL: strings.Replace(own.URL, "https", "http", 1)},
	} {
		s.TokenFile = writeFile(t, "token", "own")
		if _, err := newAuthenticator(t, s).Verify(t.Context(), tokenOf(1)); outcomeOf(nil, err) != failed {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// certificate is one for 127.0.0.1, with a key of its own.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

func TestACAFileMayChange(t *testing.T) {
	var current atomic.Pointer[tls.Certificate]
	first, second := certificate(t), certificate(t)
	current.Store(&first)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(strings.Replace(goodIntrospection, `2060`, "99999999999", 1)))
	}))
	// Without a name of the server, GetCertificate is not asked.
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*current.Load()}, MinVersion: tls.VersionTLS12}, nil
	}}
	server.StartTLS()
	defer server.Close()
	ca := writeFile(t, "ca.crt", pemOf(first.Certificate[0]))
	a := newAuthenticator(t, &Introspection{URL: server.URL, CAFile: ca, TokenFile: writeFile(t, "token", "own")}, func(o *Options) { o.CacheFor = -1 })
	want := func(want outcome) {
		t.Helper()
		if identity, err := a.Verify(t.Context(), tokenOf(1)); outcomeOf(identity, err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	want(accepted)
	current.Store(&second)
	rewrite(t, ca, pemOf(second.Certificate[0]))
	want(accepted)
	rewrite(t, ca, pemOf(first.Certificate[0]))
	want(failed)
	rewrite(t, ca, "half a certif")
	want(failed)
	rewrite(t, ca, pemOf(first.Certificate[0])+pemOf(second.Certificate[0]))
	want(accepted)
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	want(failed)
}

// A server that has closed its idle connections is asked again on a new one: a rollout refuses nobody.
func TestAClosedConnectionIsReplaced(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(strings.Replace(goodIntrospection, `2060`, "99999999999", 1)))
	}))
	defer server.Close()
	a := newAuthenticator(t, &Introspection{URL: server.URL, CAFile: caFile(t, server), TokenFile: writeFile(t, "token", "own")}, func(o *Options) { o.CacheFor = -1 })
	for range 50 {
		if _, err := a.Verify(t.Context(), tokenOf(1)); err != nil {
			t.Fatal(err)
		}
		server.CloseClientConnections()
	}
}

func TestHTTPIsForThisMachine(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(strings.Replace(goodIntrospection, `2060`, "99999999999", 1)))
	}))
	defer server.Close()
	a := newAuthenticator(t, &Introspection{URL: server.URL, TokenFile: writeFile(t, "token", "own")})
	if _, err := a.Verify(t.Context(), tokenOf(1)); err != nil {
		t.Error(err)
	}
}

// Callers that hang up leave neither goroutines nor questions.
func TestNoGoroutineIsLeft(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer server.Close()
	source := &Introspection{URL: server.URL, CAFile: caFile(t, server), TokenFile: writeFile(t, "token", "own")}
	a := newAuthenticator(t, source, func(o *Options) { o.Timeout = 50 * time.Millisecond })
	before := runtime.NumGoroutine()
	for n := range 20 {
		if _, err := a.Verify(t.Context(), tokenOf(n)); outcomeOf(nil, err) != failed {
			t.Errorf("got %v", err)
		}
	}
	poll(t, func() bool {
		server.CloseClientConnections()
		return runtime.NumGoroutine() <= before+2
	})
}
