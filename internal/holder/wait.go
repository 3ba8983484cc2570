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
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// lookAgain is how long after a watch that has ended, or may not be, the resource is read.
const lookAgain = 500 * time.Millisecond

// WaitActive waits until the operator has done what pat's spec asks and its token is honoured. It returns the resource as
// last seen, which is pat where nothing else was, and an error that says why the token is not active, for people: nothing
// but a change helps, it was deleted, or ctx is done.
func WaitActive(ctx context.Context, c client.WithWatch, pat *v1alpha1.PersonalAccessToken) (*v1alpha1.PersonalAccessToken, error) {
	return WaitFor(ctx, c, pat, Outcome)
}

// Judge tells of a resource whether waiting is over, and why in vain.
type Judge func(pat *v1alpha1.PersonalAccessToken) (done bool, err error)

// WaitFor waits until over says that it is over, pat was deleted, or ctx is done. It returns the resource as last seen. Where
// watching is forbidden it reads.
func WaitFor(ctx context.Context, c client.WithWatch, pat *v1alpha1.PersonalAccessToken, over Judge) (*v1alpha1.PersonalAccessToken, error) {
	var trouble error // of the way to the API server, the last there was
	for {
		last, done, err := watchFor(ctx, c, pat, over)
		pat = last
		if done {
			return pat, err
		}
		if err != nil && ctx.Err() == nil {
			trouble = err
		}
		select {
		case <-ctx.Done():
			return pat, fmt.Errorf("%s %s", interruption(ctx), pending(pat, trouble))
		case <-time.After(lookAgain):
		}
		// What happened between two watches, or since a revision that is gone.
		now := &v1alpha1.PersonalAccessToken{}
		switch err := c.Get(ctx, client.ObjectKeyFromObject(pat), now); {
		case err == nil && now.UID != pat.UID:
			return pat, ErrDeleted
		case err == nil:
			pat, trouble = now, nil
		case apierrors.IsNotFound(err):
			return pat, ErrDeleted
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return pat, fmt.Errorf("whether it is could not be seen: %w", err)
		}
	}
}

// ErrDeleted is that the resource is gone, and its token with it.
var ErrDeleted = errors.New("it was deleted meanwhile")

// watchFor follows pat from the revision that it has until over says that it is over or the watch ends.
func watchFor(ctx context.Context, c client.WithWatch, pat *v1alpha1.PersonalAccessToken, over Judge) (last *v1alpha1.PersonalAccessToken, done bool, err error) {
	if done, err := over(pat); done {
		return pat, true, err
	}
	w, err := c.Watch(ctx, &v1alpha1.PersonalAccessTokenList{}, client.InNamespace(pat.Namespace),
		client.MatchingFields{"metadata.name": pat.Name},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: pat.ResourceVersion}})
	if err != nil {
		return pat, false, err
	}
	defer w.Stop()
	for {
		var event watch.Event
		var open bool
		select {
		case <-ctx.Done():
			return pat, false, ctx.Err()
		case event, open = <-w.ResultChan():
		}
		if !open {
			return pat, false, nil
		}
		now, ok := event.Object.(*v1alpha1.PersonalAccessToken)
		switch {
		case event.Type == watch.Error:
			return pat, false, apierrors.FromObject(event.Object)
		case !ok || now.UID != pat.UID:
			continue
		case event.Type == watch.Deleted:
			return now, true, ErrDeleted
		}
		pat = now
		if done, err := over(pat); done {
			return pat, true, err
		}
	}
}

// Outcome judges whether the operator has done what spec asks, and in vain where the token is not honoured then.
func Outcome(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	stalled := Condition(pat, v1alpha1.ConditionStalled)
	ready, active := Condition(pat, v1alpha1.ConditionReady), Condition(pat, v1alpha1.ConditionActive)
	switch {
	case pat.DeletionTimestamp != nil:
		return true, ErrDeleted
	case HasStatus(stalled, metav1.ConditionTrue):
		return true, Says(stalled)
	case !HasStatus(ready, metav1.ConditionTrue) || active == nil:
		return false, nil
	case HasStatus(active, metav1.ConditionTrue):
		return pat.Spec.Token == nil || pat.Status.TokenID == "" || pat.Spec.Token.ID == pat.Status.TokenID, nil
	}
	return true, Says(active) // suspended, expired or revoked: this is what was asked for
}

// Suspended judges whether a token is known not to work. One that has ended does not, either.
func Suspended(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	switch {
	case pat.DeletionTimestamp != nil:
		return true, ErrDeleted
	case !pat.Spec.Suspend:
		return true, errors.New("it was resumed meanwhile")
	}
	return HasStatus(Condition(pat, v1alpha1.ConditionActive), metav1.ConditionFalse), nil
}

// Resumed judges whether a token is known to work again.
func Resumed(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	if pat.Spec.Suspend {
		return true, errors.New("it was suspended again meanwhile")
	}
	return Outcome(pat)
}

// Condition is one that speaks of the spec that is there now, or nil.
func Condition(pat *v1alpha1.PersonalAccessToken, kind string) *metav1.Condition {
	c := meta.FindStatusCondition(Conditions(pat), kind)
	if c == nil || c.ObservedGeneration < pat.Generation {
		return nil
	}
	return c
}

// HasStatus tells whether there is such a condition, and its status is this.
func HasStatus(c *metav1.Condition, status metav1.ConditionStatus) bool {
	return c != nil && c.Status == status
}

// Says is what a condition says, for people.
func Says(c *metav1.Condition) error { return fmt.Errorf("%s (%s)", c.Message, c.Reason) }

// pending says what is being waited for.
func pending(pat *v1alpha1.PersonalAccessToken, trouble error) string {
	ready := Condition(pat, v1alpha1.ConditionReady)
	switch {
	case trouble != nil:
		return "the API server did not answer: " + trouble.Error()
	case ready != nil:
		return Says(ready).Error()
	}
	return "the operator has not looked at it; is it running?"
}

func interruption(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "when the time was over:"
	}
	return "when it was interrupted:"
}
