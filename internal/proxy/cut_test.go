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
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/issued"
	"github.com/pat-operator/pat-operator/test/policies"
)

// stream answers with a line, and then with nothing until the client goes. At its end it says goodbye, in order.
func stream(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "first\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func TestCase68_AWatchIsCutAsAnError(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, b *bed, token *issued.Token){
		"revoked": func(t *testing.T, b *bed, token *issued.Token) { token.Revoke(t, b.index) },
		"deleted": func(_ *testing.T, b *bed, token *issued.Token) { b.index.DeleteResource("team-a", token.Resource.Name) },
		"suspended": func(t *testing.T, b *bed, token *issued.Token) {
			token.Resource.Spec.Suspend = true
			token.Feed(t, b.index)
		},
		"narrowed": func(t *testing.T, b *bed, token *issued.Token) {
			token.Resource.Spec.Scopes = []v1alpha1.Scope{readOnly()}
			token.Feed(t, b.index)
		},
		"bound to networks": func(t *testing.T, b *bed, token *issued.Token) {
			token.Resource.Spec.From = []string{"10.0.0.0/8"}
			token.Feed(t, b.index)
		},
		"denied by a policy": func(_ *testing.T, b *bed, _ *issued.Token) {
			b.index.SetPolicy(policies.New("left", `{match: {subjects: [{kind: User, name: mallory}]}, deny: {reason: Left}}`))
		},
		"bound to networks by a policy": func(_ *testing.T, b *bed, _ *issued.Token) {
			b.index.SetPolicy(policies.New("office", `{match: {subjects: [{kind: User, name: mallory}]}, allowedFrom: [10.0.0.0/8]}`))
		},
		"with a group less by a policy": func(_ *testing.T, b *bed, _ *issued.Token) {
			b.index.SetPolicy(policies.New("groups", `{match: {subjects: [{kind: User, name: mallory}]}, allowedGroups: [devs]}`))
		},
	} {
		for _, http2 := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", name, http2), func(t *testing.T) {
				b := newBed(t, stream)
				mallory := alice
				mallory.Username = "mallory"
				token, other := b.issue("victim", mallory), b.issue("other", alice)
				resp, untouched := b.open(b.client(http2), token, "/api/v1/pods?watch=1"), b.open(b.client(http2), other, "/api/v1/pods?watch=1")
				lines := bufio.NewReader(resp.Body)
				if line, err := lines.ReadString('\n'); line != "first\n" {
					t.Fatal(line, err)
				}
				end(t, b, token)
				if rest, err := io.ReadAll(lines); err == nil || len(rest) > 0 {
					t.Errorf("the watch ends in order: %q", rest)
				}
				_ = untouched
				env.Eventually(t, patience, func() bool { return b.proxy.Open() == 1 }, func() string { return fmt.Sprint(b.proxy.Open(), " requests are open") })
			})
		}
	}
}

func TestCase68_AWatchIsCutAtTheEndOfItsToken(t *testing.T) {
	b := newBed(t, stream)
	token := b.issue("short", alice)
	token.Record.Current.ExpiresAt = time.Now().Add(2 * time.Second)
	token.Feed(t, b.index)
	resp := b.open(b.client(true), token, "/api/v1/pods?watch=1")
	if rest, err := io.ReadAll(resp.Body); err == nil || string(rest) != "first\n" {
		t.Errorf("%q, %v", rest, err)
	}
	resp2, body := b.doAs(token.Bearer, "GET", "/version", "")
	wantStatus(t, resp2, body, 401, "no valid")
}

// An API server that sees the cancellation may end its answer in order before the connection is closed.
func TestCase68_AnEndInOrderAfterTheCutIsAnError(t *testing.T) {
	b := newBed(t, nil, func(o *Options) {
		o.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Request: r, ContentLength: -1, Body: io.NopCloser(endsInOrder{r.Context()})}, nil
		})
	})
	for _, http2 := range []bool{true, false} {
		token := b.issue(fmt.Sprint("ends-", http2), alice)
		resp := b.open(b.client(http2), token, "/api/v1/namespaces/team-a/pods/p/log?follow=true")
		token.Revoke(t, b.index)
		if rest, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("HTTP/2 %v: it ends in order: %q", http2, rest)
		}
	}
}

// A watch in JSON that is cut says why in an event, at the end of a line, and then ends as an error.
func TestCase68_AWatchSaysWhyItIsCut(t *testing.T) {
	const event = `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1"}}` + "\n"
	for _, tc := range []struct {
		name, path, contentType, encoding, begins string
		says                                      bool
	}{
		{"after an event", "/api/v1/configmaps?watch=1", "application/json", "", event, true},
		{"after many", "/api/v1/configmaps?watch=1", "application/json", "", strings.Repeat(event, 1000), true},
		{"before the first", "/api/v1/configmaps?watch=1", "application/json;stream=watch", "", "", true},
		{"amid an event", "/api/v1/configmaps?watch=1", "application/json", "", event + event[:20], false},
		{"in protobuf", "/api/v1/configmaps?watch=1", "application/vnd.kubernetes.protobuf;stream=watch", "", "\x00\x00\x00\x01\n", false},
		{"compressed", "/api/v1/configmaps?watch=1", "application/json", "gzip", "\x1f\x8b\n", false},
		{"of no type", "/api/v1/configmaps?watch=1", "", "", "a\n", false},
		{"a log", "/api/v1/namespaces/team-a/pods/p/log?follow=true", "application/json", "", event, false},
	} {
		for _, http2 := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", tc.name, http2), func(t *testing.T) {
				b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header()["Content-Type"] = nil
					if tc.contentType != "" {
						w.Header().Set("Content-Type", tc.contentType)
					}
					if tc.encoding != "" {
						w.Header().Set("Content-Encoding", tc.encoding)
					}
					_, _ = io.WriteString(w, tc.begins)
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				})
				resp := b.open(b.client(http2), b.token, tc.path)
				begins := make([]byte, len(tc.begins))
				if _, err := io.ReadFull(resp.Body, begins); err != nil || string(begins) != tc.begins {
					t.Fatalf("it begins with %q, %v", begins, err)
				}
				b.token.Revoke(t, b.index)
				rest, err := io.ReadAll(resp.Body)
				if err == nil {
					t.Error("the watch ends in order")
				}
				want := ""
				if tc.says {
					want = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",` +
						`"message":"the personal access token is not honored any more: it has ended; make another one","reason":"Unauthorized","code":401}}` + "\n"
				}
				if string(rest) != want {
					t.Errorf("it says %q; want %q", rest, want)
				}
			})
		}
	}
}

// A watch that the proxy ends for a reason of its own is not told that the token is to blame.
func TestAWatchOfAStaleProxySaysSo(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	resp := b.open(b.client(true), b.token, "/api/v1/configmaps?watch=1")
	b.proxy.Index = stale{b.index}
	b.proxy.Recheck(b.token.ID())
	rest, err := io.ReadAll(resp.Body)
	if err == nil || !strings.Contains(string(rest), cutStale.text) || !strings.Contains(string(rest), `"code":503`) {
		t.Errorf("it says %q, %v", rest, err)
	}
}

// endsInOrder is a body that ends, as if it were complete, when its request is canceled.
type endsInOrder struct{ ctx context.Context }

func (e endsInOrder) Read([]byte) (int, error) {
	<-e.ctx.Done()
	return 0, io.EOF
}

func TestTheSweepCutsWhatNoEventTellsOf(t *testing.T) {
	b := newBed(t, stream)
	resp := b.open(b.client(true), b.token, "/api/v1/pods?watch=1")
	b.proxy.Index = stale{b.index}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = b.proxy.Sweep(ctx) }()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the watch ends in order")
	}
}

func TestARequestHasALongestTime(t *testing.T) {
	b := newBed(t, stream, func(o *Options) { o.MaxSession = time.Second })
	resp := b.open(b.client(true), b.token, "/api/v1/pods?watch=1")
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the watch ends in order")
	}
}

// The token ends between its verification and the request's registration, when nobody knows of the request.
func TestCase69_ATokenThatEndsBeforeItsRequestIsRegistered(t *testing.T) {
	b := newBed(t, stream)
	b.proxy.Index = &endsAfterVerify{Index: b.index, end: func() { b.token.Revoke(t, b.index) }}
	resp, body := b.do("GET", "/api/v1/pods?watch=1", "")
	wantStatus(t, resp, body, 401, "the personal access token is not honored any more: it has ended; make another one")
	if len(b.requests()) > 0 {
		t.Error("the API server has seen the request")
	}
}

type endsAfterVerify struct {
	*verifier.Index
	end func()
}

func (i *endsAfterVerify) VerifyProxied(bearer string, now time.Time) verifier.Result {
	r := i.Index.VerifyProxied(bearer, now)
	i.end()
	return r
}

// The token ends while the API server has not answered yet.
func TestATokenThatEndsBeforeTheAnswer(t *testing.T) {
	arrived := make(chan struct{})
	b := newBed(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	go func() {
		<-arrived
		b.token.Revoke(t, b.index)
	}()
	resp, body := b.do("GET", "/api/v1/pods", "")
	wantStatus(t, resp, body, 401, "not honored any more")
}

// A client that reads nothing does not keep its request beyond the token's end.
func TestAClientThatReadsNothingIsCut(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 1<<20)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
		_ = b.open(b.client(http2), b.token, "/api/v1/pods")
		b.token.Revoke(t, b.index)
		env.Eventually(t, patience, func() bool { return b.proxy.Open() == 0 }, func() string { return fmt.Sprintf("HTTP/2 %v: the request is still open", http2) })
	}
}

// shell plays kubelet behind the API server: it switches protocols, sends a message, and at its end closes in order.
func shell(protocol string, message []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n", r.Header.Get("Upgrade"), protocol)
		_, _ = rw.Write(message)
		_ = rw.Flush()
		_, _ = io.Copy(io.Discard, rw)
	}
}

// dialShell returns the connection after the answer's header.
func (b *bed) dialShell(upgrade, protocol string) (net.Conn, *bufio.Reader) {
	b.t.Helper()
	conn := b.dial()
	_, _ = fmt.Fprintf(conn, "GET /api/v1/namespaces/team-a/pods/p/exec?command=sh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Connection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n", b.token.Bearer, upgrade, protocol)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		b.t.Fatal(resp, err)
	}
	_ = resp.Body.Close()
	return conn, r
}

// readFrame reads a frame without a mask.
func readFrame(r io.Reader) (opcode byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	length := int(head[1] & 0x7f)
	if length == 126 {
		two := make([]byte, 2)
		if _, err := io.ReadFull(r, two); err != nil {
			return 0, nil, err
		}
		length = int(binary.BigEndian.Uint16(two))
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0x0f, payload, err
}

func TestCase68_AShellSaysWhyItIsCut(t *testing.T) {
	output := append([]byte{0x82, 6, 1}, "hello"...)
	for _, protocol := range channelProtocols {
		b := newBed(t, shell(protocol, output))
		_, r := b.dialShell("websocket", protocol)
		if opcode, payload, err := readFrame(r); err != nil || opcode != 2 || string(payload) != "\x01hello" {
			t.Fatal(opcode, payload, err)
		}
		b.token.Revoke(t, b.index)
		_, payload, err := readFrame(r)
		if err != nil || len(payload) == 0 || payload[0] != errorChannel {
			t.Fatalf("%s: %q, %v", protocol, payload, err)
		}
		var status metav1.Status
		if err := json.Unmarshal(payload[1:], &status); err != nil || status.Status != "Failure" || status.Code != 401 ||
			status.Message != "the personal access token is not honored any more: it has ended; make another one" {
			t.Errorf("%s: %s %v", protocol, payload[1:], err)
		}
		if opcode, payload, err := readFrame(r); err != nil || opcode != 8 || binary.BigEndian.Uint16(payload) != 1000 {
			t.Errorf("%s: no close: %d %v %v", protocol, opcode, payload, err)
		}
		if rest, err := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("%s: %q %v", protocol, rest, err)
		}
		env.Eventually(t, patience, func() bool { return b.proxy.Open() == 0 }, func() string { return "the shell is still open" })
	}
}

// Amid a frame or a message nothing is put in: the client would take it for output.
func TestNothingIsPutIntoAMessage(t *testing.T) {
	for name, begun := range map[string][]byte{
		"half a frame":   append([]byte{0x82, 100, 1}, "half"...),
		"half a header":  {0x82, 126, 1},
		"half a message": append([]byte{0x02, 5, 1}, "half"...),
	} {
		b := newBed(t, shell("v5.channel.k8s.io", begun))
		_, r := b.dialShell("websocket", "v5.channel.k8s.io")
		if _, err := io.ReadFull(r, make([]byte, len(begun))); err != nil {
			t.Fatal(err)
		}
		b.token.Revoke(t, b.index)
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("%s: %q", name, rest)
		}
	}
}

func TestOtherUpgradesAreCutWithoutAWord(t *testing.T) {
	for _, upgrade := range []string{"SPDY/3.1", "websocket"} {
		b := newBed(t, shell("portforward.k8s.io", []byte("x")))
		conn, r := b.dialShell(upgrade, "portforward.k8s.io")
		if _, err := r.ReadByte(); err != nil {
			t.Fatal(err)
		}
		b.token.Revoke(t, b.index)
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("%s: %q", upgrade, rest)
		}
		// The other direction is closed, too.
		env.Eventually(t, patience, func() bool {
			_, err := conn.Write([]byte("y"))
			return err != nil
		}, func() string { return upgrade + ": the client can still write" })
		env.Eventually(t, patience, func() bool { return b.proxy.Open() == 0 }, func() string { return upgrade + " is still open" })
	}
}

// A client that goes on writing and never closes does not keep the shell.
func TestAShellWhoseClientStaysIsClosed(t *testing.T) {
	b := newBed(t, shell("v5.channel.k8s.io", []byte{0x82, 1, 1}))
	conn, r := b.dialShell("websocket", "v5.channel.k8s.io")
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				_, _ = conn.Write([]byte{0x82, 0x81, 0, 0, 0, 0, 0})
			}
		}
	}()
	if _, _, err := readFrame(r); err != nil {
		t.Fatal(err)
	}
	b.token.Revoke(t, b.index)
	if _, payload, err := readFrame(r); err != nil || !strings.Contains(string(payload), "not honored any more") {
		t.Errorf("%q %v", payload, err)
	}
	env.Eventually(t, patience, func() bool { return b.proxy.Open() == 0 }, func() string { return "the shell is still open" })
}

// An upgrade that the API server refuses leaves no tunnel: CVE-2018-1002105.
func TestARefusedUpgradeLeavesNoTunnel(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	conn := b.dial()
	_, _ = fmt.Fprintf(conn, "GET /api/v1/namespaces/team-a/pods/p/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+
		"GET /api/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n", b.token.Bearer)
	r := bufio.NewReader(conn)
	var codes []int
	for range 2 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			break
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		codes = append(codes, resp.StatusCode)
	}
	if fmt.Sprint(codes) != "[403 401]" || len(b.requests()) != 1 {
		t.Errorf("answers %v, %d requests arrived", codes, len(b.requests()))
	}
}

func TestADrainEndsWatchesAndThenShells(t *testing.T) {
	b := newBed(t, stream)
	_ = b.open(b.client(true), b.token, "/api/v1/pods?watch=1")
	resp := b.open(b.client(true), b.token, "/api/v1/pods?watch=1")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b.proxy.cutWatches(ctx, time.Millisecond)
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the watch ends in order")
	}
	env.Eventually(t, patience, func() bool { return b.proxy.Open() == 0 }, func() string { return "a watch is still open" })
}

// A request that has begun when the proxy goes away ends as it would, although it takes no more connections.
func TestARequestThatHasBegunEndsAsItWould(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		arrived := make(chan struct{})
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			_, _ = io.Copy(w, r.Body)
		})
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		server, listener := b.listen(nil)
		served, answered := make(chan error, 1), make(chan error, 1)
		go func() { served <- b.proxy.Serve(ctx, server, listener, Drain{Time: 4 * patience}) }()
		reader, body := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "https://"+b.address+"/api/v1/namespaces/team-a/pods/p", reader)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+b.token.Bearer)
		client := b.client(http2)
		client.Timeout = 4 * patience
		go func() {
			resp, err := client.Do(r)
			if err != nil {
				answered <- err
				return
			}
			defer func() { _ = resp.Body.Close() }()
			text, err := io.ReadAll(resp.Body)
			if err == nil && (resp.StatusCode != http.StatusOK || string(text) != "begun before") {
				err = fmt.Errorf("HTTP %d %q", resp.StatusCode, text)
			}
			answered <- err
		}()
		if _, err := io.WriteString(body, "begun "); err != nil {
			t.Fatal(err)
		}
		<-arrived
		leave()
		env.Eventually(t, patience, func() bool {
			conn, err := net.Dial("tcp", b.address)
			if err == nil {
				_ = conn.Close()
			}
			return errors.Is(err, syscall.ECONNREFUSED)
		}, func() string { return "it still takes connections" })
		_, _ = io.WriteString(body, "before")
		_ = body.Close()
		if err := <-answered; err != nil {
			t.Errorf("HTTP/2 %v: %v", http2, err)
		}
		if err := <-served; err != nil {
			t.Errorf("HTTP/2 %v: %v", http2, err)
		}
	}
}

func TestAPanicIsAStatus(t *testing.T) {
	b := newBed(t, nil)
	b.proxy.Used = func(*verifier.Result, time.Time, string) { panic("secret") }
	resp, body := b.do("GET", "/version", "")
	wantStatus(t, resp, body, 500, "report this as a fault")
	if strings.Contains(body, "secret") {
		t.Error(body)
	}
}
