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
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/env"
)

var api = env.APIServer{CRDs: true, Namespaces: []string{ns}}

func TestMain(m *testing.M) { os.Exit(api.Run(m)) }

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
