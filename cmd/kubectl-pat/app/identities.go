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
	// maxIdentityFile is longer than any file of private keys.
	maxIdentityFile = 1 << 20
	// maxAgeFile is longer than an age file with a token for sixteen recipients.
	maxAgeFile = 128 << 10
)

// defaultIdentities are the keys to use if the user gives none.
var defaultIdentities = []string{"~/.ssh/id_ed25519", "~/.ssh/id_rsa"}

// identityFlags select private keys.
type identityFlags struct{ files []string }

func (f *identityFlags) bind(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.files, "identity", "i", nil, "the `FILE` of an age or SSH private key (ed25519 or rsa); repeat it for more (default: "+strings.Join(defaultIdentities, " and ")+")")
}

// Errors for a file without a usable key, each with the next step. None quotes the file.
var (
	errPublicKey         = errors.New("this is a public key: give the private key, which SSH keeps in the file without .pub")
	errNoIdentity        = errors.New("this is not an age or SSH private key")
	errEncryptedIdentity = errors.New("this key is itself encrypted with age: decrypt it first (age --decrypt FILE > KEYFILE), or decrypt the token with age")
	errPluginIdentity    = errors.New("this key needs an age plugin: decrypt the token with age (age --decrypt -i KEYFILE)")
	errUnusableSSH       = errors.New("this SSH key cannot decrypt: use an ed25519 or rsa key; ecdsa keys, hardware keys and damaged keys cannot decrypt")
)

// keyring holds private keys.
type keyring struct {
	identities []age.Identity
	// skipped are the errors of default keys that cannot be used.
	skipped []error
}

// keyring reads the given private keys, or the default ones.
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

// defaultKeyring skips keys that cannot decrypt: the user did not choose them, and another one may open the file.
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
		return nil, fmt.Errorf("cannot use any of the default keys, so give one with -i FILE: %w", oneLine(keys.skipped))
	}
	return nil, usagef("no private key at %s: give one with -i FILE", strings.Join(defaultIdentities, " or "))
}

// sort puts keys with a passphrase last: decryption ends if the passphrase cannot be asked for.
func (k *keyring) sort() {
	locked := func(identity age.Identity) int {
		if _, ok := identity.(*lockedIdentity); ok {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(k.identities, func(a, b age.Identity) int { return locked(a) - locked(b) })
}

// open decrypts an age file and returns the token.
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

// ageHeader begins a binary age file.
const ageHeader = "age-encryption.org/"

// firstLine returns the first line that is neither empty nor a comment.
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
	if public == nil { // the old formats have no readable public key
		line, err := readFile(file+".pub", maxIdentityFile)
		if err != nil {
			return nil, fmt.Errorf("the key has a passphrase and an old format, which needs the public key in a .pub file: %w", err)
		}
		if public, _, _, _, err = ssh.ParseAuthorizedKey(line); err != nil {
			return nil, fmt.Errorf("%s.pub does not hold a public key", file)
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

// lockedIdentity is an SSH key with a passphrase. It asks for the passphrase only if the file is encrypted to this key.
type lockedIdentity struct {
	*agessh.EncryptedSSHIdentity
	file    string
	unasked error // why it could not ask for the passphrase
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
	return nil, keyError{fmt.Errorf("-i %s: cannot unlock the key: is the passphrase right?", l.file)}
}

// keyError is an error of a key, not of the age file.
type keyError struct{ error }

// wrongKeyError reports that the file is encrypted to none of the keys. It may be encrypted to a skipped one.
type wrongKeyError struct {
	kinds   []string
	skipped []error
}

func (e wrongKeyError) Error() string {
	text := fmt.Sprintf("none of these keys can decrypt it: it is encrypted to %s", strings.Join(e.kinds, ", "))
	if len(e.skipped) > 0 {
		text += fmt.Sprintf("; skipped, because it cannot be used: %v", oneLine(e.skipped))
	}
	return text
}

// openToken decrypts an age file and returns the token and its ID.
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
		return "", "", errors.New("this is not an age file, or it is damaged")
	}
	text, err := io.ReadAll(io.LimitReader(content, maxTokenFile))
	if err != nil {
		return "", "", errors.New("this age file is damaged")
	}
	plaintext = strings.TrimSpace(string(text))
	if id, err = token.Parse(plaintext); err != nil {
		return "", "", errors.New("its content is not a personal access token, so it is not printed")
	}
	return plaintext, id, nil
}

// outOfMail returns the armored part of a text, without what mail programs add: other text, quote marks and spaces. It drops the
// zero bytes of UTF-16, because the rest is ASCII.
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

// keysOfKinds describes the keys that an age file is encrypted to, from the stanzas of its header.
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
		case !strings.HasSuffix(stanza, "-grease"): // age adds a meaningless one
			kinds = append(kinds, fmt.Sprintf("a key of the kind %q", stanza))
		}
	}
	return kinds
}

// readFile reads a file of at most limit bytes.
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
