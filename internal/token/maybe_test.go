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
	"encoding/binary"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
)

func wide(order binary.AppendByteOrder, s string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

func TestMayBeOurs(t *testing.T) {
	_, plaintext, err := New(strings.NewReader(strings.Repeat("some random bytes", 3)))
	if err != nil {
		t.Fatal(err)
	}
	fullWidth := strings.Map(func(r rune) rune { return r - '!' + '！' }, plaintext)
	for name, s := range map[string]string{
		"unchanged":                      plaintext,
		"the prefix alone":               Prefix,
		"cut":                            plaintext[:40],
		"a typo in the secret":           plaintext[:50] + "-" + plaintext[51:],
		"one more character":             plaintext + "x",
		"another checksum":               plaintext[:len(plaintext)-1] + "!",
		"upper case":                     strings.ToUpper(plaintext),
		"a sentence's first letter":      "K" + plaintext[1:],
		"white space":                    " \t\r\n" + plaintext + "\n",
		"a no-break space":               "\u00a0" + plaintext,
		"a byte order mark":              "\ufeff" + plaintext,
		"an invisible character":         "kube\u200bpat_" + plaintext[8:],
		"NUL":                            "\x00" + plaintext,
		"quotes":                         `"` + plaintext + `"`,
		"typographic quotes":             "“" + plaintext + "”",
		"behind its scheme":              "Bearer " + plaintext,
		"as a basic password":            "alice:" + plaintext,
		"in a URL":                       "https://x/?token=" + url.QueryEscape(plaintext),
		"with an escaped underscore":     "kubepat%5F" + plaintext[8:],
		"wrapped in the prefix":          "kube\n  pat_" + plaintext[8:],
		"full-width letters":             fullWidth,
		"UTF-16":                         wide(binary.LittleEndian, plaintext),
		"base64":                         base64.StdEncoding.EncodeToString([]byte(plaintext)),
		"base64 behind a name":           base64.StdEncoding.EncodeToString([]byte("me:" + plaintext)),
		"base64 behind a longer name":    base64.RawURLEncoding.EncodeToString([]byte("user:" + plaintext)),
		"base64 with another beginning":  base64.URLEncoding.EncodeToString([]byte("{" + plaintext)),
		"base64 of UTF-16":               base64.StdEncoding.EncodeToString([]byte("\xff\xfe" + wide(binary.LittleEndian, plaintext))),
		"base64 of the other UTF-16":     base64.StdEncoding.EncodeToString([]byte(wide(binary.BigEndian, plaintext))),
		"without its first letter":       plaintext[1:],
		"without its prefix":             plaintext[len(Prefix):],
		"a letter left out":              "kubpat_" + plaintext[len(Prefix):],
		"two letters exchanged":          "kubepta_" + plaintext[len(Prefix):],
		"a hyphen for the underscore":    "kubepat-" + plaintext[len(Prefix):],
		"a Cyrillic letter":              "kubep\u0430t_" + plaintext[len(Prefix):],
		"without its prefix, in a quote": `'` + plaintext[len(Prefix):] + `',`,
		"another token before it":        "abc_" + plaintext[len(Prefix):] + "_def",
	} {
		if !MayBeOurs(s) {
			t.Errorf("%s: it would be shown to others", name)
		}
	}
	for name, s := range map[string]string{
		"empty":              "",
		"opaque":             "other-token",
		"hexadecimal":        "0f3a2b" + strings.Repeat("9c", 40),
		"a JSON web token":   "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL2V4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UifQ.c2lnbmF0dXJl_c2lnbmF0dXJl",
		"GitHub's":           "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
		"another kind":       "kpat_" + strings.Repeat("a", 49),
		"Amazon's":           "k8s-aws-v1.aHR0cHM6Ly9zdHMudXMtZWFzdC0xLmFtYXpvbmF3cy5jb20vP0FjdGlvbj1HZXRDYWxsZXJJZGVudGl0eQ",
		"the form, not more": "abcdefghijklmnop_" + strings.Repeat("0", secretLen) + "000000",
		"many underscores":   strings.Repeat("_", 60000),
		"not UTF-8":          "\xff\xfe\xfd",
	} {
		if MayBeOurs(s) {
			t.Errorf("%s is taken for ours", name)
		}
	}
}

// However a token is wrapped, and whatever its letters' case, it is known.
func FuzzMayBeOurs(f *testing.F) {
	f.Add("", "", []byte{1}, uint(3))
	f.Add("Bearer ", "\n", []byte{200}, uint(8))
	f.Add("\xff_", "_é", []byte{7}, uint(0))
	f.Add("", "\u0301", []byte{1}, uint(2))
	f.Fuzz(func(t *testing.T, before, after string, seed []byte, at uint) {
		_, plaintext, err := New(strings.NewReader(strings.Repeat(string(seed[:min(len(seed), 50)])+"x", idBytes+secretBytes)))
		if err != nil {
			t.Fatal(err)
		}
		at %= uint(len(Prefix))
		for _, s := range []string{
			plaintext, strings.ToUpper(plaintext), plaintext[len(Prefix):], plaintext[:len(Prefix)],
			plaintext[:at] + "\n" + plaintext[at:], plaintext[:at] + plaintext[at+1:],
		} {
			if !MayBeOurs(before + s + after) {
				t.Errorf("%q around %q is not known", []string{before, after}, s)
			}
		}
		_ = MayBeOurs(before + after)
	})
}
