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

package verifier

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
	"github.com/pat-operator/pat-operator/test/policies"
)

var api = env.APIServer{CRDs: true, Namespaces: []string{recordsNamespace, "team-a"}}

func TestMain(m *testing.M) { os.Exit(api.Run(m)) }

// runFeeds starts feeds on the real API server and stops them with the test.
func runFeeds(t *testing.T, c client.WithWatch, maxStaleness time.Duration) (*Index, *Feeds) {
	t.Helper()
	return runFeedsWith(t, c, FeedOptions{MaxStaleness: maxStaleness, Policies: true})
}

func runFeedsWith(t *testing.T, c client.WithWatch, o FeedOptions) (*Index, *Feeds) {
	t.Helper()
	x := NewIndex(logr.Discard())
	x.SetAPIAudiences([]string{apiAudience})
	o.RecordsNamespace, o.Clock, o.Log = recordsNamespace, clock.RealClock{}, logr.Discard()
	feeds := NewFeeds(c, x, o)
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- feeds.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return x, feeds
}

// Watches of a real API server feed the index, and on a cluster where nothing happens the proofs go on coming.
func TestFeedsOfARealAPIServer(t *testing.T) {
	c := api.Client(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "bot"}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	x, feeds := runFeeds(t, c, MinMaxStaleness)
	took := env.Eventually(t, env.Patience, func() bool { return feeds.Ready(time.Now()) == nil },
		func() string { return fmt.Sprint(feeds.Ready(time.Now())) })
	t.Logf("ready after %v", took)

	p := newPAT(t, "team-a", "ci", "", ofServiceAccount("team-a", "bot", string(account.UID)), func(p *pat) {
		p.resource.Spec.ExpiresInDays = days(3660) // by the wall clock, unlike the other tests
	})
	if err := c.Create(t.Context(), p.resource); err != nil {
		t.Fatal(err)
	}
	p.record.Resource.UID = p.resource.UID
	p.record.Current.IssuedAt = time.Now().Truncate(time.Second)
	p.record.Current.ExpiresAt = time.Now().Add(time.Hour).Truncate(time.Second)
	secret := p.secret(t)
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	verdict := func(want Verdict) func() bool {
		return func() bool { return x.Verify(p.bearer, nil, time.Now()).Verdict == want }
	}
	says := func() string { return fmt.Sprint(x.Verify(p.bearer, nil, time.Now()).Reason) }
	env.Eventually(t, env.Patience, verdict(Authenticated), says)

	// Nothing happens for as long as what was known at first may be believed, and a while longer. Where the machine stood still, it
	// begins anew, once proofs can have come again.
	const stoodStill = time.Second
	var oldest time.Duration
	began, last, excused := time.Now(), time.Now(), time.Time{}
	env.Eventually(t, 10*time.Minute, func() bool {
		now := time.Now()
		if now.Sub(last) > stoodStill {
			t.Logf("nothing ran for %v", now.Sub(last))
			began, excused = now, now.Add(MinMaxStaleness)
		}
		last = now
		if err := feeds.Ready(now); err != nil {
			if now.After(excused) {
				t.Fatalf("not ready on a quiet cluster: %v", err)
			}
			return false
		}
		for _, f := range feeds.feeds {
			age, _ := f.freshness.age(now)
			oldest = max(oldest, age)
		}
		return time.Since(began) > MinMaxStaleness+5*time.Second
	}, says)
	t.Logf("the oldest that the index was known to be: %v of %v", oldest, MinMaxStaleness)

	deny := policies.New("left", `{match: {subjects: [{kind: ServiceAccount, namespace: team-a, name: bot}]}, deny: {reason: Left}}`)
	for _, step := range []struct {
		what string
		do   func() error
		want Verdict
	}{
		{"suspended", func() error {
			p.resource.Spec.Suspend = true
			return c.Update(t.Context(), p.resource)
		}, Unknown},
		{"resumed", func() error {
			p.resource.Spec.Suspend = false
			return c.Update(t.Context(), p.resource)
		}, Authenticated},
		{"denied by a policy", func() error { return c.Create(t.Context(), deny) }, Unknown},
		{"the policy deleted", func() error { return c.Delete(t.Context(), deny) }, Authenticated},
		{"its account deleted", func() error { return c.Delete(t.Context(), account) }, Unknown},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: seen after %v", step.what, env.Eventually(t, env.Patience, verdict(step.want), says))
	}
	for _, o := range []client.Object{p.resource, secret} {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	env.Eventually(t, env.Patience, func() bool { return x.Verify(p.bearer, nil, time.Now()).Reason == reasonUnknownID }, says)
}

// Where the API server does not serve TokenPolicies, an index that is to know them is not ready, and one that is not to answers. It is
// ready once they are served.
func TestWhereTokenPoliciesAreNotServed(t *testing.T) {
	long.Only(t)
	config := api.Config(t)
	root := env.Must[string](t)(cluster.ModuleRoot())
	crds := envtest.CRDInstallOptions{Paths: []string{filepath.Join(root, "config", "crd", "bases", "pat-operator.io_tokenpolicies.yaml")}, ErrorIfPathMissing: true}
	if err := envtest.UninstallCRDs(config, crds); err != nil {
		t.Fatal(err)
	}
	serve := func() error {
		_, err := envtest.InstallCRDs(config, crds)
		return err
	}
	t.Cleanup(func() {
		if err := serve(); err != nil {
			t.Error(err)
		}
	})
	list := func() error { return api.As(t, "alice", "system:masters").List(t.Context(), policyList()) }
	says := func() string { return fmt.Sprint(list()) }
	env.Eventually(t, env.Patience, func() bool { return meta.IsNoMatchError(list()) }, says)

	// Clients of processes that start now.
	fresh := func() client.WithWatch {
		return env.Must[client.WithWatch](t)(client.NewWithWatch(config, client.Options{Scheme: env.Scheme}))
	}
	p := newPAT(t, "team-a", "ci", "uid-1")
	t.Run("and not wanted", func(t *testing.T) {
		x, feeds := runFeedsWith(t, fresh(), FeedOptions{MaxStaleness: MinMaxStaleness})
		env.Eventually(t, env.Patience, func() bool { return feeds.Ready(time.Now()) == nil }, func() string { return fmt.Sprint(feeds.Ready(time.Now())) })
		p.set(t, x)
		want(t, x, p.bearer, start, Authenticated, reasonValid)
	})
	x, feeds := runFeeds(t, fresh(), MinMaxStaleness)
	// Until the other feeds are proven, the error is theirs.
	says = func() string { return fmt.Sprint(feeds.Ready(time.Now())) }
	env.Eventually(t, env.Patience, func() bool {
		return strings.HasPrefix(says(), "what is known of policies is not proven yet")
	}, says)
	p.set(t, x)
	want(t, x, p.bearer, start, NotReady, ReasonNotReady)
	if err := serve(); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", env.Eventually(t, 2*env.Patience, func() bool { return feeds.Ready(time.Now()) == nil }, says))
}
