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

// minRSABits is the least that agessh takes.
const minRSABits = 2048

// errFIPS is that Go's FIPS 140-3 module has none of the algorithms of age.
var errFIPS = errors.New("age is not available in FIPS-only mode (GODEBUG=fips140=only); use spec.delivery.secret, or make the token on your own machine and set spec.token")

// Check tells what keeps a token from being encrypted to these keys, one for each entry. What an entry holds is not in the
// errors: it may be a private key that was pasted by mistake.
func Check(path *field.Path, entries []string) field.ErrorList {
	if len(entries) == 0 {
		return nil
	}
	if fips140.Enforced() {
		return field.ErrorList{field.Forbidden(path, errFIPS.Error())}
	}
	var errs field.ErrorList
	quantum, classic := -1, -1
	for i, entry := range entries {
		if _, err := parse(entry); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), field.OmitValueType{}, err.Error()))
		} else if first := slices.Index(entries, entry); first < i {
			errs = append(errs, field.Invalid(path.Index(i), field.OmitValueType{}, fmt.Sprintf("is entry %d once more; leave it out", first)))
		}
		if strings.HasPrefix(entry, prefixHybrid) {
			quantum = i
		} else {
			classic = i
		}
	}
	if len(errs) == 0 && quantum >= 0 && classic >= 0 {
		errs = append(errs, field.Invalid(path.Index(classic), field.OmitValueType{}, fmt.Sprintf(
			"is not post-quantum, and entry %d is: what is encrypted to both is only as safe as the weaker; give keys of one of these two kinds", quantum)))
	}
	return errs
}

// Encrypt returns an armored age file that each of the keys opens by itself and nothing else does.
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
		keys = append(keys, key)
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

const (
	prefixAge    = "age1"
	prefixHybrid = "age1pq1"
	prefixSSH    = "ssh-"
	// prefixBlob begins every SSH public key: the length of its type's name.
	prefixBlob = "AAAA"
)

// Why an entry is refused, each with the way out.
var (
	errUnknown = errors.New("is not a public key that a token can be encrypted to; give one age recipient (age1…, age1pq1…) or one SSH public key (ssh-ed25519, or ssh-rsa of 2048 bits or more)")
	errPrivate = errors.New("is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key")
	errSeveral = errors.New("holds more than one key or line; give each key an entry of its own")
	errWeakRSA = errors.New("is an RSA key of fewer than 2048 bits; make another (ssh-keygen -t ed25519) and give its public key")
)

// parse reads one key. The libraries' errors quote what they were given, so none is passed on.
func parse(entry string) (age.Recipient, error) {
	switch {
	case strings.HasPrefix(entry, "AGE-"), strings.HasPrefix(entry, "-----BEGIN"):
		return nil, errPrivate
	case strings.ContainsAny(entry, "\r\n"), several(entry):
		return nil, errSeveral
	}
	key, err := parseKey(entry)
	if err != nil {
		return nil, err
	}
	// A key may be well-formed and still be none, such as a point of low order.
	if w, err := age.Encrypt(io.Discard, key); err != nil || w.Close() != nil {
		return nil, errUnknown
	}
	return key, nil
}

func parseKey(entry string) (age.Recipient, error) {
	switch {
	case strings.HasPrefix(entry, prefixHybrid):
		if key, err := age.ParseHybridRecipient(entry); err == nil {
			return key, nil
		}
	case strings.HasPrefix(entry, prefixAge):
		if key, err := age.ParseX25519Recipient(entry); err == nil {
			return key, nil
		}
	case strings.HasPrefix(entry, prefixSSH):
		if weakRSA(entry) {
			return nil, errWeakRSA
		}
		if key, err := agessh.ParseRecipient(entry); err == nil {
			return key, nil
		}
	}
	return nil, errUnknown
}

// several tells whether a second key hides where an SSH key has its comment.
func several(entry string) bool {
	words := strings.Fields(entry)
	for i, word := range words {
		if i > 0 && (strings.HasPrefix(word, prefixAge) || word == ssh.KeyAlgoED25519 || word == ssh.KeyAlgoRSA) ||
			i > 1 && strings.HasPrefix(word, prefixBlob) {
			return true
		}
	}
	return false
}

func weakRSA(entry string) bool {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(entry))
	if err != nil {
		return false
	}
	public, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return false
	}
	pub, ok := public.CryptoPublicKey().(*rsa.PublicKey)
	return ok && pub.N.BitLen() < minRSABits
}
