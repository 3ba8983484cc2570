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

// Package recipients encrypts a token to the public keys that spec.delivery.recipients names, as an age file
// (https://age-encryption.org/v1) that age, or kubectl pat decrypt, opens.
package recipients

import (
	"crypto/fips140"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// errFIPS: Go's FIPS 140-3 module lacks the algorithms of age.
var errFIPS = errors.New("age is not available in FIPS-only mode (GODEBUG=fips140=only); use spec.delivery.secret, or make the token on your own machine and set spec.token")

// Check returns what keeps a token from being encrypted to these keys, one error for each entry. No error holds any part of
// an entry: it may be a private key that was pasted by mistake. Where there are too many entries, no key is read.
func Check(path *field.Path, entries []string) field.ErrorList {
	if len(entries) == 0 {
		return nil
	}
	if fips140.Enforced() {
		return field.ErrorList{field.Forbidden(path, errFIPS.Error())}
	}
	if len(entries) > MaxEntries {
		return tooMany(path, entries)
	}
	var errs field.ErrorList
	refuse := func(i int, why error) { errs = append(errs, refusal(path, i, why)) }
	seen := map[string]bool{}
	quantum, classic := false, -1
	for i, entry := range entries {
		key, err := parse(entry)
		if err != nil {
			refuse(i, err)
			continue
		}
		if seen[key.id] {
			refuse(i, errRepeated)
		}
		seen[key.id] = true
		if _, ok := key.Recipient.(*age.HybridRecipient); ok {
			quantum = true
		} else {
			classic = i
		}
	}
	if len(errs) == 0 && quantum && classic >= 0 {
		refuse(classic, errMixed)
	}
	return errs
}

// tooMany refuses a list for its length, or for what it really is: a file that was pasted line by line.
func tooMany(path *field.Path, entries []string) field.ErrorList {
	err := field.TooMany(path, len(entries), MaxEntries)
	err.Detail = fmt.Sprintf("there are %d keys, and a token is encrypted to %d at most; give fewer", len(entries), MaxEntries)
	for i, entry := range slices.Backward(entries) {
		if why := refused(entry); why != nil && err.Detail != errPrivate.Error() {
			err = refusal(path, i, why)
		}
	}
	return field.ErrorList{err}
}

// refusal names an entry by its index alone.
func refusal(path *field.Path, i int, why error) *field.Error {
	return field.Invalid(path.Index(i), field.OmitValueType{}, why.Error())
}

// Encrypt returns an armored age file that each of the keys can open alone, and no other key can.
func Encrypt(plaintext string, entries []string) (string, error) {
	if fips140.Enforced() {
		return "", errFIPS
	}
	keys := make([]age.Recipient, 0, len(entries))
	for i, entry := range entries {
		key, err := parse(entry)
		if err != nil {
			return "", fmt.Errorf("recipient %d %w", i, err)
		}
		keys = append(keys, key.Recipient)
	}
	var out strings.Builder
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, keys...)
	if err != nil {
		return "", fmt.Errorf("encrypting to %d recipients: %w", len(keys), err)
	}
	if _, err := io.WriteString(w, plaintext); err != nil {
		return "", fmt.Errorf("encrypting to %d recipients: %w", len(keys), err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return "", fmt.Errorf("encrypting to %d recipients: %w", len(keys), err)
	}
	return out.String(), nil
}

// key is a public key, and what tells it from others: its comment does not.
type key struct {
	age.Recipient
	id string
}

// parse reads one key. The libraries' errors quote what they were given, so none is passed on.
func parse(entry string) (*key, error) {
	if why := refused(entry); why != nil {
		return nil, why
	}
	entry = Trim(entry)
	if several(entry) {
		return nil, errSeveral
	}
	k, err := parseKey(entry)
	if err != nil {
		return nil, err
	}
	// A key may be well-formed and unusable, such as a point of low order.
	if w, err := age.Encrypt(io.Discard, k); err != nil || w.Close() != nil {
		return nil, errUnknown
	}
	return k, nil
}

func parseKey(entry string) (*key, error) {
	switch {
	case strings.HasPrefix(entry, prefixHybrid):
		if k, err := age.ParseHybridRecipient(entry); err == nil {
			return &key{k, k.String()}, nil
		}
	case strings.HasPrefix(entry, prefixAge):
		if k, err := age.ParseX25519Recipient(entry); err == nil {
			return &key{k, k.String()}, nil
		}
	case strings.HasPrefix(entry, prefixSSH):
		return parseSSH(entry)
	}
	return nil, errUnknown
}

func parseSSH(entry string) (*key, error) {
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(entry))
	if err != nil {
		return nil, errUnknown
	}
	var recipient age.Recipient
	switch public.Type() {
	case ssh.KeyAlgoED25519:
		recipient, err = agessh.NewEd25519Recipient(public)
	case ssh.KeyAlgoRSA:
		switch bits := rsaBits(public); {
		case bits < minRSABits:
			return nil, errSmallRSA
		case bits > maxRSABits:
			return nil, errLargeRSA
		}
		recipient, err = agessh.NewRSARecipient(public)
	default:
		err = errUnknown
	}
	if err != nil {
		return nil, errUnknown
	}
	return &key{recipient, string(public.Marshal())}, nil
}

// rsaBits returns the size of an RSA key; 0 for another.
func rsaBits(public ssh.PublicKey) int {
	if k, ok := public.(ssh.CryptoPublicKey); ok {
		if k, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			return k.N.BitLen()
		}
	}
	return 0
}

const (
	prefixAge    = "age1"
	prefixHybrid = "age1pq1"
	prefixSSH    = "ssh-"
	// prefixBlob begins every SSH public key: the length of its type's name.
	prefixBlob = "AAAA"
)

// several reports whether there is a second line, or a second key where an SSH key has its comment.
func several(entry string) bool {
	words := strings.Fields(entry)
	for i, word := range words {
		if i > 0 && (strings.HasPrefix(word, prefixAge) || word == ssh.KeyAlgoED25519 || word == ssh.KeyAlgoRSA) ||
			i > 1 && strings.HasPrefix(word, prefixBlob) {
			return true
		}
	}
	return strings.ContainsAny(entry, "\r\n")
}
