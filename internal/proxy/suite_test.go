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
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/issued"
)

const (
	apiAudience = "https://kubernetes.default.svc"
	// ownToken is the impersonator's, which must never be seen but by the API server.
	ownToken = "impersonators-own-token"
	// patience is for what no fault holds up.
	patience = 60 * time.Second
)

var alice = v1alpha1.UserInfo{
	Username: "alice@example.com", UID: "u-4711", Groups: []string{"devs", "team:a", "system:authenticated"},
	Extra: map[string]v1alpha1.ExtraValue{"example.org/team": {"a", "b"}},
}

// bed is a proxy between a client and an API server that the test plays.
type bed struct {
	t     testing.TB
	index *verifier.Index
	proxy *Proxy
	// address is where the proxy serves.
	address string
	trust   *tls.Config
	token   *issued.Token

	mu   sync.Mutex
	seen []*http.Request
}

// newBed starts a bed whose API server is a handler; nil: it answers 200. Mods change the options.
func newBed(t testing.TB, upstream http.HandlerFunc, mods ...func(*Options)) *bed {
	t.Helper()
	b := &bed{t: t, index: verifier.NewIndex(logr.Discard())}
	b.index.SetAPIAudiences([]string{apiAudience})
	b.index.MarkSynced()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen = append(b.seen, r.Clone(r.Context()))
		b.mu.Unlock()
		if upstream != nil {
			upstream(w, r)
		}
	}))
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	to, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := NewTransport(&rest.Config{Host: server.URL, BearerToken: "the process's own", TLSClientConfig: rest.TLSClientConfig{CAData: pemOf(server)}})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Index: b.index, Upstream: to, Transport: transport.As(func() (string, bool) { return ownToken, true }, nil),
		MaxRequests: 100, MaxRequestsPerToken: 50, Log: logr.Discard(),
	}
	for _, mod := range mods {
		mod(&o)
	}
	b.proxy = New(o)
	b.index.OnChange(b.proxy.Recheck)
	front, listener := b.listen(o.TrustedProxies)
	go func() { _ = front.HTTP.ServeTLS(front.Limit(listener), "", "") }()
	b.token = b.issue("ci", alice)
	return b
}

// listen returns a server of the proxy and its listener. Clients of the bed use that address from now on.
func (b *bed) listen(exempt []netip.Prefix) (*serving.Server, net.Listener) {
	b.t.Helper()
	secured, trust, err := abuse.Certificate()
	if err != nil {
		b.t.Fatal(err)
	}
	secured.NextProtos = []string{"h2", "http/1.1"}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.address, b.trust = listener.Addr().String(), trust
	server := serving.NewStreamServer(b.proxy, secured, 1000, exempt, logr.Discard())
	b.t.Cleanup(func() { _ = server.HTTP.Close() })
	return server, listener
}

// issue makes a token that the proxy knows.
func (b *bed) issue(name string, user v1alpha1.UserInfo, mods ...func(*v1alpha1.PersonalAccessTokenSpec)) *issued.Token {
	b.t.Helper()
	token := issued.New(b.t, "team-a", name, user, mods...)
	token.Feed(b.t, b.index)
	return token
}

func scopes(all ...v1alpha1.Scope) func(*v1alpha1.PersonalAccessTokenSpec) {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.Scopes = all }
}

// client speaks HTTP/2 or HTTP/1.1, on connections of its own.
func (b *bed) client(http2 bool) *http.Client {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	config := b.trust.Clone()
	config.NextProtos = nil
	transport := &http.Transport{TLSClientConfig: config, Protocols: protocols, DisableCompression: true}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// reply is an answer; Body is that of one that goes on.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader
}

// do sends a request with the bed's token, and returns the answer with its body read.
func (b *bed) do(method, path, body string, header ...string) (*reply, string) {
	b.t.Helper()
	return b.doAs(b.token.Bearer, method, path, body, header...)
}

func (b *bed) doAs(bearer, method, path, body string, header ...string) (*reply, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, "https://"+b.address+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client(true).Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return &reply{resp.StatusCode, resp.Header, nil}, string(text)
}

// raw sends bytes as they are, with lines ended as HTTP ends them. The code is 0 without an answer.
func (b *bed) raw(request string) (int, string) {
	b.t.Helper()
	conn := b.dial()
	_, _ = io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// dial returns a connection for HTTP/1.1.
func (b *bed) dial() net.Conn {
	b.t.Helper()
	config := b.trust.Clone()
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", b.address, config)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// requests are those that the API server has seen.
func (b *bed) requests() []*http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

// last is the last one.
func (b *bed) last() *http.Request {
	b.t.Helper()
	all := b.requests()
	if len(all) == 0 {
		b.t.Fatal("the API server has seen no request")
	}
	return all[len(all)-1]
}

// wantStatus checks that an answer is a Status of a code, whose text contains something.
func wantStatus(t testing.TB, resp *reply, body string, code int, contains string) {
	t.Helper()
	var status metav1.Status
	if err := json.Unmarshal([]byte(body), &status); err != nil || resp.StatusCode != code || int(status.Code) != code ||
		status.Kind != "Status" || status.APIVersion != "v1" || status.Status != "Failure" || !strings.Contains(status.Message, contains) {
		t.Errorf("HTTP %d %s (%v); want a Status of %d with %q", resp.StatusCode, body, err, code, contains)
	}
}

// identityOf is whom a request that arrived is from, as kube-apiserver reads it.
func identityOf(r *http.Request) string {
	extra := map[string][]string{}
	for name, values := range r.Header {
		if key, ok := strings.CutPrefix(strings.ToLower(name), "impersonate-extra-"); ok {
			key, _ = url.PathUnescape(key)
			extra[key] = values
		}
	}
	return fmt.Sprint(r.Header["Authorization"], r.Header["Impersonate-User"], r.Header["Impersonate-Uid"], r.Header["Impersonate-Group"], extra)
}

func (b *bed) aliceWithToken() string {
	return fmt.Sprintf("[Bearer %s] [alice@example.com] [u-4711] [devs team:a] map[authentication.kubernetes.io/credential-id:[PAT=%s] example.org/team:[a b] pat-operator.io/name:[team-a/ci]]",
		ownToken, b.token.ID())
}

func networks(all ...string) (out []netip.Prefix) {
	for _, n := range all {
		out = append(out, netip.MustParsePrefix(n))
	}
	return out
}

func pemOf(s *httptest.Server) []byte {
	return pemEncode(s.Certificate().Raw)
}
