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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// api is a client of a real API server, which the first test that asks starts.
var api struct {
	client client.WithWatch
	env    *envtest.Environment
	err    error
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	code := m.Run()
	if api.env != nil {
		_ = api.env.Stop()
	}
	os.Exit(code)
}

func apiServer(t *testing.T) client.WithWatch {
	t.Helper()
	if api.env == nil && api.err == nil {
		api.err = startAPIServer()
	}
	if api.err != nil {
		t.Fatal(api.err)
	}
	return api.client
}

func startAPIServer() error {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set: run `make test`")
	}
	api.env = &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	config, err := api.env.Start()
	if err != nil {
		return err
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if api.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, name := range []string{recordsNamespace, "team-a"} {
		if err := api.client.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	return nil
}

// runFeeds starts feeds on the real API server and stops them with the test.
func runFeeds(t *testing.T, c client.WithWatch, maxStaleness time.Duration) (*Index, *Feeds) {
	t.Helper()
	x := NewIndex(logr.Discard())
	x.SetAPIAudiences([]string{apiAudience})
	feeds := NewFeeds(c, x, FeedOptions{
		RecordsNamespace: recordsNamespace, MaxStaleness: maxStaleness, Clock: clock.RealClock{}, Log: logr.Discard(),
	})
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

func until(t *testing.T, within time.Duration, ok func() bool, otherwise func() string) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > within {
			t.Fatalf("%s, after %v", otherwise(), within)
		}
		<-tick.C
	}
	return time.Since(began)
}

// Watches of a real API server feed the index, and on a cluster where nothing happens the proofs go on coming.
func TestFeedsOfARealAPIServer(t *testing.T) {
	c := apiServer(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "bot"}}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	x, feeds := runFeeds(t, c, MinMaxStaleness)
	took := until(t, 30*time.Second, func() bool { return feeds.Ready(time.Now()) == nil },
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
	until(t, 10*time.Second, verdict(Authenticated), says)

	// Nothing happens for as long as what was known at first may be believed, and a while longer.
	var oldest time.Duration
	began := time.Now()
	until(t, time.Minute, func() bool {
		now := time.Now()
		if err := feeds.Ready(now); err != nil {
			t.Fatalf("not ready on a quiet cluster: %v", err)
		}
		for _, f := range feeds.feeds {
			age, _ := f.freshness.age(now)
			oldest = max(oldest, age)
		}
		return time.Since(began) > MinMaxStaleness+5*time.Second
	}, says)
	t.Logf("the oldest that the index was known to be: %v of %v", oldest, MinMaxStaleness)

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
		{"its account deleted", func() error { return c.Delete(t.Context(), account) }, Unknown},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: seen after %v", step.what, until(t, 10*time.Second, verdict(step.want), says))
	}
	for _, o := range []client.Object{p.resource, secret} {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 10*time.Second, func() bool { return x.Verify(p.bearer, nil, time.Now()).Reason == reasonUnknownID }, says)
}
