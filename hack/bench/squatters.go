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
	"crypto/rand"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/fleet"
)

const (
	squatters      = 30_000
	squatterRounds = 5
)

// benchSquatters measures resources that claim the id of one token, and as many with ids of their own.
func benchSquatters(o options, out io.Writer) error {
	count, now := min(squatters, o.tokens), time.Now().Truncate(time.Second)
	var own, one []*fleet.Member
	claim := func(of *[]*fleet.Member, i int, id, plaintext string, at time.Time) error {
		m, err := fleet.OfHolder(i, id, plaintext, at)
		*of = append(*of, m)
		return err
	}
	id, victim, err := token.New(rand.Reader)
	if err != nil {
		return err
	}
	for i := range count {
		ownID, bearer, err := token.New(rand.Reader)
		if err != nil {
			return err
		}
		if err := claim(&own, i, ownID, bearer, now); err != nil {
			return err
		}
		// The victim was there first, and comes into the index last, so that its digest is the last to be compared.
		if i == count-1 {
			err = claim(&one, i, id, victim, now)
		} else {
			err = claim(&one, i, id, "another secret", now.Add(time.Second))
		}
		if err != nil {
			return err
		}
	}
	type figures struct {
		index, forget []float64
		verify        abuse.Latencies
	}
	var base, squatted figures
	round := func(of *figures, members []*fleet.Member) error {
		runtime.GC()
		x := verifier.NewIndex(logr.Discard())
		x.SetAPIAudiences([]string{fleet.Audience})
		x.MarkSynced()
		begun := time.Now()
		for _, m := range members {
			x.SetResource(m.Resource)
			x.SetRecord(m.Record)
		}
		of.index = append(of.index, float64(time.Since(begun)))
		latencies, err := verify(x, []string{members[len(members)-1].Bearer}, verifier.Authenticated, o.duration/squatterRounds)
		if err != nil {
			return err
		}
		of.verify = append(of.verify, latencies...)
		begun = time.Now()
		for _, m := range members {
			x.DeleteResource(m.Resource.Namespace, m.Resource.Name)
			x.DeleteRecord(m.Record.Name)
		}
		of.forget = append(of.forget, float64(time.Since(begun)))
		return nil
	}
	for range squatterRounds {
		if err := round(&base, own); err != nil {
			return err
		}
		if err := round(&squatted, one); err != nil {
			return err
		}
	}
	slices.Sort(base.verify)
	slices.Sort(squatted.verify)

	fmt.Fprintf(out, "\n%d resources that claim one id, compared with as many that have their own: medians of %d alternating rounds\n", count, squatterRounds)
	perToken := func(d []float64) time.Duration { return time.Duration(median(d)) / time.Duration(count) }
	for _, line := range []struct {
		what       string
		base, with []float64
	}{{"to index, per resource", base.index, squatted.index}, {"to forget, per resource", base.forget, squatted.forget}} {
		fmt.Fprintf(out, "  %-52s %10v %10v   x%.2f\n", line.what+": own ids, one id", perToken(line.base), perToken(line.with),
			ratio(perToken(line.with), perToken(line.base)))
	}
	row(out, "Verify, an id of its own (baseline), p50 p99", base.verify.Quantile(.5), base.verify.Quantile(.99), base.verify.Quantile(.5), base.verify.Quantile(.99))
	row(out, "Verify, the id that all claim", squatted.verify.Quantile(.5), squatted.verify.Quantile(.99), base.verify.Quantile(.5), base.verify.Quantile(.99))
	return nil
}
