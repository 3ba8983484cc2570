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

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/authz"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/abuse"
)

// scopeRounds is how often the authorizer and a handler that does not look take turns.
const scopeRounds = 5

// benchScopes measures a check of each preset, and SubjectAccessReviews by the authorizer against a handler on such a server that
// answers without a look.
func benchScopes(ctx context.Context, o options, out io.Writer) error {
	fmt.Fprintf(out, "\n  %-52s %10s %10s   allocations\n", "a scope check", "p50", "p99")
	outside := &scope.Request{Verb: "create", Group: "nothing.example.com", Resource: "widgets", Namespace: "team-a", Name: "x"} // no rule matches, so each is looked at
	var readOnly *scope.Set
	for _, preset := range scope.Presets() {
		set, err := scope.Compile([]v1alpha1.Scope{{Preset: preset.Name}}, "team-a")
		if err != nil {
			return err
		}
		if readOnly == nil {
			readOnly = set
		}
		latencies := make(abuse.Latencies, 0, 100_000)
		for range cap(latencies) {
			begun := time.Now()
			set.Allows(outside)
			latencies = append(latencies, time.Since(begun))
		}
		slices.Sort(latencies)
		fmt.Fprintf(out, "  %-52s %10v %10v   %v\n", preset.Name, latencies.Quantile(.5), latencies.Quantile(.99),
			testing.AllocsPerRun(1000, func() { set.Allows(outside) }))
	}

	answer, err := json.Marshal(&authorizationv1.SubjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}})
	if err != nil {
		return err
	}
	blind := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})
	looking := authz.NewHandler(oneToken{readOnly}, authz.Options{Log: logr.Discard(), Installation: func() string { return "bench" }})
	var rates [2][]float64
	for range scopeRounds {
		for i, handler := range []http.Handler{blind, looking} {
			rate, err := reviewRate(ctx, handler, o.duration)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	for i := range rates {
		slices.Sort(rates[i])
	}
	base, ours := rates[0][scopeRounds/2], rates[1][scopeRounds/2]
	fmt.Fprintf(out, "\n  SubjectAccessReviews a second, medians of %d alternating rounds: %.0f by a handler that does not look, %.0f by the authorizer, x%.2f\n",
		scopeRounds, base, ours, ours/base)
	return nil
}

// oneToken is an index of one token.
type oneToken struct{ set *scope.Set }

func (x oneToken) Limits(string, string, string, time.Time) (scope.Limits, bool) {
	return scope.Limits{Record: x.set, Spec: x.set}, true
}

// reviewRate is how many reviews a second one connection gets answered, one after the other.
func reviewRate(ctx context.Context, handler http.Handler, d time.Duration) (rate float64, err error) {
	server, trust, err := abuse.Certificate()
	if err != nil {
		return 0, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	serverCtx, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() {
		stopped <- serving.NewServer(handler, server, authn.Limits, logr.Discard()).Run(serverCtx, listener, nil, 0)
	}()
	defer func() {
		cancel()
		err = errors.Join(err, <-stopped)
	}()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(&authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "alice", Groups: []string{"developers", "system:authenticated"},
			Extra: map[string]authorizationv1.ExtraValue{
				authn.ExtraCredentialID: {"PAT=aaaaaaaaaaaaaaaa"}, authn.ExtraName: {"team-a/ci"}, authn.ExtraScopes: {"limited"},
			},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Version: "v1", Resource: "pods", Namespace: "team-a"},
		},
	})
	if err != nil {
		return 0, err
	}
	n := 0
	begun := time.Now()
	for ; time.Since(begun) < d; n++ {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+listener.Addr().String()+authnconfig.AuthorizePath, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, response.Body)
		if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("a review: %s", response.Status)
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}
