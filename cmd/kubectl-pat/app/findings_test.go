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
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/long"
)

// tokenOf makes a token from a repeated byte.
func tokenOf(t *testing.T, b byte) (id, plaintext string) {
	t.Helper()
	id, plaintext, err := token.New(bytes.NewReader(bytes.Repeat([]byte{b}, 64)))
	if err != nil {
		t.Fatal(err)
	}
	return id, plaintext
}

// found returns what scan finds in a readable text.
func found(t *testing.T, text string) []tokenMatch {
	t.Helper()
	matches, unread := scan(text)
	if unread {
		t.Error("parts could not be read")
	}
	return matches
}

func TestScan(t *testing.T) {
	id, plaintext := tokenOf(t, 7)
	other, otherPlaintext := tokenOf(t, 8)
	const word = "internationalize"
	whole := tokenMatch{id: id, plaintexts: []string{plaintext}, certain: true}
	cut := tokenMatch{id: id, certain: true}
	for name, tc := range map[string]struct {
		text string
		want []tokenMatch
	}{
		"nothing":                       {"", nil},
		"no IDs":                        {"a line, ABCDEFGHIJKLMNOP, 0123456789012345 and abcdefghijklmno", nil},
		"a token":                       {plaintext + "\n", []tokenMatch{whole}},
		"an ID":                         {id + "\n", []tokenMatch{{id: id}}},
		"the ID of a credential":        {"PAT=" + id, []tokenMatch{cut}},
		"in an audit event":             {`"authentication.kubernetes.io/credential-id":["PAT=` + id + `"]`, []tokenMatch{cut}},
		"in a URL":                      {"?a=PAT%3D" + id + "&token=%20" + otherPlaintext + "&b", []tokenMatch{cut, {other, []string{otherPlaintext}, true}}},
		"behind an escape":              {`"Bearer\n` + plaintext + `\n"`, []tokenMatch{whole}},
		"glued to the text before it":   {"TOKEN" + plaintext, []tokenMatch{whole}},
		"glued to the text after it":    {plaintext + "and", []tokenMatch{whole}},
		"cut off in the secret":         {plaintext[:40], []tokenMatch{cut}},
		"cut off behind the ID":         {plaintext[:24], []tokenMatch{cut}},
		"cut off before":                {plaintext[:23], nil},
		"damaged":                       {plaintext[:len(plaintext)-1] + "!", []tokenMatch{cut}},
		"twice":                         {plaintext + " " + plaintext + " " + id, []tokenMatch{whole}},
		"cut off and whole":             {plaintext[:30] + "\n" + plaintext, []tokenMatch{whole}},
		"too long to be an ID":          {"PAT=" + id + "a " + id + "a", nil},
		"the name of a delivery Secret": {"pat-" + id, []tokenMatch{{id: id}}},
		"certain ones first":            {word + "\n" + plaintext, []tokenMatch{whole, {id: word}}},
		"bytes that are no text":        {"\xff\x00" + plaintext + "\xff", []tokenMatch{whole}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, found(t, tc.text), cmp.AllowUnexported(tokenMatch{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A build log has many words of 16 letters, and an attacker may add more: scan finds each once, in order.
func TestScanOfManyWords(t *testing.T) {
	words, last := 10_000, "puoaaaaaaaaaaaaa"
	if long.Form() {
		words, last = 100_000, "dyrfaaaaaaaaaaaa"
	}
	var b, in strings.Builder
	for i := range words {
		for n := i; in.Len() < token.IDLength; n /= 26 {
			in.WriteByte('a' + byte(n%26))
		}
		b.WriteString(in.String() + "\n")
		in.Reset()
	}
	found := found(t, b.String())
	if len(found) != words || found[0].id != "aaaaaaaaaaaaaaaa" || found[1].id != "baaaaaaaaaaaaaaa" || found[words-1].id != last {
		t.Errorf("%d were found, %v first, %v last", len(found), found[:2], found[len(found)-1])
	}
}

func FuzzScan(f *testing.F) {
	f.Add("kubepat_aaaaaaaaaaaaaaaa_0 PAT=bbbbbbbbbbbbbbbb cccccccccccccccc")
	f.Fuzz(func(t *testing.T, text string) {
		seen := map[string]bool{}
		matches, _ := scan(text)
		for _, s := range matches {
			if !token.ValidID(s.id) || seen[s.id] {
				t.Errorf("%q, from %q", s.id, text)
			}
			seen[s.id] = true
			for _, plaintext := range s.plaintexts {
				if id, err := token.Parse(plaintext); err != nil || id != s.id {
					t.Errorf("ID %q has a token of %q: %v", s.id, id, err)
				}
			}
		}
	})
}
