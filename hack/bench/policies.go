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

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const (
	// denyingVerifiers is how many verifiers have to refuse, and askersOfEach how many ask each of them at once.
	denyingVerifiers, askersOfEach = 2, 4
	// deniedWithin is how long after the event of a watch the last yes may be, and after the removal the last no.
	deniedWithin = time.Second
)

// denial is one policy that denies all tokens, and the verifiers that are asked about them.
type denial struct {
	admin     client.WithWatch
	verifiers []*abuse.Client
	bearers   []string
}

// benchPolicy creates a policy that denies all tokens, and removes it. Meanwhile verifiers of their own are asked about each token,
// again and again. No operator may run: it would write to each token.
func benchPolicy(ctx context.Context, c *cluster.Cluster, admin client.WithWatch, bearers []string, out io.Writer) (err error) {
	d := &denial{admin: admin, bearers: bearers}
	for range denyingVerifiers {
		m, reviews, failed := startReviewed(ctx, c, bearers)
		if failed != nil {
			return failed
		}
		defer func() {
			reviews.Close()
			err = errors.Join(err, m.Stop())
		}()
		d.verifiers = append(d.verifiers, reviews)
	}
	policy := &v1alpha1.TokenPolicy{ObjectMeta: metav1.ObjectMeta{Name: "bench"}, Spec: v1alpha1.TokenPolicySpec{
		Deny: &v1alpha1.PolicyDenial{Reason: "a benchmark"},
	}}
	denied, err := d.measure(ctx, watch.Added, true, func() error { return admin.Create(ctx, policy) })
	if err != nil {
		return err
	}
	restored, err := d.measure(ctx, watch.Deleted, false, func() error { return admin.Delete(ctx, policy) })
	if err != nil {
		return err
	}
	var all figures
	what := fmt.Sprintf("one TokenPolicy for %d tokens, %d verifiers: from its watch event to the last ", len(bearers), denyingVerifiers)
	target := fmt.Sprintf("≤ %v", deniedWithin)
	all.add(what+"yes", denied.Round(time.Millisecond).String(), target, denied <= deniedWithin)
	all.add(what+"no, once it is deleted", restored.Round(time.Millisecond).String(), target, restored <= deniedWithin)
	return all.print(out)
}

// measure changes the policy, and returns how long after its event any verifier has last answered as before the change.
func (d *denial) measure(ctx context.Context, event watch.EventType, denied bool, change func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*env.Patience)
	defer cancel()
	now := &v1alpha1.TokenPolicyList{}
	if err := d.admin.List(ctx, now); err != nil {
		return 0, err
	}
	events, err := d.admin.Watch(ctx, now, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}})
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	seen := make(chan time.Time, 1)
	go func() {
		defer close(seen)
		for e := range events.ResultChan() {
			if e.Type == event {
				seen <- time.Now()
				return
			}
		}
	}()
	changed := make(chan error, 1)
	go func() { changed <- change() }()
	var at, last time.Time
	for {
		began := time.Now()
		wrong, err := d.ask(ctx, denied)
		if err != nil {
			return 0, err
		}
		if wrong.After(last) {
			last = wrong
		}
		if at.IsZero() {
			select {
			case err := <-changed:
				if err != nil {
					return 0, err
				}
				changed = nil
			default:
			}
			select {
			case t, ok := <-seen:
				if !ok {
					return 0, errWatchEnded
				}
				at = t
			default:
			}
			continue
		}
		if wrong.IsZero() && began.After(at) {
			return max(0, last.Sub(at)), nil
		}
	}
}

// ask asks each verifier about each token once, and returns when the last answer came that is not as wanted; zero for none.
func (d *denial) ask(ctx context.Context, denied bool) (last time.Time, err error) {
	var (
		mu      sync.Mutex
		all     sync.WaitGroup
		failure error
	)
	for _, reviews := range d.verifiers {
		for a := range askersOfEach {
			all.Go(func() {
				for i := a; i < len(d.bearers); i += askersOfEach {
					username, err := reviews.Ask(ctx, a, d.bearers[i])
					at := time.Now()
					mu.Lock()
					if wrong := (username == "") != denied; wrong && at.After(last) {
						last = at
					}
					failure = errors.Join(failure, err)
					mu.Unlock()
					if err != nil {
						return
					}
				}
			})
		}
	}
	all.Wait()
	return last, failure
}
