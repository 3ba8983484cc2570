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

package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// KubeletClient is the user name that kube-apiserver has for kubelets, in its client certificate.
const KubeletClient = "kube-apiserver-kubelet-client"

const (
	caFile        = "ca.crt"
	servingCert   = "apiserver.crt"
	servingKey    = "apiserver.key"
	accountKey    = "service-accounts.key"
	kubeletCert   = "kubelet-client.crt"
	kubeletKey    = "kubelet-client.key"
	certsLifetime = 30 * 24 * time.Hour
)

// authority signs the API server's certificate and those of its users.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	crt, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "pat-operator-test-cluster"}, key)
	if err != nil {
		return nil, err
	}
	return &authority{cert: crt, key: key}, nil
}

func (a *authority) pem() []byte { return encodeCert(a.cert.Raw) }

// issue returns a certificate and its key in PEM.
func (a *authority) issue(subject pkix.Name, usage x509.ExtKeyUsage, hosts ...string) (crt, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(certsLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	if key, err = keyutil.MarshalPrivateKeyToPEM(private); err != nil {
		return nil, nil, err
	}
	return encodeCert(der), key, nil
}

// writePKI fills dir with what kube-apiserver and kube-controller-manager are started with.
func (a *authority) writePKI(dir string) error {
	crt, key, err := a.issue(pkix.Name{CommonName: "kube-apiserver"}, x509.ExtKeyUsageServerAuth,
		"localhost", "127.0.0.1", "kubernetes.default.svc")
	if err != nil {
		return err
	}
	kubeletCrt, kubeletPEM, err := a.issue(pkix.Name{CommonName: KubeletClient}, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return err
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	signerPEM, err := keyutil.MarshalPrivateKeyToPEM(signer)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		caFile: a.pem(), servingCert: crt, servingKey: key, accountKey: signerPEM,
		kubeletCert: kubeletCrt, kubeletKey: kubeletPEM,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der})
}
