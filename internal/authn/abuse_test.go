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

package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"

	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/fleet"
)

var soak = flag.Duration("soak", 0, "abuse the server for about so long in all")

// A valid client must not starve. How much slower it gets is for hack/bench to say; here it is the machine's matter.
const maxFactor, allowance = 50, 2 * time.Second

func TestMain(m *testing.M) {
	abuse.Child()
	os.Exit(m.Run())
}

// victim is a server of a verifier that knows a thousand tokens. The verifier has no client, so no request of it can
// end in a call to the API server.
func victim(t *testing.T) (abuse.Target, *abuse.Client, *verifier.Index) {
	t.Helper()
	index := verifier.NewIndex(logr.Discard())
	index.SetAPIAudiences([]string{fleet.Audience})
	index.MarkSynced()
	bearers, _, err := fleet.Feed(index, 0, 1000, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	config, trust, err := abuse.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() {
		stopped <- Serve(ctx, NewServer(NewTokenReviewHandler(index, Options{}), config, logr.Discard()), listener, nil, 0)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	target := abuse.Target{Address: listener.Addr().String(), TLS: trust, Scale: 1}
	reviewer := abuse.NewClient(target, bearers, fleet.Username)
	t.Cleanup(reviewer.Close)
	return target, reviewer, index
}

// starve checks that beside each attack the valid client gets every answer right and soon, and that nothing of the
// attack is left behind.
func starve(t *testing.T, attacks []abuse.Attack) {
	target, client, _ := victim(t)
	attacker, err := abuse.NewAttacker()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := attacker.Close(); err != nil {
			t.Errorf("the attacker's process: %v", err)
		}
	}()
	trial := abuse.Trial{Target: target, Client: client, Attacker: attacker,
		Quiet: 100 * time.Millisecond, Abused: 200 * time.Millisecond}
	if *soak > 0 {
		// What an attack leaves takes longer to go than the attack.
		trial.Quiet, trial.Abused = time.Second, *soak/time.Duration(2*(len(abuse.Floods())+len(abuse.Others())))
	}
	t.Log(abuse.Head)
	for _, attack := range attacks {
		row, err := trial.Run(t.Context(), attack)
		t.Log(row)
		if err != nil {
			t.Errorf("%s: %v", attack.Name, err)
		}
		if got, limit := row.Abused.Quantile(.99), maxFactor*row.Quiet.Quantile(.99)+allowance; got > limit {
			t.Errorf("%s: p99 of the valid client %v, want at most %v", attack.Name, got, limit)
		}
	}
}

func TestCase23_AFloodOfUniqueTokensStarvesNobody(t *testing.T) { starve(t, abuse.Floods()) }

func TestCase24_AbuseStarvesNobody(t *testing.T) { starve(t, abuse.Others()) }

// TestCase24_WhoHoldsOnIsCutOff: here the attackers stay, and it is the server that ends each of their connections.
func TestCase24_WhoHoldsOnIsCutOff(t *testing.T) {
	for _, attack := range abuse.Others() {
		if !attack.Holds {
			continue
		}
		t.Run(attack.Name, func(t *testing.T) {
			t.Parallel()
			var opened, closed atomic.Int64
			r := serve(t, newHandler(t, Options{}), nil, logr.Discard(), func(s *http.Server) {
				s.ConnState = func(_ net.Conn, state http.ConnState) {
					switch state {
					case http.StateNew:
						opened.Add(1)
					case http.StateClosed, http.StateHijacked:
						closed.Add(1)
					case http.StateActive, http.StateIdle:
					}
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			var done abuse.Done
			var attacking sync.WaitGroup
			attacking.Go(func() {
				attack.Run(ctx, abuse.Target{Address: r.address, TLS: &tls.Config{InsecureSkipVerify: true}, Once: true}, &done)
			})
			NewWithT(t).Eventually(func() bool { return done.Count.Load() > 0 && opened.Load() == closed.Load() }).
				WithTimeout(time.Minute).Should(BeTrue(), "a connection was not ended by the server")
			cancel()
			attacking.Wait()
		})
	}
}

// TestCase24_ManyAddressesLockNobodyOut fills what there is at once from many sources, and from one.
func TestCase24_ManyAddressesLockNobodyOut(t *testing.T) {
	const limit = 1024
	source := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for _, attackers := range []int{1, 2, 30, 200} {
		s := newShares(limit)
		taken := map[netip.Addr]int{}
		for round := 0; round < limit; round++ {
			for i := range attackers {
				if s.take(source(i)) {
					taken[source(i)]++
				}
			}
		}
		newcomer, got := source(9999), 0
		for s.take(newcomer) {
			got++
		}
		if want := max(limit/(attackers+1)/2-1, 1); got < want {
			t.Errorf("%d sources that take what they get leave %d of %d to another, want %d at least", attackers, got, limit, want)
		}
		for range got {
			s.release(newcomer)
		}
		for a, n := range taken {
			for range n {
				s.release(a)
			}
		}
		if s.total != 0 || len(s.by) != 0 {
			t.Errorf("%d are left of %d sources after everything was released", s.total, len(s.by))
		}
	}
}

// TestCase24_ASourceBeyondItsShareIsRefused fills a listener and a handler from one address; another one gets through.
func TestCase24_ASourceBeyondItsShareIsRefused(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &fairListener{Listener: inner, shares: newShares(4)}
	t.Cleanup(func() { _ = listener.Close() })
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	g := NewWithT(t)
	dial := func(from string) net.Conn {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Skipf("this machine has no second loopback address: %v", err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	refused := func(conn net.Conn) {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection beyond the share was not closed: %v", err)
		}
	}
	var first net.Conn
	dial("127.0.0.1")
	g.Eventually(accepted).Should(Receive(&first))
	dial("127.0.0.1")
	g.Eventually(accepted).Should(Receive())
	refused(dial("127.0.0.1"))
	dial("127.0.0.2")
	g.Eventually(accepted).Should(Receive())
	refused(dial("127.0.0.2"))
	_ = first.Close()
	_ = first.Close() // net/http closes twice now and then
	dial("127.0.0.1")
	g.Eventually(accepted).Should(Receive())
	refused(dial("127.0.0.1"))

	entered, ctx := make(chan struct{}), t.Context()
	ctx, answered := context.WithCancel(ctx)
	h := limitRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered <- struct{}{} }), newShares(2))
	request := func(from string) (*httptest.ResponseRecorder, *http.Request) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, TokenReviewPath, nil)
		r.RemoteAddr = from
		return httptest.NewRecorder(), r
	}
	go h.ServeHTTP(request("10.0.0.1:1"))
	<-entered // it has gone on, and its answer has not
	w, r := request("10.0.0.1:2")
	h.ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError || w.Header().Get("Retry-After") != "0" || w.Header().Get("Connection") != "close" || w.Body.Len() > 0 {
		t.Errorf("%d %v %q, want what sends kube-apiserver elsewhere, and no body", w.Code, w.Header(), w.Body)
	}
	answered()
	ctx = t.Context()
	g.Eventually(func() bool {
		ok := false
		go func() {
			select {
			case <-entered:
			case <-time.After(time.Second):
			}
		}()
		w, r := request("10.0.0.1:3")
		h.ServeHTTP(w, r)
		ok = w.Code == http.StatusOK
		return ok
	}).Should(BeTrue())
}
