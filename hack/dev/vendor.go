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
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// forVendor has a place for a public key.
const forVendor = `kubectl apply -f - <<'END'
apiVersion: pat-operator.io/v1alpha1
kind: PersonalAccessToken
metadata: {name: polite-mail, namespace: team-a}
spec:
  displayName: PoliteMail
  expiresInDays: 30
  delivery:
    recipients:
    - %s
END`

// vendor gives a token to a vendor without access to the cluster, who sends a public key and gets a file back.
func (d *demo) vendor(ctx context.Context) error {
	bin := filepath.Join(d.cluster.Dir, "bin")
	if _, err := cluster.BuildAge(ctx, bin); err != nil {
		return err
	}
	if err := prependPath(bin); err != nil {
		return err
	}
	public, err := makeSSHKey(filepath.Join(d.cluster.Dir, ".ssh"), "id_ed25519")
	if err != nil {
		return err
	}
	if _, err := makeSSHKey(d.cluster.Dir, "another_key"); err != nil {
		return err
	}
	vendor := person{"vendor", d.anyone.kubeconfig}
	if err := d.all(ctx, vendor, `cat ~/.ssh/id_ed25519.pub`); err != nil {
		return err
	}
	d.say("it is public: it may be sent in any way")
	if err := d.all(ctx, d.alice,
		fmt.Sprintf(forVendor, public),
		`kubectl wait pat polite-mail --for=condition=Active --timeout=30s`,
		`kubectl get pat polite-mail -o jsonpath='{.status.encryptedToken}' > ~/polite-mail.age`,
		`head -n 2 ~/polite-mail.age`,
	); err != nil {
		return err
	}
	d.say("no Secret holds the token, and only the vendor's private key opens this file: alice may mail it")
	if err := d.refused(ctx, d.alice, `age --decrypt -i ~/another_key ~/polite-mail.age`, "no identity matched any of the recipients"); err != nil {
		return err
	}
	mine := d.token
	if _, err := d.remember(ctx, vendor, "TOKEN", `TOKEN=$(age --decrypt -i ~/.ssh/id_ed25519 ~/polite-mail.age)`); err != nil {
		return err
	}
	who, err := d.run(ctx, vendor, `kubectl --token "$TOKEN" auth whoami`)
	if err != nil {
		return err
	}
	if !strings.Contains(who, "alice") {
		return fmt.Errorf("expected the vendor to act as alice")
	}
	d.env = append(d.env, "TOKEN="+mine)
	return d.all(ctx, d.alice, `kubectl delete pat polite-mail`)
}

// makeSSHKey writes a key pair as ssh-keygen -t ed25519 does, and returns its public half.
func makeSSHKey(dir, name string) (string, error) {
	publicKey, privateKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(privateKey, "")
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(publicKey)
	if err != nil {
		return "", err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " vendor"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	return line, os.WriteFile(filepath.Join(dir, name+".pub"), []byte(line+"\n"), 0o600)
}
