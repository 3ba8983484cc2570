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

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/internal/recipients"
)

// readKeys returns the public keys that the values of --recipient name: a key, or @FILE with a key on each line, where
// empty lines and those that begin with # are skipped. A key that is named twice is one recipient. What a key looks like is in
// no error: it may be a private one, taken by mistake.
func readKeys(values []string) ([]string, error) {
	var keys []string
	add := func(where, key string) error {
		if errs := recipients.Check(nil, []string{key}); len(errs) > 0 {
			return usagef("%s %s", where, errs[0].Detail)
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		return nil
	}
	for i, value := range values {
		file, ok := strings.CutPrefix(value, "@")
		if !ok {
			if err := add(fmt.Sprintf("--recipient number %d", i+1), strings.TrimSpace(value)); err != nil {
				return nil, err
			}
			continue
		}
		text, err := os.ReadFile(expandHome(file))
		if err != nil {
			return nil, fmt.Errorf("--recipient: %w", err)
		}
		found, number := false, 0
		for line := range strings.Lines(string(text)) {
			number++
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := add(fmt.Sprintf("--recipient %s: line %d", value, number), line); err != nil {
				return nil, err
			}
			found = true
		}
		if !found {
			return nil, usagef("--recipient %s: there is no key in this file", value)
		}
	}
	if errs := recipients.Check(field.NewPath("--recipient"), keys); len(errs) > 0 {
		return nil, usageError{errs[0]}
	}
	return keys, nil
}

// expandHome does what a shell leaves undone behind an @.
func expandHome(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	home, err := os.UserHomeDir()
	if !ok || err != nil {
		return path
	}
	return filepath.Join(home, rest)
}
