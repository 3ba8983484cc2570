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

// rereadAfter is the delay before reading the resource when a watch ended or is forbidden.
const rereadAfter = 500 * time.Millisecond

// WaitActive waits until the operator has processed pat's spec and the token works. It returns the resource as last seen, which
// may be pat itself, and an error for people that says why the token is not active: only a change helps, the resource was
// deleted, or ctx is done.
func WaitActive(ctx context.Context, c client.WithWatch, pat *v1alpha1.PersonalAccessToken) (*v1alpha1.PersonalAccessToken, error) {
	return WaitFor(ctx, c, pat, outcome)
}

// Judge reports whether waiting is done, and why the result is not the expected one.
type Judge func(pat *v1alpha1.PersonalAccessToken) (done bool, err error)

// WaitFor waits until judge reports that waiting is done, pat is deleted, or ctx is done. It returns the resource as last seen.
// Where watching is forbidden it polls.
func WaitFor(ctx context.Context, c client.WithWatch, pat *v1alpha1.PersonalAccessToken, judge Judge) (*v1alpha1.PersonalAccessToken, error) {
	var trouble error // the last failed request
	for {
		last, done, err := watchFor(ctx, c, pat, judge)
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
		case <-time.After(rereadAfter):
		}
		// The watch misses changes between two watches, and those after an expired revision.
		now := &v1alpha1.PersonalAccessToken{}
		switch err := c.Get(ctx, client.ObjectKeyFromObject(pat), now); {
		case err == nil && now.UID != pat.UID:
			return pat, ErrDeleted
		case err == nil:
			pat, trouble = now, nil
		case apierrors.IsNotFound(err):
			return pat, ErrDeleted
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return pat, fmt.Errorf("cannot read its status: %w", err)
		}
	}
}

// ErrDeleted reports that the resource, and so its token, no longer exists.
var ErrDeleted = errors.New("its resource was deleted")

// watchFor watches pat from its revision until judge reports that waiting is done or the watch ends.
func watchFor(ctx context.Context, c client.WithWatch, pat *v1alpha1.PersonalAccessToken, judge Judge) (last *v1alpha1.PersonalAccessToken, done bool, err error) {
	if done, err := judge(pat); done {
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
		if done, err := judge(pat); done {
			return pat, true, err
		}
	}
}

// outcome is a Judge: done when the operator has processed spec, with an error if the token does not work then.
func outcome(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
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
	return true, Says(active) // suspended, expired or revoked, as spec asks
}

// Suspended is a Judge: done when status says that the token does not work, for any reason.
func Suspended(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	switch {
	case pat.DeletionTimestamp != nil:
		return true, ErrDeleted
	case !pat.Spec.Suspend:
		return true, errors.New("it was resumed in the meantime")
	}
	return HasStatus(Condition(pat, v1alpha1.ConditionActive), metav1.ConditionFalse), nil
}

// Resumed is a Judge: done when status says whether the token works again.
func Resumed(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	if pat.Spec.Suspend {
		return true, errors.New("it was suspended again")
	}
	return outcome(pat)
}

// Condition returns a condition if it is about the current spec, else nil.
func Condition(pat *v1alpha1.PersonalAccessToken, kind string) *metav1.Condition {
	c := meta.FindStatusCondition(Conditions(pat), kind)
	if c == nil || c.ObservedGeneration < pat.Generation {
		return nil
	}
	return c
}

// HasStatus reports whether c is not nil and has this status.
func HasStatus(c *metav1.Condition, status metav1.ConditionStatus) bool {
	return c != nil && c.Status == status
}

// Says returns a condition's message and reason as an error.
func Says(c *metav1.Condition) error { return fmt.Errorf("%s (%s)", c.Message, c.Reason) }

// pending says what WaitFor was waiting for.
func pending(pat *v1alpha1.PersonalAccessToken, trouble error) string {
	ready := Condition(pat, v1alpha1.ConditionReady)
	switch {
	case trouble != nil:
		return "the API server did not answer: " + trouble.Error()
	case ready != nil:
		return Says(ready).Error()
	}
	return "the operator has not processed it yet; is it running?"
}

func interruption(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "timed out:"
	}
	return "interrupted:"
}
