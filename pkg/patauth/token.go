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

package patauth

import (
	"hash/crc32"
	"strings"
)

// The form of a token, "kubepat_<id>_<secret><checksum>", is that of internal/token, which this module cannot import.
// testdata/tokens.json keeps the two equal.
const (
	tokenPrefix    = "kubepat_"
	idLength       = 16
	idEnd          = len(tokenPrefix) + idLength
	secretLength   = 43
	checksumLength = 6
	tokenLength    = idEnd + 1 + secretLength + checksumLength

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// maxSecret is 2^256-1 in base62, whose order is that of ASCII.
	maxSecret = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"
)

// parse returns the id of a well-formed token. There is one spelling for each token, and no input costs more than a token does.
func parse(s string) (id string, ok bool) {
	if len(s) != tokenLength || !strings.HasPrefix(s, tokenPrefix) || s[idEnd] != '_' {
		return "", false
	}
	id = s[len(tokenPrefix):idEnd]
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", false
		}
	}
	secret := s[idEnd+1 : tokenLength-checksumLength]
	for i := range len(secret) {
		if c := secret[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return "", false
		}
	}
	if secret > maxSecret {
		return "", false
	}
	sum := checksum(s[:tokenLength-checksumLength])
	return id, string(sum[:]) == s[tokenLength-checksumLength:]
}

// checksum returns the CRC-32 (IEEE) of body in base62.
func checksum(body string) (sum [checksumLength]byte) {
	n := crc32.ChecksumIEEE([]byte(body))
	for i := checksumLength - 1; i >= 0; i-- {
		sum[i] = base62[n%62]
		n /= 62
	}
	return sum
}
