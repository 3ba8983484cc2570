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
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// report prints each figure with its target, and the requests behind them, as Markdown for docs/operations.md.
func report(out io.Writer, o options, none, existing map[kind]*rates, c counted) {
	fmt.Fprintf(out, "\n%d alternating rounds of %d tokens: medians (least–most).\n\n| what | measured | target | met |\n|---|---|---|---|\n", o.rounds, o.perRound)
	line := func(what, measured, target string, met bool) {
		answer := map[bool]string{true: "yes", false: "no"}[met]
		if target == "" {
			answer = ""
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", what, measured, target, answer)
	}
	for _, k := range []kind{holders, inSecret} {
		for _, r := range []struct {
			existing int
			rates    *rates
		}{{0, none[k]}, {o.cluster, existing[k]}} {
			shares := r.rates.shares()
			share := median(shares)
			line(fmt.Sprintf("issuing, %s, %d existing tokens: share of the API server's own rate", k, r.existing),
				fmt.Sprintf("%.2f (%.2f–%.2f): %.0f of %.0f tokens/s", share, slices.Min(shares), slices.Max(shares), median(r.rates.operator), median(r.rates.own)),
				"≥ 0.6", share >= .6)
		}
		kept := median(existing[k].shares()) / median(none[k].shares())
		line(fmt.Sprintf("issuing, %s: share with %d existing tokens ÷ share with none", k, o.cluster),
			fmt.Sprintf("%.2f; tokens/s alone %.2f", kept, median(existing[k].operator)/median(none[k].operator)), "≥ 0.8", kept >= .8)
	}
	for _, k := range []struct {
		kind   kind
		calls  calls
		writes float64
	}{{holders, c.own, 2}, {inSecret, c.secret, 4}} {
		for _, r := range []struct {
			what  string
			match func(call) bool
			most  float64
		}{{"writes", call.write, k.writes}, {"events", call.event, 1}, {"reads", call.read, 2}} {
			n := k.calls.sum(r.match)
			line(fmt.Sprintf("%s per token, %s", r.what, k.kind), fmt.Sprintf("%.2f", n), fmt.Sprintf("≤ %.0f", r.most), atMost(n, r.most))
		}
	}
	for _, r := range []struct {
		what  string
		calls calls
		most  float64
	}{{"for oneself, the holder's own", c.own, 0}, {"for oneself, in a Secret", c.secret, 0}, {"for others, 3 rights", c.others, rightsForOthers}} {
		rights := r.calls[call{"create", rightReviews}]
		line("access reviews per create, "+r.what, fmt.Sprintf("%.2f, and %.2f for warnings", rights, r.calls.sum(call.review)-rights),
			fmt.Sprintf("%.0f", r.most), atMost(rights, r.most))
	}
	every := c.empty.calls.sum(call.single)
	more := c.full.calls.sum(call.single) - every
	line(fmt.Sprintf("restart with %d tokens: requests other than watches", o.cluster),
		fmt.Sprintf("%.0f more than the %.0f of a start with no tokens", more, every), "0 more", more <= 0)
	line("restart: time to quiet", fmt.Sprintf("%v; with no tokens %v", c.full.quiet.Round(100*time.Millisecond), c.empty.quiet.Round(100*time.Millisecond)), "", true)
	reportRequests(out, o, c)
}

// atMost allows for one request in fifty tokens: a conflict, or a question that was not yet remembered.
func atMost(n, most float64) bool { return n <= most+.02 }

// reportRequests prints the requests by sort, background last.
func reportRequests(out io.Writer, o options, c counted) {
	fmt.Fprintf(out, "\n| request of the operator | per token: the holder's own | in a Secret | the holder's own, for others | a start with no tokens | with %d |\n|---|---|---|---|---|---|\n", o.cluster)
	columns := []calls{c.own, c.secret, c.others, c.empty.calls, c.full.calls}
	all := map[call]bool{}
	for _, column := range columns {
		for sort := range column {
			all[sort] = true
		}
	}
	groups := []func(call) bool{call.write, call.event, call.review, call.read, func(c call) bool { return !c.background() }, call.background}
	group := func(c call) int {
		return slices.IndexFunc(groups, func(match func(call) bool) bool { return match(c) })
	}
	for _, sort := range slices.SortedFunc(maps.Keys(all), func(a, b call) int {
		return cmp.Or(cmp.Compare(group(a), group(b)), cmp.Compare(a.what, b.what), cmp.Compare(a.verb, b.verb))
	}) {
		fmt.Fprintf(out, "| %s %s |", sort.verb, sort.what)
		for i, column := range columns {
			switch n := column[sort]; {
			case n == 0:
				fmt.Fprint(out, " |")
			case i < 3:
				fmt.Fprintf(out, " %.3f |", n)
			default:
				fmt.Fprintf(out, " %.0f |", n)
			}
		}
		fmt.Fprintln(out)
	}
}
