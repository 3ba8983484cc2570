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
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCase62_AQuoteNamesTheCause(t *testing.T) {
	id, plaintext := mustNew(t)
	for message, want := range map[string]string{
		`secrets "pat-` + id + `" is forbidden: exceeded quota: none, requested: count/secrets=1, used: count/secrets=0, limited: count/secrets=0`: `secrets "pat-ID" is forbidden: exceeded quota: none, requested: count/secrets=1, used: count/secrets=0, limited: count/secrets=0`,
		`admission webhook "secrets.example.com" denied the request: no Secrets here`:                                                              `admission webhook "secrets.example.com" denied the request: no Secrets here`,
		"a token begins with kubepat_ and is not allowed":                                                                                          "a token begins with kubepat_ and is not allowed",
		"two\nlines\r\n\tand  spaces\x1b[31m\u202e":                                                                                                "two lines and spaces[31m",
		"no UTF-8: \xff": "no UTF-8: \ufffd",
		"":               "",
	} {
		if got := Quote(message, plaintext); got != want {
			t.Errorf("of %q:\ngot  %q\nwant %q", message, got, want)
		}
	}
	for _, letter := range []string{"a", "ä", "語", "🔑"} {
		got := Quote(strings.Repeat(letter, 1000), plaintext)
		if len(got) > MaxQuote || len(got) < MaxQuote-6 || !strings.HasSuffix(got, letter+"…") {
			t.Errorf("1000 %s: %d bytes, %q", letter, len(got), got)
		}
	}
}

func TestCase62_AQuoteTellsNoPartOfTheToken(t *testing.T) {
	_, plaintext := mustNew(t)
	encoded := func(before string) string {
		return base64.StdEncoding.EncodeToString([]byte(before + plaintext + "after"))
	}
	secret := plaintext[idEnd+1:]
	for name, leak := range map[string]string{
		"the token":                 plaintext,
		"its secret":                secret,
		"its beginning":             plaintext[:idEnd+12],
		"the end of it":             plaintext[Length-12:],
		"twelve characters":         secret[7:19],
		"in capitals":               strings.ToUpper(secret),
		"base64":                    encoded(""),
		"base64, one further":       encoded("x"),
		"base64, two further":       encoded("xy"),
		"base64 of a part":          base64.StdEncoding.EncodeToString([]byte(secret))[4:24],
		"base64 without padding":    base64.RawURLEncoding.EncodeToString([]byte(plaintext)),
		"one letter at a time":      strings.Join(strings.Split(secret, ""), " "),
		"with invisible characters": strings.Join(strings.Split(secret, ""), "\u200b"),
		"on lines of four":          secret[:4] + "\n" + secret[4:8] + "\n" + secret[8:12] + "\n" + secret[12:16],
	} {
		if got := Quote("denied by policy: "+leak+" is not allowed", plaintext); got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	// What is beyond the limit is not shown, so the rest may be.
	if got := Quote("denied by policy no-secrets: "+strings.Repeat("x", MaxQuote)+plaintext, plaintext); !strings.HasPrefix(got, "denied by policy no-secrets: x") {
		t.Errorf("got %q", got)
	}
	if hexed := hex.EncodeToString([]byte("0123456789abcdef")); Quote(hexed, plaintext) != hexed {
		t.Error("text outside the token is not quoted")
	}
}

// No quote holds twelve characters in a row of the token, or of its base64 wherever it stands in an encoded text.
func FuzzCase62_Quote(f *testing.F) {
	f.Add([]byte("x"), "secrets is forbidden: ", "", uint8(0), uint8(0), uint8(74), uint8(0))
	f.Add([]byte("y"), "data: ", " is wrong", uint8(1), uint8(1), uint8(74), uint8(3))
	f.Add([]byte("z"), "\xff\u202e", "\n", uint8(2), uint8(20), uint8(32), uint8(1))
	f.Fuzz(func(t *testing.T, seed []byte, before, after string, kind, from, to, lead uint8) {
		random := append(bytes.Repeat(append(seed, 1), 64/(len(seed)+1)+1), make([]byte, 64)...)
		_, plaintext, err := New(bytes.NewReader(random))
		if err != nil {
			t.Skip()
		}
		leak := plaintext
		switch kind % 4 {
		case 1:
			leak = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("l", int(lead)) + plaintext + after))
		case 2:
			leak = base64.URLEncoding.EncodeToString([]byte(before + plaintext))
		case 3:
			leak = before
		}
		start, end := min(int(from), len(leak)), min(int(to), len(leak))
		got := Quote(before+leak[min(start, end):end]+after, plaintext)
		if len(got) > MaxQuote || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("%q has %d bytes, or what no quote may have", got, len(got))
		}
		for _, form := range encodings(plaintext) {
			for i := range len(form) - 11 {
				if strings.Contains(got, form[i:i+12]) {
					t.Fatalf("%q tells %q", got, form[i:i+12])
				}
			}
		}
	})
}

// encodings are a token, and what its base64 is at each place, found by what stays the same whatever is around it.
func encodings(plaintext string) []string {
	forms := []string{plaintext}
	for lead := range 3 {
		a := base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00"[:lead] + plaintext + "\x00\x00\x00"))
		b := base64.StdEncoding.EncodeToString([]byte("\xff\xff\xff"[:lead] + plaintext + "\xff\xff\xff"))
		start := 0
		for start < len(a) && a[start] != b[start] {
			start++
		}
		end := start
		for end < len(a) && a[end] == b[end] {
			end++
		}
		forms = append(forms, a[start:end])
	}
	return forms
}
