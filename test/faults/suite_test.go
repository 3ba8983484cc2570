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
	"flag"
	"os"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const patience = env.Patience

var (
	soak = flag.Duration("soak", 0, "run the long forms, for about so long in all")

	product *env.Product
	cl      *cluster.Cluster
	admin   client.WithWatch
	// alice may do anything with PersonalAccessTokens in every team namespace, and read its Secrets.
	alice  env.User
	report = &Report{}
	// verifiers are three that kube-apiserver asks, in addition to untouched.
	verifiers []*replica
	untouched *quiet
)

// TestMain runs many tests in parallel; each declares what it breaks, see alongside.
func TestMain(m *testing.M) {
	if flag.Parse(); !long.Form() {
		os.Exit(m.Run()) // Each of them skips itself: no cluster for that.
	}
	os.Exit(cluster.RunTests(m, 8, run))
}

func run(ctx context.Context, dir string, tests func()) (err error) {
	binary, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return err
	}
	if cl, err = cluster.Start(ctx, cluster.Options{ManagerBinary: binary}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cl.Stop()) }()
	if product, err = env.New(cl); err != nil {
		return err
	}
	admin = product.Admin
	if err := prepareCA(ctx); err != nil {
		return err
	}
	// The first verifier alone, and before the operator: kube-apiserver is restarted for it, which a lease might not survive.
	first, err := startReplica(ctx, "first", false)
	if err != nil {
		return err
	}
	if err := startOperator(ctx); err != nil {
		return err
	}
	others, err := startReplicas(ctx, false, "second", "third", "quiet")
	if err != nil {
		return err
	}
	verifiers = []*replica{first, others[0], others[1]}
	defer func() {
		for _, r := range verifiers {
			r.end()
		}
	}()
	if alice, err = product.User("alice", "team-devs"); err != nil {
		return err
	}
	if err := createEarly(ctx, earlyTTL); err != nil {
		return err
	}
	if err := fillStock(ctx); err != nil {
		return err
	}
	untouched = watchQuiet(ctx, others[2])
	tests()
	err = untouched.stop()
	report.Print(os.Stdout)
	return err
}

// overhead is what a long run needs besides the time that is shared out.
const overhead = 4*time.Minute + 30*time.Second

// share is how long a long form may take, as a share of the whole budget; otherwise where this is a short one.
func share(percent int, otherwise time.Duration) time.Duration {
	if *soak == 0 {
		return otherwise
	}
	return max(otherwise, (*soak-overhead)*time.Duration(percent)/100)
}

// Locks of the parts that tests break. Parallel tests lock what they break, or, of the Service, what must not break
// meanwhile; in this order.
var (
	theService   sync.RWMutex // what kube-apiserver asks
	theVerifiers sync.RWMutex // which processes are behind it
	theOperators sync.Mutex
)

// alongside lets a test run in parallel with others, once it has all of its locks.
func alongside(t *testing.T, holds ...sync.Locker) {
	t.Helper()
	t.Parallel()
	for _, l := range holds {
		l.Lock()
		t.Cleanup(l.Unlock)
	}
}

// team makes a namespace where alice may do what developers do, and returns its name.
func team(ctx context.Context) (string, error) {
	return product.Team(ctx, env.Group("team-devs"), "secrets")
}

func newTeam(t *testing.T) string {
	t.Helper()
	return env.Must[string](t)(team(t.Context()))
}
