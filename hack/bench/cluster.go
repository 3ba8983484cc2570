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
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/fleet"
)

// sight is what a verifier is like: how long it took to be ready, what it holds, and how long its answers take.
type sight struct {
	ready     time.Duration
	resident  int // bytes
	latencies abuse.Latencies
}

// benchCluster measures issuing, the operator's requests and its restart, with and without existing tokens, and compares a
// verifier of all these tokens with a verifier of one.
func benchCluster(ctx context.Context, o options, out io.Writer) (err error) {
	if o.cluster < 2 || o.rounds < 1 || o.perRound < 1 {
		return fmt.Errorf("--cluster of at least 2, and --rounds and --per-round of at least 1 are needed")
	}
	dir, err := os.MkdirTemp("", "pat-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := startProduct(ctx, dir, cluster.ManagerOptions{Command: "verifier"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	bare, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.Stop()) }()
	samples := map[kind]*sample{}
	for _, k := range []kind{holders, inSecret} {
		if samples[k], err = p.sample(ctx, k); err != nil {
			return err
		}
	}
	n, err := newCounter(p.Cluster)
	if err != nil {
		return err
	}
	defer n.Close()
	c, err := countRequests(ctx, p, n, o.perRound, out)
	if err != nil {
		return err
	}
	none, err := issuing(ctx, o, out, bare, p.site, samples, 0)
	if err != nil {
		return err
	}
	if err := benchVerifier(ctx, p, o, out); err != nil {
		return err
	}
	existing, err := issuing(ctx, o, out, bare, p.site, samples, o.cluster)
	if err != nil {
		return err
	}
	if c.full, err = p.countStart(ctx, n); err != nil {
		return err
	}
	report(out, o, none, existing, c)
	return nil
}

// benchVerifier creates the existing tokens and measures a verifier before and after. The product's own verifier is stopped
// meanwhile.
func benchVerifier(ctx context.Context, p *product, o options, out io.Writer) error {
	if err := p.verifier.Stop(); err != nil {
		return err
	}
	bearers, _, err := createTokens(ctx, p.admin, 0, 1)
	if err != nil {
		return err
	}
	small, err := look(ctx, p.Cluster, o, bearers)
	if err != nil {
		return err
	}
	more, took, err := createTokens(ctx, p.admin, 1, o.cluster-1)
	if err != nil {
		return err
	}
	bearers = append(bearers, more...)
	large, err := look(ctx, p.Cluster, o, bearers)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d tokens through the API server\n  created by %d clients for others and active in %v: %.0f a second, API server, etcd and operator on this machine\n",
		len(bearers), creators, took.Round(time.Second), float64(len(more))/took.Seconds())
	fmt.Fprintf(out, "  verifier's start to ready: %v with 1 token, %v with %d\n", small.ready.Round(10*time.Millisecond), large.ready.Round(10*time.Millisecond), len(bearers))
	fmt.Fprintf(out, "  verifier's resident memory: %.1f MiB with 1 token, %.1f MiB with %d, %d bytes more per token\n",
		mib(small.resident), mib(large.resident), len(bearers), (large.resident-small.resident)/len(more))
	fmt.Fprintf(out, "\n  %-52s %10s %10s   ratio of each\n", "TokenReview by a verifier process", "p50", "p99")
	base50, base99 := small.latencies.Quantile(.5), small.latencies.Quantile(.99)
	row(out, "1 token (baseline)", round(base50), round(base99), base50, base99)
	row(out, fmt.Sprintf("%d tokens", len(bearers)), round(large.latencies.Quantile(.5)), round(large.latencies.Quantile(.99)), base50, base99)
	if err := p.operator.Stop(); err != nil {
		return err
	}
	if err := benchPolicy(ctx, p.Cluster, p.admin, bearers, out); err != nil {
		return err
	}
	if p.operator, err = p.StartOperator(ctx); err != nil {
		return err
	}
	p.verifier, err = p.StartVerifier(ctx)
	return err
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }

// look starts a verifier, measures it, and stops it.
func look(ctx context.Context, c *cluster.Cluster, o options, bearers []string) (s sight, err error) {
	began := time.Now()
	m, reviews, err := startReviewed(ctx, c, bearers)
	if err != nil {
		return s, err
	}
	s.ready = time.Since(began)
	defer func() { err = errors.Join(err, m.Stop()) }()
	defer reviews.Close()
	if _, err := reviews.Review(ctx, 100*time.Millisecond); err != nil { // opens the connections
		return s, err
	}
	if s.latencies, err = reviews.Review(ctx, o.duration); err != nil {
		return s, err
	}
	s.resident, err = resident(m.PID)
	return s, err
}

// startReviewed starts a verifier, and returns a client that asks it about tokens.
func startReviewed(ctx context.Context, c *cluster.Cluster, bearers []string) (*cluster.Manager, *abuse.Client, error) {
	m, err := c.StartVerifier(ctx, "--api-audiences="+fleet.Audience) // for which the client asks
	if err != nil {
		return nil, nil, err
	}
	pem, err := os.ReadFile(c.AuthnCAFile)
	if err != nil {
		return nil, nil, errors.Join(err, m.Stop())
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return m, abuse.NewClient(abuse.Target{
		Address: fmt.Sprintf("127.0.0.1:%d", m.VerifierPort), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
	}, bearers, user), nil
}

// resident is how much memory a process has, of Linux.
func resident(pid int) (int, error) { return memory(pid, "VmRSS") }

// forgetPeak lets VmHWM be the most memory that a process has had from now on.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// memory is one of the figures that Linux has of a process, in bytes.
func memory(pid int, figure string) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(figure + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		return 0, fmt.Errorf("no %s of process %d", figure, pid)
	}
	kib, err := strconv.Atoi(string(found[1]))
	return kib << 10, err
}
