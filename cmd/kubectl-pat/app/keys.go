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

	"golang.org/x/crypto/ssh"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/internal/recipients"
)

// readKeys returns the public keys of --recipient: each value is a key, or @FILE with a key per line; empty lines and comments (#)
// are skipped. It returns each key once. Errors never quote a key: it may be a private one, given by mistake.
func readKeys(values []string) ([]string, error) {
	var keys []string
	add := func(where, key string) error {
		if key = recipients.Trim(key); slices.Contains(keys, key) {
			return nil
		}
		if len(keys) == recipients.MaxEntries {
			return usagef("%s is one key too many: a token is encrypted to at most %d; give fewer", where, recipients.MaxEntries)
		}
		if errs := recipients.Check(nil, []string{key}); len(errs) > 0 {
			return usagef("%s %s", where, errs[0].Detail)
		}
		keys = append(keys, key)
		return nil
	}
	for i, value := range values {
		file, ok := strings.CutPrefix(value, "@")
		if !ok {
			if err := add(fmt.Sprintf("--recipient number %d", i+1), value); err != nil {
				return nil, err
			}
			continue
		}
		lines, err := readLines(expandHome(file))
		if err != nil {
			return nil, fmt.Errorf("--recipient: %w", err)
		}
		found := false
		for i, line := range lines {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := add(fmt.Sprintf("--recipient %s: line %d", value, i+1), line); err != nil {
				return nil, err
			}
			found = true
		}
		if !found {
			return nil, usagef("--recipient %s: this file holds no key", value)
		}
	}
	if errs := recipients.Check(field.NewPath("--recipient"), keys); len(errs) > 0 {
		return nil, usageError{errs[0]}
	}
	return keys, nil
}

// readLines returns the trimmed lines of a text file. With a byte order mark the file may be UTF-16, as Windows PowerShell writes
// it.
func readLines(path string) ([]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, _, err := transform.Bytes(unicode.BOMOverride(encoding.Nop.NewDecoder()), raw)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines, nil
}

// expandHome expands ~/, which a shell does not do after an @.
func expandHome(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	home, err := os.UserHomeDir()
	if !ok || err != nil {
		return path
	}
	return filepath.Join(home, rest)
}

// nameKeys describes public keys for people.
func nameKeys(keys []string) []string {
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		names = append(names, nameKey(recipients.Trim(key)))
	}
	return names
}

// maxKey is how many characters of a key to show; a post-quantum age key has 1,959.
const maxKey = 64

func nameKey(key string) string {
	if public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(key)); err == nil {
		return strings.TrimSpace(public.Type() + " " + ssh.FingerprintSHA256(public) + " " + comment)
	}
	if len(key) > maxKey {
		return key[:maxKey-1] + "…"
	}
	return key
}
