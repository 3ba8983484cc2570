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
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/test/env"
)

var patResource = schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "personalaccesstokens"}

// liar is an API server, or something before it, that answers about PersonalAccessTokens other than what is true.
func liar(get, list func() error) func(client.WithWatch) client.WithWatch {
	return func(c client.WithWatch) client.WithWatch {
		return interceptor.NewClient(c, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if _, ok := o.(*v1alpha1.PersonalAccessToken); ok {
					return get()
				}
				return c.Get(ctx, key, o, opts...)
			},
			List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
				pats, ok := l.(*v1alpha1.PersonalAccessTokenList)
				if !ok {
					return c.List(ctx, l, opts...)
				}
				if err := list(); err != nil {
					return err
				}
				if err := c.List(ctx, l, opts...); err != nil {
					return err
				}
				pats.Items = nil
				return nil
			},
		})
	}
}

func notFound() error { return apierrors.NewNotFound(patResource, thePAT) }

func isTrue() error { return nil }

// blind makes the next process see no PersonalAccessToken in its cache, as after a relist that was empty, and live whatever
// a liar says.
func (w *world) blind(live func(client.WithWatch) client.WithWatch) {
	w.mutate = func(c client.WithWatch) client.WithWatch { return readFrom{c, readsNotFound{c}} }
	w.mutateLive = live
	w.restart()
}

func (w *world) sighted() {
	w.mutate, w.mutateLive = nil, nil
	w.restart()
}

// Whatever says that a resource is not there, but for a watch and lists over an hour, ends nothing: once it is back, its
// token works.
func TestCase43_AbsenceEndsNothing(t *testing.T) {
	unserved := func() error {
		return apierrors.NewGenericServerResponse(404, "get", patResource, "", "404 page not found", 0, true)
	}
	forbidden := func() error { return apierrors.NewForbidden(patResource, thePAT, fmt.Errorf("RBAC")) }
	for name, tc := range map[string]struct {
		get, list func() error
		// missing: the list says so, which is noted and ends nothing for an hour.
		missing bool
	}{
		"not served":                 {unserved, unserved, false},
		"forbidden":                  {forbidden, forbidden, false},
		"not found, list forbidden":  {notFound, forbidden, false},
		"not found, list not served": {notFound, unserved, false},
		"not found, an empty list":   {notFound, isTrue, true},
	} {
		for kind, create := range map[string]func(*world){"in a Secret": create, "a holder's": createHolders} {
			t.Run(name+", "+kind, func(t *testing.T) {
				w := newWorld(t)
				w.forget()
				create(w)
				w.settle(thePAT)
				pat := w.get(thePAT)
				version := w.recordVersion(pat)
				w.blind(liar(tc.get, tc.list))
				for range 10 { // A lie of ten minutes, met by new leaders.
					_, err := w.reconcile(thePAT)
					if (err == nil) != tc.missing {
						t.Fatalf("reconcile: %v", err)
					}
					w.advance(time.Minute)
					w.restart()
				}
				if since := w.record(pat.UID).MissingSince; (since != nil) != tc.missing || !tc.missing && w.recordVersion(pat) != version {
					t.Errorf("missing since %v; the record was written: %v", since, w.recordVersion(pat) != version)
				}
				w.sighted()
				w.settle(thePAT)
				w.expect(thePAT, "True/Active", "True/Reconciled", "")
				w.forget()
				if _, rec, valid := w.look(); len(rec.Ended) != 0 || rec.MissingSince != nil || tc.missing && kind == "a holder's" && len(valid) != 1 {
					t.Errorf("ended %v, missing since %v, %d plaintexts valid", rec.Ended, rec.MissingSince, len(valid))
				}
			})
		}
	}
}

// A list that is older than a list seen before, or that is not a list of PersonalAccessTokens, proves nothing.
func TestCase43_AnOldListIsNoAnswer(t *testing.T) {
	w := newWorld(t)
	pat := w.create(thePAT)
	w.settle(thePAT)
	for name, version := range map[string]string{"older": "1", "of another kind": "", "no version": "x"} {
		w.blind(func(c client.WithWatch) client.WithWatch {
			lies := liar(notFound, isTrue)(c)
			return interceptor.NewClient(lies, interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
					err := c.List(ctx, l, opts...)
					l.SetResourceVersion(version)
					return err
				},
			})
		})
		w.saw(w.ctx, pat)
		if _, err := w.reconcile(thePAT); err == nil || !strings.Contains(err.Error(), "older than one seen before") {
			t.Errorf("%s: %v", name, err)
		}
		if rec := w.record(pat.UID); rec.MissingSince != nil {
			t.Errorf("%s: it counts as missing", name)
		}
	}
}

// The CRD is deleted, so no read proves that a resource is gone. The watch has said so before.
func TestCase43_ADeletionEndsTokensWhereNothingCanBeRead(t *testing.T) {
	unserved := func() error {
		return apierrors.NewGenericServerResponse(404, "get", patResource, "", "404 page not found", 0, true)
	}
	for kind, create := range map[string]func(*world){"in a Secret": create, "a holder's": createHolders} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			create(w)
			w.settle(thePAT)
			pat := w.get(thePAT)
			w.blind(liar(unserved, unserved))
			if _, err := w.reconcile(thePAT); err == nil {
				t.Error("nothing can be read, and it does not say so")
			}
			if rec := w.record(pat.UID); rec == nil || rec.Current == nil {
				t.Fatalf("ended without evidence: %+v", rec)
			}
			w.sightings.gone(pat, w.Clock.Now())
			w.settle(thePAT)
			if rec := w.record(pat.UID); rec != nil && rec.Current != nil {
				t.Errorf("the record is %+v", rec)
			}
		})
	}
}

// What was deleted while no operator ran is collected after an hour, by two lists and a proven clock.
func TestCase43_ADeletionThatNobodySawIsCollectedSlowly(t *testing.T) {
	w := newWorld(t)
	pat := w.create(thePAT)
	w.settle(thePAT)
	unseen := func() { // The deletion reached no process of this world.
		w.restart()
		if after := w.settle(thePAT); after <= 0 || after > lifecycle.MissingFor {
			t.Errorf("comes back after %v", after)
		}
	}
	w.delete(thePAT)
	w.awaitCaches(thePAT)
	unseen()
	if rec := w.record(pat.UID); rec == nil || rec.MissingSince == nil {
		t.Fatalf("record %v", rec)
	}
	w.advance(lifecycle.MissingFor - time.Minute)
	unseen()
	w.ClockCheck = func() error { return fmt.Errorf("not proven") }
	w.advance(2 * time.Minute)
	w.settle(thePAT)
	if w.record(pat.UID) == nil {
		t.Error("collected within the hour, or by a clock that is not proven")
	}
	w.restart()
	w.settle(thePAT)
	if w.record(pat.UID) != nil || len(w.deliveries()) != 0 {
		t.Error("never collected")
	}
}

// While many resources are missing nothing is collected, an event and a metric say so, and real deletions still end tokens.
func TestCase43_TheBreakerKeepsWhatIsMissing(t *testing.T) {
	w := newWorld(t)
	own := newCensus()
	own.synced = func() bool { return true }
	crowd := func(missing, there int) {
		for i := range missing + there {
			own.set(fmt.Sprint(i), tally{namespace: "x", missing: i < missing})
		}
	}
	pat := w.create(thePAT)
	w.settle(thePAT)
	w.delete(thePAT)
	w.awaitCaches(thePAT)
	look := func() {
		w.restart()
		w.Census = own
		w.settle(thePAT)
	}
	crowd(21, 100)
	look()
	w.advance(2 * lifecycle.MissingFor)
	look()
	if w.record(pat.UID) == nil {
		t.Fatal("collected while the breaker is open")
	}
	if got := w.events.text(); !strings.Contains(got, "Warning CollectionStopped Stop: 21 of 121 PersonalAccessTokens that have a record cannot be found") {
		t.Errorf("events:\n%s", got)
	}
	other := w.create("other")
	w.Census = own
	w.settle("other")
	w.delete("other")
	w.settle("other")
	if w.record(other.UID) != nil {
		t.Error("a real deletion waits for the breaker")
	}
	for name, tc := range map[string]struct {
		missing, there int
		open           bool
	}{
		"twenty of thirty": {20, 10, false}, "ten in a hundred": {30, 270, false}, "more": {31, 269, true},
	} {
		own = newCensus()
		own.synced = func() bool { return true }
		crowd(tc.missing, tc.there)
		if open, _, _ := own.breaker(); open != tc.open {
			t.Errorf("%s: open %v", name, open)
		}
	}
	crowd(0, 400)
	look()
	if w.record(pat.UID) != nil {
		t.Error("not collected once few are missing")
	}
}

// The census counts a record once, whatever happens to it.
func TestCensus(t *testing.T) {
	w := newWorld(t)
	w.forget()
	createHolders(w)
	w.settle(thePAT)
	expect := func(when string, n int) {
		t.Helper()
		env.Eventually(t, env.Patience, func() bool { return census.Remembered(w.namespace) == n }, func() string {
			return fmt.Sprintf("%s: %d ids are counted, want %d", when, census.Remembered(w.namespace), n)
		})
	}
	expect("taken", 1)
	anotherHolders(w)
	w.settle(thePAT)
	expect("replaced", 2)
	remove(w)
	w.settle(thePAT)
	expect("deleted", 2)
	if err := admin.DeleteAllOf(w.ctx, &corev1.Secret{}, client.InNamespace(recordsNamespace), client.MatchingLabels{"pat-operator.io/namespace": w.namespace}); err != nil {
		t.Fatal(err)
	}
	expect("forgotten", 0)
}
