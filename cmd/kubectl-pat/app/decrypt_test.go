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
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
	"golang.org/x/text/encoding/unicode"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/recipients"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// agePair, rsaPair and so on return a private key in its file format, and its public key.
func agePair(t *testing.T) (private, public string) {
	key := must[*age.X25519Identity](t)(age.GenerateX25519Identity())
	return "# created: today\n# public key: " + key.Recipient().String() + "\n" + key.String() + "\n", key.Recipient().String()
}

func hybridPair(t *testing.T) (private, public string) {
	key := must[*age.HybridIdentity](t)(age.GenerateHybridIdentity())
	return key.String() + "\n", key.Recipient().String()
}

func rsaPair(t *testing.T) (private *rsa.PrivateKey, public string) {
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	return key, publicOf(t, key.Public())
}

func publicOf(t *testing.T, key any) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(must[ssh.PublicKey](t)(ssh.NewPublicKey(key)))))
}

func pemOf(t *testing.T, key any) string {
	return string(pem.EncodeToMemory(must[*pem.Block](t)(ssh.MarshalPrivateKey(key, ""))))
}

func ecdsaPair(t *testing.T) (private, public string) {
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return pemOf(t, key), publicOf(t, key.Public())
}

// lockedPEM is a key as ssh-keygen protected it before OpenSSH had a format of its own.
func lockedPEM(t *testing.T, key *rsa.PrivateKey) string {
	//nolint:staticcheck // SA1019: old keys are protected in this way, however bad it is
	block := must[*pem.Block](t)(x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte("hunter2"), x509.PEMCipherAES128))
	return string(pem.EncodeToMemory(block))
}

func TestEveryKindOfKeyOpensAToken(t *testing.T) {
	_, plaintext := tokenOf(t, 7)
	for name, pair := range map[string]func() (private, public string){
		"age":              func() (string, string) { return agePair(t) },
		"post-quantum age": func() (string, string) { return hybridPair(t) },
		"SSH, rsa":         func() (string, string) { key, public := rsaPair(t); return pemOf(t, key), public },
		"SSH, rsa, in PEM": func() (string, string) {
			key, public := rsaPair(t)
			return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})), public
		},
	} {
		t.Run(name, func(t *testing.T) {
			private, public := pair()
			file := must[string](t)(recipients.Encrypt(plaintext, []string{public}))
			binary := string(must[[]byte](t)(readAllOf(armor.NewReader(strings.NewReader(file)))))
			dir := t.TempDir()
			write := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			key := write("key", private)
			for _, text := range []string{file, binary, "\n" + file + "\n", strings.ReplaceAll(file, "\n", "\r\n")} {
				tr := newTrial(t, interceptor.Funcs{})
				tr.run(t.Context(), t, exitOK, "decrypt", "-f", write("file", text), "-i", key)
				if got := tr.out.String(); got != plaintext+"\n" {
					t.Errorf("got %q", got)
				}
			}
		})
	}
}

func readAllOf(r interface{ Read([]byte) (int, error) }) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// Errors do not quote the file.
func TestUnusableKeys(t *testing.T) {
	agePrivate, agePublic := agePair(t)
	ecdsaPrivate, ecdsaPublic := ecdsaPair(t)
	key, rsaPublic := rsaPair(t)
	locked := lockedPEM(t, key)
	for name, tc := range map[string]struct {
		text, public string
		want         string
	}{
		"nothing":                         {want: "this is not an age or SSH private key"},
		"comments":                        {text: "# public key: " + agePublic, want: "this is not an age or SSH private key"},
		"words":                           {text: "hunter2", want: "this is not an age or SSH private key"},
		"a key of age, cut off":           {text: strings.TrimSpace(agePrivate)[:150], want: "this is not an age or SSH private key"},
		"a public key of age":             {text: agePublic, want: errPublicKey.Error()},
		"a public key of SSH":             {text: rsaPublic, want: errPublicKey.Error()},
		"a public ecdsa key":              {text: ecdsaPublic, want: errPublicKey.Error()},
		"an ecdsa key":                    {text: ecdsaPrivate, want: errUnusableSSH.Error()},
		"an SSH key, cut off":             {text: pemOf(t, key)[:200], want: errUnusableSSH.Error()},
		"a certificate":                   {text: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", want: errUnusableSSH.Error()},
		"a key in an age file":            {text: "-----BEGIN AGE ENCRYPTED FILE-----\n", want: errEncryptedIdentity.Error()},
		"a key in an age file, bare":      {text: "age-encryption.org/v1\n", want: errEncryptedIdentity.Error()},
		"a key of a plugin":               {text: "AGE-PLUGIN-YUBIKEY-1QQQ", want: errPluginIdentity.Error()},
		"an old key, alone":               {text: locked, want: "the key has a passphrase and an old format, which needs the public key in a .pub file: open KEY.pub: no such file or directory"},
		"an old key with rubbish in .pub": {text: locked, public: "hunter2", want: "KEY.pub does not hold a public key"},
		"an old key with another's kind":  {text: locked, public: ecdsaPublic, want: errUnusableSSH.Error()},
		"an old key with its public one":  {text: locked, public: rsaPublic},
		"too large a file":                {text: strings.Repeat("#\n", maxIdentityFile), want: "KEY is larger than 1024 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if tc.public != "" {
				if err := os.WriteFile(path+".pub", []byte(tc.public), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := (&session{}).keyring(t.Context(), []string{path})
			got := ""
			if err != nil {
				got = strings.ReplaceAll(strings.TrimPrefix(err.Error(), "-i "+path+": "), path, "KEY")
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestOpenToken(t *testing.T) {
	agePrivate, agePublic := agePair(t)
	_, otherPublic := agePair(t)
	_, rsaPublic := rsaPair(t)
	_, hybrid := hybridPair(t)
	id, plaintext := tokenOf(t, 7)
	seal := func(text string, keys ...string) string { return must[string](t)(recipients.Encrypt(text, keys)) }
	good := seal(plaintext, agePublic)
	for name, tc := range map[string]struct{ file, want string }{
		"ours":                       {good, ""},
		"ours, with a line's end":    {seal(plaintext+"\n", agePublic), ""},
		"ours among others":          {seal(plaintext, otherPublic, rsaPublic, agePublic), ""},
		"in a mail":                  {"Hello,\r\n\r\n  " + strings.ReplaceAll(good, "\n", " \r\n  ") + "\r\n-- \r\nBob\r\n", ""},
		"quoted in a mail":           {"Bob wrote:\n> " + strings.ReplaceAll(good, "\n", "\n>> ") + "\n> -- \n> Bob\n", ""},
		"in UTF-16":                  {utf16Of(t, good, unicode.LittleEndian, unicode.UseBOM), ""},
		"in a mail, cut off":         {"> " + strings.ReplaceAll(good[:len(good)/2], "\n", "\n> "), "this is not an age file, or it is damaged"},
		"for others":                 {seal(plaintext, otherPublic, rsaPublic), "none of these keys can decrypt it: it is encrypted to an age key, an SSH key (ssh-rsa)"},
		"post-quantum":               {seal(plaintext, hybrid), "none of these keys can decrypt it: it is encrypted to a post-quantum age key"},
		"something else":             {seal("hunter2", agePublic), "its content is not a personal access token, so it is not printed"},
		"a token and something else": {seal(plaintext+" hunter2", agePublic), "its content is not a personal access token, so it is not printed"},
		"cut off":                    {good[:len(good)/2], "this is not an age file, or it is damaged"},
		"words":                      {"hunter2", "this is not an age file, or it is damaged"},
		"nothing":                    {"", "this is not an age file, or it is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			identities := must[[]age.Identity](t)(age.ParseIdentities(strings.NewReader(agePrivate)))
			got, gotID, err := openToken(tc.file, identities)
			if tc.want != "" {
				if err == nil || err.Error() != tc.want || got != "" {
					t.Errorf("got %v; want %s", err, tc.want)
				}
				return
			}
			if err != nil || got != plaintext || gotID != id {
				t.Errorf("got token %s: %v", gotID, err)
			}
		})
	}
}

// A key without the right passphrase is not reported as a wrong key.
func TestLockedKey(t *testing.T) {
	_, plaintext := tokenOf(t, 7)
	key, public := rsaPair(t)
	file := must[string](t)(recipients.Encrypt(plaintext, []string{public}))
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	for passphrase, want := range map[string]string{"hunter2": "", "hunter3": "-i key: cannot unlock the key: is the passphrase right?"} {
		locked := &lockedIdentity{file: "key"}
		locked.EncryptedSSHIdentity, err = agessh.NewEncryptedSSHIdentity(parsed, []byte(lockedPEM(t, key)), func() ([]byte, error) { return []byte(passphrase), nil })
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := openToken(file, []age.Identity{locked})
		switch {
		case want == "" && (err != nil || got != plaintext):
			t.Errorf("it does not open: %v", err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("got %v; want %s", err, want)
		}
	}
}

func TestDecryptSaysWhyThereIsNoToken(t *testing.T) {
	for name, tc := range map[string]struct {
		modify func(*v1alpha1.PersonalAccessToken)
		want   string
	}{
		"its holder's": {func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.Token = &v1alpha1.HolderToken{} },
			"its holder made it, and nobody else has it"},
		"in a Secret": {func(pat *v1alpha1.PersonalAccessToken) { pat.Status.DeliverySecretName = "pat-aaaaaaaaaaaaaaaa" },
			"it is in a Secret: kubectl get secret pat-aaaaaaaaaaaaaaaa -n team-a -o jsonpath='{.data.token}' | base64 -d"},
		"in a Secret with a forged name": {func(pat *v1alpha1.PersonalAccessToken) { pat.Status.DeliverySecretName = "x; rm -rf ~; echo" },
			`it is in a Secret, which status calls "x; rm -rf ~; echo"`},
		"in a Secret that is gone": {func(*v1alpha1.PersonalAccessToken) {},
			"it was delivered in a Secret, which no longer exists; for a new token run kubectl pat rotate"},
		"expired": {func(pat *v1alpha1.PersonalAccessToken) {
			pat.Spec.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1"}}
			pat.Status.Conditions[0] = metav1.Condition{Type: v1alpha1.ConditionActive, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonExpired, Message: "Rotate it."}
		}, "Rotate it. (Expired)"},
		"not processed yet": {func(pat *v1alpha1.PersonalAccessToken) {
			pat.Spec.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1"}}
			pat.Status.Conditions = nil
		}, "the operator has not processed it yet; is it running?"},
	} {
		t.Run(name, func(t *testing.T) {
			pat := withConditions(1, isActive)
			tc.modify(pat)
			if got := whyNotEncrypted(pat); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// A user who may write status can put any text there.
func TestDecryptWarnsOfAnotherToken(t *testing.T) {
	private, public := agePair(t)
	id, plaintext := tokenOf(t, 7)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ current, previous, want string }{
		"the current one": {id, "", "This is token " + id + ", for alice. It works until 2026-12-24T12:00:00Z."},
		"its predecessor": {"bbbbbbbbbbbbbbbb", id, "Warning: this is token " + id + ", the predecessor of the current one (bbbbbbbbbbbbbbbb)."},
		"another":         {"bbbbbbbbbbbbbbbb", "", "Warning: this is token " + id + ", and team-a/ci has another (bbbbbbbbbbbbbbbb): its status was changed."},
	} {
		t.Run(name, func(t *testing.T) {
			pat, _ := holderMade(t, 7)
			pat.Spec.Token, pat.Spec.Delivery = nil, &v1alpha1.Delivery{Recipients: []string{public}}
			pat.Status.TokenID, pat.Status.PreviousTokenID = tc.current, tc.previous
			pat.Status.EncryptedToken = must[string](t)(recipients.Encrypt(plaintext, []string{public}))
			tr := newTrial(t, interceptor.Funcs{}, pat)
			tr.run(context.Background(), t, exitOK, "decrypt", "ci", "-n", "team-a", "-i", key)
			tr.errs(t, tc.want)
			if got := tr.out.String(); got != plaintext+"\n" {
				t.Errorf("standard output: %s", got)
			}
		})
	}
}

func TestNameKey(t *testing.T) {
	_, agePublic := agePair(t)
	_, hybrid := hybridPair(t)
	_, rsaPublic := rsaPair(t)
	for key, want := range map[string]string{
		agePublic:                       agePublic,
		hybrid:                          hybrid[:63] + "…",
		rsaPublic + " the vendor's own": "ssh-rsa SHA256:",
	} {
		if got := nameKey(key); !strings.HasPrefix(got, want) || strings.HasPrefix(want, "ssh") && !strings.HasSuffix(got, " the vendor's own") {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}
