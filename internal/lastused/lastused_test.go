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
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
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

const (
	ns      = "team-a"
	current = "aaaaaaaaaaaaaaaa"
	former  = "bbbbbbbbbbbbbbbb"
	fast    = 1000
)

var start = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

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

func TestUsesAreWrittenOnceInAWindow(t *testing.T) {
	c := apiServer(t)
	issued(t, c, "once")
	tracker := newTracker(live{t, c}, c.Status())
	for i, step := range []struct {
		id       string
		minute   int
		want     string
		untaught bool // nothing is written
	}{
		{current, 1, "1m0s 1m0s", false},
		{current, 2, "1m0s 1m0s", true},
		{former, 10, "1m0s 1m0s", true},
		{former, 11, "1m0s 11m0s", false},
		{current, 12, "1m0s 11m0s", true},
		{current, 30, "1m0s 30m0s", false},
		{former, 25, "1m0s 30m0s", true}, // from a replica that was slow
	} {
		before := get(t, c, "once").ResourceVersion
		used(tracker, "once", step.id, start.Add(time.Duration(step.minute)*time.Minute))
		tracker.flush(t.Context())
		after := get(t, c, "once")
		if times(after) != step.want || (after.ResourceVersion == before) != step.untaught {
			t.Errorf("step %d: used first and last %q, want %q; written %v", i, times(after), step.want, after.ResourceVersion != before)
		}
	}
	if n := len(tracker.uses); n != 0 {
		t.Errorf("%d uses still wait", n)
	}
}

func TestCase22_NothingButTheTimesChanges(t *testing.T) {
	c := apiServer(t)
	before := issued(t, c, "only")
	before.Status.Conditions = []metav1.Condition{{Type: "Active", Status: "True", Reason: "Active", LastTransitionTime: metav1.NewTime(start)}}
	before.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: former, By: "alice"}}
	if err := c.Status().Update(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	tracker := newTracker(live{t, c}, c.Status())
	used(tracker, "only", current, start.Add(time.Minute))
	tracker.flush(t.Context())
	reconcilerApplies(t, c, "only", current) // whose own apply takes nothing of it away
	used(tracker, "only", current, start.Add(time.Hour))
	tracker.flush(t.Context())

	after := get(t, c, "only")
	if times(after) != "1m0s 1h0m0s" {
		t.Errorf("used first and last: %s", times(after))
	}
	after.Status.FirstUsedAt, after.Status.LastUsedAt = nil, nil
	if diff := cmp.Diff(before.Status, after.Status); diff != "" {
		t.Errorf("status (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before.Spec, after.Spec); diff != "" || after.Generation != before.Generation {
		t.Errorf("generation %d to %d, spec (-before +after):\n%s", before.Generation, after.Generation, diff)
	}
}

func TestCase22_OfTwoReplicasTheLaterTimeStays(t *testing.T) {
	c := apiServer(t)
	issued(t, c, "two")
	late := &behind{Index: live{t, c}}
	slow, quick := newTracker(late, c.Status()), newTracker(live{t, c}, c.Status())
	late.Use(ns, "two", current)
	used(quick, "two", current, start.Add(20*time.Minute))
	quick.flush(t.Context())
	used(slow, "two", current, start.Add(19*time.Minute))
	slow.flush(t.Context())
	if got := times(get(t, c, "two")); got != "20m0s 20m0s" || len(slow.uses) != 1 {
		t.Errorf("used first and last %s, %d uses wait; want what the quick one wrote, and the slow one to wait for its index", got, len(slow.uses))
	}
	late.seen = nil
	slow.flush(t.Context())
	if got := times(get(t, c, "two")); got != "20m0s 20m0s" || len(slow.uses) != 0 {
		t.Errorf("used first and last %s, %d uses wait", got, len(slow.uses))
	}
}

func TestCase22_AStormOfReplicasAndTheReconciler(t *testing.T) {
	c := apiServer(t)
	issued(t, c, "storm")
	watching, err := c.Watch(t.Context(), &v1alpha1.PersonalAccessTokenList{}, client.InNamespace(ns), client.MatchingFields{"metadata.name": "storm"})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	var running sync.WaitGroup
	for replica := range 4 {
		tracker := newTracker(live{t, c}, c.Status())
		running.Go(func() {
			for minute := range 100 {
				used(tracker, "storm", current, start.Add(time.Duration(minute)*time.Minute+time.Duration(replica)*time.Second))
				tracker.flush(t.Context())
			}
			for len(tracker.uses) > 0 {
				tracker.flush(t.Context())
			}
		})
	}
	running.Go(func() {
		for range 30 {
			reconcilerApplies(t, c, "storm", current)
		}
	})
	running.Wait()
	var last *metav1.Time
	writes, final := 0, get(t, c, "storm").ResourceVersion
	for e := range watching.ResultChan() {
		pat, ok := e.Object.(*v1alpha1.PersonalAccessToken)
		if !ok {
			t.Fatalf("watching: %v", e.Object)
		}
		if !pat.Status.LastUsedAt.Equal(last) {
			writes++
			if last != nil && pat.Status.LastUsedAt.Before(last) {
				t.Errorf("last use went from %v back to %v", last, pat.Status.LastUsedAt)
			}
			last = pat.Status.LastUsedAt
		}
		if pat.ResourceVersion == final {
			break
		}
	}
	if writes == 0 || writes > 11 {
		t.Errorf("%d writes in 100 minutes; want one in ten, and the first", writes)
	}
	got := get(t, c, "storm")
	if behind := start.Add(99 * time.Minute).Sub(got.Status.LastUsedAt.Time); behind > Window || got.Status.TokenID != current || got.Status.DeliverySecretName == "" {
		t.Errorf("last use is %v behind, status %+v", behind, got.Status)
	}
}

func TestAFirstUseIsOfTheTokenThatStatusNames(t *testing.T) {
	c := apiServer(t)
	issued(t, c, "rotated")
	reconcilerApplies(t, c, "rotated", former) // current by its record, and not by status yet
	tracker := newTracker(live{t, c}, c.Status())
	used(tracker, "rotated", current, start.Add(time.Minute))
	tracker.flush(t.Context())
	used(tracker, "rotated", current, start.Add(2*time.Minute))
	tracker.flush(t.Context())
	if got := times(get(t, c, "rotated")); got != "never 1m0s" {
		t.Errorf("used first and last: %s", got)
	}
	reconcilerApplies(t, c, "rotated", current)
	tracker.flush(t.Context())
	if got := times(get(t, c, "rotated")); got != "1m0s 1m0s" || len(tracker.uses) != 0 {
		t.Errorf("used first and last: %s, %d uses wait", got, len(tracker.uses))
	}
}

// The operator is down, so that status does not name the successor, and both are in use: they do not overwrite each other.
func TestTwoTokensInUseDoNotOverwriteEachOther(t *testing.T) {
	c := apiServer(t)
	issued(t, c, "both")
	reconcilerApplies(t, c, "both", former)
	tracker := newTracker(live{t, c}, c.Status())
	used(tracker, "both", current, start)
	written := map[string]bool{}
	for minute := range 60 {
		used(tracker, "both", former, start.Add(time.Duration(minute)*time.Minute))
		tracker.flush(t.Context())
		written[get(t, c, "both").ResourceVersion] = true
	}
	if len(written) > 6 {
		t.Errorf("%d writes in an hour; want one in ten minutes", len(written))
	}
	if got := times(get(t, c, "both")); got != "never 50m0s" {
		t.Errorf("used first and last: %s", got)
	}
}

// A use that had to wait is written over none that is younger, however much.
func TestCase22_AnOldUseIsNotWrittenOverAYoungerOne(t *testing.T) {
	c := apiServer(t)
	issued(t, c, "old")
	slow, quick := newTracker(live{t, c}, c.Status()), newTracker(live{t, c}, c.Status())
	used(slow, "old", current, start)
	used(quick, "old", current, start.Add(time.Hour))
	quick.flush(t.Context())
	slow.flush(t.Context())
	if got := times(get(t, c, "old")); got != "1h0m0s 1h0m0s" {
		t.Errorf("used first and last: %s", got)
	}
}

func TestATimeThatIsNobodysClockIsPutRight(t *testing.T) {
	c := apiServer(t)
	pat := issued(t, c, "ahead")
	for name, tc := range map[string]struct {
		ahead time.Duration
		want  string
	}{
		"another replica's clock": {Window, "0s 11m0s"},
		"a lie":                   {Window + time.Second, "0s 1m0s"},
	} {
		now := start.Add(time.Minute)
		pat.Status.FirstUsedAt, pat.Status.LastUsedAt = &metav1.Time{Time: start}, &metav1.Time{Time: now.Add(tc.ahead)}
		if err := c.Status().Update(t.Context(), pat); err != nil {
			t.Fatal(err)
		}
		tracker := NewTracker(live{t, c}, c.Status(), fast, at(now), logr.Discard())
		used(tracker, "ahead", current, now)
		tracker.flush(t.Context())
		if pat = get(t, c, "ahead"); times(pat) != tc.want {
			t.Errorf("%s: used first and last %s, want %s", name, times(pat), tc.want)
		}
	}
}

func TestWritesASecondAreBoundedAndFirstUsesComeFirst(t *testing.T) {
	c := apiServer(t)
	const n, rate = 12, 3
	tracker := NewTracker(live{t, c}, c.Status(), rate, at(start.Add(time.Hour)), logr.Discard())
	for i := range n {
		name := fmt.Sprintf("many-%d", i)
		pat := issued(t, c, name)
		if i < n-rate {
			pat.Status.FirstUsedAt = &metav1.Time{Time: start}
			if err := c.Status().Update(t.Context(), pat); err != nil {
				t.Fatal(err)
			}
		}
		used(tracker, name, current, start.Add(time.Hour))
	}
	tracker.flush(t.Context())
	written, first := 0, 0
	for i := range n {
		pat := get(t, c, fmt.Sprintf("many-%d", i))
		if pat.Status.LastUsedAt != nil {
			written++
		}
		if pat.Status.FirstUsedAt != nil && pat.Status.FirstUsedAt.After(start) {
			first++
		}
	}
	if written < rate || written > rate+1 || first != rate || len(tracker.uses) != n-written {
		t.Errorf("%d written, %d of them first uses, %d wait", written, first, len(tracker.uses))
	}
}

func TestWhatIsGoneIsForgottenAndWhatFailsIsTriedAgain(t *testing.T) {
	c := apiServer(t)
	pat := issued(t, c, "gone")
	late := &behind{Index: live{t, c}}
	late.Use(ns, "gone", current)
	if err := c.Delete(t.Context(), pat); err != nil {
		t.Fatal(err)
	}
	for name, index := range map[string]Index{"seen": live{t, c}, "not seen yet": late} {
		tracker := newTracker(index, c.Status())
		used(tracker, "gone", current, start)
		tracker.flush(t.Context())
		if len(tracker.uses) != 0 {
			t.Errorf("%s: %d uses wait", name, len(tracker.uses))
		}
	}
	issued(t, c, "failing")
	var logged []string
	log := funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{})
	now := at(start)
	tracker := NewTracker(live{t, c}, refusing{}, fast, now, log)
	used(tracker, "failing", current, start)
	tracker.flush(t.Context())
	tracker.flush(t.Context())
	if len(tracker.uses) != 1 || len(logged) != 1 {
		t.Errorf("%d uses wait, logged %q", len(tracker.uses), logged)
	}
	tracker.status = c.Status()
	tracker.flush(t.Context())
	if got := times(get(t, c, "failing")); got != "never never" {
		t.Errorf("written %s while it is to pause", got)
	}
	now.SetTime(start.Add(pause))
	tracker.flush(t.Context())
	if got := times(get(t, c, "failing")); got != "0s 0s" {
		t.Errorf("used first and last: %s", got)
	}
}

type refusing struct{ client.SubResourceWriter }

func (refusing) Apply(context.Context, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
	return errors.New("no route")
}

func TestWhatWaitsAtTheEndIsWritten(t *testing.T) {
	c := apiServer(t)
	issued(t, c, "end")
	tracker := newTracker(live{t, c}, c.Status())
	used(tracker, "end", current, start)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := tracker.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got := times(get(t, c, "end")); got != "0s 0s" {
		t.Errorf("used first and last: %s", got)
	}
}
