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
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// refusingSome answers some names with an error, and notes every name that is tried.
type refusingSome struct {
	client.SubResourceWriter
	prefix string
	err    error
	tried  []string
}

func (r *refusingSome) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
	name := *obj.(*ac.PersonalAccessTokenApplyConfiguration).Name
	r.tried = append(r.tried, name)
	if r.err != nil && strings.HasPrefix(name, r.prefix) {
		return r.err
	}
	if r.SubResourceWriter == nil {
		return nil
	}
	return r.SubResourceWriter.Apply(ctx, obj, opts...)
}

// unwritten is an index in which nothing has been written of any token yet.
type unwritten struct{}

func (unwritten) Use(_, _, id string) (verifier.Use, bool) {
	return verifier.Use{ResourceVersion: "1", TokenID: id, Current: true}, true
}

var pats = schema.GroupResource{Group: "pat-operator.io", Resource: "personalaccesstokens"}

// A token whose status may not be written holds up none of the others, and is not asked for again and again.
func TestATokenThatIsRefusedWaitsAlone(t *testing.T) {
	c := api.Client(t)
	for _, name := range []string{"denied", "after", "later"} {
		issued(t, c, name)
	}
	now := at(start.Add(time.Hour))
	var logged []string
	log := funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{})
	status := &refusingSome{SubResourceWriter: c.Status(), prefix: "denied", err: apierrors.NewForbidden(pats, "denied", errors.New("policy"))}
	tracker := NewTracker(live{t, c}, status, fast, now, log)
	for _, step := range []struct {
		uses  []string
		after time.Duration
		tried []string
	}{
		{[]string{"denied", "after"}, 0, []string{"denied", "after"}},
		{[]string{"denied", "later"}, time.Second, []string{"later"}},
		{nil, pause - time.Second, []string{"denied"}},
		{[]string{"denied", "after"}, window, []string{"after", "denied"}},
		{nil, time.Second, nil},
	} {
		now.SetTime(now.Now().Add(step.after))
		for i, name := range step.uses {
			used(tracker, name, current, now.Now().Add(time.Duration(i)))
		}
		status.tried = nil
		tracker.flush(t.Context())
		if !slices.Equal(status.tried, step.tried) {
			t.Errorf("after %v of %q: tried %q, want %q", step.after, step.uses, status.tried, step.tried)
		}
	}
	// One line in the first ten minutes, and one after them.
	if len(logged) != 2 || !strings.Contains(logged[0], `"name"="denied"`) || !strings.Contains(logged[0], "policy") {
		t.Errorf("logged %q", logged)
	}
	if got := times(get(t, c, "denied")); got != "never never" || len(tracker.uses) != 1 {
		t.Errorf("used first and last: %s, %d uses wait", got, len(tracker.uses))
	}
	status.err = nil
	now.SetTime(now.Now().Add(pause))
	tracker.flush(t.Context())
	if got := times(get(t, c, "denied")); got != "1h0m0s 1h10m10s" || len(tracker.uses) != 0 {
		t.Errorf("used first and last: %s, %d uses wait", got, len(tracker.uses))
	}
}

// More that are refused than may be written in a second: first uses of others come before them, each time.
func TestManyThatAreRefusedHoldUpNobody(t *testing.T) {
	const rate = 3
	now := at(start)
	status := &refusingSome{prefix: "denied", err: apierrors.NewForbidden(pats, "", errors.New("policy"))}
	tracker := NewTracker(unwritten{}, status, fast, now, logr.Discard())
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		used(tracker, "denied-"+n, current, start)
	}
	tracker.flush(t.Context())
	began := time.Now()
	slow := NewTracker(unwritten{}, status, rate, now, logr.Discard())
	slow.uses = tracker.uses
	now.SetTime(start.Add(pause))
	used(slow, "other", current, now.Now())
	status.tried = nil
	slow.flush(t.Context())
	if n := len(status.tried); n < rate || n > mostWritten(began, rate) || status.tried[0] != "other" || len(slow.uses) != 8 {
		t.Errorf("tried %q, %d uses wait", status.tried, len(slow.uses))
	}
}

// Nothing is tried for a while only where a failure is surely not one token's alone.
func TestWhatPausesAll(t *testing.T) {
	answer := func(code int32) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Message: "no"}}
	}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"forbidden":                     {apierrors.NewForbidden(pats, "denied", errors.New("policy")), false},
		"denied without a reason":       {answer(http.StatusBadRequest), false},
		"invalid":                       {apierrors.NewInvalid(schema.GroupKind{}, "denied", nil), false},
		"too large":                     {apierrors.NewRequestEntityTooLargeError("limit"), false},
		"too large for etcd":            {answer(http.StatusInternalServerError), false},
		"its webhook fails":             {apierrors.NewInternalError(errors.New("failed calling webhook")), false},
		"no connection":                 {errors.New("no route"), true},
		"no answer in time":             {context.DeadlineExceeded, true},
		"too many requests":             {apierrors.NewTooManyRequests("slow down", 1), true},
		"not available":                 {apierrors.NewServiceUnavailable("starting"), true},
		"a timeout of the API server":   {apierrors.NewTimeoutError("etcd", 1), true},
		"the API server says try later": {apierrors.NewServerTimeout(pats, "patch", 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			now := at(start)
			status := &refusingSome{prefix: "denied", err: tc.err}
			tracker := NewTracker(unwritten{}, status, fast, now, logr.Discard())
			used(tracker, "denied", current, start.Add(-time.Minute))
			used(tracker, "other", current, start)
			tracker.flush(t.Context())
			tracker.flush(t.Context())
			if paused := !slices.Equal(status.tried, []string{"denied", "other"}); paused != tc.want || status.tried[0] != "denied" {
				t.Errorf("tried %q; want a pause for all: %v", status.tried, tc.want)
			}
			now.SetTime(start.Add(pause))
			status.tried = nil
			tracker.flush(t.Context())
			want := []string{"denied"}
			if tc.want {
				want = []string{"other", "denied"}
			}
			if !slices.Equal(status.tried, want) {
				t.Errorf("after the pause: tried %q, want %q", status.tried, want)
			}
		})
	}
}
