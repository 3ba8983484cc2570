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
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

func TestWhatIsGoneIsForgottenAndWhatFailsIsTriedAgain(t *testing.T) {
	c := apiServer(t)
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
		t.Errorf("written %s while it is to wait", got)
	}
	now.SetTime(start.Add(aside))
	tracker.flush(t.Context())
	if got := times(get(t, c, "failing")); got != "0s 0s" {
		t.Errorf("used first and last: %s", got)
	}
}

type refusing struct{ client.SubResourceWriter }

func (refusing) Apply(context.Context, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
	return errors.New("no route")
}

// A token whose status cannot be written, for whatever reason, holds up no other for long.
func TestOneThatFailsHoldsUpNoOther(t *testing.T) {
	c := apiServer(t)
	for name, tc := range map[string]struct {
		err   error
		after time.Duration // when the others are written
	}{
		"forbidden": {apierrors.NewForbidden(schema.GroupResource{Resource: "personalaccesstokens"}, "first", errors.New("a policy")), 0},
		"too-large": {apierrors.NewInternalError(errors.New("etcdserver: request is too large")), pause},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := name+"-first", name+"-second"
			issued(t, c, first)
			issued(t, c, second)
			now := at(start)
			writer := &refusingOne{c.Status(), first, tc.err, 0}
			tracker := NewTracker(live{t, c}, writer, fast, now, logr.Discard())
			used(tracker, first, current, start)
			used(tracker, second, current, start.Add(time.Second))
			tracker.flush(t.Context())
			now.SetTime(start.Add(tc.after))
			tracker.flush(t.Context())
			if got := times(get(t, c, second)); got != "1s 1s" {
				t.Errorf("after %v the other is used first and last: %s", tc.after, got)
			}
			now.SetTime(start.Add(aside - time.Second))
			tracker.flush(t.Context())
			if writer.asked != 1 {
				t.Errorf("it was tried %d times within %v", writer.asked, aside)
			}
			writer.err = nil
			now.SetTime(start.Add(aside))
			tracker.flush(t.Context())
			if got := times(get(t, c, first)); got != "0s 0s" || len(tracker.uses) != 0 {
				t.Errorf("it is used first and last: %s; %d wait", got, len(tracker.uses))
			}
		})
	}
}

// refusingOne refuses the status of one resource.
type refusingOne struct {
	client.SubResourceWriter
	name  string
	err   error
	asked int
}

func (r *refusingOne) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
	if *o.(*ac.PersonalAccessTokenApplyConfiguration).Name == r.name && r.err != nil {
		r.asked++
		return r.err
	}
	return r.SubResourceWriter.Apply(ctx, o, opts...)
}
