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
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var path = field.NewPath("spec", "delivery", "recipients")

// public is an RSA public key of a size, which nobody has a private key of.
func public(bits int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

func line(key any) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(must(ssh.NewPublicKey(key)))))
}

func block(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

func TestCase57_APublicKeyInAnotherFormatIsToldApart(t *testing.T) {
	rsa2048, ecdsaKey := &must(rsa.GenerateKey(rand.Reader, 2048)).PublicKey, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ed25519Key, _, _ := ed25519.GenerateKey(rand.Reader)
	pkix := block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(rsa2048)))
	der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, &ecdsaKey.PublicKey, ecdsaKey))
	const ecdsaText = "is an ECDSA key, to which age cannot encrypt; make another (ssh-keygen -t ed25519) and give its public key"
	good := ed().public
	utf16 := "\ufffd\ufffd" + strings.Join(strings.Split(good, ""), "\x00") + "\x00"
	for name, tc := range map[string]struct{ entry, want string }{
		"PKCS#8":             {pkix, "is a public key in PEM format (PKCS#8); convert it with: ssh-keygen -i -m PKCS8 -f FILE"},
		"PKCS#8, first line": {strings.Split(pkix, "\n")[0], "is a public key in PEM format (PKCS#8); convert it with: ssh-keygen -i -m PKCS8 -f FILE"},
		"PKCS#8, Ed25519":    {block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(ed25519Key))), "is an Ed25519 public key in PEM format, which many versions of ssh-keygen cannot convert; make another (ssh-keygen -t ed25519) and give its public key"},
		"PKCS#8, P-256":      {block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&ecdsaKey.PublicKey))), ecdsaText},
		"PKCS#8, P-384":      {block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).PublicKey))), ecdsaText},
		"PKCS#8, P-521":      {block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)).PublicKey))), ecdsaText},
		"PKCS#1":             {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(rsa2048)), "is an RSA public key in PEM format (PKCS#1); convert it with: ssh-keygen -i -m PEM -f FILE"},
		"RFC 4716":           {"---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"x\"\nAAAAC3Nz\n---- END SSH2 PUBLIC KEY ----\n", "is an SSH public key in RFC 4716 format; convert it with: ssh-keygen -i -m RFC4716 -f FILE"},
		"certificate":        {block("CERTIFICATE", der), "is an X.509 certificate; take its public key out with: openssl x509 -in FILE -noout -pubkey > KEY; ssh-keygen -i -m PKCS8 -f KEY"},
		"PGP":                {"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n-----END PGP PUBLIC KEY BLOCK-----\n", "is a PGP public key; where it has a key for authentication, convert it with: gpg --export-ssh-key USER"},
		"other PEM":          {block("CERTIFICATE REQUEST", der), "is in PEM format, and not a public key; give one age recipient (age1…) or one SSH public key"},
		"SSH certificate":    {"ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAx x", "is an SSH certificate; give the public key that it certifies: FILE.pub instead of FILE-cert.pub"},
		"ecdsa":              {line(&ecdsaKey.PublicKey), ecdsaText},
		"sk-ssh":             {"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t x", "is the key of a hardware security key (FIDO), which signs and cannot decrypt; make another (ssh-keygen -t ed25519) and give its public key"},
		"sk-ecdsa":           {"sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZA x", "is the key of a hardware security key (FIDO), which signs and cannot decrypt; make another (ssh-keygen -t ed25519) and give its public key"},
		"DSA":                {"ssh-dss AAAAB3NzaC1kc3MAAACB x", "is a DSA key, to which age cannot encrypt; make another (ssh-keygen -t ed25519) and give its public key"},
		"plugin":             {must(plugin.EncodeRecipient("yubikey", make([]byte, 33)), nil), "is the recipient of an age plugin, and plugins are not supported; give the recipient of an identity that age-keygen makes (age1…)"},
		"plugin identity":    {plugin.EncodeIdentity("yubikey", make([]byte, 33)), "is the identity of an age plugin, and plugins are not supported; give the recipient of an identity that age-keygen makes (age1…)"},
		"without its type":   {strings.Fields(good)[1], "is an SSH public key without the name of its type; put ssh-ed25519 or ssh-rsa in front, as in the file that ends with .pub"},
		"from":               {`from="10.0.0.0/8,*.example.com" ` + good, "has options or a host name in front of the key; give the line from the type of the key on (ssh-ed25519, ssh-rsa)"},
		"command":            {`no-pty,command="echo ssh-rsa AAAA" ` + good, "has options or a host name in front of the key; give the line from the type of the key on (ssh-ed25519, ssh-rsa)"},
		"known host":         {"git.example.com " + good, "has options or a host name in front of the key; give the line from the type of the key on (ssh-ed25519, ssh-rsa)"},
		"UTF-16":             {utf16, "is UTF-16 text, as Windows PowerShell writes files; convert the file with: iconv -f UTF-16 -t UTF-8 FILE"},
		"RSA-1024":           {line(public(1024)), "is an RSA key of fewer than 2048 bits; make another (ssh-keygen -t ed25519) and give its public key"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, entry := range []string{tc.entry, "\ufeff" + tc.entry, "\r\n " + tc.entry} {
				errs := Check(path, []string{classic().public, entry})
				if len(errs) != 1 || errs[0].Error() != "spec.delivery.recipients[1]: Invalid value: "+tc.want {
					t.Errorf("%v; want %q", errs, tc.want)
				}
				if _, err := Encrypt("x", []string{entry}); err == nil || err.Error() != "recipient 0 "+tc.want {
					t.Errorf("encrypted: %v", err)
				}
			}
		})
	}
}

// What is written around a key does not matter: it is the same key at each place that reads it.
func TestCase57_WhiteSpaceAroundAKeyDoesNotMatter(t *testing.T) {
	for kind, o := range map[string]owner{"age": classic(), "hybrid": hybrid(), "ssh": ed()} {
		for _, form := range []string{"%s\n", "%s\r\n", "  %s\t", "\ufeff%s", "\ufeff%s\r\n", "\n%s\n\n", "\u00a0%s"} {
			entry := fmt.Sprintf(form, o.public)
			if errs := Check(path, []string{entry}); len(errs) > 0 {
				t.Errorf("%s in %q: %v", kind, form, errs)
				continue
			}
			ciphertext, err := Encrypt("x", []string{entry})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := open(ciphertext, o.identity); err != nil || got != "x" {
				t.Errorf("%s in %q: it reads %q, %v", kind, form, got, err)
			}
			if errs := Check(path, []string{o.public, entry}); len(errs) != 1 || !strings.Contains(errs[0].Detail, "is the same key as an earlier entry") {
				t.Errorf("%s in %q, twice: %v", kind, form, errs)
			}
		}
	}
	once := ed().public
	if errs := Check(path, []string{once + " office", once + " home"}); len(errs) != 1 || !strings.Contains(errs[0].Detail, "is the same key as an earlier entry") {
		t.Errorf("one key with two comments: %v", errs)
	}
}

func TestCase57_OnlyAPrivateKeyIsCalledLeaked(t *testing.T) {
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, ecdsaKey := must(rsa.GenerateKey(rand.Reader, 2048)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	openssh := string(pem.EncodeToMemory(must(ssh.MarshalPrivateKey(edKey, ""))))
	native := must(age.GenerateX25519Identity())
	for name, entry := range map[string]string{
		"PKCS#8":               block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey))),
		"PKCS#8, encrypted":    block("ENCRYPTED PRIVATE KEY", []byte("not seen by us")),
		"PKCS#1":               block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)),
		"SEC 1":                block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecdsaKey))),
		"OpenSSH":              openssh,
		"OpenSSH, first line":  strings.Split(openssh, "\n")[0],
		"OpenSSH, second line": strings.Split(openssh, "\n")[1],
		"SSH2":                 "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56wAA\n---- END SSH2 ENCRYPTED PRIVATE KEY ----",
		"PuTTY":                "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
		"PGP":                  "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlFgEZ\n-----END PGP PRIVATE KEY BLOCK-----\n",
		"age":                  native.String(),
		"age, lower case":      strings.ToLower(native.String()),
		"age, post-quantum":    must(age.GenerateHybridIdentity()).String(),
		"age-keygen's file":    "# created: 2026-11-01T12:00:00Z\n# public key: " + native.Recipient().String() + "\n" + native.String() + "\n",
		"behind a certificate": block("CERTIFICATE", []byte("x")) + block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey))),
		"behind a public key":  ed().public + "\n" + openssh,
		"in UTF-16":            strings.Join(strings.Split(openssh, ""), "\x00"),
		"too long":             block("RSA PRIVATE KEY", make([]byte, 8000)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, entries := range [][]string{{entry}, {"\ufeff " + entry + "\r\n"}, append(slices.Repeat([]string{"x"}, 20), entry)} {
				errs := Check(path, entries)
				want := fmt.Sprintf("spec.delivery.recipients[%d]: Invalid value: is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key", len(entries)-1)
				if len(errs) != 1 || errs[0].Error() != want {
					t.Errorf("%v; want %q", errs, want)
				}
			}
		})
	}
}

// The commands that the errors name make keys that are taken.
func TestCase57_TheCommandsConvert(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	private := must(rsa.GenerateKey(rand.Reader, 2048))
	file := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(file, []byte(line(&private.PublicKey)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"PKCS8", "PEM", "RFC4716"} {
		other := must(exec.CommandContext(t.Context(), keygen, "-e", "-m", format, "-f", file).Output())
		errs := Check(path, []string{string(other)})
		command := "ssh-keygen -i -m " + format + " -f FILE"
		if len(errs) != 1 || !strings.Contains(errs[0].Detail, command) {
			t.Fatalf("%s: %v", format, errs)
		}
		otherFile := filepath.Join(t.TempDir(), format)
		if err := os.WriteFile(otherFile, other, 0o600); err != nil {
			t.Fatal(err)
		}
		converted := must(exec.CommandContext(t.Context(), keygen, "-i", "-m", format, "-f", otherFile).Output())
		if errs := Check(path, []string{string(converted)}); len(errs) > 0 {
			t.Errorf("%s, converted: %v", format, errs)
		}
	}
}

// The sizes are known before anything is computed with a key.
func TestCase52_SizesAreCheckedBeforeKeysAreUsed(t *testing.T) {
	const large = "is an RSA key of more than 8192 bits, which is the largest size; make another (ssh-keygen -t ed25519) and give its public key"
	for _, bits := range []int{8193, 16384} {
		errs := Check(path, slices.Repeat([]string{line(public(bits))}, 16))
		if len(errs) != 16 || errs[15].Error() != "spec.delivery.recipients[15]: Invalid value: "+large {
			t.Errorf("RSA-%d: %v", bits, errs)
		}
	}
	// The SSH library reads none that is larger.
	if errs := Check(path, []string{line(public(20000))}); len(errs) != 1 || !strings.Contains(errs[0].Detail, "ssh-rsa of 2048 to 8192 bits") {
		t.Errorf("RSA-20000: %v", errs)
	}
	// No other name, option or separator hides the size.
	for _, form := range []string{"ssh-ed25519 %s", "ssh-rsa\f%s\tx", "ssh-rsa\vX %s", "ssh-rsa\u00a0X %s", "ssh-rsa X %[1]s", `no-pty ssh-rsa %s`} {
		entry := fmt.Sprintf(form, strings.Fields(line(public(16384)))[1])
		if errs := Check(path, []string{entry}); len(errs) != 1 {
			t.Errorf("RSA-16384 in %q is taken", form)
		}
	}
	if errs := Check(path, []string{line(public(8192))}); len(errs) > 0 {
		t.Errorf("RSA-8192: %v", errs)
	}
	if errs := Check(path, []string{line(public(40000))}); len(errs) != 1 || errs[0].Detail != "is longer than 4096 characters, and no public key is; give one public key" {
		t.Errorf("RSA-40000: %v", errs)
	}
	const many = "spec.delivery.recipients: Too many: 43: there are 43 keys, and a token is encrypted to 16 at most; give fewer"
	for _, entry := range []string{line(public(16384)), line(public(2048)), "nonsense"} {
		if errs := Check(path, slices.Repeat([]string{entry}, 43)); len(errs) != 1 || errs[0].Error() != many {
			t.Errorf("43 keys: %v", errs)
		}
	}
	// A file of PEM that was pasted line by line is named for what it is, and not for its length.
	lines := strings.Split(block("PUBLIC KEY", make([]byte, 1100)), "\n")
	if errs := Check(path, lines); len(errs) != 1 || errs[0].Field != "spec.delivery.recipients[0]" || !strings.Contains(errs[0].Detail, "ssh-keygen -i -m PKCS8") {
		t.Errorf("%d lines of PEM: %v", len(lines), errs)
	}
}

// The schema refuses what is refused here, and takes what is taken.
func TestTheSchemaHasTheSameLimits(t *testing.T) {
	schema := string(must(os.ReadFile("../../config/crd/bases/pat-operator.io_personalaccesstokens.yaml")))
	_, schema, _ = strings.Cut(schema, "\n                  recipients:\n")
	want := fmt.Sprintf(`
                    items:
                      maxLength: %d
                      minLength: 1
                      type: string
                    maxItems: %d
                    minItems: 1
`, maxEntry, MaxEntries)
	if !strings.Contains(schema[:600], want) {
		t.Errorf("it has other limits than%s\n%s", want, schema[:600])
	}
}
