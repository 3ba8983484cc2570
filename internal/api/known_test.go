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

package api

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/test/issued"
)

// introspected asks about a token, and returns what was answered and how many questions to the API server that took.
func (b *bed) introspected(pat *issued.Token, credential string) string {
	b.t.Helper()
	before := b.asked
	w := b.post(pathIntrospect, about(pat), bearer(credential))
	said := fmt.Sprint(w.Code)
	if w.Code == http.StatusOK {
		said = "active"
		if w.Body.String() == string(inactive) {
			said = "inactive"
		}
	}
	return fmt.Sprintf("%s, %d questions", said, b.asked-before)
}

func TestAKnownCallerIsKnownForSeconds(t *testing.T) {
	type step struct {
		after time.Duration
		want  string
	}
	for name, tc := range map[string]struct {
		lives time.Duration
		steps []step
	}{
		"for its time":                    {time.Hour, []step{{0, "active, 2 questions"}, {0, "active, 0 questions"}, {knownFor, "active, 0 questions"}, {time.Second, "active, 2 questions"}}},
		"not beyond its credential's end": {5 * time.Second, []step{{0, "active, 2 questions"}, {3 * time.Second, "active, 0 questions"}, {3 * time.Second, "401, 0 questions"}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			pat, account := b.token("lists", forAudience(listAPI)), accountToken(t, "valid", DefaultAudience, b.now.Add(tc.lives))
			for i, s := range tc.steps {
				b.now = b.now.Add(s.after)
				if got := b.introspected(pat, account); got != s.want {
					t.Errorf("step %d: %s, want %s", i, got, s.want)
				}
			}
		})
	}
}

func TestAKnownCallerAsksAboutWhatItMay(t *testing.T) {
	b := newBed(t)
	account := accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour))
	other := accountToken(t, "valid", DefaultAudience, b.now.Add(2*time.Hour))
	forged := accountToken(t, "forged", DefaultAudience, b.now.Add(time.Hour))
	lists, both, queues := b.token("lists", forAudience(listAPI)), b.token("both", forAudience(listAPI, "queues")), b.token("queues", forAudience("queues"))
	for i, step := range []struct {
		about      *issued.Token
		credential string
		want       string
	}{
		{lists, account, "active, 2 questions"},
		{lists, account, "active, 0 questions"},
		{queues, account, "inactive, 1 questions"},
		{queues, account, "inactive, 1 questions"}, // Delegate remembers a no.
		{both, account, "active, 2 questions"},
		{lists, other, "active, 2 questions"},
		{lists, forged, "401, 1 questions"},
		{lists, forged, "401, 1 questions"},
	} {
		if got := b.introspected(step.about, step.credential); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	// The right that was taken away counts when the caller is known anew.
	b.may = nil
	b.now = b.now.Add(knownFor + time.Second)
	if got, want := b.introspected(lists, account), "inactive, 2 questions"; got != want {
		t.Errorf("without the right: %s, want %s", got, want)
	}
}

func TestWhatIsKnownIsBounded(t *testing.T) {
	now := time.Now()
	k := newKnown(func() time.Time { return now })
	for i := range 2 * maxKnown {
		k.add(fmt.Sprint(i), &caller{}, time.Hour)
	}
	if n := len(k.callers.Keys()); n != maxKnown {
		t.Errorf("%d callers are known, want %d", n, maxKnown)
	}
	c := k.get(fmt.Sprint(2*maxKnown - 1))
	for i := range 2 * maxAllowed {
		c.allowed.add(fmt.Sprint(i))
		c.allowed.add(fmt.Sprint(i))
	}
	if n := len(c.allowed.audiences); n != maxAllowed {
		t.Errorf("a caller has %d audiences, want %d", n, maxAllowed)
	}
}
