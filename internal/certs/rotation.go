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
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pat-operator/pat-operator/internal/cacert"
)

const (
	nextCertKey       = "next.crt"
	nextPrivateKeyKey = "next.key"
)

// contents is what the CA Secret holds.
type contents struct {
	signer  *authority
	next    *authority          // nil outside a rotation
	trusted []*x509.Certificate // the bundle
}

// action is the one write that is due to the CA Secret.
type action string

const (
	// keep: nothing is due.
	keep action = "Keep"
	// announce: a successor joins the bundle and does not sign yet.
	announce action = "Announce"
	// promote: the successor signs from now on; the former signer stays in the bundle.
	promote action = "Promote"
	// replace: the signer has expired without a successor; a new CA signs at once.
	replace action = "Replace"
	// prune: expired CAs leave the bundle.
	prune action = "Prune"
)

// decide says what is due. distributed: the webhook configurations have the bundle, so a promotion
// breaks none of them; when the signer can no longer sign a full leaf, that is waited for no more.
func decide(c *contents, now time.Time, distributed bool, o Options) action {
	next := c.next
	if next != nil && next.ended(now) {
		next = nil
	}
	lastCall := !now.Before(c.signer.cert.NotAfter.Add(-o.LeafValidity))
	switch {
	case c.signer.ended(now) && next != nil:
		return promote
	case c.signer.ended(now):
		return replace
	case next == nil && !now.Before(c.signer.cert.NotAfter.Add(-o.CARotateBefore)):
		return announce
	case next != nil && (distributed || lastCall) && !now.Before(next.madeAt().Add(o.Overlap)):
		return promote
	case slices.ContainsFunc(c.trusted, func(cert *x509.Certificate) bool { return ended(cert, now) }):
		return prune
	}
	return keep
}

// after returns what the Secret holds once a is done. Whatever has expired leaves on the way.
func (c *contents) after(a action, now time.Time, o Options) (*contents, error) {
	out := &contents{signer: c.signer, next: c.next}
	if out.next != nil && out.next.ended(now) {
		out.next = nil
	}
	for _, cert := range c.trusted {
		if !ended(cert, now) {
			out.trusted = append(out.trusted, cert)
		}
	}
	switch a {
	case announce, replace:
		fresh, err := newAuthority(o.SecretName, now, o.CAValidity)
		if err != nil {
			return nil, err
		}
		out.trusted = append(out.trusted, fresh.cert)
		if a == replace {
			out.signer = fresh
		} else {
			out.next = fresh
		}
	case promote:
		out.signer, out.next = out.next, nil
	}
	return out, nil
}

// newContents starts over with a CA that nobody trusts yet.
func newContents(now time.Time, o Options) (*contents, error) {
	fresh, err := newAuthority(o.SecretName, now, o.CAValidity)
	if err != nil {
		return nil, err
	}
	return &contents{signer: fresh, trusted: []*x509.Certificate{fresh.cert}}, nil
}

// parseContents reads the data of the CA Secret. Its errors quote none of it.
func parseContents(data map[string][]byte) (*contents, error) {
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, bundleKey} {
		if len(data[key]) == 0 {
			return nil, fmt.Errorf("%s is missing", key)
		}
	}
	c := &contents{}
	var err error
	if c.signer, err = parseAuthority(corev1.TLSCertKey, corev1.TLSPrivateKeyKey, data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey]); err != nil {
		return nil, err
	}
	if c.trusted, err = cacert.Parse(data[bundleKey]); err != nil {
		return nil, fmt.Errorf("%s %w", bundleKey, err)
	}
	if !slices.ContainsFunc(c.trusted, c.signer.cert.Equal) {
		return nil, fmt.Errorf("%s does not hold %s", bundleKey, corev1.TLSCertKey)
	}
	if len(data[nextCertKey])+len(data[nextPrivateKeyKey]) == 0 {
		return c, nil
	}
	if len(data[nextCertKey]) == 0 || len(data[nextPrivateKeyKey]) == 0 {
		return nil, errors.New("only one of " + nextCertKey + " and " + nextPrivateKeyKey + " is there")
	}
	if c.next, err = parseAuthority(nextCertKey, nextPrivateKeyKey, data[nextCertKey], data[nextPrivateKeyKey]); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(c.trusted, c.next.cert.Equal) {
		return nil, fmt.Errorf("%s does not hold %s", bundleKey, nextCertKey)
	}
	return c, nil
}

func (c *contents) bundle() []byte { return cacert.Encode(c.trusted...) }

// store puts c into secret and leaves other keys alone.
func (c *contents) store(secret *corev1.Secret) {
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[corev1.TLSCertKey] = cacert.Encode(c.signer.cert)
	secret.Data[corev1.TLSPrivateKeyKey] = c.signer.keyPEM
	secret.Data[bundleKey] = c.bundle()
	delete(secret.Data, nextCertKey)
	delete(secret.Data, nextPrivateKeyKey)
	if c.next != nil {
		secret.Data[nextCertKey] = cacert.Encode(c.next.cert)
		secret.Data[nextPrivateKeyKey] = c.next.keyPEM
	}
}
