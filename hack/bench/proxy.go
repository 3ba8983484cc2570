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
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pat-operator/pat-operator/test/abuse"
)

const (
	// proxyRounds is how often the ways are compared, crowded how many clients ask at once, listsPerRound how often a list is read.
	proxyRounds, crowded, listsPerRound = 5, 16, 4
	// tick is the unit in which Linux counts the time of a process.
	tick = 10 * time.Millisecond
)

// yardsticks are the ways that say how much of the cost is not the proxy's own.
var yardsticks = [...]string{"as the impersonator without a proxy", "by a ReverseProxy that does nothing else"}

// benchProxy measures what `manager proxy` costs, each figure against kube-apiserver itself in the same run. It fails where a
// figure that depends on no clock misses its target.
func benchProxy(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "pat-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := startProxied(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	direct, err := b.direct(ctx)
	if err != nil {
		return err
	}
	through, pat, err := b.through(ctx, b.front)
	if err != nil {
		return err
	}
	impersonated, err := b.impersonated(ctx, pat)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThrough the proxy, with audit lines and scopes, and direct; medians of %d alternating rounds (least–most)\n", proxyRounds)
	plain, stop, err := b.plain(ctx, impersonated)
	if err != nil {
		return err
	}
	defer stop()
	ways := []*way{direct, through, impersonated, plain}
	for _, step := range []func() error{
		func() error { return b.compareOneAtATime(ctx, o, ways) },
		func() error { return b.compareCrowds(ctx, o, ways) },
		func() error { return b.compareLists(ctx, ways[:2]) },
		func() error { return b.watch600(ctx) },
		func() error { return b.readNothing(ctx, o, through) },
		func() error { return b.writeAtGoaway(ctx) },
		func() error { return b.weighWatches(ctx, direct) },
	} {
		begun := len(b.figures)
		if err := step(); err != nil {
			return errors.Join(err, b.figures.print(out))
		}
		for _, one := range b.figures[begun:] {
			fmt.Fprintf(out, "  %s: %s\n", one.what, one.measured)
		}
	}
	return b.figures.print(out)
}

// compareOneAtATime reads a small object again and again, by each way in turn.
func (b *proxied) compareOneAtATime(ctx context.Context, o options, ways []*way) error {
	ratios, medians := make([][]float64, len(ways)), make([][]float64, len(ways))
	var ours []float64
	for range proxyRounds {
		took := make([]abuse.Latencies, len(ways))
		before, err := cpu(b.front.PID)
		if err != nil {
			return err
		}
		for begun := time.Now(); time.Since(begun) < o.duration; {
			for i, w := range ways {
				asked := time.Now()
				if _, err := w.get(ctx, b.smallPath()); err != nil {
					return err
				}
				took[i] = append(took[i], time.Since(asked))
			}
		}
		after, err := cpu(b.front.PID)
		if err != nil {
			return err
		}
		for i := range took {
			slices.Sort(took[i])
			medians[i] = append(medians[i], milliseconds(took[i].Quantile(.5)))
			ratios[i] = append(ratios[i], ratio(took[i].Quantile(.5), took[0].Quantile(.5)))
		}
		ours = append(ours, milliseconds(after-before)/float64(len(took[1])))
	}
	b.figures.add("GET of a small object, one at a time: p50, to direct",
		fmt.Sprintf("×%s: %.2f ms, direct %.2f ms", spread(ratios[1]), median(medians[1]), median(medians[0])), "≤ ×1.4", median(ratios[1]) <= 1.4)
	for i := range yardsticks {
		b.figures.add("the same, "+yardsticks[i], fmt.Sprintf("×%s: %.2f ms", spread(ratios[i+2]), median(medians[i+2])), "", true)
	}
	b.figures.add("the same: CPU of the proxy for a request", spread(ours)+" ms", "", true)
	return nil
}

// compareCrowds has many clients read a small object at once, by one way and then by the next.
func (b *proxied) compareCrowds(ctx context.Context, o options, ways []*way) error {
	rates, p50s, shares := make([][]float64, len(ways)), make([][]float64, len(ways)), make([][]float64, len(ways))
	servers := make([][]float64, len(ways)) // the CPU of kube-apiserver
	var ours []float64
	for n := range proxyRounds {
		rate := make([]float64, len(ways))
		for turn := range ways {
			i := (turn + n) % len(ways)
			front, err := cpu(b.front.PID)
			if err != nil {
				return err
			}
			server, err := cpu(b.APIServerPID())
			if err != nil {
				return err
			}
			took, lasted, err := crowd(ctx, ways[i], b.smallPath(), o.duration)
			if err != nil {
				return err
			}
			rate[i] = float64(len(took)) / lasted.Seconds()
			rates[i], p50s[i] = append(rates[i], rate[i]), append(p50s[i], milliseconds(took.Quantile(.5)))
			frontNow, err := cpu(b.front.PID)
			if err != nil {
				return err
			}
			serverNow, err := cpu(b.APIServerPID())
			if err != nil {
				return err
			}
			servers[i] = append(servers[i], milliseconds(serverNow-server)/float64(len(took)))
			if i == 1 {
				ours = append(ours, milliseconds(frontNow-front)/float64(len(took)))
			}
		}
		for i := range ways {
			shares[i] = append(shares[i], rate[i]/rate[0])
		}
	}
	b.figures.add(fmt.Sprintf("the same, %d at a time: rate, to direct", crowded),
		fmt.Sprintf("×%s: %.0f/s, direct %.0f/s", spread(shares[1]), median(rates[1]), median(rates[0])), "≥ ×0.7", median(shares[1]) >= .7)
	for i := range yardsticks {
		b.figures.add(fmt.Sprintf("the same, %d at a time, %s", crowded, yardsticks[i]), fmt.Sprintf("×%s: %.0f/s", spread(shares[i+2]), median(rates[i+2])), "", true)
	}
	b.figures.add(fmt.Sprintf("the same, %d at a time: p50", crowded), fmt.Sprintf("%.1f ms, direct %.1f ms", median(p50s[1]), median(p50s[0])), "", true)
	b.figures.add(fmt.Sprintf("the same, %d at a time: CPU of the proxy for a request", crowded),
		fmt.Sprintf("%s ms; of kube-apiserver %.2f ms, as the impersonator %.2f ms, direct %.2f ms",
			spread(ours), median(servers[1]), median(servers[2]), median(servers[0])), "", true)
	return nil
}

// crowd has clients ask at once for some time.
func crowd(ctx context.Context, w *way, path string, d time.Duration) (all abuse.Latencies, lasted time.Duration, err error) {
	var (
		running sync.WaitGroup
		took    [crowded]abuse.Latencies
		errs    [crowded]error
	)
	begun := time.Now()
	for c := range crowded {
		running.Go(func() {
			for time.Since(begun) < d && errs[c] == nil {
				asked := time.Now()
				_, errs[c] = w.get(ctx, path)
				took[c] = append(took[c], time.Since(asked))
			}
		})
	}
	running.Wait()
	lasted = time.Since(begun)
	all = slices.Concat(took[:]...)
	slices.Sort(all)
	return all, lasted, errors.Join(errs[:]...)
}

// compareLists reads a list of 10 MiB by one way and the other in turn.
func (b *proxied) compareLists(ctx context.Context, ways []*way) error {
	var ratios []float64
	var medians [2][]float64
	var sizes [2]int64
	for range proxyRounds {
		var took [2]abuse.Latencies
		for range listsPerRound {
			for i, w := range ways {
				asked := time.Now()
				n, err := w.get(ctx, b.bigPath())
				if err != nil {
					return err
				}
				took[i], sizes[i] = append(took[i], time.Since(asked)), n
			}
		}
		for i := range took {
			slices.Sort(took[i])
			medians[i] = append(medians[i], milliseconds(took[i].Quantile(.5)))
		}
		ratios = append(ratios, ratio(took[1].Quantile(.5), took[0].Quantile(.5)))
	}
	noise := slices.Max(medians[0]) / median(medians[0])
	b.figures.add(fmt.Sprintf("a list of %.0f MiB: time, to direct", float64(sizes[1])/(1<<20)),
		fmt.Sprintf("×%s: %.0f ms, direct %.0f ms", spread(ratios), median(medians[1]), median(medians[0])),
		fmt.Sprintf("≤ ×%.2f, the noise of direct", noise), median(ratios) <= noise)
	b.figures.count("the same: bytes that arrive", fmt.Sprintf("%d, direct %d", sizes[1], sizes[0]), "as many", sizes[0] == sizes[1] && sizes[0] > bigObjects*bigObject)
	return nil
}

// cpu is the time that a process has computed.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program, in brackets, may hold spaces; the two times are the 12th and 13th field after it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("no time of process %d", pid)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spread is the median, and in brackets the least and the most.
func spread(values []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(values), slices.Min(values), slices.Max(values))
}
