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

package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// diagnosis is what the doctor finds where something has changed.
type diagnosis struct {
	change func(p *patient)
	// lost are lines of well that are not said, more are those said in their place, in this order.
	lost, more []string
	failed     bool
}

// diagnose checks each of them.
func diagnose(t *testing.T, diagnoses map[string]diagnosis) {
	t.Helper()
	for name, tc := range diagnoses {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			tc.change(p)
			got := p.lines(t)
			lost := map[string]bool{}
			for _, line := range tc.lost {
				lost[line] = true
			}
			var want, more []string
			for _, line := range well {
				if !lost[line] {
					want = append(want, line)
				}
			}
			said := map[string]bool{}
			for _, line := range want {
				said[line] = true
			}
			var rest []string
			for _, line := range got {
				if said[line] {
					rest = append(rest, line)
				} else {
					more = append(more, line)
				}
			}
			if diff := cmp.Diff(tc.more, more); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, rest); diff != "" {
				t.Errorf("of what is well (-want +got):\n%s", diff)
			}
			findings, err := Run(t.Context(), p.options)
			if err != nil || Passed(findings) == tc.failed {
				t.Errorf("%v; passed: %v", err, !tc.failed)
			}
		})
	}
}

func TestNothingIsWrong(t *testing.T) {
	diagnose(t, map[string]diagnosis{"well": {change: func(*patient) {}}})
}
