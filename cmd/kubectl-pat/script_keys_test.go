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

package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"hash/crc32"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// sshkey [-rsa | -pem] FILE [PASSPHRASE]: make an SSH key with this passphrase, and FILE.pub: ed25519, RSA, or RSA in the format
// from before OpenSSH had its own.
func sshkey(ts *testscript.TestScript, neg bool, args []string) {
	var kind, passphrase string
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		kind, args = args[0], args[1:]
	}
	if len(args) == 2 {
		passphrase = args[1]
	}
	if len(args) < 1 || len(args) > 2 || neg || kind == "-pem" && passphrase == "" {
		ts.Fatalf("usage: sshkey [-rsa] FILE [PASSPHRASE], or sshkey -pem FILE PASSPHRASE")
	}
	var private crypto.Signer
	var err error
	if kind == "" {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	ts.Check(err)
	var block *pem.Block
	switch {
	case kind == "-pem":
		//nolint:staticcheck // SA1019: old keys are protected in this way, however bad it is
		block, err = x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private.(*rsa.PrivateKey)), []byte(passphrase), x509.PEMCipherAES128)
	case passphrase != "":
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	default:
		block, err = ssh.MarshalPrivateKey(private, "")
	}
	ts.Check(err)
	key, err := ssh.NewPublicKey(private.Public())
	ts.Check(err)
	file := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	ts.Check(os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(key), 0o600))
}

// agekey [-pq] FILE: make an age key, or a post-quantum one, and FILE.pub.
func agekey(ts *testscript.TestScript, neg bool, args []string) {
	hybrid := len(args) > 0 && args[0] == "-pq"
	if hybrid {
		args = args[1:]
	}
	if len(args) != 1 || neg {
		ts.Fatalf("usage: agekey [-pq] FILE")
	}
	var private, public string
	if hybrid {
		key, err := age.GenerateHybridIdentity()
		ts.Check(err)
		private, public = key.String()+"\n", key.Recipient().String()+"\n"
	} else {
		key, err := age.GenerateX25519Identity()
		ts.Check(err)
		private, public = key.String()+"\n", key.Recipient().String()+"\n"
	}
	file := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(file, []byte("# public key: "+public+private), 0o600))
	ts.Check(os.WriteFile(file+".pub", []byte(public), 0o600))
}

// forge FILE: complete the token that FILE has up to its ID, with a random secret.
func forge(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: forge FILE")
	}
	body := strings.TrimSpace(ts.ReadFile(args[0])) + "_" + strings.Repeat("0", 43)
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	checksum := make([]byte, 6)
	n := crc32.ChecksumIEEE([]byte(body))
	for i := len(checksum) - 1; i >= 0; i-- {
		checksum[i] = base62[n%62]
		n /= 62
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), append([]byte(body), checksum...), 0o600))
}
