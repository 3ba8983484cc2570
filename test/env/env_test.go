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

package env

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

func TestAnAPIServerWithoutBinariesSaysWhatToDo(t *testing.T) {
	long.Only(t)
	t.Setenv("KUBEBUILDER_ASSETS", "")
	server := APIServer{}
	for range 2 {
		if _, err := server.Start(); err == nil || !strings.Contains(err.Error(), "KUBEBUILDER_ASSETS is not set: run make test") {
			t.Errorf("the error is %v", err)
		}
	}
	server.Stop()
}

func TestPollEndsWithWhatItSawLast(t *testing.T) {
	long.Only(t)
	last := errors.New("the last")
	err := Poll(t.Context(), time.Millisecond, func() error { return last })
	if !errors.Is(err, last) || err.Error() != "after 1ms: the last" {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	err = Poll(ctx, Patience, func() error {
		if tries++; tries == 2 {
			cancel()
		}
		return last
	})
	if !errors.Is(err, last) || tries < 2 {
		t.Errorf("the error is %v after %d tries", err, tries)
	}
	if err := Poll(t.Context(), Patience, func() error {
		if tries++; tries < 5 {
			return last
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestWithinJudgesByWhenATryBegan(t *testing.T) {
	long.Only(t)
	late := errors.New("late")
	for name, c := range map[string]struct {
		pauses []time.Duration // how long each failing try takes
		want   string
	}{
		"at once":                       {nil, ""},
		"the last began in time":        {[]time.Duration{time.Second, 20 * time.Second}, ""},
		"the machine stood still":       {[]time.Duration{5 * time.Second, 7 * time.Second, 0}, ""},
		"many late tries":               {slices.Repeat([]time.Duration{time.Second}, 15), "promised within 10s, where a try took up to 1.02s: late"},
		"one that began well afterward": {[]time.Duration{6 * time.Second, 6 * time.Second, 6 * time.Second, 6 * time.Second, 6 * time.Second}, "late"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				err := Within(t.Context(), 10*time.Second, func() error {
					if tries++; tries > len(c.pauses) {
						return nil
					}
					time.Sleep(c.pauses[tries-1])
					return late
				})
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("the error is %v; want %q", err, c.want)
				}
			})
		})
	}
}

func TestConditionIsOfThisGeneration(t *testing.T) {
	long.Only(t)
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
	pat.Status.Conditions = []metav1.Condition{
		{Type: "Active", Status: "True", Reason: "Active", ObservedGeneration: 2},
		{Type: "Ready", Status: "True", Reason: "Reconciled", ObservedGeneration: 1},
	}
	for kind, want := range map[string]string{"Active": "True/Active", "Ready": "", "Stalled": ""} {
		if got := Condition(pat, kind); got != want {
			t.Errorf("%s is %q; want %q", kind, got, want)
		}
	}
}
