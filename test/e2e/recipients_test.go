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

package e2e

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
)

func toKeys(keys ...string) func(*spec) {
	return func(s *spec) { s.Delivery = &v1alpha1.Delivery{Recipients: keys} }
}

// sshIdentity writes a private key as ssh-keygen does, and returns its file and the public key.
func sshIdentity(t *testing.T, private crypto.Signer) (file, public string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return identityFile(t, pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
}

func identityFile(t *testing.T, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// opened is what a recipient reads.
func opened(t *testing.T, encrypted string, identity age.Identity) string {
	t.Helper()
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(encrypted)), identity)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(plaintext)
}

// The holder of one of the keys opens the token with age itself, and it works; no Secret holds it.
func TestRecipientsOpenTheirToken(t *testing.T) {
	bin, err := cluster.BuildAge(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	native, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	quantum, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	edFile, edPublic := sshIdentity(t, edKey)
	rsaFile, rsaPublic := sshIdentity(t, rsaKey)
	nativeFile, quantumFile := identityFile(t, []byte(native.String())), identityFile(t, []byte(quantum.String()))
	open := func(encrypted, identity string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, "--decrypt", "-i", identity)
		cmd.Stdin = strings.NewReader(encrypted)
		out, err := cmd.Output()
		return string(out), err
	}
	ns := team(t)
	for name, tc := range map[string]struct{ keys, opens, fails []string }{
		"classic":      {[]string{edPublic + " vendor@example.com", rsaPublic, native.Recipient().String()}, []string{edFile, rsaFile, nativeFile}, []string{quantumFile}},
		"post-quantum": {[]string{quantum.Recipient().String()}, []string{quantumFile}, []string{edFile, rsaFile, nativeFile}},
	} {
		t.Run(name, func(t *testing.T) {
			create(t, alice, pat(ns, name, toKeys(tc.keys...)))
			waitFor(t, ns, name, v1alpha1.ConditionActive, "True/Active")
			status := get(t, ns, name).Status
			if status.DeliverySecretName != "" {
				t.Errorf("there is a Secret %s", status.DeliverySecretName)
			}
			for _, identity := range tc.opens {
				plaintext, err := open(status.EncryptedToken, identity)
				if err != nil {
					t.Fatal(err)
				}
				if who := accepted(t, plaintext); who.Username != "alice" {
					t.Errorf("it is %s's", who.Username)
				}
			}
			for _, identity := range tc.fails {
				if _, err := open(status.EncryptedToken, identity); err == nil {
					t.Error("another's key opens it")
				}
			}
		})
	}
	var secrets corev1.SecretList
	if err := admin.List(t.Context(), &secrets, client.InNamespace(ns)); err != nil || len(secrets.Items) != 0 {
		t.Errorf("%d Secrets, %v", len(secrets.Items), err)
	}
}

// At the real API server: refused whole, with the index and without the entry, also where it was an hour's Secret before.
func TestCase40_BadRecipientsAreRefusedWhole(t *testing.T) {
	ns := team(t)
	const good, secret = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p", "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJ"
	for name, tc := range map[string]struct {
		keys []string
		says []string
	}{
		"one of two":       {[]string{good, "age1"}, []string{"spec.delivery.recipients[1]", "is not a public key that a token can be encrypted to; give one age recipient"}},
		"a private":        {[]string{secret}, []string{"spec.delivery.recipients[0]", "regard it as leaked, make another"}},
		"a private, twice": {[]string{secret, secret}, []string{"spec.delivery.recipients[1]", "regard it as leaked, make another"}},
		"one twice":        {[]string{good, good}, []string{"spec.delivery.recipients[1]", "is the same key as an earlier entry; leave it out"}},
		"two in one":       {[]string{good + "\n" + good}, []string{"spec.delivery.recipients[0]", "give each key an entry of its own"}},
		"a PEM key":        {[]string{"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"}, []string{"spec.delivery.recipients[0]", "convert it with: ssh-keygen -i -m PKCS8 -f FILE"}},
		"too many":         {manyKeys(17), []string{"spec.delivery.recipients", "must have at most 16 items"}},
		"none":             {[]string{}, []string{"spec.delivery", "set exactly one of secret and recipients"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := alice.Create(t.Context(), pat(ns, "my-pat", toKeys(tc.keys...)))
			wantStatus(t, err, 422, tc.says...)
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), good) {
				t.Error("it echoes the entry")
			}
		})
	}
}

func manyKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			panic(err)
		}
		keys[i] = identity.Recipient().String()
	}
	return keys
}
