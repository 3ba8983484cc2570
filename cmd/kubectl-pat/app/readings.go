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
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	// maxLayers bounds nested base64: a .dockerconfigjson in a Secret contains the base64 of a password.
	maxLayers = 4
	// maxDecoded bounds the decoded text of all layers, in bytes.
	maxDecoded = 8 * maxFindInput
	// minBase64 is the length of an ID in base64.
	minBase64 = 22
	// minUnread is shorter than the base64 of any token, compressed or encrypted.
	minUnread = 64
)

// reading is one decoding of a text.
type reading struct {
	text string
	// joined reports that line ends were removed, so that two words may have become one.
	joined bool
}

var (
	// wrap matches what breaks a long word: a line end, with the quote or comment mark of the next line; an escaped line end; and
	// the soft line end of mails.
	wrap  = regexp.MustCompile(`(?:=?[ \t]*\r?\n[ \t>|#]*|\\r|\\n)+`)
	toStd = strings.NewReplacer("-", "+", "_", "/")
)

// read returns all readings of a text, and whether it has parts that could not be decoded.
func read(text string) (readings []reading, unread bool) {
	unread = !legible(text)
	layer, size := []string{text}, 0
	for range maxLayers {
		var next []string
		for _, text := range layer {
			text = strings.ReplaceAll(text, "\x00", "") // UTF-16 without zeros: tokens are ASCII
			joined := wrap.ReplaceAllString(text, "")
			readings = append(readings, reading{text: text}, reading{joined, true})
			for run := range strings.FieldsFuncSeq(joined, notBase64) {
				if len(run) < minBase64 {
					continue
				}
				decoded := decode(run)
				unread = unread || len(decoded) == 0 && opaque(run)
				for _, text := range decoded {
					size += len(text)
				}
				next = append(next, decoded...)
				if size > maxDecoded {
					return readings, true
				}
			}
		}
		layer = next
	}
	return readings, unread || len(layer) > 0
}

// notBase64 reports whether a character is in neither alphabet of base64.
func notBase64(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("+/-_", r)
}

// decode returns the texts whose base64 the run may be. It tries four starts, because the run may begin with other text.
func decode(run string) (texts []string) {
	run = toStd.Replace(run)
	for begin := range 4 {
		encoded := run[begin:]
		if len(encoded)%4 == 1 {
			encoded = encoded[:len(encoded)-1]
		}
		decoded, err := base64.RawStdEncoding.DecodeString(encoded)
		if err != nil {
			continue
		}
		text := strings.ReplaceAll(string(decoded), "\x00", "")
		if hasMark(text) || legible(text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// opaque reports whether a run that does not decode to text may be base64 of something else: long, mixed and not a token.
func opaque(run string) bool {
	return len(run) >= minUnread && !strings.Contains(run, token.Prefix) &&
		strings.ContainsFunc(run, unicode.IsUpper) && strings.ContainsFunc(run, unicode.IsLower) && strings.ContainsFunc(run, unicode.IsDigit)
}

// legible reports whether all parts of a text are readable, not binary.
func legible(text string) bool {
	const part = 256
	text = strings.ReplaceAll(text, "\x00", "")
	for bytes := range slices.Chunk([]byte(text), part) {
		readable := 0
		for rest := bytes; len(rest) > 0; {
			r, size := utf8.DecodeRune(rest)
			if r != utf8.RuneError && (unicode.IsPrint(r) || unicode.IsSpace(r)) {
				readable += size
			}
			rest = rest[size:]
		}
		if readable*5 < len(bytes)*4 {
			return false
		}
	}
	return true
}
