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
	"crypto"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// owner can open files that are encrypted to their key.
type owner struct {
	public   string
	identity age.Identity
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func classic() owner {
	i := must(age.GenerateX25519Identity())
	return owner{i.Recipient().String(), i}
}

func hybrid() owner {
	i := must(age.GenerateHybridIdentity())
	return owner{i.Recipient().String(), i}
}

func sshKey(private crypto.Signer) owner {
	public := must(ssh.NewPublicKey(private.Public()))
	o := owner{public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))}
	switch k := private.(type) {
	case ed25519.PrivateKey:
		o.identity = must(agessh.NewEd25519Identity(k))
	case *rsa.PrivateKey:
		o.identity = must(agessh.NewRSAIdentity(k))
	}
	return o
}

func ed() owner {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return sshKey(must(private, err))
}

func rsaKey(bits int) owner { return sshKey(must(rsa.GenerateKey(rand.Reader, bits))) }

func open(ciphertext string, by age.Identity) (string, error) {
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(ciphertext)), by)
	if err != nil {
		return "", err
	}
	plaintext, err := io.ReadAll(r)
	return string(plaintext), err
}

func TestEachRecipientOpensItAndNobodyElse(t *testing.T) {
	const plaintext = "kubepat_abcdefgh"
	withComment := ed()
	withComment.public += " vendor@example.com"
	for name, owners := range map[string][]owner{
		"age":                   {classic()},
		"ssh-ed25519":           {ed()},
		"ssh, with its comment": {withComment},
		"ssh-rsa":               {rsaKey(2048)},
		"post-quantum":          {hybrid(), hybrid()},
		"several kinds":         {classic(), ed(), rsaKey(3072), classic()},
	} {
		t.Run(name, func(t *testing.T) {
			var entries []string
			for _, o := range owners {
				entries = append(entries, o.public)
			}
			if errs := Check(field.NewPath("spec"), entries); len(errs) > 0 {
				t.Fatal(errs)
			}
			ciphertext, err := Encrypt(plaintext, entries)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(ciphertext, plaintext) || !strings.HasPrefix(ciphertext, armor.Header) {
				t.Errorf("it is %q", ciphertext)
			}
			for i, o := range owners {
				if got, err := open(ciphertext, o.identity); err != nil || got != plaintext {
					t.Errorf("recipient %d reads %q, %v", i, got, err)
				}
			}
			for _, other := range []owner{classic(), hybrid(), ed()} {
				if got, err := open(ciphertext, other.identity); err == nil {
					t.Errorf("another key reads %q", got)
				}
			}
		})
	}
}

// Sixteen of the largest keys that spec takes still fit into status.
func TestTheLargestFits(t *testing.T) {
	entries := slices.Repeat([]string{hybrid().public}, 16)
	ciphertext, err := Encrypt(strings.Repeat("x", 74), entries)
	if err != nil || len(ciphertext) > 1<<16 {
		t.Errorf("%d bytes, %v", len(ciphertext), err)
	}
}

func TestCase40_AKeyThatIsThereTwiceIsNotEchoed(t *testing.T) {
	once := classic().public
	errs := Check(field.NewPath("recipients"), []string{once, ed().public, once})
	if got, want := errs.ToAggregate().Error(), "recipients[2]: Invalid value: is the same key as an earlier entry; leave it out"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestCase40_RefusedWholeWithoutAnEcho(t *testing.T) {
	good, quantum := classic().public, hybrid().public
	// A key that is well-formed, and a point of low order, to which nothing can be encrypted.
	zero := must(ssh.NewPublicKey(ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...))))
	for name, tc := range map[string]struct {
		entries []string
		field   string
		text    string
	}{
		"nonsense":              {[]string{good, "hello-world"}, "recipients[1]", "is not a public key"},
		"empty":                 {[]string{""}, "recipients[0]", "is not a public key"},
		"a letter changed":      {[]string{good[:20] + "q" + good[21:] + "q"}, "recipients[0]", "is not a public key"},
		"upper case":            {[]string{strings.ToUpper(good)}, "recipients[0]", "is not a public key"},
		"ssh cut short":         {[]string{ed().public[:40]}, "recipients[0]", "is not a public key"},
		"ssh with options":      {[]string{`command="x" ` + ed().public}, "recipients[0]", "has options or a host name in front"},
		"another kind of ssh":   {[]string{"sk-ssh-ed25519@openssh.com AAAAGnNr"}, "recipients[0]", "is the key of a hardware security key"},
		"a point of low order":  {[]string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(zero)))}, "recipients[0]", "is not a public key"},
		"a plugin's":            {[]string{"age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"}, "recipients[0]", "is the recipient of an age plugin"},
		"weak RSA":              {[]string{rsaKey(1024).public}, "recipients[0]", "fewer than 2048 bits"},
		"two lines":             {[]string{ed().public + "\n" + ed().public}, "recipients[0]", "give each key an entry of its own"},
		"two keys in a line":    {[]string{ed().public + " " + ed().public}, "recipients[0]", "give each key an entry of its own"},
		"a key as a comment":    {[]string{ed().public + " " + good}, "recipients[0]", "give each key an entry of its own"},
		"two age keys":          {[]string{good + " " + good}, "recipients[0]", "give each key an entry of its own"},
		"an age identity":       {[]string{must(age.GenerateX25519Identity()).String()}, "recipients[0]", "is a private key"},
		"a private SSH key":     {[]string{"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n"}, "recipients[0]", "is a private key"},
		"mixed":                 {[]string{quantum, good}, "recipients[1]", "is not post-quantum, and another entry is"},
		"mixed, the other way":  {[]string{good, quantum}, "recipients[0]", "is not post-quantum, and another entry is"},
		"post-quantum with ssh": {[]string{quantum, ed().public}, "recipients[1]", "is not post-quantum"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := Check(field.NewPath("recipients"), tc.entries)
			if len(errs) != 1 || errs[0].Field != tc.field || !strings.Contains(errs[0].Error(), tc.text) {
				t.Fatalf("%v; want one of %s that says %q", errs, tc.field, tc.text)
			}
			for _, entry := range tc.entries {
				for _, word := range strings.Fields(entry) {
					if len(word) > 16 && strings.Contains(errs.ToAggregate().Error(), word) {
						t.Errorf("it echoes %q", word)
					}
				}
			}
			if got, err := Encrypt("x", tc.entries); err == nil || got != "" {
				t.Errorf("encrypted all the same: %q", got)
			}
		})
	}
	if errs := Check(field.NewPath("recipients"), []string{"a", good, "b"}); len(errs) != 2 {
		t.Errorf("%v; want one of each that is wrong", errs)
	}
	if errs := Check(field.NewPath("recipients"), nil); errs != nil {
		t.Error(errs)
	}
}

// In FIPS-only mode, which a process has from its start, age's algorithms are not to be had.
func TestFIPSOnly(t *testing.T) {
	if !fips140.Enforced() {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFIPSOnly$", "-test.v")
		child.Env = append(os.Environ(), "GODEBUG=fips140=only")
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "refused") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	const public = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	const want = "age is not available in FIPS-only mode (GODEBUG=fips140=only); use spec.delivery.secret, or make the token on your own machine"
	errs := Check(field.NewPath("recipients"), []string{public})
	if len(errs) != 1 || errs[0].Field != "recipients" || !strings.Contains(errs[0].Detail, want) {
		t.Error(errs)
	}
	if _, err := Encrypt("x", []string{public}); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	t.Log("refused")
}

// Nothing that anybody writes there makes it panic, or is quoted, and what is taken can be encrypted to.
func FuzzCheck(f *testing.F) {
	for _, o := range []owner{classic(), hybrid(), ed()} {
		f.Add(o.public)
	}
	f.Add("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==")
	f.Add("\ufeffssh-rsa " + line(public(9000)) + "\r\n")
	f.Add("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----")
	f.Fuzz(func(t *testing.T, entry string) {
		errs := Check(field.NewPath("recipients"), []string{entry})
		_, err := Encrypt("x", []string{entry})
		if (len(errs) == 0) != (err == nil) {
			t.Errorf("checked: %v, encrypted: %v", errs, err)
		}
	})
}
