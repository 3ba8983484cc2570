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

package lastused

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	testingclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

var api struct {
	sync.Once
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

// apiServer is a client of a real API server, which the first test that asks starts.
func apiServer(t *testing.T) client.WithWatch {
	t.Helper()
	api.Do(func() { api.err = startAPIServer(t.Context()) })
	if api.err != nil {
		t.Fatal(api.err)
	}
	return api.client
}

func startAPIServer(ctx context.Context) error {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set: run `make test`")
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	api.env = &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
	}
	config, err := api.env.Start()
	if err != nil {
		return err
	}
	config.QPS = -1
	if api.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return api.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
}

// live is an index that is never behind.
type live struct {
	t      *testing.T
	client client.Client
}

func (l live) Use(namespace, name, id string) (verifier.Use, bool) {
	pat := &v1alpha1.PersonalAccessToken{}
	if err := l.client.Get(l.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, pat); err != nil {
		return verifier.Use{}, false
	}
	u := verifier.Use{ResourceVersion: pat.ResourceVersion, TokenID: pat.Status.TokenID, Current: id == current}
	if pat.Status.FirstUsedAt != nil {
		u.FirstUsedAt = pat.Status.FirstUsedAt.Time
	}
	if pat.Status.LastUsedAt != nil {
		u.LastUsedAt = pat.Status.LastUsedAt.Time
	}
	return u, true
}

// behind is an index that has seen nothing since its first answer.
type behind struct {
	Index
	seen *verifier.Use
}

func (b *behind) Use(namespace, name, id string) (verifier.Use, bool) {
	if b.seen == nil {
		u, ok := b.Index.Use(namespace, name, id)
		if !ok {
			return u, false
		}
		b.seen = &u
	}
	return *b.seen, true
}

// issued makes a resource whose status is as the reconciler applies it.
func issued(t *testing.T, c client.Client, name string) *v1alpha1.PersonalAccessToken {
	t.Helper()
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec:       v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice"}},
	}
	if err := c.Create(t.Context(), pat); err != nil {
		t.Fatal(err)
	}
	reconcilerApplies(t, c, name, current)
	return get(t, c, name)
}

func at(now time.Time) *testingclock.FakePassiveClock { return testingclock.NewFakePassiveClock(now) }

// newTracker is one that writes as fast as it can, when all uses of a test have been.
func newTracker(index Index, status client.SubResourceWriter) *Tracker {
	return NewTracker(index, status, fast, at(start.Add(2*time.Hour)), logr.Discard())
}

func reconcilerApplies(t *testing.T, c client.Client, name, id string) {
	t.Helper()
	status := ac.PersonalAccessTokenStatus().WithObservedGeneration(1).WithTokenID(id).WithIssuedAt(metav1.NewTime(start)).WithDeliverySecretName("pat-" + id)
	if err := c.Status().Apply(t.Context(), ac.PersonalAccessToken(name, ns).WithStatus(status), client.FieldOwner("pat-operator"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c client.Client, name string) *v1alpha1.PersonalAccessToken {
	t.Helper()
	pat := &v1alpha1.PersonalAccessToken{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, pat); err != nil {
		t.Fatal(err)
	}
	return pat
}

// used is one use of a token, as a face tells of it.
func used(tracker *Tracker, name, id string, at time.Time) {
	tracker.Used(&verifier.Result{Verdict: verifier.Authenticated, ID: id, Namespace: ns, Name: name}, at)
}

// times are when status says that a token was used first and last, in minutes after start.
func times(pat *v1alpha1.PersonalAccessToken) string {
	minutes := func(at *metav1.Time) string {
		if at == nil {
			return "never"
		}
		return at.Sub(start).String()
	}
	return minutes(pat.Status.FirstUsedAt) + " " + minutes(pat.Status.LastUsedAt)
}
