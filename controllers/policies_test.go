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

package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
	"github.com/pat-operator/pat-operator/test/policies"
)

// policed has a world's operator know these TokenPolicies, by name, and no others.
func (w *world) policed(specs map[string]string) {
	p := &Policies{set: policy.NewSet(), synced: func() bool { return true }}
	for name, spec := range specs {
		p.set.Put(policy.Parse(policies.New(name, spec)))
	}
	w.Policies = p
}

func TestAPolicyStopsATokenAndIsForgotten(t *testing.T) {
	w := newWorld(t)
	pat := w.create("a")
	w.settle("a")
	before := w.record(pat.UID)
	w.policed(map[string]string{"offboarding": "deny: {reason: Left the company.}"})
	w.settle("a")
	w.expect("a", "False/DeniedByPolicy", "True/Reconciled", "")
	if text := w.events.text(); !strings.Contains(text, `Warning DeniedByPolicy Refuse: Token `+before.Current.ID+` does not work now. TokenPolicy "offboarding" denies`) {
		t.Errorf("no event says so:\n%s", text)
	}
	w.create("b")
	w.settle("b")
	w.expect("b", "False/DeniedByPolicy", "False/DeniedByPolicy", "True/DeniedByPolicy")

	w.policed(map[string]string{"short": "maxLifetimeDays: 10"})
	w.settle("a")
	w.expect("a", "True/Active", "True/Reconciled", "")
	if got, want := w.get("a").Status.ExpiresAt.Time, before.Current.IssuedAt.Add(10*v1alpha1.Day); !got.Equal(want) {
		t.Errorf("the token expires at %v by status, want %v", got, want)
	}
	w.advance(11 * v1alpha1.Day)
	w.settle("a")
	w.expect("a", "False/DeniedByPolicy", "True/Reconciled", "")

	w.policed(nil)
	w.settle("a")
	w.expect("a", "True/Active", "True/Reconciled", "")
	after := w.record(pat.UID)
	after.Removals, before.Removals = nil, nil
	after.Current.Delivery, before.Current.Delivery = nil, nil // Its time was over.
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("the record keeps something of the policies:\n%s", diff)
	}
	w.settle("b")
	if got := w.condition("b", "Active"); got != "True/Active" {
		t.Errorf("what was denied is %s without the policy, want Active", got)
	}
}

// A predecessor works no longer than policies let it, as status and the event say; its record lasts until its own end.
func TestAPredecessorEndsByPolicyInStatusToo(t *testing.T) {
	w := newWorld(t)
	pat := w.create("a")
	w.settle("a")
	first := w.record(pat.UID).Current
	w.advance(5 * v1alpha1.Day)
	w.policed(map[string]string{"short": "maxLifetimeDays: 10"})
	w.change("a", func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(9 * v1alpha1.Day)}
		p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "2", OverlapSeconds: 30 * 24 * 3600}
	})
	w.settle("a")
	end := metav1.NewTime(first.IssuedAt.Add(10 * v1alpha1.Day))
	if s := w.get("a").Status; s.PreviousTokenID != first.ID || !s.PreviousTokenExpiresAt.Equal(&end) {
		t.Errorf("status says that predecessor %q ends at %v, want %s at %v", s.PreviousTokenID, s.PreviousTokenExpiresAt, first.ID, end)
	}
	if text, want := w.events.text(), "replaces "+first.ID+", which works until "+lifecycle.Stamp(end.Time)+" as well"; !strings.Contains(text, want) {
		t.Errorf("no event says %q:\n%s", want, text)
	}
	w.advance(6 * v1alpha1.Day)
	w.settle("a")
	if w.record(pat.UID).Previous == nil {
		t.Error("the policy took the predecessor out of the record")
	}
	w.policed(nil)
	w.settle("a")
	if got := w.get("a").Status.PreviousTokenExpiresAt; got == nil || !got.After(end.Time) {
		t.Errorf("without the policy the predecessor ends at %v", got)
	}
}

func TestAReplicaIsReadyOncePoliciesAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := false
		p := &Policies{synced: func() bool { return known }, began: time.Now()}
		if err := p.Ready(nil); err == nil || !strings.Contains(err.Error(), "the API server has not listed them yet; check that it serves tokenpolicies") {
			t.Errorf("a new replica: %v", err)
		}
		known = true
		if err := p.Ready(nil); err != nil {
			t.Errorf("policies are known: %v", err)
		}
		known = false
		time.Sleep(firstList)
		if err := p.Ready(nil); err != nil {
			t.Errorf("policies cannot be listed: %v", err)
		}
	})
}

func TestNothingIsIssuedBeforePoliciesAreKnown(t *testing.T) {
	w := newWorld(t)
	w.policed(nil)
	known := false
	w.Policies.synced = func() bool { return known }
	pat := w.create("a")
	if after := w.settle("a"); after <= 0 || after > 10*time.Second {
		t.Errorf("looks again after %v", after)
	}
	w.expect("a", "False/Issuing", "False/Issuing", "")
	if rec := w.record(pat.UID); lifecycle.HoldsToken(rec) {
		t.Error("a token was issued")
	}
	known = true
	w.settle("a")
	w.expect("a", "True/Active", "True/Reconciled", "")
}

// crowd is a user's resources, some of whose tokens the user makes.
type crowd struct {
	*world
	user string
	pats []*v1alpha1.PersonalAccessToken
}

func (c *crowd) create(n int) {
	var making sync.WaitGroup
	var mu sync.Mutex
	for range n {
		making.Go(func() {
			pat := &v1alpha1.PersonalAccessToken{
				ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, GenerateName: "pat-"},
				Spec:       v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: c.user}},
			}
			if err := admin.Create(c.ctx, pat); err != nil {
				c.t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			c.pats = append(c.pats, pat)
		})
	}
	making.Wait()
}

// work reconciles all, many at a time, as the queue does.
func (c *crowd) work() {
	var working sync.WaitGroup
	for _, pat := range c.pats {
		working.Go(func() {
			for range 3 {
				_, _ = c.Reconcile(c.ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(pat)}) // The next try mends it.
			}
		})
	}
	working.Wait()
}

// holders are the resources with a token that has not ended, the oldest first.
func (c *crowd) holders() []types.UID {
	var all []types.UID
	for _, pat := range c.oldest() {
		current, _, err := c.read(c.ctx, admin, client.ObjectKeyFromObject(pat))
		if err != nil {
			c.t.Fatal(err)
		}
		if lifecycle.HoldsToken(current.of(pat)) {
			all = append(all, pat.UID)
		}
	}
	return all
}

func (c *crowd) oldest() []*v1alpha1.PersonalAccessToken {
	return slices.SortedFunc(slices.Values(c.pats), func(a, b *v1alpha1.PersonalAccessToken) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(string(a.UID), string(b.UID)))
	})
}

func (c *crowd) shown() {
	env.Eventually(c.t, env.Patience, func() bool {
		var all v1alpha1.PersonalAccessTokenList
		if err := cached.List(c.ctx, &all, client.MatchingFields{indexUsername: c.user}); err != nil {
			c.t.Fatal(err)
		}
		return len(all.Items) == len(c.pats) && c.cacheIsCurrent()
	}, func() string { return "the cache does not show all resources" })
}

// settleAt works until exactly n have a token, and checks after each turn that no more do.
func (c *crowd) settleAt(n int) {
	c.t.Helper()
	env.Eventually(c.t, env.Patience, func() bool {
		c.work()
		got := len(c.holders())
		if got > n {
			c.t.Fatalf("%d tokens, and the policy allows %d", got, n)
		}
		return got == n
	}, func() string { return fmt.Sprintf("%d tokens, want %d", len(c.holders()), n) })
}

const mostTokens = 10

// The operator alone keeps to the number, as where admission knows of none of the others yet, though it works on many at a time and
// its cache lags.
func TestAUserHasAsManyTokensAsAPolicyAllows(t *testing.T) {
	rounds := 1
	switch {
	case *soak:
		rounds = 100
	case long.Form():
		rounds = 20
	}
	for round := range rounds {
		c := &crowd{world: newWorld(t)}
		c.user = fmt.Sprintf("crowd-%s-%d", c.namespace, round)
		c.policed(map[string]string{"contractors": fmt.Sprintf("maxTokensPerUser: %d", mostTokens)})
		c.create(30)
		c.settleAt(mostTokens)
		c.shown()
		c.settleAt(mostTokens)
		waiting := 0
		for _, pat := range c.pats {
			is := c.get(pat.Name)
			if conditionOf(is, "Ready") == "False/TooManyTokens" {
				waiting++
			}
		}
		if waiting != 20 {
			t.Fatalf("%d resources say that there are too many tokens, want 20", waiting)
		}
		// What ends makes room, for the oldest that wait.
		gone := c.holders()[:3]
		c.pats = slices.DeleteFunc(c.pats, func(pat *v1alpha1.PersonalAccessToken) bool {
			if !slices.Contains(gone, pat.UID) {
				return false
			}
			if err := admin.Delete(c.ctx, pat); err != nil {
				t.Fatal(err)
			}
			return true
		})
		held := c.holders()
		c.shown()
		var next []types.UID
		for _, pat := range c.oldest() {
			if !slices.Contains(held, pat.UID) && len(next) < 3 {
				next = append(next, pat.UID)
			}
		}
		c.settleAt(mostTokens)
		for _, uid := range next {
			if !slices.Contains(c.holders(), uid) {
				t.Errorf("a younger resource got the token of %s", uid)
			}
		}
	}
}

func TestTheOldestGetTheTokens(t *testing.T) {
	c := &crowd{world: newWorld(t)}
	c.user = "crowd-" + c.namespace
	c.policed(map[string]string{"contractors": fmt.Sprintf("maxTokensPerUser: %d", mostTokens)})
	c.create(15)
	c.shown()
	slices.Reverse(c.pats)
	c.settleAt(mostTokens)
	var want []types.UID
	for _, pat := range c.oldest()[:mostTokens] {
		want = append(want, pat.UID)
	}
	if diff := gocmp.Diff(want, c.holders()); diff != "" {
		t.Errorf("not the oldest have tokens:\n%s", diff)
	}
	// One that can have none keeps no place, and a limit of 0 takes none away.
	c.policed(map[string]string{"contractors": "maxTokensPerUser: 0"})
	c.settleAt(mostTokens)
	if n, err := c.TokensOf(c.ctx, c.user, types.NamespacedName{}); err != nil || n != 15 {
		t.Errorf("admission counts %d (%v), want the 10 tokens and the 5 that wait", n, err)
	}
}

// lagging is a cache that does not show some objects yet, and shows old versions of others.
type lagging struct {
	client.WithWatch
	hides func(types.NamespacedName) bool
	old   map[types.NamespacedName]*corev1.Secret
}

func (l *lagging) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if l.hides(key) {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	if secret, ok := o.(*corev1.Secret); ok && l.old[key] != nil {
		l.old[key].DeepCopyInto(secret)
		return nil
	}
	return l.WithWatch.Get(ctx, key, o, opts...)
}

func (l *lagging) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	err := l.WithWatch.List(ctx, list, opts...)
	if pats, ok := list.(*v1alpha1.PersonalAccessTokenList); ok {
		pats.Items = slices.DeleteFunc(slices.Clone(pats.Items), func(pat v1alpha1.PersonalAccessToken) bool {
			return l.hides(client.ObjectKeyFromObject(&pat))
		})
	}
	return err
}

// The last place goes to a younger resource, since the cache does not show the older one yet; then it shows that, and does not show
// yet that the place was taken.
func TestALastPlaceIsGivenOnce(t *testing.T) {
	w := newWorld(t)
	cache := &lagging{hides: func(types.NamespacedName) bool { return false }}
	w.mutate = func(c client.WithWatch) client.WithWatch { cache.WithWatch = c; return cache }
	w.restart()
	w.policed(map[string]string{"contractors": "maxTokensPerUser: 1"})
	user := func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.User.Username = "last-" + w.namespace }
	pats := []*v1alpha1.PersonalAccessToken{w.create("a", user), w.create("b", user)}
	if older(pats[1], pats[0]) {
		slices.Reverse(pats)
	}
	elder, younger := pats[0], pats[1]
	for _, pat := range pats {
		w.awaitCaches(pat.Name)
	}
	cache.hides = func(key types.NamespacedName) bool { return key == w.key(elder.Name) }
	w.settle(younger.Name)
	if !lifecycle.HoldsToken(w.record(younger.UID)) {
		t.Fatal("the younger one got no token, though no other was to be seen")
	}
	cache.hides = func(key types.NamespacedName) bool { return key == recordKey(w.key(younger.Name)) }
	w.settle(elder.Name)
	if lifecycle.HoldsToken(w.record(elder.UID)) {
		t.Error("the place of the younger one was given again")
	}
	w.expect(elder.Name, "False/TooManyTokens", "False/TooManyTokens", "True/TooManyTokens")
}

// Both took a place, and the API server refused to store their tokens; then the number became less than the places.
func TestTwoPlacesDoNotWaitForEachOther(t *testing.T) {
	w := newWorld(t)
	w.policed(map[string]string{"contractors": "maxTokensPerUser: 1"})
	w.room.taken = map[types.NamespacedName]place{}
	for _, name := range []string{"a", "b"} {
		pat := w.create(name, func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.User.Username = "places-" + w.namespace })
		w.awaitCaches(name)
		w.room.taken[w.key(name)] = place{uid: pat.UID}
	}
	issued := 0
	for range 2 {
		w.settle("a")
		w.settle("b")
	}
	for _, name := range []string{"a", "b"} {
		if w.condition(name, "Active") == "True/Active" {
			issued++
		}
	}
	if issued != 1 {
		t.Errorf("%d tokens were issued, want 1", issued)
	}
}

// Two tokens have expired, and both get successors: the place of the first one counts though the cache shows only what expired.
func TestALastPlaceIsGivenToOneSuccessor(t *testing.T) {
	w := newWorld(t)
	cache := &lagging{hides: func(types.NamespacedName) bool { return false }, old: map[types.NamespacedName]*corev1.Secret{}}
	w.mutate = func(c client.WithWatch) client.WithWatch { cache.WithWatch = c; return cache }
	w.restart()
	pats := map[string]*v1alpha1.PersonalAccessToken{}
	for _, name := range []string{"a", "b"} {
		pats[name] = w.create(name, func(pat *v1alpha1.PersonalAccessToken) {
			pat.Spec.User.Username, pat.Spec.ExpiresInDays = "successors-"+w.namespace, ptr.To[int32](1)
		})
		w.settle(name)
	}
	w.advance(2 * v1alpha1.Day)
	for name := range pats {
		w.settle(name)
		w.expect(name, "False/Expired", "True/Reconciled", "")
	}
	w.policed(map[string]string{"contractors": "maxTokensPerUser: 1"})
	expired := &corev1.Secret{}
	if err := admin.Get(w.ctx, recordKey(w.key("a")), expired); err != nil {
		t.Fatal(err)
	}
	for name := range pats {
		w.change(name, func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.Rotation = &v1alpha1.Rotation{Trigger: "again"} })
	}
	w.settle("a")
	w.expect("a", "True/Active", "True/Reconciled", "")
	cache.old[recordKey(w.key("a"))] = expired
	w.settle("b")
	if lifecycle.HoldsToken(w.record(pats["b"].UID)) {
		t.Error("the place of the first one was given again")
	}
	w.expect("b", "False/Expired", "False/TooManyTokens", "True/TooManyTokens")
	// A place that nobody needs any more is free again.
	delete(cache.old, recordKey(w.key("a")))
	w.delete("a")
	w.settle("b")
	w.expect("b", "True/Active", "True/Reconciled", "")
}

// A changed policy wakes the tokens that it matches or did match, and no others; a new status of it wakes none.
func TestWhatAChangedPolicyWakes(t *testing.T) {
	w := newWorld(t)
	w.policed(nil)
	alice, bob := "alice-"+w.namespace, "bob-"+w.namespace
	for name, user := range map[string]string{"a": alice, "b": bob} {
		w.create(name, func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.User.Username = user })
		w.awaitCaches(name)
	}
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	if err := w.policyChanges().Start(w.ctx, q); err != nil {
		t.Fatal(err)
	}
	of := func(user string) string {
		return fmt.Sprintf(`{match: {subjects: [{kind: User, name: %s}]}, deny: {reason: x}}`, user)
	}
	here := fmt.Sprintf("{match: {namespaces: [%s]}, deny: {reason: x}}", w.namespace)
	for _, tc := range []struct{ spec, want string }{
		{of(alice), "a"}, {of(alice), ""}, {of(bob), "a b"}, {here, "a b"}, {here, ""}, {of(alice), "a b"}, {"", "a"},
	} {
		if tc.spec == "" {
			w.Policies.gone(policies.New("p", "{}"))
		} else {
			w.Policies.saw(policies.New("p", tc.spec))
		}
		var woken []string
		for q.Len() > 0 {
			request, _ := q.Get()
			q.Done(request)
			woken = append(woken, request.Name)
		}
		slices.Sort(woken)
		if got := strings.Join(woken, " "); got != tc.want {
			t.Errorf("%s wakes %q, want %q", tc.spec, got, tc.want)
		}
	}
}

// The status of a policy counts what it concerns, and says what this program does not know of it.
func TestTheStatusOfPolicies(t *testing.T) {
	w := newWorld(t)
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	known, err := NewPolicies(c, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	w.Policies = known
	if _, err := known.For(w.namespace, &v1alpha1.UserInfo{Username: "alice"}); !errors.Is(err, errPoliciesUnknown) {
		t.Errorf("before it has listed anything it says %v", err)
	}
	match := &v1alpha1.PolicyMatch{Namespaces: []string{w.namespace}}
	days := int32(30)
	for name, spec := range map[string]v1alpha1.TokenPolicySpec{
		"short":   {Match: match, MaxLifetimeDays: &days},
		"scopes":  {Match: match, RequireScopes: true},
		"nowhere": {Match: &v1alpha1.PolicyMatch{Namespaces: []string{"no-such-*"}}, RequireScopes: true},
	} {
		object := &v1alpha1.TokenPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-" + name}, Spec: spec}
		if err := admin.Create(w.ctx, object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = admin.Delete(t.Context(), object) })
	}
	go func() { _ = known.Start(w.ctx) }()
	env.Eventually(t, env.Patience, known.synced, func() string { return "the policies are not listed" })
	w.create("short", func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.ExpiresInDays = &days })
	w.create("ended", func(pat *v1alpha1.PersonalAccessToken) {
		pat.Spec.ExpiresAt = &metav1.Time{Time: w.clock.Now().Add(time.Minute)}
	})
	w.advance(time.Hour)
	for _, name := range []string{"short", "ended"} {
		w.awaitCaches(name)
	}
	status := &PolicyStatus{Reconciler: w.Reconciler, Log: logr.Discard()}
	if err := status.count(w.ctx); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"short", "scopes", "nowhere"} {
		var p v1alpha1.TokenPolicy
		if err := admin.Get(w.ctx, types.NamespacedName{Name: w.namespace + "-" + name}, &p); err != nil {
			t.Fatal(err)
		}
		if p.Status.MatchedTokens == nil || p.Status.AffectedTokens == nil || len(p.Status.Conditions) != 1 {
			t.Fatalf("%s has the status %+v", name, p.Status)
		}
		c := p.Status.Conditions[0]
		got[name] = fmt.Sprintf("%d %d %s/%s", *p.Status.MatchedTokens, *p.Status.AffectedTokens, c.Status, c.Reason)
	}
	want := map[string]string{"short": "1 0 True/Reconciled", "scopes": "1 1 True/Reconciled", "nowhere": "0 0 True/Reconciled"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
