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
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/fleet"
)

// creators is how many create tokens at once.
const creators = 16

// sight is what a verifier is like: how long it took to be ready, what it holds, and how long its answers take.
type sight struct {
	ready     time.Duration
	resident  int // bytes
	latencies abuse.Latencies
}

// benchCluster makes tokens through a real API server and an operator, and compares a verifier that knows them with one
// that knows a single one.
func benchCluster(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "pat-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c, first, admin, err := startCluster(ctx, dir, cluster.ManagerOptions{Command: "verifier"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	if err := first.Stop(); err != nil {
		return err
	}
	bearers, _, err := createTokens(ctx, admin, 0, 1)
	if err != nil {
		return err
	}
	small, err := look(ctx, c, o, bearers)
	if err != nil {
		return err
	}
	more, took, err := createTokens(ctx, admin, 1, o.cluster)
	if err != nil {
		return err
	}
	bearers = append(bearers, more...)
	large, err := look(ctx, c, o, bearers)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d tokens through the API server\n  created by %d clients and active in %v: %.0f a second, API server, etcd and operator on this machine\n",
		len(bearers), creators, took.Round(time.Second), float64(o.cluster)/took.Seconds())
	fmt.Fprintf(out, "  verifier's start to ready: %v with 1 token, %v with %d\n", small.ready.Round(10*time.Millisecond), large.ready.Round(10*time.Millisecond), len(bearers))
	fmt.Fprintf(out, "  verifier's resident memory: %.1f MiB with 1 token, %.1f MiB with %d, %d bytes more per token\n",
		mib(small.resident), mib(large.resident), len(bearers), (large.resident-small.resident)/o.cluster)
	fmt.Fprintf(out, "\n  %-52s %10s %10s   ratio of each\n", "TokenReview by a verifier process", "p50", "p99")
	base50, base99 := small.latencies.Quantile(.5), small.latencies.Quantile(.99)
	for name, l := range map[string]abuse.Latencies{"1 token (baseline)": small.latencies, fmt.Sprintf("%d tokens", len(bearers)): large.latencies} {
		row(out, name, round(l.Quantile(.5)), round(l.Quantile(.99)), base50, base99)
	}
	return nil
}

// startCluster starts one with a verifier and an operator, and returns it with the verifier and an administrator's client.
func startCluster(ctx context.Context, dir string, o cluster.ManagerOptions) (c *cluster.Cluster, verifier *cluster.Manager, admin client.Client, err error) {
	binary, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return nil, nil, nil, err
	}
	if c, err = cluster.Start(ctx, cluster.Options{ManagerBinary: binary}); err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	// In this order: for the first verifier kube-apiserver restarts, which an operator's lease might not survive.
	if verifier, err = c.StartManager(ctx, o); err != nil {
		return nil, nil, nil, err
	}
	if _, err = c.StartOperator(ctx); err != nil {
		return nil, nil, nil, err
	}
	scheme := runtime.NewScheme()
	if err = errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, nil, nil, err
	}
	admin, err = client.New(c.Admin(), client.Options{Scheme: scheme})
	return c, verifier, admin, err
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }

// benchName is what a holder calls the i-th token.
func benchName(i int) string { return fmt.Sprintf("bench-%06d", i) }

// createTokens makes n holders' own tokens, from the i-th on, and waits until each is active.
func createTokens(ctx context.Context, c client.Client, first, n int) (bearers []string, took time.Duration, err error) {
	began := time.Now()
	bearers = make([]string, n)
	errs := make([]error, creators)
	var creating sync.WaitGroup
	for w := range creators {
		creating.Go(func() {
			for i := w; i < n && errs[w] == nil; i += creators {
				bearers[i], errs[w] = createToken(ctx, c, first+i)
			}
		})
	}
	creating.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, 0, err
	}
	for i := range n {
		if err := waitActive(ctx, c, first+i); err != nil {
			return nil, 0, err
		}
	}
	return bearers, time.Since(began), nil
}

func createToken(ctx context.Context, c client.Client, i int) (string, error) {
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		return "", err
	}
	name := benchName(i)
	return plaintext, c.Create(ctx, &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: v1alpha1.PersonalAccessTokenSpec{
			DisplayName: "Benchmark " + name,
			// The administrator is in system:masters, who gets no token with that group.
			User:      &v1alpha1.UserInfo{Username: user(i), Groups: []string{"developers", "ci"}},
			ExpiresAt: &metav1.Time{Time: time.Now().Add(30 * 24 * time.Hour).Truncate(time.Second)},
			Token:     &v1alpha1.HolderToken{ID: id, SHA256: token.NewDigest("default", name, plaintext).Hex(), BoundTo: "default/" + name},
		},
	})
}

// user is whom the i-th token is of: ten have the same.
func user(i int) string { return fmt.Sprintf("user-%05d", i/10) }

func waitActive(ctx context.Context, c client.Client, i int) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		p := &v1alpha1.PersonalAccessToken{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: "default", Name: benchName(i)}, p); err != nil {
			return err
		}
		if p.Status.TokenID != "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look starts a verifier, measures it, and stops it.
func look(ctx context.Context, c *cluster.Cluster, o options, bearers []string) (s sight, err error) {
	began := time.Now()
	m, err := c.StartVerifier(ctx, "--api-audiences="+fleet.Audience) // for which the client asks
	if err != nil {
		return s, err
	}
	s.ready = time.Since(began)
	defer func() { err = errors.Join(err, m.Stop()) }()
	pem, err := os.ReadFile(c.AuthnCAFile)
	if err != nil {
		return s, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	reviews := abuse.NewClient(abuse.Target{
		Address: fmt.Sprintf("127.0.0.1:%d", m.VerifierPort), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
	}, bearers, user)
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

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident is how much memory a process has, of Linux.
func resident(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := vmRSS.FindSubmatch(status)
	if found == nil {
		return 0, fmt.Errorf("no VmRSS of process %d", pid)
	}
	kib, err := strconv.Atoi(string(found[1]))
	return kib << 10, err
}
