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

package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"github.com/pat-operator/pat-operator/internal/cacert"
)

// authority is a CA and its key.
type authority struct {
	cert   *x509.Certificate
	key    crypto.Signer
	keyPEM []byte
}

// madeAt is when the CA was made.
func (a *authority) madeAt() time.Time { return a.cert.NotBefore.Add(cacert.Backdate) }

func (a *authority) ended(now time.Time) bool { return ended(a.cert, now) }

func ended(cert *x509.Certificate, now time.Time) bool { return now.After(cert.NotAfter) }

func newAuthority(name string, now time.Time, validity time.Duration) (*authority, error) {
	cert, key, keyPEM, err := cacert.New(name, now, validity)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, keyPEM: keyPEM}, nil
}

// parseAuthority reads a CA; certName and keyName name the two in errors, which never quote them.
func parseAuthority(certName, keyName string, certPEM, keyPEM []byte) (*authority, error) {
	certs, err := cacert.Parse(certPEM)
	if err != nil {
		return nil, fmt.Errorf("%s %w", certName, err)
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("%s holds %d certificates, not one", certName, len(certs))
	}
	if !certs[0].IsCA || certs[0].KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%s is not the certificate of a CA", certName)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s is not the private key of %s", keyName, certName)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s cannot sign", keyName)
	}
	return &authority{cert: certs[0], key: signer, keyPEM: keyPEM}, nil
}

// newLeaf makes a serving certificate that does not outlive its CA.
func (a *authority) newLeaf(now time.Time, o Options) (*tls.Certificate, error) {
	if a.ended(now) {
		return nil, fmt.Errorf("the CA in Secret %s/%s expired at %s", o.Namespace, o.SecretName, a.cert.NotAfter.Format(time.RFC3339))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the serving key: %w", err)
	}
	notAfter := now.Add(o.LeafValidity)
	if notAfter.After(a.cert.NotAfter) {
		notAfter = a.cert.NotAfter
	}
	cert, err := cacert.Sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "pat-operator"},
		DNSNames:              o.DNSNames,
		IPAddresses:           o.IPAddresses,
		NotBefore:             now.Add(-cacert.Backdate),
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the serving certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// leafDue says whether leaf has to be replaced by one that signer signs.
func leafDue(leaf *tls.Certificate, signer *authority, now time.Time) bool {
	if leaf == nil || now.Before(leaf.Leaf.NotBefore) || leaf.Leaf.CheckSignatureFrom(signer.cert) != nil {
		return true
	}
	made := leaf.Leaf.NotBefore.Add(cacert.Backdate)
	renewAt := made.Add(leaf.Leaf.NotAfter.Sub(made) * 2 / 3)
	// One that ends with its CA cannot be had any longer.
	return !now.Before(renewAt) && leaf.Leaf.NotAfter.Before(signer.cert.NotAfter)
}
