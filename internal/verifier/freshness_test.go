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

package verifier

import (
	"testing"
	"time"
)

func TestFreshnessIsProvenByAListAndAWatchThatReachedIt(t *testing.T) {
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	list := func(f *freshness, seconds int, revision string) {
		if !f.listed(probe{at(seconds), revision}, f.revision()) {
			t.Errorf("the list of %s counts as gone back in time", revision)
		}
	}
	for name, tc := range map[string]struct {
		do   func(*freshness)
		want int // the second up to which everything is known; -1: none
	}{
		"nothing":                              {func(*freshness) {}, -1},
		"only a watch":                         {func(f *freshness) { f.took("100") }, -1},
		"only a list":                          {func(f *freshness) { list(f, 1, "100") }, -1},
		"the watch is behind":                  {func(f *freshness) { list(f, 1, "100"); f.took("99") }, -1},
		"it is longer, not later, as a text":   {func(f *freshness) { list(f, 1, "1000"); f.took("999") }, -1},
		"reached":                              {func(f *freshness) { list(f, 1, "100"); f.took("100") }, 1},
		"passed":                               {func(f *freshness) { list(f, 1, "99"); f.took("100") }, 1},
		"reached before the list":              {func(f *freshness) { f.took("100"); list(f, 1, "100") }, 1},
		"the last list that was reached":       {func(f *freshness) { list(f, 1, "100"); list(f, 2, "101"); list(f, 3, "102"); f.took("101") }, 2},
		"a later one by a later bookmark":      {func(f *freshness) { list(f, 1, "100"); f.took("100"); list(f, 2, "105"); f.took("107") }, 2},
		"never less":                           {func(f *freshness) { list(f, 5, "100"); f.took("100"); list(f, 1, "100") }, 5},
		"a revision that cannot be compared":   {func(f *freshness) { list(f, 1, "abc"); f.took("abd") }, -1},
		"a bookmark that cannot be compared":   {func(f *freshness) { list(f, 1, "100"); f.took("0x65") }, -1},
		"no revision":                          {func(f *freshness) { list(f, 1, ""); f.took("") }, -1},
		"taken back":                           {func(f *freshness) { list(f, 1, "100"); f.took("100"); f.forget() }, -1},
		"proven again after it was taken back": {func(f *freshness) { f.took("900"); f.forget(); list(f, 7, "100"); f.took("100") }, 7},
	} {
		t.Run(name, func(t *testing.T) {
			f := &freshness{}
			tc.do(f)
			age, ok := f.age(at(10))
			if ok != (tc.want >= 0) || (ok && age != at(10).Sub(at(tc.want))) {
				t.Errorf("age %v, proven %v; want everything up to second %d", age, ok, tc.want)
			}
		})
	}
}

func TestAListOlderThanWhatWasSeenIsTheDataGoingBackInTime(t *testing.T) {
	f := &freshness{}
	f.took("200")
	for revision, want := range map[string]bool{"199": false, "99": false, "200": true, "1000": true} {
		if got := f.listed(probe{start, revision}, "200"); got != want {
			t.Errorf("a list of %s after 200 was seen: %v; want %v", revision, got, want)
		}
	}
	// What was seen only after the list was sent says nothing.
	if !f.listed(probe{start, "150"}, "150") {
		t.Error("a list that was overtaken by the watch counts as gone back in time")
	}
}

func TestProbesThatWaitAreBounded(t *testing.T) {
	f := &freshness{}
	for i := range 100 {
		f.listed(probe{start.Add(time.Duration(i) * time.Second), "100"}, "")
	}
	if len(f.pending) != maxProbes {
		t.Errorf("%d probes wait", len(f.pending))
	}
	f.took("100")
	if age, ok := f.age(start.Add(100 * time.Second)); !ok || age != time.Second {
		t.Errorf("age %v; want that of the newest", age)
	}
}

// A clock that is set back, or that stood still while the machine slept, makes nothing younger.
func TestAgeGoesByTheClockThatRanOnFurther(t *testing.T) {
	f := &freshness{}
	sent := time.Now()
	f.listed(probe{sent, "1"}, "")
	f.took("1")
	for name, now := range map[string]time.Time{
		"both ran":                     sent.Add(time.Minute),
		"the wall clock was set ahead": sent.Round(0).Add(time.Minute),
	} {
		if age, ok := f.age(now); !ok || age != time.Minute {
			t.Errorf("%s: %v", name, age)
		}
	}
}
