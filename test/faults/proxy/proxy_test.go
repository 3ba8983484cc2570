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
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
)

const (
	list  = "/api/v1/namespaces/team/secrets"
	watch = list + "?watch=true"
	// patience is for what must happen, quiet for what must not.
	patience = time.Minute
	quiet    = 300 * time.Millisecond
)

// bed is an API server of which only lists and watches are true, and a proxy in front of it.
type bed struct {
	*Proxy
	pool   *x509.CertPool
	events chan string // what the open watch says; closed: it ends
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{events: make(chan string), pool: x509.NewCertPool()}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("watch") != "true" {
			_, _ = fmt.Fprintf(w, "%s %s", r.Header.Get("Authorization"), r.URL.Path)
			return
		}
		w.WriteHeader(http.StatusOK)
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case event, more := <-b.events:
				if !more {
					return
				}
				_, _ = io.WriteString(w, event+"\n")
			case <-r.Context().Done():
				return
			}
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	b.pool.AddCert(server.Certificate())
	var err error
	b.Proxy, err = New(Options{Upstream: server.URL, RootCAs: b.pool, Certificate: server.TLS.Certificates[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func (b *bed) client(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.pool}, ForceAttemptHTTP2: h2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (b *bed) set(t *testing.T, mode Mode) {
	t.Helper()
	if err := b.Set(mode); err != nil {
		t.Fatal(err)
	}
}

// seen is an answer whose body was read.
type seen struct {
	StatusCode int
	Proto      string
	Header     http.Header
	Body       string
}

// get returns an answer, or an error after a while.
func (b *bed) get(ctx context.Context, c *http.Client, path string, within time.Duration) (*seen, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer mine")
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return &seen{resp.StatusCode, resp.Proto, resp.Header, string(body)}, err
}

// wantList expects a list to work, soon.
func (b *bed) wantList(t *testing.T, c *http.Client, proto string) {
	t.Helper()
	resp, err := b.get(t.Context(), c, list, patience)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Body != "Bearer mine "+list || resp.Proto != proto {
		t.Fatalf("a list: %+v, %v; want 200 by %s", resp, err, proto)
	}
}

// watch opens a watch; what it says comes by the channel, which is closed with the stream.
func (b *bed) watch(t *testing.T, c *http.Client) <-chan string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL+watch, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	said := make(chan string, 100)
	go func() {
		defer close(said)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			said <- lines.Text()
		}
	}()
	return said
}

func (b *bed) say(t *testing.T, event string) {
	t.Helper()
	select {
	case b.events <- event:
	case <-time.After(patience):
		t.Fatal("no watch is open at the server")
	}
}

func wantEvent(t *testing.T, said <-chan string, want string) {
	t.Helper()
	select {
	case got := <-said:
		if got != want {
			t.Fatalf("the watch says %q; want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("the watch does not say %q", want)
	}
}

func wantSilence(t *testing.T, said <-chan string) {
	t.Helper()
	select {
	case got, more := <-said:
		t.Fatalf("the watch says %q (still open: %v); want nothing", got, more)
	case <-time.After(quiet):
	}
}

// A proxy tells Seen of a request as kube-apiserver would call it, and passes it on.
func TestRequestsAreSeen(t *testing.T) {
	b := newBed(t)
	told := make(chan string, 1)
	front, err := New(Options{
		Upstream: b.URL, RootCAs: b.pool, Certificate: b.server.TLSConfig.Certificates[0],
		Seen: func(info *request.RequestInfo, _ *http.Request) {
			told <- info.Verb + " " + info.Resource + " in " + info.Namespace
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(front.Close)
	resp, err := (&bed{Proxy: front}).get(t.Context(), b.client(t, true), list, patience)
	if err != nil || resp.Body != "Bearer mine "+list {
		t.Fatalf("a list: %+v, %v", resp, err)
	}
	if got, want := <-told, "list secrets in team"; got != want {
		t.Errorf("seen %q, want %q", got, want)
	}
}

func protocols(t *testing.T, do func(t *testing.T, b *bed, c *http.Client, proto string)) {
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(proto, func(t *testing.T) {
			b := newBed(t)
			do(t, b, b.client(t, h2), proto)
		})
	}
}

func TestPass(t *testing.T) {
	protocols(t, func(t *testing.T, b *bed, c *http.Client, proto string) {
		b.wantList(t, c, proto)
		said := b.watch(t, c)
		b.say(t, "one")
		wantEvent(t, said, "one")
		close(b.events)
		wantEvent(t, said, "")
		if got := b.Counts(); got.Lists != 1 || got.Watches != 1 || got.Requests != 2 || got.Held != 0 {
			t.Errorf("counts %+v", got)
		}
	})
}

func TestCut(t *testing.T) {
	protocols(t, func(t *testing.T, b *bed, c *http.Client, proto string) {
		said := b.watch(t, c)
		b.set(t, Cut)
		wantEvent(t, said, "")
		if _, err := b.get(t.Context(), c, list, patience); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection: %v; want it refused", err)
		}
		b.set(t, Pass)
		b.wantList(t, c, proto)
	})
}

func TestStall(t *testing.T) {
	protocols(t, func(t *testing.T, b *bed, c *http.Client, proto string) {
		said := b.watch(t, c)
		b.set(t, Stall)
		b.say(t, "meanwhile")
		wantSilence(t, said)
		for name, c := range map[string]*http.Client{"open": c, "new": b.client(t, proto == "HTTP/2.0")} {
			if _, err := b.get(t.Context(), c, list, quiet); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a list on a connection that is %s: %v; want no answer", name, err)
			}
		}
		b.set(t, Pass)
		wantEvent(t, said, "meanwhile")
		b.wantList(t, c, proto)
	})
}

func TestHangWatches(t *testing.T) {
	protocols(t, func(t *testing.T, b *bed, c *http.Client, proto string) {
		open := b.watch(t, c)
		b.set(t, HangWatches)
		b.say(t, "meanwhile")
		wantSilence(t, open)
		opened := b.watch(t, c)
		close(b.events)
		wantSilence(t, open)
		wantSilence(t, opened)
		b.wantList(t, c, proto)
		b.set(t, Pass)
		wantEvent(t, open, "meanwhile")
		wantEvent(t, open, "")
		wantEvent(t, opened, "")
		if got := b.Counts(); got.Held < 2 {
			t.Errorf("counts %+v; want both watches held", got)
		}
	})
}

func TestSlow(t *testing.T) {
	const by = 200 * time.Millisecond
	protocols(t, func(t *testing.T, b *bed, c *http.Client, proto string) {
		said := b.watch(t, c)
		b.set(t, Slow(by))
		for what, do := range map[string]func(){
			"a list":   func() { b.wantList(t, c, proto) },
			"an event": func() { b.say(t, "late"); wantEvent(t, said, "late") },
		} {
			start := time.Now()
			do()
			if took := time.Since(start); took < by {
				t.Errorf("%s took %v; want %v at least", what, took, by)
			}
		}
	})
}

func TestRefuse(t *testing.T) {
	for status, reason := range map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
		http.StatusGone: metav1.StatusReasonExpired, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			b := newBed(t)
			c := b.client(t, true)
			refused := func(path string) {
				t.Helper()
				resp, err := b.get(t.Context(), c, path, patience)
				if err != nil {
					t.Fatal(err)
				}
				var got metav1.Status
				if err := json.Unmarshal([]byte(resp.Body), &got); err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != status || int(got.Code) != status || got.Reason != reason || got.Kind != "Status" {
					t.Errorf("GET %s: HTTP %d, %+v", path, resp.StatusCode, got)
				}
				if (resp.Header.Get("Retry-After") != "") != (status == http.StatusTooManyRequests) {
					t.Errorf("GET %s: Retry-After %q", path, resp.Header.Get("Retry-After"))
				}
			}
			b.set(t, Refuse(status))
			refused(list)
			refused("/apis/pat-operator.io/v1alpha1/personalaccesstokens?limit=1")
			for _, path := range []string{list + "/one", "/version", "/apis/pat-operator.io/v1alpha1"} {
				if resp, err := b.get(t.Context(), c, path, patience); err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("GET %s: %+v, %v; want it passed on", path, resp, err)
				}
			}
			said := b.watch(t, c)
			b.say(t, "one")
			wantEvent(t, said, "one")
			b.set(t, Refuse(status).AndWatches())
			refused(watch)
			b.say(t, "two")
			wantEvent(t, said, "two")
		})
	}
}

// Modes change under load; afterwards it works, and after Close nothing of it runs.
func TestSwitchingUnderLoadLeavesNothing(t *testing.T) {
	b := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	for i := range 8 {
		c := b.client(t, i%2 == 0)
		path := []string{list, watch}[i/2%2]
		load.Go(func() {
			for ctx.Err() == nil {
				_, _ = b.get(ctx, c, path, 50*time.Millisecond)
			}
		})
	}
	modes := []Mode{Pass, Cut, Stall, HangWatches, Slow(5 * time.Millisecond), Refuse(http.StatusGone).AndWatches()}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		b.set(t, modes[rand.IntN(len(modes))])
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	b.set(t, Pass)
	b.wantList(t, b.client(t, true), "HTTP/2.0")
	b.set(t, Stall)
	b.Close()
	b.Close()
	cancel()
	load.Wait()
	if err := b.Set(Pass); err == nil {
		t.Error("a closed proxy takes a mode")
	}
	const ours = "/faults/proxy.(*"
	var stacks string
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 4<<20)
		if stacks = string(buf[:runtime.Stack(buf, true)]); !strings.Contains(stacks, ours) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still running:\n%s", stacks)
		}
	}
}
