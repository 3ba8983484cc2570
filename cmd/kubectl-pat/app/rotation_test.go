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

package app

import "testing"

func TestOverlap(t *testing.T) {
	for text, want := range map[string]int32{"0": 0, "0s": 0, "90s": 90, "24h": 86400, "366d": 31622400, "367d": -1, "-1h": -1, "": -1} {
		var o overlap
		if err := o.Set(text); (err != nil) != (want < 0) || err == nil && int32(o) != want {
			t.Errorf("%q: %d, %v", text, o, err)
		}
	}
}
