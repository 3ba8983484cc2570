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

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// face is a client of the verifier and of the admission webhooks themselves, as kube-apiserver is one.
func face(t *testing.T) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	for _, pem := range [][]byte{caBundle(t, "pat-operator-ca"), caBundle(t, "pat-operator-verifier-ca")} {
		if !pool.AppendCertsFromPEM(pem) {
			t.Fatal("no certificate in a bundle")
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// caBundle is what clients of a manager have to trust.
func caBundle(t *testing.T, secretName string) []byte {
	t.Helper()
	secret := &corev1.Secret{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: secretName}, secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data["ca.crt"]
}

// A verifier on a cluster of IPv6 addresses alone.
func TestTheVerifierServesOverIPv6(t *testing.T) {
	long.Only(t)
	loopback, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	address := loopback.Addr().String()
	if err := loopback.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := cl.StartManager(t.Context(), cluster.ManagerOptions{Command: "verifier", Apart: true, Args: []string{
		"--verifier-bind-address=" + address, "--metrics-bind-address=[::1]:0",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	}()
	plaintext := issued(t, alice, pat(team(t), "by-ipv6"))
	client := face(t)
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = "pat-operator-verifier.pat-operator-system.svc"
	eventually(t, patience, func() bool {
		status, err := env.Review(t.Context(), client, "https://"+address+"/authenticate", plaintext)
		return err == nil && status.Authenticated && status.User.Username == "alice"
	}, func() string { return "the verifier at " + address + " does not know the token" })
}

// The running manager, at its real address: bad input ends in a 4xx or a closed connection.
func TestCase24_BadRequestsAreBounded(t *testing.T) {
	url := cl.TokenReviewURL()
	for name, tc := range map[string]struct {
		method, url, contentType, body string
		want                           int
	}{
		"10 MiB":           {"POST", url, "application/json", strings.Repeat(" ", 10<<20), http.StatusRequestEntityTooLarge},
		"deep JSON":        {"POST", url, "application/json", strings.Repeat("[", 60<<10), http.StatusBadRequest},
		"not JSON":         {"POST", url, "application/json", "token", http.StatusBadRequest},
		"wrong type":       {"POST", url, "text/plain", "{}", http.StatusUnsupportedMediaType},
		"wrong method":     {"GET", url, "", "", http.StatusMethodNotAllowed},
		"wrong path":       {"POST", url + "/more", "application/json", "{}", http.StatusNotFound},
		"admission, GET":   {"GET", admissionURL(), "", "", http.StatusMethodNotAllowed},
		"admission, other": {"POST", admissionURL() + "x", "application/json", "{}", http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, tc.url, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if tc.contentType != "" {
				req.Header.Set("Content-Type", tc.contentType)
			}
			resp, err := face(t).Do(req)
			if err != nil {
				// A server that stops reading may close before the client has sent it all.
				if name == "10 MiB" && (strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "broken pipe")) {
					return
				}
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != tc.want {
				text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
				t.Errorf("HTTP %d %q; want %d", resp.StatusCode, text, tc.want)
			}
		})
	}
}

func TestCase24_ASlowClientIsCutOff(t *testing.T) {
	long.Only(t)
	address := strings.TrimSuffix(strings.TrimPrefix(cl.TokenReviewURL(), "https://"), "/authenticate")
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("POST /authenticate HTTP/1.1\r\nHost: x\r\nX-Slow: ")); err != nil {
		t.Fatal(err)
	}
	const within = time.Minute
	start := time.Now()
	if err := conn.SetReadDeadline(start.Add(within)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Fatalf("headers may take longer than %v", within)
	}
	t.Logf("cut off after %v", time.Since(start))
}

func TestTLS13AtLeast(t *testing.T) {
	for _, url := range []string{cl.TokenReviewURL(), admissionURL()} {
		address := strings.SplitN(strings.TrimPrefix(url, "https://"), "/", 2)[0]
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if err == nil {
			_ = conn.Close()
			t.Errorf("%s takes TLS 1.2", address)
		}
	}
}
