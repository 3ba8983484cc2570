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

package clock

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func TestSkew(t *testing.T) {
	here := time.Date(2026, 11, 23, 12, 0, 0, 500_000_000, time.UTC)
	for name, tc := range map[string]struct {
		date  string
		after time.Duration
		want  string // part of the error; empty: proven
		ready bool
	}{
		"the same second":         {date: here.Format(http.TimeFormat), ready: true},
		"within the limit":        {date: here.Add(59 * time.Second).Format(http.TimeFormat), ready: true},
		"an answer too old":       {date: here.Format(http.TimeFormat), after: 2 * time.Minute, want: "has not answered", ready: true},
		"no date":                 {date: "yesterday", want: "has not answered", ready: true},
		"this clock a day ahead":  {date: here.Add(-24 * time.Hour).Format(http.TimeFormat), want: "off the API server's, more than --max-clock-skew (1m0s); set the clock"},
		"this clock years behind": {date: here.AddDate(3, 0, 0).Format(http.TimeFormat), want: "set the clock"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", tc.date) }))
			defer server.Close()
			c := testingclock.NewFakePassiveClock(here)
			s := NewSkew(c, time.Minute)
			if s.Check() == nil {
				t.Error("proven before any answer")
			}
			resp, err := (&http.Client{Transport: s.Wrap(http.DefaultTransport)}).Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			c.SetTime(here.Add(tc.after))
			if err := s.Check(); (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("Check: %v; want %q", err, tc.want)
			}
			if err := s.Ready(nil); (err == nil) != tc.ready {
				t.Errorf("Ready: %v", err)
			}
		})
	}
}

// A clock that is set while nobody answers is noticed without an answer: it parts from the monotonic clock.
func TestCase14_AClockThatIsSetIsNoticedAtOnce(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		set time.Duration
		off bool
	}{
		"left alone":       {0, false},
		"set back an hour": {-time.Hour, true},
		"set ahead":        {time.Hour, true},
		"within bounds":    {-30 * time.Second, false},
	} {
		s := NewSkew(testingclock.NewFakePassiveClock(now.Add(10*time.Second)), time.Minute)
		// As if the wall's clock had shown another time then: no test can set it.
		s.last.Store(&answer{at: now, wall: now.Round(0).Add(-tc.set)})
		if err := s.Off(); (err != nil) != tc.off {
			t.Errorf("%s: %v", name, err)
		}
	}
}
