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

package recipients

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits of spec.delivery.recipients in the schema.
const (
	// MaxEntries is how many entries the list has.
	MaxEntries = 16
	// maxEntry is how many characters an entry has.
	maxEntry = 4096
)

// The limits of an RSA modulus: agessh takes no smaller one, and a larger one costs too much to encrypt to.
const minRSABits, maxRSABits = 2048, 8192

// Why an entry is refused, each with what to do next. None holds any part of the entry.
var (
	errUnknown  = errors.New("is not a public key that a token can be encrypted to; give one age recipient (age1…, age1pq1…) or one SSH public key (ssh-ed25519, or ssh-rsa of 2048 to 8192 bits)")
	errPrivate  = errors.New("is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key")
	errTooLong  = errors.New("is longer than 4096 characters, and no public key is; give one public key")
	errUTF16    = errors.New("is UTF-16 text, as Windows PowerShell writes files; convert the file with: iconv -f UTF-16 -t UTF-8 FILE")
	errSeveral  = errors.New("holds more than one key or line; give each key an entry of its own")
	errRepeated = errors.New("is the same key as an earlier entry; leave it out")
	errMixed    = errors.New("is not post-quantum, and another entry is: what is encrypted to both is only as safe as the weaker; give keys of one of these two kinds")
	errECDSA    = errors.New("is an ECDSA key, to which age cannot encrypt; make another (ssh-keygen -t ed25519) and give its public key")
	errSmallRSA = errors.New("is an RSA key of fewer than 2048 bits; make another (ssh-keygen -t ed25519) and give its public key")
	errLargeRSA = errors.New("is an RSA key of more than 8192 bits, which is the largest size; make another (ssh-keygen -t ed25519) and give its public key")
)

// privateKeys begin the private keys of age, PuTTY, and, in base64, OpenSSH. Those of PEM, SSH2 and PGP have a header.
var (
	privateKeys      = []string{"AGE-SECRET-KEY-", "PUTTY-USER-KEY-FILE-", "B3BLBNNZAC1RZXKTDJE"}
	privateKeyHeader = regexp.MustCompile(`-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY`)
)

// kinds tells what an entry is by how it begins; the first that matches counts. Nil: it may be a key that is taken.
var kinds = []struct {
	begins *regexp.Regexp
	why    error
}{
	{begin(`(ssh-ed25519|ssh-rsa)\s|age1pq1`), nil},
	{begin(`-----BEGIN PUBLIC KEY-----\s+MCowBQYDK2Vw`), errors.New("is an Ed25519 public key in PEM format, which many versions of ssh-keygen cannot convert; make another (ssh-keygen -t ed25519) and give its public key")},
	{begin(`-----BEGIN PUBLIC KEY-----\s+(MFkwEwYHKoZIzj0CAQ|MHYwEAYHKoZIzj0CAQ|MIGbMBAGByqGSM49AgEG)`), errECDSA},
	{begin(`-----BEGIN PUBLIC KEY-----`), errors.New("is a public key in PEM format (PKCS#8); convert it with: ssh-keygen -i -m PKCS8 -f FILE")},
	{begin(`-----BEGIN RSA PUBLIC KEY-----`), errors.New("is an RSA public key in PEM format (PKCS#1); convert it with: ssh-keygen -i -m PEM -f FILE")},
	{begin(`---- BEGIN SSH2 PUBLIC KEY ----`), errors.New("is an SSH public key in RFC 4716 format; convert it with: ssh-keygen -i -m RFC4716 -f FILE")},
	{begin(`-----BEGIN ([A-Z0-9]+ )?CERTIFICATE-----`), errors.New("is an X.509 certificate; take its public key out with: openssl x509 -in FILE -noout -pubkey > KEY; ssh-keygen -i -m PKCS8 -f KEY")},
	{begin(`-----BEGIN PGP PUBLIC KEY BLOCK-----`), errors.New("is a PGP public key; where it has a key for authentication, convert it with: gpg --export-ssh-key USER")},
	{begin(`-----BEGIN `), errors.New("is in PEM format, and not a public key; give one age recipient (age1…) or one SSH public key")},
	{begin(`[\w-]+-cert-v01@openssh\.com\s`), errors.New("is an SSH certificate; give the public key that it certifies: FILE.pub instead of FILE-cert.pub")},
	{begin(`ecdsa-sha2-`), errECDSA},
	{begin(`(webauthn-)?sk-(ssh|ecdsa)-`), errors.New("is the key of a hardware security key (FIDO), which signs and cannot decrypt; make another (ssh-keygen -t ed25519) and give its public key")},
	{begin(`ssh-dss\s`), errors.New("is a DSA key, to which age cannot encrypt; make another (ssh-keygen -t ed25519) and give its public key")},
	{begin(`AGE-PLUGIN-`), errors.New("is the identity of an age plugin, and plugins are not supported; give the recipient of an identity that age-keygen makes (age1…)")},
	{begin(`age1[^1\s]+1`), errors.New("is the recipient of an age plugin, and plugins are not supported; give the recipient of an identity that age-keygen makes (age1…)")},
	{begin(`AAAA[0-9A-Za-z+/]{16}`), errors.New("is an SSH public key without the name of its type; put ssh-ed25519 or ssh-rsa in front, as in the file that ends with .pub")},
	{begin(`[^\n]*\s(ssh|ecdsa|sk)-[\w@.-]+\s+AAAA`), errors.New("has options or a host name in front of the key; give the line from the type of the key on (ssh-ed25519, ssh-rsa)")},
}

func begin(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)`) }

// HoldsPrivateKey reports whether a text holds a private key, which must be shown nowhere.
func HoldsPrivateKey(text string) bool {
	text = strings.ToUpper(strings.ReplaceAll(text, "\x00", "")) // UTF-16, too
	return slices.ContainsFunc(privateKeys, func(begins string) bool { return strings.Contains(text, begins) }) ||
		privateKeyHeader.MatchString(text)
}

// refused returns why an entry of this kind is refused. It does not parse keys.
func refused(entry string) error {
	switch {
	case HoldsPrivateKey(entry):
		return errPrivate
	case utf8.RuneCountInString(entry) > maxEntry:
		return errTooLong
	case strings.Contains(entry, "\x00"):
		return errUTF16
	}
	entry = Trim(entry)
	for _, kind := range kinds {
		if kind.begins.MatchString(entry) {
			return kind.why
		}
	}
	return nil
}

// Trim takes away what does not matter around a key: white space, line ends, and the mark with which a text may begin. Spec
// keeps what its author wrote; whatever reads a key trims it.
func Trim(entry string) string {
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(entry), "\ufeff"))
}
