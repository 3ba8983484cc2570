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
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"
)

// MayBeOurs reports whether s is a token of ours, or what people make of one by accident: with a typo, in other letters, in
// quotes, base64 or UTF-16, cut, wrapped, or without its beginning. Such a string is not shown to anybody who may not know
// the token. The price is that it also reports a foreign token with "kubepat" in it.
func MayBeOurs(s string) bool {
	plain := norm.NFKC.String(s) // Full-width letters, for example, become ordinary ones.
	letters := lettersAndDigits(plain)
	return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(letters, mark) }) || hasBody(s) || hasBody(plain)
}

// marks are the forms of Prefix by which a token is known, as lettersAndDigits leaves them.
var marks = func() []string {
	forms := []string{Prefix}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		var wide []byte
		for _, unit := range utf16.Encode([]rune(Prefix)) {
			wide = order.AppendUint16(wide, unit)
		}
		forms = append(forms, base64Forms(string(wide))...)
	}
	forms = append(forms, base64Forms(Prefix)...)
	for i := range forms {
		forms[i] = lettersAndDigits(forms[i])
	}
	return forms
}()

// hasBody reports whether s holds all of a token but its prefix, which the checksum tells.
func hasBody(s string) bool {
	for i := range len(s) {
		begin, end := i-IDLength, i+1+secretLen+checksumLen
		if s[i] != '_' || begin < 0 || end > len(s) {
			continue
		}
		if _, err := Parse(Prefix + s[begin:end]); err == nil {
			return true
		}
	}
	return false
}
