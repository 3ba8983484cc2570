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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/policies"
)

// countedPolicies are those of a cluster that exists in memory alone, with a clock of its own. What the operator writes comes back
// to it as from a watch.
type countedPolicies struct {
	t *testing.T
	*Reconciler
	began time.Time

	mu sync.Mutex
	// at are when counts began, and takes is how long each takes.
	at    []string
	takes time.Duration
	// busy reports that each count finds one token more, and that another resource changes during it.
	busy bool
	pats []v1alpha1.PersonalAccessToken
}

func newCountedPolicies(t *testing.T) *countedPolicies {
	t.Helper()
	known, err := NewPolicies(nil, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	known.synced = func() bool { return true }
	c := &countedPolicies{t: t, began: time.Now()}
	c.Reconciler = &Reconciler{Policies: known, Clock: clock.RealClock{}, Client: interceptor.NewClient(nil, interceptor.Funcs{
		List: c.list,
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return apierrors.NewNotFound(corev1.Resource("secrets"), "a record")
		},
		SubResourceApply: c.apply,
	})}
	return c
}

// list is where each count begins.
func (c *countedPolicies) list(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
	c.mu.Lock()
	c.at = append(c.at, time.Since(c.began).String())
	takes := c.takes
	if c.busy {
		c.pats = append(c.pats, v1alpha1.PersonalAccessToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprintf("pat-%d", len(c.pats))},
			Spec:       v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice"}},
		})
		c.moved.Store(true)
	}
	list.(*v1alpha1.PersonalAccessTokenList).Items = c.pats
	c.mu.Unlock()
	time.Sleep(takes)
	return nil
}

func (c *countedPolicies) set(busy bool, takes time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.takes = busy, takes
}

// counts are when counts began since it was last called.
func (c *countedPolicies) counts() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.at
	c.at = nil
	return strings.Join(at, " ")
}

func (c *countedPolicies) apply(_ context.Context, _ client.Client, _ string, o runtime.ApplyConfiguration, _ ...client.SubResourceApplyOption) error {
	applied := o.(*ac.TokenPolicyApplyConfiguration)
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(applied.Status)
	if err != nil {
		return err
	}
	c.change(*applied.Name, func(object *unstructured.Unstructured) { object.Object["status"] = status })
	return nil
}

// change is what a watch shows of a changed policy.
func (c *countedPolicies) change(name string, how func(*unstructured.Unstructured)) {
	object := c.stored(name).DeepCopy()
	how(object)
	c.put(object)
}

func (c *countedPolicies) put(object *unstructured.Unstructured) {
	c.t.Helper()
	if err := c.Policies.informer.GetStore().Add(object); err != nil {
		c.t.Fatal(err)
	}
	c.Policies.saw(object)
}

func (c *countedPolicies) stored(name string) *unstructured.Unstructured {
	c.t.Helper()
	object, exists, err := c.Policies.informer.GetStore().GetByKey(name)
	if err != nil || !exists {
		c.t.Fatalf("no policy %s: %v", name, err)
	}
	return object.(*unstructured.Unstructured)
}

// status is the observed generation, and the numbers of matched and affected tokens.
func (c *countedPolicies) status(name string) string {
	status, _ := c.stored(name).Object["status"].(map[string]any)
	return fmt.Sprint(status["observedGeneration"], status["matchedTokens"], status["affectedTokens"])
}

func newPolicy(name, uid, spec string) *unstructured.Unstructured {
	object := policies.New(name, spec)
	object.SetUID(types.UID(uid))
	object.SetGeneration(1)
	return object
}

// A count is not the cause of the next: its own writes come back, and wait as other changes do.
func TestWhenPoliciesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCountedPolicies(t)
		c.put(newPolicy("p", "1", "allowedAudiences: [api]"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- (&PolicyStatus{Reconciler: c.Reconciler, Log: logr.Discard()}).Start(ctx) }()
		for _, step := range []struct {
			name string
			do   func()
			// until is when the step ends, counted from the beginning. No step ends when a count begins.
			until          time.Duration
			counts, status string
		}{
			{"resources change all the while", func() { c.set(true, 0) }, 55 * time.Second, "1s 11s 21s 31s 41s 51s", "1 6 6"},
			{"counts take long", func() { c.set(true, 2*time.Second) }, 150 * time.Second, "1m1s 1m43s 2m25s", "1 9 9"},
			{"resources rest", func() { c.set(false, 0) }, 250 * time.Second, "3m7s", "1 9 9"},
			{"a policy changes", func() {
				c.change("p", func(object *unstructured.Unstructured) { object.SetGeneration(2) })
			}, 305 * time.Second, "4m11s", "2 9 9"},
			{"a policy is labeled", func() {
				c.change("p", func(object *unstructured.Unstructured) { object.SetLabels(map[string]string{"a": "b"}) })
			}, 355 * time.Second, "", "2 9 9"},
			{"a policy is made anew", func() {
				again := newPolicy("p", "2", "allowedAudiences: [api]")
				again.SetGeneration(2)
				c.put(again)
			}, 405 * time.Second, "5m56s", "2 9 9"},
			{"another policy", func() { c.put(newPolicy("q", "3", "requireScopes: true")) }, 455 * time.Second, "6m46s", "2 9 9"},
			{"a policy is gone", func() { c.Policies.gone(c.stored("q")) }, 505 * time.Second, "7m36s", "2 9 9"},
			{"the API server's audiences are learned", func() { c.SetAPIAudiences([]string{"api"}) }, 555 * time.Second, "8m26s", "2 9 0"},
			{"they are learned again", func() { c.SetAPIAudiences([]string{"api"}) }, 605 * time.Second, "", "2 9 0"},
			{"they change", func() { c.SetAPIAudiences([]string{"api", "other"}) }, 655 * time.Second, "10m6s", "2 9 9"},
		} {
			step.do()
			time.Sleep(step.until - time.Since(c.began))
			synctest.Wait()
			if got := c.counts(); got != step.counts {
				t.Errorf("%s: counts begin at %s, want %s", step.name, got, step.counts)
			}
			if got := c.status("p"); got != step.status {
				t.Errorf("%s: the status is %s, want %s", step.name, got, step.status)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
