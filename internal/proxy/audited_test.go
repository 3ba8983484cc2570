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

package proxy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/test/env"
)

// A watch that is cut says why in its line, however its answer ends.
func TestACutIsAudited(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(file, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	b := newBed(t, stream, func(o *Options) { o.Audit = log })
	for _, http2 := range []bool{true, false} {
		token := b.issue(fmt.Sprintf("http2-%v", http2), alice)
		b.open(b.client(http2), token, "/api/v1/pods?watch=1")
		b.index.DeleteResource("team-a", token.Resource.Name)
		var text []byte
		env.Eventually(t, patience, func() bool {
			text, err = os.ReadFile(file)
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, token.ID()) && strings.Contains(line, `"reason":"Cut:Ended"`) {
					return true
				}
			}
			return false
		}, func() string { return fmt.Sprintf("%v; the log has %s", err, text) })
	}
}
