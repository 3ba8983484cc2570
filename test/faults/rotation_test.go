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

package faults

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	verifierCA = "pat-operator-verifier-ca"
	// followsWithin is how often a replica reads the Secret of its CA, once more where that failed, and a moment.
	followsWithin = 130 * time.Second
)

// nextCA is the CA that takes over in TestCase35_TheCARotatesUnderLoad. It is in the bundle from the beginning, so that
// kube-apiserver has it, as it has in a rotation that takes its 300 days.
var nextCA struct{ crt, key []byte }

// prepareCA makes the Secret of the verifiers' CA before the first of them would.
func prepareCA(ctx context.Context) error {
	now := time.Now()
	crt, key, err := newCA("signs-at-first", now)
	if err != nil {
		return err
	}
	// As old as a successor has to be that is to sign.
	if nextCA.crt, nextCA.key, err = newCA("signs-later", now.AddDate(0, 0, -301)); err != nil {
		return err
	}
	return admin.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: verifierCA},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey: crt, corev1.TLSPrivateKeyKey: key, "ca.crt": bytes.Join([][]byte{crt, nextCA.crt}, nil),
		},
	})
}

func newCA(name string, made time.Time) (crt, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: made, NotAfter: made.AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// issuer is who has signed what a verifier serves.
func issuer(ctx context.Context, m *cluster.Manager) (string, error) {
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", m.VerifierPort))
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Issuer.CommonName, nil
}

// The verifiers' CA is replaced by its successor while reviews go on: each replica takes a new certificate of the new CA
// when it sees it, and no review fails.
func TestCase35_TheCARotatesUnderLoad(t *testing.T) {
	long.Only(t)
	alongside(t, theService.RLocker(), theVerifiers.RLocker())
	s := startStream(t)
	for _, m := range managers() {
		if by, err := issuer(t.Context(), m); err != nil || by != "signs-at-first" {
			t.Fatalf("at first a verifier has a certificate by %q (%v)", by, err)
		}
	}
	s.during(t, "verifiers' CA replaced by its successor, every certificate with it", 1, func() {
		secret := &corev1.Secret{}
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: verifierCA}, secret); err != nil {
			t.Fatal(err)
		}
		secret.Data["next.crt"], secret.Data["next.key"] = nextCA.crt, nextCA.key
		if err := admin.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		for _, m := range managers() {
			if err := env.Poll(t.Context(), followsWithin+patience, func() error {
				by, err := issuer(t.Context(), m)
				if err == nil && by != "signs-later" {
					err = errors.New("the certificate is by " + by)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	})
}
