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
	"runtime"
	"testing"

	"github.com/pat-operator/pat-operator/test/fleet"
)

// TestCase38_MemoryOfAToken: what docs/operations.md says, with room for other compilers; time is for hack/bench.
func TestCase38_MemoryOfAToken(t *testing.T) {
	const tokens, most = 5000, 2048
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	x := newIndex(t)
	before := heap()
	if _, _, err := fleet.Feed(x, 0, tokens, start); err != nil {
		t.Fatal(err)
	}
	if got := (heap() - before) / tokens; got > most {
		t.Errorf("%d bytes for each token, want at most %d", got, most)
	} else {
		t.Logf("%d bytes for each token", got)
	}
	runtime.KeepAlive(x)
}
