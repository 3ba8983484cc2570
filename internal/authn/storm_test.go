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
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/fleet"
)

// TestCase37_StormOverHTTP reviews tokens over HTTP/1.1 and HTTP/2 while they come and go. A token whose record and
// resource are there is accepted; one of which either was deleted before the review was sent never is again.
func TestCase37_StormOverHTTP(t *testing.T) {
	const writers, readers, rounds, known = 4, 4, 25, 1000
	began := time.Now()
	index := verifier.NewIndex(logr.Discard())
	index.SetAPIAudiences([]string{fleet.Audience})
	index.MarkSynced()
	bearers, _, err := fleet.Feed(index, 0, known, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	config, trust, err := abuse.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(NewTokenReviewHandler(index, Options{}))
	server.TLS, server.EnableHTTP2 = config, true
	server.StartTLS()
	defer server.Close()
	client := abuse.NewClient(abuse.Target{Address: server.Listener.Addr().String(), TLS: trust}, bearers, fleet.Username)
	defer client.Close()

	type guest struct {
		bearer string
		gone   atomic.Bool
	}
	var (
		guests           [writers]atomic.Pointer[guest]
		writing, reading sync.WaitGroup
		accepted         atomic.Int64
		done             = make(chan struct{})
	)
	for w := range writers {
		writing.Go(func() {
			// A reader on a busy machine may need longer to meet a token that is there.
			for i := 0; i < rounds || accepted.Load() == 0 && time.Since(began) < env.Patience; i++ {
				n := known + w + i*writers
				m, err := fleet.New(n, time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				index.SetRecord(m.Record)
				index.SetResource(m.Resource)
				g := &guest{bearer: m.Bearer}
				guests[w].Store(g)
				if got, err := client.Ask(t.Context(), w, m.Bearer); err != nil || got != fleet.Username(n) {
					t.Errorf("a token that is there: %q, %v", got, err)
				}
				remove := []func(){
					func() { index.DeleteRecord(m.Record.Name) },
					func() { index.DeleteResource(m.Resource.Namespace, m.Resource.Name) },
				}
				remove[i%2]()
				g.gone.Store(true)
				if got, err := client.Ask(t.Context(), w, m.Bearer); err != nil || got != "" {
					t.Errorf("a token that was deleted: %q, %v", got, err)
				}
				remove[1-i%2]()
			}
		})
	}
	for r := range readers {
		reading.Go(func() {
			for i := r; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				g := guests[i%writers].Load()
				if g == nil {
					continue
				}
				gone := g.gone.Load()
				got, err := client.Ask(t.Context(), r, g.bearer)
				switch {
				case err != nil:
					t.Errorf("a review in the storm: %v", err)
					return
				case gone && got != "":
					t.Error("a token that was deleted before the review was sent is accepted")
					return
				case got != "":
					accepted.Add(1)
				}
			}
		})
	}
	// Tokens that nobody touches stay valid all the while.
	reading.Go(func() {
		if _, err := client.Review(t.Context(), 500*time.Millisecond); err != nil {
			t.Errorf("tokens that nobody touches: %v", err)
		}
	})
	writing.Wait()
	close(done)
	reading.Wait()
	if accepted.Load() == 0 {
		t.Error("no reader ever met a token that was there")
	}
}
