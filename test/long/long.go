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

// Package long marks the tests that `make test` leaves to `make test-long`: exhaustive forms, those that restart or replace
// parts of a control plane for a behavior that few users meet, and those of what other tests stand on.
package long

import "testing"

// Only skips a test in `go test -short`, which `make test` is. hack/tools/test.sh finds the tests that call it.
func Only(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("make test-long runs it")
	}
}

// Form reports whether a test may take its long form, which `make test-long` runs it in again.
func Form() bool { return !testing.Short() }
