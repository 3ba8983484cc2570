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

package api

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/pat-operator/pat-operator/test/issued"
)

// ask posts questions about a token at once, each with a credential, and returns how to wait for the status codes of the answers.
func (b *bed) ask(pat *issued.Token, address string, credentials ...string) (wait func() map[int]int) {
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for _, credential := range credentials {
		all.Go(func() {
			w := b.post(pathIntrospect, about(pat), bearer(credential), func(r *http.Request) { r.RemoteAddr = address })
			mu.Lock()
			defer mu.Unlock()
			codes[w.Code]++
		})
	}
	return func() map[int]int {
		all.Wait()
		return codes
	}
}

// accountTokens are different tokens of one service account.
func (b *bed) accountTokens(id string, n int) []string {
	var tokens []string
	for i := range n {
		tokens = append(tokens, accountToken(b.t, id, DefaultAudience, b.now.Add(time.Hour+time.Duration(i)*time.Second)))
	}
	return tokens
}

// reviewsWaitFor has each TokenReview wait for something.
func reviewsWaitFor(wait func(ctx context.Context, credential string)) func(*Options) {
	return func(o *Options) {
		next := o.Tokens
		o.Tokens = authenticator.TokenFunc(func(ctx context.Context, credential string) (*authenticator.Response, bool, error) {
			wait(ctx, credential)
			if err := ctx.Err(); err != nil {
				return nil, false, err
			}
			return next.AuthenticateToken(ctx, credential)
		})
	}
}

const network, otherNetwork = "192.0.2.7:1", "198.51.100.1:1"

func TestCase23_UnknownCallersCostTheAPIServerLittle(t *testing.T) {
	const forged = 800
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		b := newBed(t, reviewsWaitFor(func(context.Context, string) { <-answer }))
		answers := b.ask(b.token("lists", forAudience(listAPI)), network, b.accountTokens("forged", forged)...)
		synctest.Wait() // until each is asked about or waits
		close(answer)
		codes := answers()
		if b.asked != failuresBurst {
			t.Errorf("%d forged tokens of service accounts at once: %d questions, want %d", forged, b.asked, failuresBurst)
		}
		if want := map[int]int{http.StatusUnauthorized: failuresBurst, http.StatusTooManyRequests: forged - failuresBurst}; !maps.Equal(codes, want) {
			t.Errorf("answers %v, want %v", codes, want)
		}
	})
}

func TestAFloodOfUnknownCallersKeepsNobodyElseWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var valid string
		var hanging atomic.Int32
		b := newBed(t, reviewsWaitFor(func(ctx context.Context, credential string) {
			if credential != valid {
				hanging.Add(1)
				<-ctx.Done()
			}
		}))
		valid = b.accountTokens("valid", 1)[0]
		pat, asker := b.token("lists", forAudience(listAPI)), b.token("asker", forAudience(DefaultAudience))
		b.may["alice"] = []string{listAPI}
		began := time.Now()
		served := func(who, address, credential string) {
			t.Helper()
			if codes := b.ask(pat, address, credential)(); codes[http.StatusOK] != 1 || !time.Now().Equal(began) {
				t.Errorf("%s: %v after %v", who, codes, time.Since(began))
			}
		}

		forged := b.accountTokens("forged", 100)
		floods := []func() map[int]int{b.ask(pat, network, forged...)}
		synctest.Wait()
		if got := hanging.Load(); got != maxOfSource {
			t.Errorf("%d questions of one source are under way, want %d", got, maxOfSource)
		}
		served("a service account from another network", otherNetwork, valid)
		served("a token of ours from the same network", network, asker.Bearer)

		for _, address := range []string{"192.0.2.8:1", "192.0.2.9:1", "[2001:db8::1]:1", "[2001:db8:1::1]:1"} {
			floods = append(floods, b.ask(pat, address, forged...))
		}
		synctest.Wait()
		if got := hanging.Load(); got != maxQuestions {
			t.Errorf("%d questions of all sources are under way, want %d", got, maxQuestions)
		}
		served("a token of ours, while unknown callers have every slot", otherNetwork, asker.Bearer)

		for _, answers := range floods {
			if codes := answers(); codes[http.StatusServiceUnavailable] == 0 || codes[http.StatusOK] > 0 {
				t.Errorf("a flood got %v", codes)
			}
		}
		if left := len(b.Handler.(*handler).callers.reviews.sources); left > 0 {
			t.Errorf("%d sources are remembered after their last question", left)
		}
	})
}

func TestWhatCountsAsAnUnknownCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		pat := b.token("lists", forAudience(listAPI))
		const many = 3 * failuresBurst
		if codes := b.ask(pat, network, b.accountTokens("valid", many)...)(); codes[http.StatusOK] != many {
			t.Errorf("%d callers that the API server vouches for: %v", many, codes)
		}
		b.broken = true
		want := map[int]int{http.StatusServiceUnavailable: failuresBurst, http.StatusTooManyRequests: many - failuresBurst}
		if codes := b.ask(pat, network, b.accountTokens("forged", many)...)(); !maps.Equal(codes, want) {
			t.Errorf("%d callers while the API server is away: %v, want %v", many, codes, want)
		}
	})
}
