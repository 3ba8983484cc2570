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

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/faults/proxy"
	"github.com/pat-operator/pat-operator/test/long"
)

// slowBy is how late each part of an answer of the slow verifier is.
const slowBy = 300 * time.Millisecond

// Every verifier is away, in each possible way: users with a certificate or a service account's token notice nothing; a
// token of ours gets 401, and works at once when a verifier is back. The test prints how long each takes.
func TestCase36_NoVerifierAtAll(t *testing.T) {
	long.Only(t)
	alongside(t, &theService)
	d := newDown(t)
	stale := verifiers[2]
	if err := stale.proxy.Set(proxy.Cut); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(stale.proxy.Set(proxy.Pass), stale.WaitReady(context.Background())); err != nil {
			t.Error(err)
		}
	}()
	pinned := func(m *cluster.Manager) func() error {
		cl.PinVerifiers(m)
		cl.DropVerifierConnections()
		return func() error {
			cl.PinVerifiers()
			cl.DropVerifierConnections()
			return nil
		}
	}
	d.measure("well", true, func() func() error { return func() error { return nil } })
	d.measure("gone: connections are refused", false, cl.WithdrawVerifiers)
	d.measure(fmt.Sprintf("slow: each part of an answer %v late", slowBy), true, func() func() error {
		slow, err := startSlow(fmt.Sprintf("127.0.0.1:%d", verifiers[1].VerifierPort))
		if err != nil {
			t.Fatal(err)
		}
		restore := pinned(&cluster.Manager{VerifierPort: slow.port()})
		return func() error { return errors.Join(restore(), slow.Close()) }
	})
	frozen := func(m *cluster.Manager) func() error {
		if err := m.Pause(); err != nil {
			t.Fatal(err)
		}
		return m.Resume
	}
	d.measure("black hole: connections are taken, nothing is said", false, func() func() error {
		restore, resume := pinned(verifiers[0].Manager), frozen(verifiers[0].Manager)
		return func() error { return errors.Join(resume(), restore()) }
	})
	if *soak > 0 { // takes half a minute: kube-apiserver's own limit
		d.measure("black hole, on connections that were open", false, func() func() error {
			restore := pinned(verifiers[0].Manager)
			// It stood still just now, so it may have to prove first how fresh it is.
			if err := env.Poll(t.Context(), patience, func() error { return whoami(t.Context(), d.bearers[len(d.bearers)-1]) }); err != nil {
				t.Fatal(err)
			}
			resume := frozen(verifiers[0].Manager)
			return func() error { return errors.Join(resume(), restore()) }
		})
	}
	if err := env.Within(t.Context(), maxStaleness+tolerance, func() error {
		if stale.Ready(t.Context()) == nil {
			return errors.New("it is ready without an API server")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	d.measure("stale: none can tell", false, func() func() error { return pinned(stale.Manager) })
	d.print()
}

// down measures what becomes of requests.
type down struct {
	t       *testing.T
	bearers []client.Client // of tokens that nobody has used yet, from the front
	crt, sa *rest.Config
	rows    [][]string
}

const eachTime = 3 // tokens of ours that ask at once

func newDown(t *testing.T) *down {
	t.Helper()
	ctx := t.Context()
	ns := newTeam(t)
	d := &down{t: t}
	for range 7 * eachTime {
		c, err := product.Bearer(aToken(t).plaintext)
		if err != nil {
			t.Fatal(err)
		}
		d.bearers = append(d.bearers, c)
	}
	var err error
	if d.crt, _, err = cl.User("carol"); err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "robot"}}); err != nil {
		t.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(cl.Admin())
	if err != nil {
		t.Fatal(err)
	}
	request, err := clientset.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.sa = cl.Anonymous()
	d.sa.BearerToken = request.Status.Token
	return d
}

// measure breaks something, looks, and mends it; works is whether tokens of ours have to work meanwhile.
func (d *down) measure(what string, works bool, breakIt func() (mend func() error)) {
	t, ctx := d.t, d.t.Context()
	t.Helper()
	row := Row{Fault: "all verifiers " + what, Injected: 1}
	mend := breakIt()
	var asking sync.WaitGroup
	took, errs := make([]time.Duration, eachTime), make([]error, eachTime)
	for i, c := range d.bearers[:eachTime] {
		asking.Go(func() {
			start := time.Now()
			errs[i] = whoami(ctx, c)
			took[i] = time.Since(start)
		})
	}
	crt, crtErr := slowest(ctx, d.crt)
	sa, saErr := slowest(ctx, d.sa)
	asking.Wait()
	if err := mend(); err != nil {
		t.Fatal(err)
	}
	mended := time.Now()
	again := env.Within(ctx, prompt, func() error { return whoami(ctx, d.bearers[eachTime-1]) })
	back := time.Since(mended)
	d.bearers = d.bearers[eachTime:]

	if err := errors.Join(crtErr, saErr); err != nil {
		row.Refused++
		t.Errorf("%s: others suffer: %v", what, err)
	}
	for _, err := range errs {
		if works && err != nil || !works && !apierrors.IsUnauthorized(err) {
			row.Refused++
			t.Errorf("%s: a token of ours gets %v", what, err)
		}
	}
	if again != nil {
		row.Refused++
		t.Errorf("%s: afterwards a token of ours gets %v", what, again)
	}
	answer := "401"
	if works {
		answer = "works"
	}
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	d.rows = append(d.rows, []string{what, answer + " after " + ms(slices.Max(took)), ms(crt), ms(sa), ms(back)})
	if !works {
		report.Add(row)
	}
}

// slowest returns how long the slowest of some requests takes.
func slowest(ctx context.Context, config *rest.Config) (worst time.Duration, err error) {
	c, err := client.New(config, client.Options{Scheme: env.Scheme, Mapper: admin.RESTMapper()})
	if err != nil {
		return 0, err
	}
	for range 20 {
		start := time.Now()
		if err := c.Create(ctx, &authenticationv1.SelfSubjectReview{}); err != nil {
			return worst, err
		}
		worst = max(worst, time.Since(start))
	}
	return worst, nil
}

func (d *down) print() {
	fmt.Fprintf(os.Stdout, "\n| verifiers | a token of ours | a certificate, at most | a service account, at most | a token of ours works again after |\n|---|---|---:|---:|---:|\n")
	for _, row := range d.rows {
		fmt.Fprint(os.Stdout, "|")
		for _, cell := range row {
			fmt.Fprintf(os.Stdout, " %s |", cell)
		}
		fmt.Fprintln(os.Stdout)
	}
}

// slow passes connections on, each part of an answer late.
type slow struct{ net.Listener }

func startSlow(target string) (*slow, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go passSlowly(c, target)
		}
	}()
	return &slow{l}, nil
}

func (s *slow) port() int { return s.Addr().(*net.TCPAddr).Port }

func passSlowly(from net.Conn, target string) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	part := make([]byte, 32<<10)
	for {
		n, err := to.Read(part)
		if err != nil {
			return
		}
		<-time.After(slowBy)
		if _, err := from.Write(part[:n]); err != nil {
			return
		}
	}
}
