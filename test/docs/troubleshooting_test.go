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

package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const troubleshooting = "docs/troubleshooting.md"

// Each reason that a condition can have is explained.
func TestEachReasonIsExplained(t *testing.T) {
	var explained []string
	for _, cells := range table(t, troubleshooting, "reason") {
		for name := range strings.SplitSeq(cells[0], ", ") {
			explained = append(explained, strings.Trim(name, "`"))
		}
	}
	for _, m := range regexp.MustCompile(`\tReason\w+ = "(\w+)"`).FindAllStringSubmatch(read(t, "api/v1alpha1/conditions.go"), -1) {
		if !slices.Contains(explained, m[1]) {
			t.Errorf("%s does not explain %s", troubleshooting, m[1])
		}
	}
}

// The texts that the page quotes are those of the code and of the policies, or of Kubernetes.
func TestQuotedTextsAreThere(t *testing.T) {
	const kubernetes = "`exceeded quota` `failed calling webhook` `flags cannot be placed before plugin name` `unknown command \"pat\" for \"kubectl\"`"
	var source strings.Builder
	for _, folder := range []string{"api", "cmd", "config/policy", "controllers", "internal"} {
		for _, file := range sources(t, folder) {
			source.WriteString(read(t, file))
		}
	}
	all := strings.Join(strings.Fields(source.String()), " ")
	for _, head := range []string{"the answer contains", "it says"} {
		for _, cells := range table(t, troubleshooting, head) {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[0], -1) {
				if !strings.Contains(all, m[1]) && !strings.Contains(kubernetes, m[0]) {
					t.Errorf("%s quotes %q, which nothing says", troubleshooting, m[1])
				}
			}
		}
	}
}
