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

package holder

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

func TestOutcome(t *testing.T) {
	old := func(c metav1.Condition) metav1.Condition {
		c.ObservedGeneration = 1
		return c
	}
	deleted := withConditions(2, isReady, isActive)
	deleted.DeletionTimestamp = &metav1.Time{Time: start}
	isSuspended := metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSuspended, Message: "Resume it."}
	for name, tc := range map[string]struct {
		pat  *v1alpha1.PersonalAccessToken
		done bool
		err  string
	}{
		"nothing yet":              {pat: withConditions(2)},
		"issuing":                  {pat: withConditions(2, isIssuing)},
		"active, not ready":        {pat: withConditions(2, isActive, isIssuing)},
		"ready":                    {pat: withConditions(2, isActive, isReady), done: true},
		"ready in an old status":   {pat: withConditions(2, old(isActive), old(isReady))},
		"active in an old status":  {pat: withConditions(2, old(isActive), isReady)},
		"stalled":                  {pat: withConditions(2, isStalled, isActive, isReady), done: true, err: "Too many\x1b[31m. (EndedTokensFull)"},
		"stalled in an old status": {pat: withConditions(2, old(isStalled), isIssuing)},
		"suspended":                {pat: withConditions(2, isSuspended, isReady), done: true, err: "Resume it. (Suspended)"},
		"deleted":                  {pat: deleted, done: true, err: "its resource was deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			done, err := outcome(tc.pat)
			if done != tc.done || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
				t.Errorf("got %v, %v; want %v, %s", done, err, tc.done, tc.err)
			}
		})
	}
}

// WaitActive also sees changes when watching is forbidden, between two watches, and after an expired revision.
func TestWaitActivePollsWithoutAWatch(t *testing.T) {
	ended := func() watch.Interface {
		w := watch.NewFakeWithOptions(watch.FakeOptions{})
		w.Stop()
		return w
	}
	gone := func() watch.Interface {
		w := watch.NewFakeWithChanSize(1, false)
		w.Error(&apierrors.NewResourceExpired("too old").ErrStatus)
		return w
	}
	for name, start := range map[string]func() (watch.Interface, error){
		"forbidden":            func() (watch.Interface, error) { return nil, apierrors.NewForbidden(patResource, "", nil) },
		"ended":                func() (watch.Interface, error) { return ended(), nil },
		"a revision is gone":   func() (watch.Interface, error) { return gone(), nil },
		"the server restarted": func() (watch.Interface, error) { return nil, errors.New("connection refused") },
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(t, interceptor.Funcs{
				Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
					return start()
				},
			}, withConditions(1, isReady, isActive))
			if _, err := WaitActive(t.Context(), c, withConditions(1)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWaitActiveNamesTheCause(t *testing.T) {
	for name, tc := range map[string]struct {
		get    error
		within time.Duration
		want   string
	}{
		"deleted":   {apierrors.NewNotFound(patResource, "ci"), time.Minute, "its resource was deleted"},
		"forbidden": {apierrors.NewForbidden(patResource, "ci", errors.New("no")), time.Minute, `cannot read its status: personalaccesstokens.pat-operator.io "ci" is forbidden: no`},
		"no answer": {errors.New("connection refused"), rereadAfter + rereadAfter/2, "timed out: the API server did not answer: watch refused"},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(t, interceptor.Funcs{
				Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
					return tc.get
				},
				Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
					return nil, errors.New("watch refused")
				},
			})
			ctx, cancel := context.WithTimeout(t.Context(), tc.within)
			defer cancel()
			last, err := WaitActive(ctx, c, withConditions(1))
			if err == nil || err.Error() != tc.want || last.Name != "ci" {
				t.Errorf("got %v, %v; want %s", last, err, tc.want)
			}
		})
	}
}

func TestWaitActiveIgnoresAnotherResource(t *testing.T) {
	pat := withConditions(1)
	pat.UID = "mine"
	other := withConditions(1, isReady, isActive)
	other.UID = "another's"
	w := watch.NewFakeWithChanSize(2, false)
	w.Modify(other)
	w.Delete(pat)
	c := cluster(t, interceptor.Funcs{
		Watch: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
			return w, nil
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := WaitActive(ctx, c, pat); !errors.Is(err, ErrDeleted) {
		t.Errorf("got %v", err)
	}
}
