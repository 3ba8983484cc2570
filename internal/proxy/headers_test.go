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
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

func pemEncode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// What others were taken over by: see the table in the project's notes on the bugs of other proxies.
func TestNoHeaderChangesTheIdentity(t *testing.T) {
	b := newBed(t, nil)
	auth := "Authorization: Bearer " + b.token.Bearer + "\n"
	encoded := base64.RawURLEncoding.EncodeToString([]byte(b.token.Bearer))
	for _, tc := range []struct {
		name, headers string
		code          int
	}{
		{"plain", auth, 200},
		{"lower-case scheme and name", "aUTHORIZATION: bearer " + b.token.Bearer + "\n", 200},
		{"Impersonate-User", auth + "Impersonate-User: system:admin\n", 403},
		{"impersonate-user, lower case", auth + "impersonate-user: system:admin\n", 403},
		{"Impersonate-User, empty", auth + "Impersonate-User:\n", 403},
		{"Impersonate-Group", auth + "Impersonate-Group: system:masters\n", 403},
		{"Impersonate-Uid", auth + "Impersonate-Uid: 1\n", 403},
		{"Impersonate-Extra-Scopes", auth + "Impersonate-Extra-Scopes: all\n", 403},
		{"Impersonate-Extra, escaped", auth + "Impersonate-Extra-Authentication.kubernetes.io%2fcredential-Id: PAT=x\n", 403},
		{"Impersonate-Anything", auth + "Impersonate-Anything: x\n", 403},
		{"underscores are another header", auth + "Impersonate_User: system:admin\n", 200},
		{"white space after the name", auth + "Impersonate-User : system:admin\n", 400},
		{"a folded header is one value", auth + "X-A: b\n Impersonate-User: system:admin\n", 200},
		{"Connection: Impersonate-User", auth + "Connection: Impersonate-User\n", 200},
		{"Connection: all of them", auth + "Connection: keep-alive, Impersonate-User, Impersonate-Group, Impersonate-Uid, Authorization, X-Forwarded-For, Audit-Id, Impersonate-Extra-Authentication.kubernetes.io%2fcredential-Id\n", 200},
		{"Connection, twice", auth + "Connection: Impersonate-Group\nConnection: impersonate-user\n", 200},
		{"Connection: Upgrade and Impersonate-User", auth + "Upgrade: websocket\nConnection: Upgrade, Impersonate-User, Impersonate-Group\n", 200},
		{"Keep-Alive and TE", auth + "Keep-Alive: timeout=5\nTE: trailers, Impersonate-User\n", 200},
		{"X-Remote-User", auth + "X-Remote-User: system:admin\nX-Remote-Group: system:masters\nX-Remote-Extra-Foo: x\nx-remote-uid: 0\n", 200},
		{"two Authorization", auth + "Authorization: Bearer " + ownToken + "\n", 400},
		{"two Authorization, ours second", "Authorization: Bearer x\n" + auth, 400},
		{"the same Authorization twice", auth + auth, 400},
		{"joined with a comma", "Authorization: Bearer " + b.token.Bearer + ", Bearer x\n", 400},
		{"Basic", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+b.token.Bearer)) + "\n", 400},
		{"Basic after a token", auth + "Authorization: Basic eDp5\n", 400},
		{"the impersonator's own token", "Authorization: Bearer " + ownToken + "\n", 401},
		{"none", "", 401},
		{"an empty one", "Authorization: \n", 400},
		{"two spaces", "Authorization: Bearer  " + b.token.Bearer + "\n", 400},
		{"subprotocol and Authorization", auth + "Sec-WebSocket-Protocol: v5.channel.k8s.io, " + bearerProtocol + encoded + "\n", 400},
		{"subprotocol alone", "Sec-WebSocket-Protocol: v5.channel.k8s.io, " + bearerProtocol + encoded + "\n", 200},
		{"two subprotocol tokens", "Sec-WebSocket-Protocol: " + bearerProtocol + encoded + ", " + bearerProtocol + encoded + "\n", 400},
		{"a subprotocol that is not base64", "Sec-WebSocket-Protocol: " + bearerProtocol + "***\n", 400},
		{"Proxy-Authorization", auth + "Proxy-Authorization: Bearer " + ownToken + "\n", 200},
		{"forwarding headers", auth + "X-Forwarded-For: 10.9.9.9\nX-Real-IP: 10.9.9.9\nForwarded: for=10.9.9.9\nX-Forwarded-Uri: /x\nX-Forwarded-Client-Cert: x\n", 200},
		{"Audit-Id", auth + "Audit-ID: chosen\n", 200},
		{"Upgrade: h2c", auth + "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\n", 400},
		{"two Upgrades", auth + "Connection: Upgrade\nUpgrade: websocket\nUpgrade: h2c\n", 400},
		{"two protocols in one Upgrade", auth + "Connection: Upgrade\nUpgrade: websocket, h2c\n", 400},
		{"Transfer-Encoding twice", auth + "Transfer-Encoding: chunked, chunked\n", 501},
		{"Content-Length and Transfer-Encoding", auth + "Content-Length: 4\nTransfer-Encoding: chunked\n", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(b.requests())
			request := "GET /api/v1/namespaces/team-a/pods HTTP/1.1\nHost: x\n" + tc.headers
			if !strings.Contains(tc.headers, "Connection:") {
				request += "Connection: close\n"
			}
			if strings.Contains(tc.headers, "Transfer-Encoding: chunked\n") {
				request += "\n0\n"
			}
			code, text := b.raw(request + "\n")
			if code != tc.code {
				t.Fatalf("HTTP %d %s; want %d", code, text, tc.code)
			}
			if code != 200 {
				if n := len(b.requests()); n != before {
					t.Error("the API server has seen it")
				}
				return
			}
			r := b.last()
			if got := identityOf(r); got != b.aliceWithToken() {
				t.Errorf("the API server sees %s\nwant %s", got, b.aliceWithToken())
			}
			if got := r.Header["X-Forwarded-For"]; fmt.Sprint(got) != "[127.0.0.1]" {
				t.Errorf("X-Forwarded-For is %v", got)
			}
			for name, values := range r.Header {
				if strings.HasPrefix(name, "X-Remote-") || strings.HasPrefix(name, "X-Forwarded-") && name != "X-Forwarded-For" ||
					strings.Contains(fmt.Sprint(values), "chosen") || strings.Contains(fmt.Sprint(values), encoded) || strings.Contains(fmt.Sprint(values), b.token.Bearer) {
					t.Errorf("the API server sees %s: %v", name, values)
				}
			}
		})
	}
}

func TestNoRequestLineLeadsElsewhere(t *testing.T) {
	b := newBed(t, nil)
	auth := "Authorization: Bearer " + b.token.Bearer + "\n"
	for _, tc := range []struct {
		name, request string
		code          int
		// path is what the API server sees, unparsed.
		path string
	}{
		{"CONNECT", "CONNECT kubernetes.default:443 HTTP/1.1\nHost: kubernetes.default:443\n" + auth + "\n", 405, ""},
		{"another host", "GET http://169.254.169.254/latest HTTP/1.1\nHost: 169.254.169.254\n" + auth + "Connection: close\n\n", 200, "/latest"},
		{"TRACE", "TRACE / HTTP/1.1\nHost: x\n" + auth + "Connection: close\n\n", 405, ""},
		{"an unknown method", "PROPFIND / HTTP/1.1\nHost: x\n" + auth + "Connection: close\n\n", 405, ""},
		{"a method in lower case", "get / HTTP/1.1\nHost: x\n" + auth + "Connection: close\n\n", 405, ""},
		{"dots", "GET //api/v1/namespaces/team-b/../team-a/pods HTTP/1.1\nHost: x\n" + auth + "Connection: close\n\n", 200, "//api/v1/namespaces/team-b/../team-a/pods"},
		{"escaped slashes", "GET /api/v1/namespaces/team-a%2f..%2fteam-b/pods HTTP/1.1\nHost: x\n" + auth + "Connection: close\n\n", 200, "/api/v1/namespaces/team-a%2f..%2fteam-b/pods"},
		{"a token in the query", "GET /api?access_token=" + b.token.Bearer + " HTTP/1.1\nHost: x\nConnection: close\n\n", 401, ""},
		{"OPTIONS of everything", "OPTIONS * HTTP/1.1\nHost: x\n" + auth + "Connection: close\n\n", 400, ""},
		{"HTTP/2 without ALPN", "PRI * HTTP/2.0\n\nSM\n\n", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(b.requests())
			code, text := b.raw(tc.request)
			if code != tc.code && (tc.code != 0 || code == 200) {
				t.Fatalf("HTTP %d %s; want %d", code, text, tc.code)
			}
			seen := b.requests()[before:]
			if tc.path == "" {
				if len(seen) > 0 {
					t.Errorf("the API server has seen %s", seen[0].RequestURI)
				}
				return
			}
			if len(seen) != 1 || seen[0].RequestURI != tc.path || identityOf(seen[0]) != b.aliceWithToken() {
				t.Errorf("the API server has seen %v", seen)
			}
		})
	}
}

// The second request of a connection is not hidden in the first one's body.
func TestABodyIsNotARequest(t *testing.T) {
	b := newBed(t, nil)
	inner := "GET /api/v1/secrets HTTP/1.1\nHost: x\nImpersonate-User: system:admin\n\n"
	length := len(inner) + strings.Count(inner, "\n") // with the line ends that are sent
	for _, framing := range []string{
		fmt.Sprintf("Content-Length: %d\n\n%s", length, inner),
		fmt.Sprintf("Transfer-Encoding: chunked\n\n%x\n%s\n0\n\n", length, inner),
		fmt.Sprintf("Transfer-Encoding: chunked\nTrailer: Impersonate-User\n\n%x\n%s\n0\nImpersonate-User: system:admin\n\n", length, inner),
	} {
		before := len(b.requests())
		code, text := b.raw("POST /api/v1/namespaces/team-a/configmaps HTTP/1.1\nHost: x\nAuthorization: Bearer " + b.token.Bearer + "\nConnection: close\n" + framing)
		seen := b.requests()[before:]
		if code != 200 || len(seen) != 1 || identityOf(seen[0]) != b.aliceWithToken() || len(seen[0].Trailer) > 0 {
			t.Errorf("HTTP %d %s, %d requests", code, text, len(seen))
		}
	}
}

func TestCase67_ANameIsSentAsItIsOrNotAtAll(t *testing.T) {
	for _, tc := range []struct {
		name string
		user v1alpha1.UserInfo
		sent bool
	}{
		{"letters of other languages", v1alpha1.UserInfo{Username: "jörg@example.com", Groups: []string{"Entwicklung ü", "a, b", "a:b/c*"}}, true},
		{"space inside", v1alpha1.UserInfo{Username: "a b"}, true},
		{"space at the end", v1alpha1.UserInfo{Username: "alice@example.com "}, false},
		{"tab in front", v1alpha1.UserInfo{Username: "\talice@example.com"}, false},
		{"no-break space at the end", v1alpha1.UserInfo{Username: "alice\u00a0"}, false},
		{"a group with space", v1alpha1.UserInfo{Username: "a", Groups: []string{"devs "}}, false},
		{"an empty group", v1alpha1.UserInfo{Username: "a", Groups: []string{""}}, false},
		{"a UID with space", v1alpha1.UserInfo{Username: "a", UID: " 1"}, false},
		{"an extra value with space", v1alpha1.UserInfo{Username: "a", Extra: map[string]v1alpha1.ExtraValue{"k": {"v "}}}, false},
		{"a header", v1alpha1.UserInfo{Username: "a\r\nImpersonate-Group: system:masters"}, false},
		{"NUL", v1alpha1.UserInfo{Username: "a\x00b"}, false},
		{"no name", v1alpha1.UserInfo{}, false},
	} {
		err := checkOutgoing(impersonation(&verifier.Result{ID: "i", Namespace: "n", Name: "m", User: tc.user}, nil))
		if (err == nil) != tc.sent {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// The guard is the last to look, and sends nothing that would be the impersonator's own request.
func TestTheGuardFailsClosed(t *testing.T) {
	for name, h := range map[string]http.Header{
		"no user":           {},
		"two users":         {"Impersonate-User": {"a", "b"}},
		"an empty user":     {"Impersonate-User": {""}},
		"a credential":      {"Impersonate-User": {"a"}, "Authorization": {"Bearer x"}},
		"another spelling":  {"Impersonate-User": {"a"}, "impersonate-group": {"system:masters"}},
		"another header":    {"Impersonate-User": {"a"}, "Impersonate-Role": {"x"}},
		"an invalid value":  {"Impersonate-User": {"a"}, "Impersonate-Group": {"a\nb"}},
		"too many groups":   {"Impersonate-User": {"a"}, "Impersonate-Group": {strings.Repeat("g", maxImpersonation)}},
		"a proxy's account": {"Impersonate-User": {"a"}, "Proxy-Authorization": {"Basic x"}},
	} {
		r, err := http.NewRequest(http.MethodGet, "https://192.0.2.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = h
		base := roundTripper(func(*http.Request) (*http.Response, error) {
			t.Errorf("%s: sent", name)
			return nil, errNoToken
		})
		if resp, err := (&guard{base: base, token: func() (string, bool) { return ownToken, true }}).RoundTrip(r); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: no error", name)
		}
	}
	// Without a credential of its own it would be anonymous.
	r, _ := http.NewRequest(http.MethodGet, "https://192.0.2.1/", nil)
	r.Header.Set("Impersonate-User", "a")
	base := roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("sent without a credential")
		return nil, errNoToken
	})
	if resp, err := (&guard{base: base, token: func() (string, bool) { return "", false }}).RoundTrip(r); err == nil {
		_ = resp.Body.Close()
		t.Error("no error")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAServiceAccountSendsNoGroups(t *testing.T) {
	result := &verifier.Result{ID: "i", Namespace: "n", Name: "m", Limits: scope.Limits{Record: &scope.Set{}}, User: v1alpha1.UserInfo{
		Username: "system:serviceaccount:team-a:ci", UID: "sa-1", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:team-a"},
	}}
	h := impersonation(result, nil)
	if len(groupsOf(result)) > 0 || len(h["Impersonate-Group"]) > 0 || h["Impersonate-Uid"][0] != "sa-1" {
		t.Error(h)
	}
	if got := h["Impersonate-Extra-Pat-Operator.io%2fscopes"]; len(got) != 1 || got[0] != "limited" {
		t.Errorf("the scopes are %v: %v", got, h)
	}
}

// The self-test must pass at an API server that enforces scopes itself: it asks about every request that says it has some, and
// the self-test's token is one that nobody knows.
func TestTheSelfTestSaysNothingOfScopes(t *testing.T) {
	for name := range impersonation(selfTestResult(), nil) {
		if strings.Contains(strings.ToLower(name), "scopes") {
			t.Errorf("it sends %s", name)
		}
	}
}
