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
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

const (
	ns      = "team-a"
	current = "aaaaaaaaaaaaaaaa"
	former  = "bbbbbbbbbbbbbbbb"
	fast    = 1000
)

var start = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

func TestUsesAreWrittenOnceInAWindow(t *testing.T) {
	c := api.Client(t)
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
	c := api.Client(t)
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
	c := api.Client(t)
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
	c := api.Client(t)
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
	if behind := start.Add(99 * time.Minute).Sub(got.Status.LastUsedAt.Time); behind > window || got.Status.TokenID != current || got.Status.DeliverySecretName == "" {
		t.Errorf("last use is %v behind, status %+v", behind, got.Status)
	}
}

func TestAFirstUseIsOfTheTokenThatStatusNames(t *testing.T) {
	c := api.Client(t)
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
	c := api.Client(t)
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
	c := api.Client(t)
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
	c := api.Client(t)
	pat := issued(t, c, "ahead")
	for name, tc := range map[string]struct {
		ahead time.Duration
		want  string
	}{
		"another replica's clock": {window, "0s 11m0s"},
		"a lie":                   {window + time.Second, "0s 1m0s"},
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

// mostWritten is how many writes there may have been since a time, at this rate a second.
func mostWritten(began time.Time, rate int) int {
	return rate + 1 + int(float64(rate)*time.Since(began).Seconds())
}

func TestWritesASecondAreBoundedAndFirstUsesComeFirst(t *testing.T) {
	c := api.Client(t)
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
	began := time.Now()
	tracker.flush(t.Context())
	most := mostWritten(began, rate)
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
	if written < rate || written > most || first != rate || len(tracker.uses) != n-written {
		t.Errorf("%d written, %d of them first uses, %d wait", written, first, len(tracker.uses))
	}
}

func TestWhatIsGoneIsForgottenAndWhatFailsIsTriedAgain(t *testing.T) {
	c := api.Client(t)
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
	c := api.Client(t)
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
