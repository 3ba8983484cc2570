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
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/internal/cache"
	"github.com/pat-operator/pat-operator/test/policies"
)

const recordsNamespace = "pat-operator-records"

// newFeeds are feeds that nobody starts, by name, and their index.
func newFeeds(t *testing.T, c client.WithWatch) (*Index, *Feeds, map[string]*feed) {
	t.Helper()
	x := NewIndex(logr.Discard())
	x.SetAPIAudiences([]string{apiAudience})
	feeds := NewFeeds(c, x, FeedOptions{
		RecordsNamespace: recordsNamespace, MaxStaleness: time.Minute, Policies: true,
		Clock: testingclock.NewFakePassiveClock(start), Log: logr.Discard(),
	})
	byName := map[string]*feed{}
	for _, f := range feeds.feeds {
		byName[f.name] = f
	}
	return x, feeds, byName
}

func TestFeedsFillTheIndexAndEmptyIt(t *testing.T) {
	x, feeds, of := newFeeds(t, nil)
	p := newPAT(t, "team-a", "ci", "uid-1", ofServiceAccount("team-a", "bot", "sa-1"))
	account := cache.ServiceAccounts()
	account.Namespace, account.Name, account.UID = "team-a", "bot", "sa-1"
	replace := func(name, revision string, objs ...any) {
		t.Helper()
		if err := (store{of[name]}).Replace(objs, revision); err != nil {
			t.Fatal(err)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	records, resources, accounts := store{of["records"]}, store{of["resources"]}, store{of["serviceaccounts"]}

	for _, f := range feeds.feeds {
		f.freshness.listed(probe{start, "10"}, "")
	}
	replace("records", "10", p.secret(t))
	replace("resources", "10", p.resource.DeepCopy())
	want(t, x, p.bearer, start, NotReady, ReasonNotReady)
	replace("serviceaccounts", "10", account)
	want(t, x, p.bearer, start, NotReady, ReasonNotReady)
	replace("policies", "10")
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	want(t, x, p.bearer, start.Add(time.Minute), Authenticated, reasonValid)
	want(t, x, p.bearer, start.Add(time.Minute+1), NotReady, ReasonNotReady)

	suspended := p.resource.DeepCopy()
	suspended.Spec.Suspend = true
	do(resources.Update(suspended))
	want(t, x, p.bearer, start, Unknown, ReasonSuspended)
	do(resources.Update(p.resource.DeepCopy()))
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	do(accounts.Delete(account))
	want(t, x, p.bearer, start, Unknown, ReasonOwnerNotSeen)
	do(accounts.Add(account))
	do(resources.Delete(p.resource))
	want(t, x, p.bearer, start, Unknown, ReasonResourceNotSeen)
	do(resources.Add(p.resource.DeepCopy()))
	do(records.Delete(toolscache.DeletedFinalStateUnknown{Key: recordsNamespace + "/" + p.secretName()}))
	want(t, x, p.bearer, start, Unknown, reasonUnknownID)
	do(records.Add(p.secret(t)))
	want(t, x, p.bearer, start, Authenticated, reasonValid)

	deny := policies.New("p", `{deny: {reason: Left}}`)
	do(store{of["policies"]}.Add(deny))
	want(t, x, p.bearer, start, Unknown, ReasonDeniedByPolicy)
	do(store{of["policies"]}.Update(policies.New("p", `{match: {namespaces: [team-b]}, deny: {reason: Left}}`)))
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	do(store{of["policies"]}.Add(deny))
	do(store{of["policies"]}.Delete(deny))
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	replace("policies", "11", deny, policies.New("q", `{maxLifetimeDays: 30}`))
	want(t, x, p.bearer, start, Unknown, ReasonDeniedByPolicy)
	replace("policies", "12", policies.New("q", `{maxLifetimeDays: 30}`))
	want(t, x, p.bearer, start, Authenticated, reasonValid)

	// A list that lacks what the watch had shown: deleted while the watch was away.
	refused := p.secret(t)
	refused.Name, refused.Data = "pat-other", nil
	do(records.Add(refused))
	for _, tc := range []struct {
		feed   string
		reason Reason
		again  any
	}{
		{"resources", ReasonResourceNotSeen, p.resource.DeepCopy()},
		{"serviceaccounts", ReasonOwnerNotSeen, account},
		{"records", reasonUnknownID, nil},
	} {
		replace(tc.feed, "11")
		want(t, x, p.bearer, start, Unknown, tc.reason)
		if tc.again != nil {
			replace(tc.feed, "12", tc.again)
			want(t, x, p.bearer, start, Authenticated, reasonValid)
		}
	}
	replace("resources", "13")
	replace("serviceaccounts", "13")
	wantClean(t, x)
}

func TestReadyNamesTheFeedThatIsBehind(t *testing.T) {
	_, feeds, of := newFeeds(t, nil)
	prove := func(name string, at time.Time) {
		of[name].freshness.listed(probe{at, "10"}, "")
		of[name].freshness.took("10")
	}
	check := func(now time.Time, want string) {
		t.Helper()
		got := ""
		if err := feeds.Ready(now); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ready: %q; want %q", got, want)
		}
	}
	prove("records", start)
	prove("resources", start)
	check(start, "what is known of serviceaccounts is not proven yet: the API server has not answered, or its watch is behind")
	prove("serviceaccounts", start)
	check(start, "what is known of policies is not proven yet: the API server has not answered, or its watch is behind")
	prove("policies", start)
	check(start, "")
	prove("records", start.Add(10*time.Second))
	prove("serviceaccounts", start.Add(10*time.Second))
	prove("policies", start.Add(10*time.Second))
	check(start.Add(65*time.Second),
		"what is known of resources may be 1m5s old, more than --max-staleness (1m0s): the API server does not answer, or its watch is behind")
	prove("resources", start.Add(40*time.Second))
	check(start.Add(65*time.Second), "")
	feeds.opts.ClockOff = func() error { return errors.New("this clock is off") }
	check(start.Add(65*time.Second), "this clock is off")
}

// A clock that is known to be off decides nothing, neither yes nor no: another replica may know better.
func TestCase14_AClockThatIsOffDecidesNothing(t *testing.T) {
	x, feeds, _ := newFeeds(t, nil)
	for _, f := range feeds.feeds {
		f.freshness.listed(probe{start, "1"}, "")
		f.freshness.took("1")
	}
	p := newPAT(t, "team-a", "ci", "uid-1")
	p.set(t, x)
	want(t, x, p.bearer, start, Authenticated, reasonValid)
	feeds.opts.ClockOff = func() error { return errors.New("this clock is off") }
	want(t, x, p.bearer, start, NotReady, ReasonNotReady)
}

// A watch has missed that a policy was replaced by one of another name: at no moment does a token work that both deny.
func TestAPolicyOfAnotherNameTakesOver(t *testing.T) {
	x, _, of := newFeeds(t, nil)
	p := newPAT(t, "team-a", "ci", "uid-1")
	p.set(t, x)
	x.MarkSynced()
	worked := 0
	x.OnChange(func(string) {
		if x.Verify(p.bearer, nil, start).Verdict == Authenticated {
			worked++
		}
	})
	feed := store{of["policies"]}
	for i, name := range []string{"a", "b", "a"} {
		if err := feed.Replace([]any{policies.New(name, `{deny: {reason: x}}`)}, fmt.Sprint(i+1)); err != nil {
			t.Fatal(err)
		}
		want(t, x, p.bearer, start, Unknown, ReasonDeniedByPolicy)
	}
	if worked > 0 {
		t.Error("a token worked in between")
	}
	if err := feed.Replace(nil, "4"); err != nil {
		t.Fatal(err)
	}
	want(t, x, p.bearer, start, Authenticated, reasonValid)
}

func TestStalenessAndSizeAreGauges(t *testing.T) {
	x, feeds, of := newFeeds(t, nil)
	newPAT(t, "team-a", "ci", "uid-1").set(t, x)
	x.SetPolicy(policies.New("p", `{maxLifetimeDays: 30}`))
	of["records"].freshness.listed(probe{start.Add(-7 * time.Second), "1"}, "")
	of["records"].freshness.took("1")
	if err := metrics.Registry.Register(feeds); err != nil {
		t.Fatal(err)
	}
	defer metrics.Registry.Unregister(feeds)
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got, sizes, limit := map[string]float64{}, map[string]float64{}, 0.0
	for _, family := range families {
		if family.GetName() == "pat_operator_verifier_staleness_seconds" {
			for _, m := range family.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			switch family.GetName() {
			case "pat_operator_verifier_index_entries":
				sizes[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			case "pat_operator_verifier_max_staleness_seconds":
				limit = m.GetGauge().GetValue()
			}
		}
	}
	if diff := cmp.Diff(map[string]float64{"token_ids": 1, "names": 1, "serviceaccounts": 0, "policies": 1}, sizes); diff != "" || limit != 60 {
		t.Errorf("limit %v; sizes (-want +got):\n%s", limit, diff)
	}
	if len(got) != 4 || got["records"] != 7 || got["resources"] < 1e300 {
		t.Errorf("gauges %v; want 7 for records and infinity for the others", got)
	}
}

func TestAGuardedWatchEnds(t *testing.T) {
	secret := func(annotation string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: annotation}}}
	}
	for name, tc := range map[string]struct {
		limit  time.Duration
		do     func(*watch.FakeWatcher, watch.Interface)
		events int
	}{
		"when it hangs":                {50 * time.Millisecond, func(*watch.FakeWatcher, watch.Interface) {}, 0},
		"when it hangs after an event": {50 * time.Millisecond, func(w *watch.FakeWatcher, _ watch.Interface) { w.Add(secret("")) }, 1},
		"when the server ends it":      {time.Hour, func(w *watch.FakeWatcher, _ watch.Interface) { w.Stop() }, 0},
		"when it is stopped":           {time.Hour, func(_ *watch.FakeWatcher, g watch.Interface) { g.Stop(); g.Stop() }, 0},
		"when the initial events are over": {time.Hour, func(w *watch.FakeWatcher, _ watch.Interface) {
			w.Add(secret(""))
			w.Action(watch.Bookmark, secret("true"))
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := watch.NewFakeWithOptions(watch.FakeOptions{ChannelSize: 4})
				ctx, cancel := context.WithCancel(t.Context())
				g := guard(inner, cancel, tc.limit, 50*time.Millisecond)
				tc.do(inner, g)
				events := 0
				for range g.ResultChan() {
					events++
				}
				<-ctx.Done() // The request is let go of.
				if events != tc.events || !inner.IsStopped() {
					t.Errorf("%d events, stopped %v; want %d", events, inner.IsStopped(), tc.events)
				}
			})
		})
	}
	t.Run("and not with a bookmark of another kind", func(t *testing.T) {
		inner := watch.NewFakeWithOptions(watch.FakeOptions{ChannelSize: 4})
		g := guard(inner, func() {}, time.Hour, time.Hour)
		inner.Action(watch.Bookmark, secret(""))
		inner.Add(secret(""))
		for range 2 {
			if _, ok := <-g.ResultChan(); !ok {
				t.Fatal("it has ended")
			}
		}
		g.Stop()
	})
}

// silent is a client whose watch gets no answer until its request is cancelled, as by a proxy that hangs.
type silent struct {
	client.WithWatch
	raw metav1.ListOptions
	// asked is called with each watch.
	asked func()
}

func (s *silent) Watch(ctx context.Context, _ client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
	o := client.ListOptions{}
	o.ApplyOptions(opts)
	s.raw = *o.Raw
	s.asked()
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestWatchesAreShortAndInitialOnesAreLeftAlone(t *testing.T) {
	ten := int64(600)
	yes := true
	for name, tc := range map[string]struct {
		opts metav1.ListOptions
		want int64
	}{
		"a watch":          {metav1.ListOptions{TimeoutSeconds: &ten}, 15},
		"an initial watch": {metav1.ListOptions{TimeoutSeconds: &ten, SendInitialEvents: &yes}, 600},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := &silent{asked: cancel}
			_, _, of := newFeeds(t, c)
			if _, err := of["resources"].WatchWithContext(ctx, tc.opts); err == nil {
				t.Fatal("it watches")
			}
			if got := *c.raw.TimeoutSeconds; got != tc.want {
				t.Errorf("timeoutSeconds %d; want %d", got, tc.want)
			}
		})
	}
}
