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

package serving_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/util/cert"

	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/test/env"
)

// clientCA signs client certificates.
type clientCA struct {
	crt *x509.Certificate
	key *ecdsa.PrivateKey
}

func newClientCA(t *testing.T) *clientCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	crt, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "clients"}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &clientCA{crt, key}
}

func (ca *clientCA) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.crt.Raw})
}

func (ca *clientCA) sign(t *testing.T, usage x509.ExtKeyUsage, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: until.Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, ca.crt, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Where a client certificate is required, clients without one of the CA get no answer to any request.
func TestCase26_NoOrWrongClientCertificate(t *testing.T) {
	ours, theirs := newClientCA(t), newClientCA(t)
	file := filepath.Join(t.TempDir(), "clients.crt")
	write := func(pem []byte) {
		t.Helper()
		if err := os.WriteFile(file+".new", pem, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(ours.pem())
	ca, err := serving.NewClientCA(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = ca.Start(ctx) }()

	r := serve(t, echo, nil, patient, func(s *serving.Server) {
		s.HTTP.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
		s.HTTP.TLSConfig = ca.Require(s.HTTP.TLSConfig)
	})

	ask := func(with ...tls.Certificate) (status int, body string, err error) {
		transport := r.client.Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = with
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+r.address, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	soon := time.Now().Add(time.Hour)
	right := ours.sign(t, x509.ExtKeyUsageClientAuth, soon)
	if status, _, err := ask(right); err != nil || status != http.StatusOK {
		t.Errorf("with the right certificate: %d, %v", status, err)
	}
	if status, body, err := ask(); err == nil {
		t.Errorf("with none: %d %q; want no connection", status, body)
	}
	for name, wrong := range map[string]tls.Certificate{
		"of another CA":  theirs.sign(t, x509.ExtKeyUsageClientAuth, soon),
		"of a server":    ours.sign(t, x509.ExtKeyUsageServerAuth, soon),
		"that has ended": ours.sign(t, x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute)),
	} {
		// With TLS 1.3 a client may learn that its certificate is refused only when it reads the answer, or after.
		if status, body, err := ask(wrong); err == nil {
			t.Errorf("with one %s: %d %q; want no connection", name, status, body)
		}
	}

	// The file is followed.
	write(theirs.pem())
	NewWithT(t).Eventually(func() error { _, _, err := ask(right); return err }).WithTimeout(env.Patience).Should(HaveOccurred())
	if status, _, err := ask(theirs.sign(t, x509.ExtKeyUsageClientAuth, soon)); err != nil || status != http.StatusOK {
		t.Errorf("with one of the new CA: %d, %v", status, err)
	}
	if _, err := serving.NewClientCA(file + ".none"); err == nil || !strings.Contains(err.Error(), "cannot read the client CAs") {
		t.Errorf("without a file: %v", err)
	}
}
