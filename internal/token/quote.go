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

package token

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxQuote is the length of the longest text that Quote returns, in bytes.
	MaxQuote = 300
	// longestLeak is how many letters and digits in a row a quote may share with a token. Twelve characters of a token or of
	// its base64 have at least eleven, since the two underscores of a token are further apart.
	longestLeak = 10
	// idStandIn takes the place of a token's id in a quote.
	idStandIn = "ID"
)

// Quote returns a foreign message, such as an API server's, about a request that held the token plaintext, made safe to
// store and show: on one line, without control characters, of at most MaxQuote bytes, and "ID" stands for the token's
// id, which each attempt makes anew. Quote returns "" if the message reveals a part of the token, literally or in base64.
func Quote(message, plaintext string) string {
	if id, err := Parse(plaintext); err == nil {
		message = strings.ReplaceAll(message, id, idStandIn)
	}
	message = shorten(oneLine(message), MaxQuote)
	quoted := lettersAndDigits(message)
	for _, form := range append(base64Forms(plaintext), plaintext) {
		form = lettersAndDigits(form)
		for end := longestLeak + 1; end <= len(form); end++ {
			if strings.Contains(quoted, form[end-longestLeak-1:end]) {
				return ""
			}
		}
	}
	return message
}

// base64Forms are the parts that the base64 of any text has in common that holds s: one for each place of s in a group of
// three bytes.
func base64Forms(s string) []string {
	var forms []string
	for before := range 3 {
		padded := make([]byte, before, before+len(s))
		encoded := base64.RawStdEncoding.EncodeToString(append(padded, s...))
		first := (before*8 + 5) / 6       // the first character that rests on s alone
		last := (before + len(s)) * 8 / 6 // after the last one that does
		forms = append(forms, encoded[min(first, last):last])
	}
	return forms
}

// lettersAndDigits returns only the letters and digits of s, in lower case, so characters between them cannot hide a token.
func lettersAndDigits(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		}
		return -1
	}, s)
}

// oneLine is s with single spaces for white space, and without what cannot be seen.
func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)), " ")
}

// shorten cuts s at the end of a character, so that it has at most limit bytes with the "…" that says so.
func shorten(s string, limit int) string {
	const more = "…"
	if len(s) <= limit {
		return s
	}
	end := limit - len(more)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + more
}
