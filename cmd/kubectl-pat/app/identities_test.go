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
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/internal/recipients"
)

// Unusable default keys do not prevent another one from opening the file.
func TestDefaultKeys(t *testing.T) {
	_, plaintext := tokenOf(t, 7)
	public25519, private25519, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, rsaPublic := rsaPair(t)
	_, foreign := agePair(t)
	good, goodPublic := pemOf(t, private25519), publicOf(t, public25519)
	ecdsaPrivate, _ := ecdsaPair(t)
	const (
		notTried = "; skipped, because it cannot be used: ~/.ssh/id_"
		none     = "cannot use any of the default keys, so give one with -i FILE: "
	)
	for name, tc := range map[string]struct {
		id25519, idRSA string // "-": no such file
		key            string
		code           int
		want           string // the error
	}{
		"id_ed25519":                    {good, "-", goodPublic, exitOK, ""},
		"id_rsa":                        {"-", pemOf(t, rsaKey), rsaPublic, exitOK, ""},
		"id_rsa as well as id_ed25519":  {good, pemOf(t, rsaKey), rsaPublic, exitOK, ""},
		"an old id_rsa without .pub":    {good, lockedPEM(t, rsaKey), goodPublic, exitOK, ""},
		"an empty id_rsa":               {good, "", goodPublic, exitOK, ""},
		"an empty id_ed25519":           {"", pemOf(t, rsaKey), rsaPublic, exitOK, ""},
		"an ecdsa key in id_ed25519":    {ecdsaPrivate, pemOf(t, rsaKey), rsaPublic, exitOK, ""},
		"another's, and an empty one":   {good, "", foreign, exitError, "FILE: none of these keys can decrypt it: it is encrypted to an age key" + notTried + "rsa: " + errNoIdentity.Error()},
		"another's":                     {good, "-", foreign, exitError, "FILE: none of these keys can decrypt it: it is encrypted to an age key"},
		"nothing but unusable ones":     {ecdsaPrivate, "", goodPublic, exitError, none + "~/.ssh/id_ed25519: " + errUnusableSSH.Error() + "; ~/.ssh/id_rsa: " + errNoIdentity.Error()},
		"nothing but one that is empty": {"-", "", goodPublic, exitError, none + "~/.ssh/id_rsa: " + errNoIdentity.Error()},
		"none":                          {"-", "-", goodPublic, exitUsage, "no private key at ~/.ssh/id_ed25519 or ~/.ssh/id_rsa: give one with -i FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			t.Setenv("HOME", home)
			write := func(name, text string) string {
				path := filepath.Join(home, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			for file, text := range map[string]string{".ssh/id_ed25519": tc.id25519, ".ssh/id_rsa": tc.idRSA} {
				if text != "-" {
					write(file, text)
				}
			}
			write("FILE", must[string](t)(recipients.Encrypt(plaintext, []string{tc.key})))
			t.Chdir(home)
			tr := newTrial(t, interceptor.Funcs{})
			tr.run(t.Context(), t, tc.code, "decrypt", "-f", "FILE")
			if tc.want != "" {
				tr.errs(t, "error: "+tc.want)
				return
			}
			if got := tr.out.String(); got != plaintext+"\n" {
				t.Errorf("standard output: %q", got)
			}
		})
	}
}

// decrypt does not ask for a passphrase if another key opens the file.
func TestKeysWithAPassphraseComeLast(t *testing.T) {
	key, public := rsaPair(t)
	private, _ := agePair(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"locked": lockedPEM(t, key), "locked.pub": public, "open": private} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := (&session{}).keyring(t.Context(), []string{filepath.Join(dir, "locked"), filepath.Join(dir, "open")})
	if err != nil {
		t.Fatal(err)
	}
	if _, last := keys.identities[1].(*lockedIdentity); len(keys.identities) != 2 || !last {
		t.Errorf("the keys are %T", keys.identities)
	}
}
