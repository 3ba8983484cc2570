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

// Package token is the bearer token itself: how it is made, told from garbage, and digested.
//
// A token is "kubepat_<id>_<secret><checksum>", 74 characters: a fixed prefix for secret scanners; id, 16 lower-case
// base32 characters (80 random bits) that are public; secret, 32 random bytes in base62, 43 characters; checksum, the
// CRC-32 (IEEE) of everything before it in base62, 6 characters, which only filters typos before any hashing.
//
// Parsing is total: no input makes it panic or allocate in proportion to its length, there is one spelling for each token, and no error or
// formatted value of this package contains any part of its input but the public id.
package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
)

const (
	// Prefix starts every token of ours, and no token of anybody else's.
	Prefix = "kubepat_"
	// Length is the length of every token, in bytes.
	Length = idEnd + 1 + secretLen + checksumLen
	// CredentialPrefix goes before an id where Kubernetes names credentials: credential-id "PAT=<id>".
	CredentialPrefix = "PAT="
	// IDLength is the length of every id, in bytes.
	IDLength = 16

	idEnd       = len(Prefix) + IDLength
	secretLen   = 43
	checksumLen = 6

	idBytes     = 10
	secretBytes = 32

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// maxSecret is 2^256-1, the greatest secret there is; base62's order is ASCII's.
	maxSecret = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"

	// digestDomain parts this digest from every other use of SHA-256, and numbers its format.
	digestDomain = "pat-operator.io/v1"
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Reasons why Parse refuses a string. Neither quotes it.
var (
	// errForeign: the string is not one of ours; another authenticator may know it.
	errForeign = errors.New("not a personal access token")
	// ErrMalformed: the string has our prefix and is not a token.
	ErrMalformed = errors.New("malformed personal access token")
)

// New makes a token from 42 bytes of random, which is crypto/rand.Reader everywhere but in tests. The plaintext is the
// caller's to keep in one variable.
func New(random io.Reader) (id, plaintext string, err error) {
	var b [idBytes + secretBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", "", fmt.Errorf("reading randomness: %w", err)
	}
	id = idEncoding.EncodeToString(b[:idBytes])
	body := Prefix + id + "_" + encode(new(big.Int).SetBytes(b[idBytes:]), secretLen)
	sum := checksum(body)
	return id, body + string(sum[:]), nil
}

// Parse returns the id of a well-formed token, or errForeign or ErrMalformed.
func Parse(s string) (id string, err error) {
	if !strings.HasPrefix(s, Prefix) {
		return "", errForeign
	}
	if len(s) != Length || s[idEnd] != '_' || !ValidID(s[len(Prefix):idEnd]) {
		return "", ErrMalformed
	}
	body := s[:Length-checksumLen]
	sum := checksum(body)
	if string(sum[:]) != s[len(body):] {
		return "", ErrMalformed
	}
	secret := body[idEnd+1:]
	for i := range len(secret) {
		if c := secret[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return "", ErrMalformed
		}
	}
	if secret > maxSecret {
		return "", ErrMalformed
	}
	return s[len(Prefix):idEnd], nil
}

// ValidID reports whether id has the form of an id.
func ValidID(id string) bool {
	if len(id) != IDLength {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// checksum returns the CRC-32 of body in base62.
func checksum(body string) (sum [checksumLen]byte) {
	n := crc32.ChecksumIEEE([]byte(body))
	for i := checksumLen - 1; i >= 0; i-- {
		sum[i] = base62[n%62]
		n /= 62
	}
	return sum
}

// encode writes n in base62, 0-9A-Za-z, with leading zeros. math/big writes 0-9a-zA-Z.
func encode(n *big.Int, width int) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, n.Text(62))
	return strings.Repeat("0", width-len(s)) + s
}

// Digest is the stored form of a token: a SHA-256 that is bound to the resource that the token belongs to.
type Digest [sha256.Size]byte

// NewDigest digests a token for the resource it lives in. In a shell:
//
//	printf 'pat-operator.io/v1\0%s\0%s\0%s' NAMESPACE NAME TOKEN | sha256sum
//
// Names of Kubernetes objects hold no NUL, so no two inputs run together.
func NewDigest(namespace, name, plaintext string) Digest {
	input := make([]byte, 0, 256) // on the stack, which HTTP/2 makes anew for each request
	for i, part := range [...]string{digestDomain, namespace, name, plaintext} {
		if i > 0 {
			input = append(input, 0)
		}
		input = append(input, part...)
	}
	return sha256.Sum256(input)
}

// ParseDigest reads 64 lower-case hex digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != hex.EncodedLen(len(d)) || strings.ToLower(s) != s {
		return Digest{}, errors.New("a digest is 64 lower-case hex digits")
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return Digest{}, errors.New("a digest is 64 lower-case hex digits")
	}
	return d, nil
}

// Hex returns 64 lower-case hex digits, for the record. It is not called String so that no log prints it implicitly.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// Format keeps the digest out of logs and errors.
func (d Digest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[digest]") }

// IsZero reports whether the digest is unset: no token matches it.
func (d Digest) IsZero() bool { return d == Digest{} }

// Equal compares in constant time. The zero digest equals nothing, itself included.
func (d Digest) Equal(other Digest) bool {
	return subtle.ConstantTimeCompare(d[:], other[:]) == 1 && !d.IsZero()
}
