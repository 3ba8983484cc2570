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
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"github.com/spf13/pflag"
	"golang.org/x/crypto/ssh"

	"github.com/pat-operator/pat-operator/internal/token"
)

const (
	// maxIdentityFile is more than any file of private keys is long.
	maxIdentityFile = 1 << 20
	// maxAgeFile is more than an age file with a token in it and sixteen recipients is long.
	maxAgeFile = 128 << 10
)

// defaultIdentities are where keys are looked for when none is named.
var defaultIdentities = []string{"~/.ssh/id_ed25519", "~/.ssh/id_rsa"}

// identityFlags name private keys.
type identityFlags struct{ files []string }

func (f *identityFlags) bind(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.files, "identity", "i", nil, "the private key's `FILE`, of age or SSH (ed25519 or rsa); repeat it for more (default: "+strings.Join(defaultIdentities, " and ")+")")
}

// Why a file gives no key, each with the way out. None says what is in the file.
var (
	errPublicKey         = errors.New("this is a public key: name the private one, which with SSH is the file beside it without .pub")
	errNoIdentity        = errors.New("this is no private key of age or SSH")
	errEncryptedIdentity = errors.New("this key is itself in an age file: open that first (age --decrypt FILE > KEYFILE), or open the token with age")
	errPluginIdentity    = errors.New("this key belongs to a plugin of age: open the token with age (age --decrypt -i KEYFILE)")
	errUnusableSSH       = errors.New("this is no SSH key that can decrypt: ed25519 and rsa keys can, ecdsa keys, hardware keys and damaged ones cannot")
)

// keyring is private keys.
type keyring struct {
	identities []age.Identity
	// skipped is why keys that nobody named are not among them.
	skipped []error
}

// keyring reads the private keys, or those that are where people have them.
func (s *session) keyring(ctx context.Context, files []string) (*keyring, error) {
	if fips140.Enforced() {
		return nil, errors.New("age is not available in FIPS-only mode (GODEBUG=fips140=only)")
	}
	if len(files) == 0 {
		return s.defaultKeyring(ctx)
	}
	keys := &keyring{}
	for _, file := range files {
		identities, err := s.readIdentities(ctx, expandHome(file))
		if err != nil {
			return nil, fmt.Errorf("-i %s: %w", file, err)
		}
		keys.identities = append(keys.identities, identities...)
	}
	keys.sort()
	return keys, nil
}

// defaultKeyring skips what is no key to decrypt with: nobody said that it is one, and another may open the file.
func (s *session) defaultKeyring(ctx context.Context) (*keyring, error) {
	keys := &keyring{}
	for _, file := range defaultIdentities {
		if _, err := os.Stat(expandHome(file)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		identities, err := s.readIdentities(ctx, expandHome(file))
		if err != nil {
			keys.skipped = append(keys.skipped, fmt.Errorf("%s: %w", file, err))
			continue
		}
		keys.identities = append(keys.identities, identities...)
	}
	switch {
	case len(keys.identities) > 0:
		keys.sort()
		return keys, nil
	case len(keys.skipped) > 0:
		return nil, fmt.Errorf("none of the keys that are looked for where nothing is named can be used, so name one by -i FILE: %w", oneLine(keys.skipped))
	}
	return nil, usagef("there is no private key at %s: name one by -i FILE", strings.Join(defaultIdentities, " or "))
}

// sort puts keys behind the others that a passphrase is asked for: one that cannot be asked for ends the search.
func (k *keyring) sort() {
	locked := func(identity age.Identity) int {
		if _, ok := identity.(*lockedIdentity); ok {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(k.identities, func(a, b age.Identity) int { return locked(a) - locked(b) })
}

// open returns the token in an age file.
func (k *keyring) open(file string) (plaintext, id string, err error) {
	plaintext, id, err = openToken(file, k.identities)
	if wrong, ok := errors.AsType[wrongKeyError](err); ok {
		err = wrongKeyError{wrong.kinds, k.skipped}
	}
	return plaintext, id, err
}

func (s *session) readIdentities(ctx context.Context, file string) ([]age.Identity, error) {
	text, err := readFile(file, maxIdentityFile)
	if err != nil {
		return nil, err
	}
	switch first := firstLine(text); {
	case strings.HasPrefix(first, armor.Header), strings.HasPrefix(first, ageHeader):
		return nil, errEncryptedIdentity
	case strings.HasPrefix(first, "-----BEGIN"):
		identity, err := s.sshIdentity(ctx, file, text)
		return []age.Identity{identity}, err
	case strings.HasPrefix(first, "ssh-"), strings.HasPrefix(first, "ecdsa-"), strings.HasPrefix(first, "sk-"), strings.HasPrefix(first, "age1"):
		return nil, errPublicKey
	case strings.HasPrefix(first, "AGE-PLUGIN-"):
		return nil, errPluginIdentity
	}
	identities, err := age.ParseIdentities(strings.NewReader(string(text)))
	if err != nil {
		return nil, errNoIdentity
	}
	return identities, nil
}

// ageHeader begins an age file that is not armored.
const ageHeader = "age-encryption.org/"

// firstLine is the first that is neither empty nor a comment.
func firstLine(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return ""
}

func (s *session) sshIdentity(ctx context.Context, file string, text []byte) (age.Identity, error) {
	identity, err := agessh.ParseIdentity(text)
	if err == nil {
		return identity, nil
	}
	missing, ok := errors.AsType[*ssh.PassphraseMissingError](err)
	if !ok {
		return nil, errUnusableSSH
	}
	public := missing.PublicKey
	if public == nil { // the older formats do not have it in clear
		line, err := readFile(file+".pub", maxIdentityFile)
		if err != nil {
			return nil, fmt.Errorf("the key is protected by a passphrase and of an older format, which takes the public key beside it: %w", err)
		}
		if public, _, _, _, err = ssh.ParseAuthorizedKey(line); err != nil {
			return nil, fmt.Errorf("the public key beside it, %s.pub, is none", file)
		}
	}
	locked := &lockedIdentity{file: file}
	locked.EncryptedSSHIdentity, err = agessh.NewEncryptedSSHIdentity(public, text, func() ([]byte, error) {
		passphrase, err := s.askPassphrase(ctx, fmt.Sprintf("Passphrase of %s: ", file))
		locked.unasked = err
		return passphrase, err
	})
	if err != nil {
		return nil, errUnusableSSH
	}
	return locked, nil
}

// lockedIdentity is an SSH key whose passphrase is asked for when it is known to be the one that is needed.
type lockedIdentity struct {
	*agessh.EncryptedSSHIdentity
	file    string
	unasked error // the passphrase could not be asked for
}

// Unwrap implements age.Identity.
func (l *lockedIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := l.EncryptedSSHIdentity.Unwrap(stanzas)
	switch {
	case err == nil, errors.Is(err, age.ErrIncorrectIdentity):
		return key, err
	case l.unasked != nil:
		return nil, keyError{fmt.Errorf("-i %s: %w", l.file, l.unasked)}
	}
	return nil, keyError{fmt.Errorf("-i %s: the key does not open: is the passphrase right?", l.file)}
}

// keyError is what is wrong with a key, and not with the file that it is to open.
type keyError struct{ error }

// wrongKeyError is that none of the keys is one that the file is encrypted to. The skipped ones may be.
type wrongKeyError struct {
	kinds   []string
	skipped []error
}

func (e wrongKeyError) Error() string {
	text := fmt.Sprintf("none of these keys can open it: it is for %s", strings.Join(e.kinds, ", "))
	if len(e.skipped) > 0 {
		text += fmt.Sprintf("; not tried, since it cannot be used: %v", oneLine(e.skipped))
	}
	return text
}

// openToken returns the token in an age file.
func openToken(file string, identities []age.Identity) (plaintext, id string, err error) {
	var in io.Reader = strings.NewReader(file)
	if !strings.HasPrefix(file, ageHeader) {
		in = armor.NewReader(strings.NewReader(outOfMail(file)))
	}
	content, err := age.Decrypt(in, identities...)
	if mismatch, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return "", "", wrongKeyError{kinds: keysOfKinds(mismatch.StanzaTypes)}
	}
	if wrong, ok := errors.AsType[keyError](err); ok {
		return "", "", wrong.error
	}
	if err != nil {
		return "", "", errors.New("this is no age file, or it is damaged")
	}
	text, err := io.ReadAll(io.LimitReader(content, maxTokenFile))
	if err != nil {
		return "", "", errors.New("this age file is damaged")
	}
	plaintext = strings.TrimSpace(string(text))
	if id, err = token.Parse(plaintext); err != nil {
		return "", "", errors.New("it opens, and what is in it is no token of ours, so it is not printed")
	}
	return plaintext, id, nil
}

// outOfMail returns the armored part of a text, without what a mail puts around it: other text, marks of quotes, spaces, and
// UTF-16, of which the zeros are left out, since the rest is ASCII.
func outOfMail(text string) string {
	text = strings.ReplaceAll(text, "\x00", "")
	_, body, _ := strings.Cut(text, armor.Header)
	body, _, whole := strings.Cut(body, armor.Footer)
	if !whole {
		return text
	}
	lines := []string{armor.Header}
	for line := range strings.Lines(body) {
		if line = strings.Trim(line, "> \t\r\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(append(lines, armor.Footer), "\n") + "\n"
}

// keysOfKinds says what keys an age file is for, by what its header has of them.
func keysOfKinds(stanzas []string) []string {
	names := map[string]string{
		"ssh-ed25519": "an SSH key (ssh-ed25519)", "ssh-rsa": "an SSH key (ssh-rsa)",
		"X25519": "an age key", "mlkem768x25519": "a post-quantum age key", "scrypt": "a passphrase",
	}
	var kinds []string
	for _, stanza := range stanzas {
		name, known := names[stanza]
		switch {
		case known:
			kinds = append(kinds, name)
		case !strings.HasSuffix(stanza, "-grease"): // age puts one there that means nothing
			kinds = append(kinds, fmt.Sprintf("a key of the kind %q", stanza))
		}
	}
	return kinds
}

// readFile reads a file that is not to be larger than limit.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d KiB", name, limit>>10)
	}
	return text, err
}
