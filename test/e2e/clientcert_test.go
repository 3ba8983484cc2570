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
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// clientCertificate writes one for kube-apiserver into a folder.
func clientCertificate(t *testing.T, dir string) (crt, key string) {
	t.Helper()
	config, _, err := cl.User("kube-apiserver")
	if err != nil {
		t.Fatal(err)
	}
	crt, key = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	for file, data := range map[string][]byte{crt: config.CertData, key: config.KeyData} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return crt, key
}

// Where the verifier asks for client certificates, kube-apiserver presents the one that `kubectl pat setup` was told
// of, and works; clients without one learn nothing, kube-apiserver included.
func TestCase26_KubeAPIServerPresentsAClientCertificate(t *testing.T) {
	long.Only(t)
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "my-pat"))
	accepted(t, plaintext)

	dir := t.TempDir()
	crt, key := clientCertificate(t, dir)
	restartVerifier(t, "--verifier-client-ca-file="+cl.CAFile)
	defer func() {
		restartVerifier(t)
		if err := cl.UseTokenWebhook(context.Background(), cl.AuthnKubeconfig); err != nil {
			t.Error(err)
		}
		restartOperator(t) // it may have lost its lease meanwhile
	}()
	if resp, err := face(t).Post(cl.TokenReviewURL(), "application/json", strings.NewReader("{}")); err == nil {
		_ = resp.Body.Close()
		t.Errorf("without a certificate: HTTP %d; want no connection", resp.StatusCode)
	}
	if _, err := env.WhoIs(t.Context(), bearer(t, issued(t, alice, pat(ns, "never-seen")))); !apierrors.IsUnauthorized(err) {
		t.Errorf("kube-apiserver without a certificate: %v; want Unauthorized", err)
	}

	setup(t, "--output=files", "--dir="+dir, "--apiserver-certificate="+crt, "--apiserver-key="+key)
	if err := cl.UseTokenWebhook(t.Context(), filepath.Join(dir, "pat-operator-authn.kubeconfig")); err != nil {
		t.Fatal(err)
	}
	if got := accepted(t, plaintext); got.Username != "alice" {
		t.Errorf("it is %s", got.Username)
	}
}

// Where the operator asks for client certificates, kube-apiserver presents the one of its admission configuration, written as
// docs/operations.md says. Others get no connection, kube-apiserver without it included.
func TestCase48_KubeAPIServerPresentsAClientCertificate(t *testing.T) {
	long.Only(t)
	ns := team(t)
	restartOperator(t, "--admission-client-ca-file="+cl.CAFile)
	defer func() {
		if err := cl.UseAdmissionConfig(context.Background(), ""); err != nil {
			t.Error(err)
		}
		restartOperator(t)
	}()
	if resp, err := face(t).Post(admissionURL(), "application/json", strings.NewReader("{}")); err == nil {
		_ = resp.Body.Close()
		t.Errorf("without a certificate: HTTP %d; want no connection", resp.StatusCode)
	}
	if err := alice.Create(t.Context(), pat(ns, "refused")); !apierrors.IsInternalError(err) {
		t.Errorf("kube-apiserver without a certificate: %v; want an internal error", err)
	}

	dir := t.TempDir()
	clientCertificate(t, dir)
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?s)```yaml\n(apiVersion: [^`]*?kind: (AdmissionConfiguration|Config)\n[^`]*)```").FindAllStringSubmatch(string(page), -1)
	if len(files) != 2 {
		t.Fatalf("docs/operations.md has %d files for kube-apiserver, want 2", len(files))
	}
	name := map[string]string{"AdmissionConfiguration": "admission.yaml", "Config": "admission.kubeconfig"}
	for _, file := range files {
		text := strings.ReplaceAll(file[1], "/etc/kubernetes/pat-operator", dir)
		if err := os.WriteFile(filepath.Join(dir, name[file[2]]), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.UseAdmissionConfig(t.Context(), filepath.Join(dir, "admission.yaml")); err != nil {
		t.Fatal(err)
	}
	restartOperator(t, "--admission-client-ca-file="+cl.CAFile) // it may have lost its lease meanwhile
	accepted(t, issued(t, alice, pat(ns, "my-pat")))
}
