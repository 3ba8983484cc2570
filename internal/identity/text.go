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

package identity

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// checkText refuses text that is invisible or looks like other text: people would take such a name for another user's,
// and RBAC would not.
func checkText(path *field.Path, s string, limit int) field.ErrorList {
	switch {
	case utf8.RuneCountInString(s) > limit:
		return field.ErrorList{field.TooLongCharacters(path, "", limit)}
	case strings.ContainsRune(s, utf8.RuneError):
		// Go's decoders put U+FFFD where there was no valid UTF-8, so it stands for more than one name.
		return field.ErrorList{field.Invalid(path, short(s), "is not valid UTF-8; have it renamed where people log in")}
	}
	for _, r := range s {
		if Unseen(r) {
			return field.ErrorList{field.Invalid(path, short(s), fmt.Sprintf(
				"contains %U, a control or invisible character; have it renamed where people log in", r))}
		}
	}
	if strings.TrimSpace(s) != s {
		return field.ErrorList{field.Invalid(path, short(s), "begins or ends with white space; have it renamed where people log in")}
	}
	return nil
}

// Unseen tells of what nobody can see in a text, or sees only by what it does to a terminal or to the order of reading:
// control characters, and what is invisible.
func Unseen(r rune) bool { return unicode.IsControl(r) || invisible(r) }

// ForgesRows reports whether a character in a name could make it pass for other columns or rows of a table.
func ForgesRows(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// invisible tells of format characters, line and paragraph separators, and what is drawn as nothing.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

const (
	// systemAlphabet is what Kubernetes' own names are made of.
	systemAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789:._-"
	// colons are drawn like a colon and, unlike its full-width and small forms, do not decompose into one.
	colons = ":\u02d0\u02f8\u0589\u05c3\u0703\u0704\u0903\u0a83\u1361\u16ec\u1803\u1809\u205a\u2236\u2982\ua4fd\ua789\ufe13"
)

// lookalikes are the letters that are drawn like those of "system", in lower case and decomposed: Latin, Greek, Coptic,
// Cyrillic, Armenian, Georgian, Cherokee, Lisu and Deseret ones.
var lookalikes = map[byte]string{
	's': "\u0455\ua731\u01bd\u0282\u023f\ua7a9\u1d74\u1d8a\ua645\u2d1d\u10fd\uabaa\uaba5\u057f\ua4e2\U00010448",
	'y': "\u0443\u04af\u04b1\u028f\u03b3\u03c5\u10e7\u1eff\uab5a\u1d8c\u0263\ua4ec\uab79\uab8d\u01b4\u024f",
	't': "\u0442\u04ad\u1d1b\u03c4\u01ad\u0288\u0167\u01ab\u0236\u2ca7\uab72\ua4d4\u22a4\u27d9",
	'e': "\u0435\u0454\u04bd\u03b5\u025b\u1d07\u0247\u212e\uab32\uab7c\ua4f0\u22ff\u2d39\u2c89\u0511",
	'm': "\u043c\u04ce\u1d0d\u03bc\u0271\u1d6f\u1d86\u03fb\u2c99\uab87\ua4df",
}

// imitatesSystem reports whether a name passes for one that begins with "system:", or differs from such a name only in
// details that readers overlook: case, look-alikes, marks, invisible characters. It makes no exception for other names under
// that prefix, because Kubernetes' own names are plain.
//
// The word counts as "system" where each of its letters is that letter in any case or no ASCII at all, and either some
// are ASCII or all are look-alikes: so a word of six letters in another script may stand before a colon.
func imitatesSystem(name string) bool {
	const word = "system"
	if rest, ok := strings.CutPrefix(name, systemPrefix); ok {
		return strings.ContainsFunc(rest, func(r rune) bool { return !strings.ContainsRune(systemAlphabet, r) })
	}
	i, someASCII, allAlike := 0, false, true
	name = strings.ReplaceAll(name, "\ufe30", ":") // its decomposition is two dots in a row
	for _, r := range norm.NFKD.String(name) {
		if unicode.In(r, unicode.Mn, unicode.Me) || invisible(r) {
			continue
		}
		if i == len(word) {
			return strings.ContainsRune(colons, r) && (someASCII || allAlike)
		}
		switch r = unicode.ToLower(r); {
		case r == rune(word[i]):
			someASCII = true
		case r < utf8.RuneSelf:
			return false
		case !strings.ContainsRune(lookalikes[word[i]], r):
			allAlike = false
		}
		i++
	}
	return false
}
