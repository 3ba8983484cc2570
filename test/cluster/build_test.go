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

package cluster

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pat-operator/pat-operator/test/long"
)

// make dev builds into a folder that does not exist at first, and has the binary of the former run later.
func TestWhatIsBuiltTakesThePlaceOfWhatWasBuilt(t *testing.T) {
	long.Only(t)
	dir := filepath.Join(t.TempDir(), "bin")
	for range 2 {
		if err := BuildPlugin(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "kubectl-pat"), "--version").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}
