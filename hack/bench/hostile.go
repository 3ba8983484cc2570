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
	"time"

	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/fleet"
)

const (
	// sources is how many addresses an attack comes from.
	sources = 14
	// quietFor is how long a port is measured before the first attack, shortest how long an attack lasts at least.
	quietFor, shortest = time.Second, 250 * time.Millisecond
	// apiServerAudience is kube-apiserver's here; reviews of package abuse ask for another.
	apiServerAudience = "https://kubernetes.default.svc.cluster.local"
	// claims is the attack that this process makes itself, through the API server.
	claims = "claims of one id"
)

// outcome is what came of an attack, or of all attacks on a port.
type outcome struct {
	asked, failed int
	slowest       time.Duration // p99
	peak, after   int           // bytes
}

// benchHostile runs each attack against each port of an installation, and fails where another client got an error or starved,
// or a process needed more memory than its pod may have.
func benchHostile(ctx context.Context, o options, out io.Writer) (err error) {
	end := time.Now().Add(o.abuse)
	dir, err := os.MkdirTemp("", "pat-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	h := &hostile{out: out}
	h.product, err = startProduct(ctx, dir, cluster.ManagerOptions{Command: "verifier", Console: true, Args: []string{
		"--api-audiences=" + fleet.Audience + "," + apiServerAudience,
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Stop()) }()
	ports, err := h.ports(ctx)
	if err != nil {
		return err
	}
	if h.attacker, err = abuse.NewAttacker(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.attacker.Close()) }()
	if h.limits, err = memoryLimits(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nEach attack comes from another process and %d addresses. The other clients keep a connection, or come with a new one "+
		"each time.\nMiB is the resident memory of the process: the most during the attack, and after it.\n\n", sources)
	left := 0
	for _, p := range ports {
		left += len(p.attacks)
	}
	var sums []outcome
	for _, p := range ports {
		sum, err := h.attack(ctx, p, func() time.Duration {
			left--
			return max(time.Until(end)/time.Duration(left+1), shortest)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		sums = append(sums, sum)
	}
	fmt.Fprintf(out, "\n| port | answers to other clients | errors | worst p99 of an attack | most memory | after all attacks |\n|---|---|---|---|---|---|\n")
	for i, sum := range sums {
		fmt.Fprintf(out, "| %s | %d | %d | %v | %.0f MiB | %.0f MiB |\n", ports[i].name, sum.asked-sum.failed, sum.failed, sum.slowest.Round(time.Millisecond),
			mib(sum.peak), mib(sum.after))
	}
	fmt.Fprintf(out, "\n%s\n", load())
	return errors.Join(h.bad...)
}

// hostile is an installation under attack.
type hostile struct {
	*product
	out      io.Writer
	attacker *abuse.Attacker
	limits   map[string]int // of memory, in bytes, by command
	victim   string         // the id of a token
	front    *cluster.Manager
	bad      []error
}

// attack runs each attack against a port, each for as long as the budget says when it begins.
func (h *hostile) attack(ctx context.Context, p port, budget func() time.Duration) (sum outcome, err error) {
	quiet, failures := p.others.Run(ctx, quietFor)
	if len(failures) > 0 {
		return sum, fmt.Errorf("without any attack: %w", failures[0])
	}
	fmt.Fprintf(h.out, "%-18s | %-26s | %9s %9s | %6s %6s | %9s %-11s | %5s %5s\n", "port", "attack", "p50", "p99", "asked", "errors", "done", "", "MiB", "after")
	show := func(name, unit string, l abuse.Latencies, done int64, o outcome) {
		fmt.Fprintf(h.out, "%-18s | %-26s | %9v %9v | %6d %6d | %9d %-11s | %5.0f %5.0f\n", p.name, name, l.Quantile(.5).Round(10*time.Microsecond),
			l.Quantile(.99).Round(10*time.Microsecond), o.asked, o.failed, done, unit, mib(o.peak), mib(o.after))
	}
	before, err := resident(p.of.PID)
	if err != nil {
		return sum, err
	}
	show("none", "", quiet, 0, outcome{asked: len(quiet), peak: before, after: before})
	for _, attack := range p.attacks {
		lasts := budget()
		if err := forgetPeak(p.of.PID); err != nil {
			return sum, err
		}
		start := h.attacker.Start
		if attack.Name == claims {
			start = here(ctx)
		}
		stop, err := start(attack, p.target)
		if err != nil {
			return sum, err
		}
		abused, failures := p.others.Run(ctx, lasts)
		done, err := stop()
		if err := errors.Join(err, ctx.Err()); err != nil {
			return sum, err
		}
		o := outcome{asked: len(abused), failed: len(failures), slowest: abused.Quantile(.99)}
		if o.peak, err = memory(p.of.PID, "VmHWM"); err != nil {
			return sum, err
		}
		if o.after, err = resident(p.of.PID); err != nil {
			return sum, err
		}
		show(attack.Name, attack.Unit, abused, done.Count, o)
		sum = outcome{sum.asked + o.asked, sum.failed + o.failed, max(sum.slowest, o.slowest), max(sum.peak, o.peak), o.after}
		h.judge(p, attack, quiet, abused, failures, done, o)
	}
	return sum, nil
}

// judge notes what must not be.
func (h *hostile) judge(p port, attack abuse.Attack, quiet, abused abuse.Latencies, failures []error, done abuse.Result, o outcome) {
	note := func(format string, args ...any) {
		h.bad = append(h.bad, fmt.Errorf(p.name+", "+attack.Name+": "+format, args...))
	}
	if len(failures) > 0 {
		note("%d errors of other clients, the first %w", len(failures), failures[0])
	}
	if abuse.Starved(quiet, abused) {
		note("the p99 of other clients is %v, and %v in quiet", abused.Quantile(.99), quiet.Quantile(.99))
	}
	if done.Accepted > 0 {
		note("authenticated an invalid token %d times", done.Accepted)
	}
	if limit := h.limits[p.of.Command]; o.peak > limit {
		note("%.0f MiB, and the pod may have %.0f", mib(o.peak), mib(limit))
	}
}

// here runs an attack in this process.
func here(ctx context.Context) func(abuse.Attack, abuse.Target) (func() (abuse.Result, error), error) {
	return func(attack abuse.Attack, t abuse.Target) (func() (abuse.Result, error), error) {
		ctx, cancel := context.WithCancel(ctx)
		began, ended, done := time.Now(), make(chan struct{}), &abuse.Done{}
		go func() { defer close(ended); attack.Run(ctx, t, done) }()
		for done.Count.Load() == 0 {
			select {
			case <-ended:
				cancel()
				return nil, fmt.Errorf("%s did not begin", attack.Name)
			case <-time.After(time.Millisecond):
			}
		}
		return func() (abuse.Result, error) {
			cancel()
			<-ended
			return abuse.Result{Count: done.Count.Load(), Took: time.Since(began)}, nil
		}, nil
	}
}

// claim makes alice's resources claim the victim's id.
func (h *hostile) claim(ctx context.Context, _ abuse.Target, done *abuse.Done) {
	const most = 1 << 20 // ctx ends first
	_ = each(most, func(int) error {
		pat, _, err := newToken(newKeys(1)[0], holders)
		if err != nil {
			return err
		}
		pat.Spec.Token.ID = h.victim
		if err := h.alice.Create(ctx, pat); err != nil {
			return err
		}
		done.Count.Add(1)
		return nil
	})
}
