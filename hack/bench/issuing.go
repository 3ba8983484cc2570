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
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rates are the tokens per second of each round: the API server's own rate, and the operator's.
type rates struct{ own, operator []float64 }

// shares returns the operator's rate divided by the API server's own, for each round.
func (r *rates) shares() []float64 {
	shares := make([]float64, len(r.own))
	for i := range r.own {
		shares[i] = r.operator[i] / r.own[i]
	}
	return shares
}

// issuing alternates between the bare site, which writes copies of the samples, and the operator, which issues such tokens.
func issuing(ctx context.Context, o options, out io.Writer, bare, p *site, samples map[kind]*sample, existing int) (map[kind]*rates, error) {
	all := map[kind]*rates{holders: {}, inSecret: {}}
	fmt.Fprintf(out, "\nIssuing %d tokens a round with %d existing tokens: the API server's own rate and the operator's, in tokens/s\n", o.perRound, existing)
	for round := range o.rounds + 1 {
		for _, k := range []kind{holders, inSecret} {
			n := o.perRound
			if round == 0 { // opens connections and fills caches
				n = min(n, 200)
			}
			own, err := measure(ctx, bare, n, func(key client.ObjectKey) error { return samples[k].write(ctx, bare, key) })
			if err != nil {
				return nil, fmt.Errorf("yardstick: %w", err)
			}
			operator, err := measure(ctx, p, n, func(key client.ObjectKey) error { return p.create(ctx, key, k) })
			if err != nil {
				return nil, err
			}
			if round == 0 {
				continue
			}
			r := all[k]
			r.own, r.operator = append(r.own, own), append(r.operator, operator)
			fmt.Fprintf(out, "  round %d, %-17s %6.1f %6.1f   share %.2f\n", round, k, own, operator, operator/own)
		}
	}
	return all, nil
}

// measure returns how many tokens become active per second, and removes them.
func measure(ctx context.Context, s *site, n int, create func(client.ObjectKey) error) (float64, error) {
	keys := newKeys(n)
	took, err := untilActive(ctx, s.admin, keys, func(i int) error { return create(keys[i]) })
	if err != nil {
		return 0, err
	}
	return float64(n) / took.Seconds(), s.clear(ctx)
}

// newKeys returns keys that no token has had, so that no record is of a former one.
func newKeys(n int) []client.ObjectKey {
	keys, round := make([]client.ObjectKey, n), strings.ToLower(rand.Text()[:8])
	for i := range keys {
		keys[i] = client.ObjectKey{Namespace: roundNamespace, Name: fmt.Sprintf("round-%s-%06d", round, i)}
	}
	return keys
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
