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
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// patience is how long anything may take on a busy machine that no fault holds up.
const patience = 60 * time.Second

var (
	soak = flag.Duration("soak", 0, "run the long forms, for about so long in all")

	cl     *cluster.Cluster
	scheme = runtime.NewScheme()
	admin  client.WithWatch
	// alice may do anything with PersonalAccessTokens in every team namespace, and read its Secrets.
	alice  client.WithWatch
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
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	binary, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return err
	}
	if cl, err = cluster.Start(ctx, cluster.Options{ManagerBinary: binary}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cl.Stop()) }()
	if admin, err = client.NewWithWatch(cl.Admin(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := prepareCA(ctx); err != nil {
		return err
	}
	// The first verifier alone, and before the operator: kube-apiserver is restarted for it, which a lease might not survive.
	first, err := startReplica(ctx, "first")
	if err != nil {
		return err
	}
	if err := startOperator(ctx); err != nil {
		return err
	}
	others, err := startReplicas(ctx, "second", "third", "quiet")
	if err != nil {
		return err
	}
	verifiers = []*replica{first, others[0], others[1]}
	defer func() {
		for _, r := range verifiers {
			r.end()
		}
	}()
	config, _, err := cl.User("alice", "team-devs")
	if err != nil {
		return err
	}
	if alice, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
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
	err = errors.Join(untouched.stop(), races())
	report.Print(os.Stdout)
	return err
}

// races looks for what the race detector has said in any process of ours.
func races() error {
	logs, err := filepath.Glob(filepath.Join(cl.Dir, "*.log"))
	if err != nil {
		return err
	}
	for _, name := range logs {
		log, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, race, found := strings.Cut(string(log), "WARNING: DATA RACE"); found {
			return fmt.Errorf("%s raced:\n%s", filepath.Base(name), race[:min(len(race), 4000)])
		}
	}
	return nil
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
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	if err := admin.Create(ctx, ns); err != nil {
		return "", err
	}
	for _, o := range []client.Object{
		&rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "dev"},
			Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{"pat-operator.io"}, Resources: []string{"personalaccesstokens"}, Verbs: []string{"*"}},
				{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "watch"}},
			},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "dev"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "dev"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "team-devs"}},
		},
	} {
		if err := admin.Create(ctx, o); err != nil {
			return "", err
		}
	}
	return ns.Name, poll(ctx, patience, func() error {
		return alice.List(ctx, &corev1.SecretList{}, client.InNamespace(ns.Name))
	})
}

func newTeam(t *testing.T) string {
	t.Helper()
	ns, err := team(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// poll tries until it works; the error is the last one.
func poll(ctx context.Context, within time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", within, err)
		}
	}
}
