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
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/fleet"
	"github.com/pat-operator/pat-operator/test/long"
)

var soak = flag.Duration("soak", 0, "abuse the server for about so long in all")

func TestMain(m *testing.M) {
	abuse.Child()
	os.Exit(m.Run())
}

// victim is a server of a verifier that knows a thousand tokens. The verifier has no client, so no request of it can
// end in a call to the API server.
func victim(t *testing.T) (abuse.Target, *abuse.Client) {
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
		stopped <- serving.NewServer(authn.NewTokenReviewHandler(index, authn.Options{}), config, authn.Limits, logr.Discard()).Run(ctx, listener, nil, 0)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	target := abuse.Target{Address: listener.Addr().String(), TLS: trust, Scale: 1, Sources: 14}
	reviewer := abuse.NewClient(target, bearers, fleet.Username)
	t.Cleanup(reviewer.Close)
	return target, reviewer
}

// starve checks that during each attack the valid client gets every answer right and soon, and that the attack leaves
// nothing behind.
func starve(t *testing.T, attacks []abuse.Attack) {
	target, client := victim(t)
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
		// Who starves does so each time. A machine that stood still does not.
		var err error
		for range 3 {
			if err = attacked(t, &trial, attack); err == nil {
				break
			}
			t.Log(err)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func attacked(t *testing.T, trial *abuse.Trial, attack abuse.Attack) error {
	t.Helper()
	row, err := trial.Run(t.Context(), attack)
	t.Log(row)
	switch {
	case row.Done.Accepted > 0:
		t.Errorf("%s: %v", attack.Name, err)
	case err != nil:
		return fmt.Errorf("%s: %w", attack.Name, err)
	case abuse.Starved(row.Quiet, row.Abused):
		return fmt.Errorf("%s: the valid client's p99 is %v, and %v in quiet", attack.Name, row.Abused.Quantile(.99), row.Quiet.Quantile(.99))
	}
	return nil
}

func TestCase23_AFloodOfUniqueTokensStarvesNobody(t *testing.T) {
	long.Only(t)
	starve(t, abuse.Floods())
}

func TestCase24_AbuseStarvesNobody(t *testing.T) {
	long.Only(t)
	starve(t, abuse.Others())
}

// TestCase24_WhoHoldsOnIsCutOff: here the attackers stay, and it is the server that ends each of their connections.
func TestCase24_WhoHoldsOnIsCutOff(t *testing.T) {
	for _, attack := range abuse.Others() {
		if !attack.Holds {
			continue
		}
		t.Run(attack.Name, func(t *testing.T) {
			t.Parallel()
			var opened, closed atomic.Int64
			r := serve(t, echo, nil, func(s *serving.Server) {
				s.HTTP.ConnState = func(_ net.Conn, state http.ConnState) {
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
				for ctx.Err() == nil && done.Count.Load() == 0 { // no time for a handshake
					attack.Run(ctx, abuse.Target{Address: r.address, TLS: &tls.Config{InsecureSkipVerify: true}, Once: true}, &done)
				}
			})
			NewWithT(t).Eventually(func() bool { return done.Count.Load() > 0 && opened.Load() == closed.Load() }).
				WithTimeout(env.Patience).Should(BeTrue(), "a connection was not ended by the server")
			cancel()
			attacking.Wait()
		})
	}
}
