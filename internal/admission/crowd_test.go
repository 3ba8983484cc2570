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

package admission_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admission/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/long"
)

// asked counts questions to an API server that takes a while to answer each.
type asked struct{ under, most, all atomic.Int64 }

func (a *asked) answer(ctx context.Context) error {
	a.all.Add(1)
	defer a.under.Add(-1)
	for n := a.under.Add(1); ; {
		most := a.most.Load()
		if n <= most || a.most.CompareAndSwap(most, n) {
			break
		}
	}
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type slowAccounts struct {
	accounts
	asked *asked
}

func (s slowAccounts) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if err := s.asked.answer(ctx); err != nil {
		return err
	}
	return s.accounts.Get(ctx, key, object, options...)
}

// A caller that is not the API server has 1,500 reviews under way at once, again and again. Those of the API server are
// answered in time, and few questions go to it at once.
func TestCase48_ReviewsOfAnotherCallerStarveNobody(t *testing.T) {
	long.Only(t)
	groups := make([]string, 16)
	for i := range groups {
		groups[i] = fmt.Sprintf("group-%d", i)
	}
	named, err := json.Marshal(map[string]any{"user": map[string]any{"username": "alice", "uid": "u-1", "groups": groups}})
	if err != nil {
		t.Fatal(err)
	}
	const triggered = `{"user": {"username": "alice", "uid": "u-1"}, "rotation": {"trigger": "%d"}}`
	for name, tc := range map[string]struct {
		path, review string
		allowed      bool
		code         int32
	}{
		"who may impersonate":   {admission.ValidatePath, review("CREATE", bobInfo, "", string(named), false), false, http.StatusForbidden},
		"a service account":     {admission.MutatePath, review("CREATE", bobInfo, "", `{"user": {"username": "`+ci+`"}}`, false), true, http.StatusOK},
		"the record of a token": {admission.ValidatePath, review("UPDATE", aliceInfo, fmt.Sprintf(triggered, 1), fmt.Sprintf(triggered, 2), false), true, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var questions asked
			cfg := config
			cfg.Client = reviewer(func(ctx context.Context, _ authorizationv1.SubjectAccessReviewSpec) (no authorizationv1.SubjectAccessReviewStatus, err error) {
				return no, questions.answer(ctx)
			})
			cfg.ServiceAccounts = slowAccounts{accounts{types.NamespacedName{Namespace: "team-a", Name: "ci"}: "sa-1"}, &questions}
			cfg.Record = func(ctx context.Context, _ *object) (*record.Record, error) { return nil, questions.answer(ctx) }

			config, trust, err := abuse.Certificate()
			if err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			server := serving.NewServer(handlers(t, cfg)[tc.path], config, serving.Limits{Slots: 4096, Body: 4 << 20}, logr.Discard())
			var running sync.WaitGroup
			running.Go(func() { _ = server.Run(ctx, listener, nil, 0) })
			defer running.Wait()
			defer stop()

			send := func(ctx context.Context, client *http.Client) (*admissionv1.AdmissionResponse, error) {
				url := fmt.Sprintf("https://%s%s?timeout=%v", listener.Addr(), tc.path, client.Timeout)
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(tc.review))
				if err != nil {
					return nil, err
				}
				r.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(r)
				if err != nil {
					return nil, err
				}
				defer func() { _ = resp.Body.Close() }()
				var answer admissionv1.AdmissionReview
				if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Response == nil {
					return nil, fmt.Errorf("%s: %w", resp.Status, err)
				}
				return answer.Response, nil
			}
			from := func(source int, patience time.Duration) *http.Client {
				dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: abuse.Source(source)}}
				transport := &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true, MaxConnsPerHost: 20}
				t.Cleanup(transport.CloseIdleConnections)
				return &http.Client{Transport: transport, Timeout: patience}
			}
			// What is fair is counted in questions, since a busy machine, which both callers are on too, takes its time.
			apiServer, flooder := from(1, time.Minute), from(2, 5*time.Second)
			flooding, end := context.WithCancel(ctx)
			var callers sync.WaitGroup
			for range 1500 {
				callers.Go(func() {
					for flooding.Err() == nil {
						_, _ = send(flooding, flooder)
					}
				})
			}
			defer callers.Wait()
			defer end()
			g.Eventually(questions.under.Load).WithTimeout(time.Minute).Should(BeEquivalentTo(16))
			for i := range 5 {
				before := questions.all.Load()
				answer, err := send(ctx, apiServer)
				if err != nil {
					t.Fatalf("review %d: %v", i, err)
				}
				if answer.Allowed != tc.allowed || answer.Result.Code != tc.code {
					t.Errorf("review %d: %v", i, answer.Result)
				}
				if asked := questions.all.Load() - before; asked > 600 { // of some 1,500 that wait at any time
					t.Errorf("review %d waited for %d questions", i, asked)
				}
			}
			if most := questions.most.Load(); most > 16 {
				t.Errorf("%d questions at once", most)
			}
		})
	}
}
