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
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"hash/crc32"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

// sshkey FILE [PASSPHRASE]: make an SSH key, protected by the passphrase, with FILE.pub beside it.
func sshkey(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 || neg {
		ts.Fatalf("usage: sshkey FILE [PASSPHRASE]")
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	var block *pem.Block
	if len(args) == 2 {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(args[1]))
	} else {
		block, err = ssh.MarshalPrivateKey(private, "")
	}
	ts.Check(err)
	key, err := ssh.NewPublicKey(public)
	ts.Check(err)
	file := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	ts.Check(os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(key), 0o600))
}

// agekey FILE: make a key of age, with FILE.pub beside it.
func agekey(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: agekey FILE")
	}
	key, err := age.GenerateX25519Identity()
	ts.Check(err)
	file, public := ts.MkAbs(args[0]), key.Recipient().String()+"\n"
	ts.Check(os.WriteFile(file, []byte("# public key: "+public+key.String()+"\n"), 0o600))
	ts.Check(os.WriteFile(file+".pub", []byte(public), 0o600))
}

// forge FILE: make the file, which holds a token as far as its ID, a whole token with that ID, and the secret of nobody.
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
