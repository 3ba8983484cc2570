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
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testOptions(namespace string, clock *clocktesting.FakePassiveClock) Options {
	return Options{
		SecretName:  VerifierSecretName,
		Namespace:   namespace,
		DNSNames:    []string{"pat-operator-verifier." + namespace + ".svc", "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		Clock:       clock,
	}.withDefaults()
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// verify checks cert as a client with bundle and its own clock does.
func verify(cert *tls.Certificate, bundle []byte, host string, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, CurrentTime: now})
	return err
}

func TestCASignsLeavesOnly(t *testing.T) {
	ca := must[*authority](t)(newAuthority("ca", epoch, authnconfig.CAValidity)).cert
	if !ca.IsCA || ca.MaxPathLen != 0 || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign {
		t.Errorf("CA constraints: IsCA=%v MaxPathLen=%d MaxPathLenZero=%v KeyUsage=%b", ca.IsCA, ca.MaxPathLen, ca.MaxPathLenZero, ca.KeyUsage)
	}
	if ca.PublicKeyAlgorithm != x509.ECDSA || ca.SerialNumber.BitLen() < 64 {
		t.Errorf("algorithm %s, serial number of %d bits", ca.PublicKeyAlgorithm, ca.SerialNumber.BitLen())
	}
	if want := epoch.Add(authnconfig.CAValidity); !ca.NotAfter.Equal(want) {
		t.Errorf("NotAfter = %s, want %s", ca.NotAfter, want)
	}
}

func TestLeafServesItsNamesWhileItsCALives(t *testing.T) {
	o := testOptions("ns", clocktesting.NewFakePassiveClock(epoch))
	ca := must[*authority](t)(newAuthority("ca", epoch, 10*day))
	bundle := cacert.Encode(ca.cert)
	leaf := must[*tls.Certificate](t)(ca.newLeaf(epoch, o))

	for _, host := range []string{"pat-operator-verifier.ns.svc", "localhost", "127.0.0.1"} {
		// A client whose clock is a little behind accepts it too.
		if err := verify(leaf, bundle, host, epoch.Add(-cacert.Backdate)); err != nil {
			t.Errorf("for %s: %v", host, err)
		}
	}
	if err := verify(leaf, bundle, "example.com", epoch); err == nil {
		t.Error("valid for a name that is not ours")
	}
	if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, leaf.Leaf.ExtKeyUsage); diff != "" || leaf.Leaf.IsCA {
		t.Errorf("usages (-want +got):\n%s IsCA=%v", diff, leaf.Leaf.IsCA)
	}
	late := must[*tls.Certificate](t)(ca.newLeaf(epoch.Add(8*day), o))
	if !late.Leaf.NotAfter.Equal(ca.cert.NotAfter) {
		t.Errorf("a leaf ends at %s, its CA at %s", late.Leaf.NotAfter, ca.cert.NotAfter)
	}
	if _, err := ca.newLeaf(epoch.Add(11*day), o); err == nil {
		t.Error("an expired CA signed a leaf")
	}
}

func TestLeafIsRenewed(t *testing.T) {
	o := testOptions("ns", clocktesting.NewFakePassiveClock(epoch))
	ca := must[*authority](t)(newAuthority("ca", epoch, authnconfig.CAValidity))
	other := must[*authority](t)(newAuthority("ca", epoch, authnconfig.CAValidity))
	short := must[*authority](t)(newAuthority("ca", epoch, 3*day))
	leaf := must[*tls.Certificate](t)(ca.newLeaf(epoch, o))
	last := must[*tls.Certificate](t)(short.newLeaf(epoch, o))
	renewAt := epoch.Add(defaultLeafValidity * 2 / 3)

	for _, c := range []struct {
		name   string
		leaf   *tls.Certificate
		signer *authority
		now    time.Time
		want   bool
	}{
		{"none yet", nil, ca, epoch, true},
		{"fresh", leaf, ca, epoch, false},
		{"before two thirds", leaf, ca, renewAt.Add(-time.Minute), false},
		{"after two thirds", leaf, ca, renewAt, true},
		{"expired", leaf, ca, epoch.Add(8 * day), true},
		{"clock stepped back", leaf, ca, epoch.Add(-time.Hour), true},
		{"signer changed", leaf, other, epoch, true},
		{"ends with its CA", last, short, epoch.Add(70 * time.Hour), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := leafDue(c.leaf, c.signer, c.now); got != c.want {
				t.Errorf("leafDue = %v, want %v", got, c.want)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	o := testOptions("ns", clocktesting.NewFakePassiveClock(epoch))
	signer := must[*authority](t)(newAuthority("ca", epoch, authnconfig.CAValidity))
	end := signer.cert.NotAfter
	announced := end.Add(-o.CARotateBefore)
	next := must[*authority](t)(newAuthority("ca", announced, authnconfig.CAValidity))
	brief := must[*authority](t)(newAuthority("ca", epoch, 10*day))
	stable := &contents{signer: signer, trusted: []*x509.Certificate{signer.cert}}
	rotating := &contents{signer: signer, next: next, trusted: []*x509.Certificate{signer.cert, next.cert}}
	stale := &contents{signer: signer, next: brief, trusted: []*x509.Certificate{signer.cert, brief.cert}}

	for _, c := range []struct {
		name          string
		held          *contents
		now           time.Time
		undistributed bool
		want          action
	}{
		{name: "fresh", held: stable, now: epoch, want: keep},
		{name: "just before its last year", held: stable, now: announced.Add(-time.Second), want: keep},
		{name: "in its last year", held: stable, now: announced, want: announce},
		{name: "expired without a successor", held: stable, now: end.Add(time.Second), want: replace},
		{name: "in the overlap", held: rotating, now: announced.Add(o.Overlap - time.Second), want: keep},
		{name: "after the overlap", held: rotating, now: announced.Add(o.Overlap), want: promote},
		{name: "after the overlap, but webhooks lack the successor", held: rotating, now: announced.Add(o.Overlap), undistributed: true, want: keep},
		{name: "webhooks lack the successor, last call", held: rotating, now: end.Add(-o.LeafValidity), undistributed: true, want: promote},
		{name: "expired with a successor", held: rotating, now: end.Add(time.Second), undistributed: true, want: promote},
		{name: "clock stepped back in the overlap", held: rotating, now: epoch, want: keep},
		{name: "expired successor", held: stale, now: epoch.Add(11 * day), want: prune},
		{name: "expired successor when one is due", held: stale, now: announced, want: announce},
		{name: "both expired", held: stale, now: end.Add(time.Second), want: replace},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := decide(c.held, c.now, !c.undistributed, o); got != c.want {
				t.Errorf("decide = %s, want %s", got, c.want)
			}
		})
	}
}

// TestRotationIsNeverNoticed lives through ten years: a client that follows the bundle within the
// overlap, and one that has the oldest of it, accept the leaf of the quickest and of the slowest replica.
func TestRotationIsNeverNoticed(t *testing.T) {
	o := testOptions("ns", clocktesting.NewFakePassiveClock(epoch))
	const step = day
	held := must[*contents](t)(newContents(epoch, o))
	leaf := must[*tls.Certificate](t)(held.signer.newLeaf(epoch, o))
	lag := int(o.Overlap/step) - 1
	var bundles [][]byte
	done := map[action]int{}

	for now := epoch; now.Before(epoch.Add(10 * 365 * day)); now = now.Add(step) {
		for due := decide(held, now, true, o); due != keep; due = decide(held, now, true, o) {
			done[due]++
			secret := &corev1.Secret{}
			must[*contents](t)(held.after(due, now, o)).store(secret)
			held = must[*contents](t)(parseContents(secret.Data))
		}
		slow := leaf
		if leafDue(leaf, held.signer, now) {
			leaf = must[*tls.Certificate](t)(held.signer.newLeaf(now, o))
		}
		bundles = append(bundles, held.bundle())
		for _, bundle := range [][]byte{bundles[len(bundles)-1], bundles[max(0, len(bundles)-1-lag)]} {
			for _, served := range []*tls.Certificate{leaf, slow} {
				if err := verify(served, bundle, "localhost", now); err != nil {
					t.Fatalf("at %s: %v", now, err)
				}
			}
		}
	}
	if diff := cmp.Diff(map[action]int{announce: 2, promote: 2, prune: 2}, done); diff != "" {
		t.Errorf("writes in ten years (-want +got):\n%s", diff)
	}
}

func TestUnusableSecretIsRefusedWithoutQuotingIt(t *testing.T) {
	o := testOptions("ns", clocktesting.NewFakePassiveClock(epoch))
	held := must[*contents](t)(newContents(epoch, o))
	held = must[*contents](t)(held.after(announce, epoch, o))
	secret := &corev1.Secret{}
	held.store(secret)
	leaf := must[*tls.Certificate](t)(held.signer.newLeaf(epoch, o))
	stranger := must[*authority](t)(newAuthority("ca", epoch, day))

	if _, err := parseContents(secret.Data); err != nil {
		t.Fatalf("what was stored: %v", err)
	}
	for _, c := range []struct {
		name string
		edit func(map[string][]byte)
		want string
	}{
		{"empty", func(d map[string][]byte) { clear(d) }, "tls.crt is missing"},
		{"no key", func(d map[string][]byte) { delete(d, "tls.key") }, "tls.key is missing"},
		{"no bundle", func(d map[string][]byte) { delete(d, "ca.crt") }, "ca.crt is missing"},
		{"garbage", func(d map[string][]byte) { d["tls.crt"] = []byte("garbage") }, "tls.crt is not PEM"},
		{"two signers", func(d map[string][]byte) { d["tls.crt"] = d["ca.crt"] }, "tls.crt holds 2 certificates, not one"},
		{"a leaf", func(d map[string][]byte) { d["tls.crt"] = cacert.Encode(leaf.Leaf) }, "tls.crt is not the certificate of a CA"},
		{"another key", func(d map[string][]byte) { d["tls.key"] = stranger.keyPEM }, "tls.key is not the private key of tls.crt"},
		{"cut key", func(d map[string][]byte) { d["tls.key"] = d["tls.key"][:80] }, "tls.key is not the private key of tls.crt"},
		{"key in the bundle", func(d map[string][]byte) { d["ca.crt"] = append(slices.Clone(d["ca.crt"]), d["tls.key"]...) }, "ca.crt holds something else than certificates"},
		{"text in the bundle", func(d map[string][]byte) { d["ca.crt"] = append(slices.Clone(d["ca.crt"]), "text"...) }, "ca.crt is not PEM"},
		{"malformed bundle", func(d map[string][]byte) {
			d["ca.crt"] = []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		}, "ca.crt holds a malformed certificate (the one at position 1)"},
		{"signer not trusted", func(d map[string][]byte) { d["ca.crt"] = cacert.Encode(held.next.cert) }, "ca.crt does not hold tls.crt"},
		{"successor not trusted", func(d map[string][]byte) { d["ca.crt"] = d["tls.crt"] }, "ca.crt does not hold next.crt"},
		{"successor without a key", func(d map[string][]byte) { delete(d, "next.key") }, "only one of next.crt and next.key is there"},
		{"successor with another key", func(d map[string][]byte) { d["next.key"] = d["tls.key"] }, "next.key is not the private key of next.crt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := maps.Clone(secret.Data)
			c.edit(data)
			_, err := parseContents(data)
			if err == nil || err.Error() != c.want {
				t.Fatalf("error = %v, want %s", err, c.want)
			}
			for line := range bytes.Lines(bytes.Join([][]byte{held.signer.keyPEM, held.next.keyPEM, stranger.keyPEM}, nil)) {
				if text := strings.TrimSpace(string(line)); !strings.HasPrefix(text, "-") && strings.Contains(err.Error(), text) {
					t.Error("the error quotes a key")
				}
			}
		})
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Options)
		want string
	}{
		{"defaults", func(*Options) {}, ""},
		{"no namespace", func(o *Options) { o.Namespace = "" }, "the namespace of the CA Secret is not set"},
		{"no name", func(o *Options) { o.DNSNames, o.IPAddresses = nil, nil }, "at least one DNS name or IP address"},
		{"bad name", func(o *Options) { o.DNSNames = []string{"https://x"} }, `serving name "https://x" is not a DNS name`},
		{"bad address", func(o *Options) { o.IPAddresses = []net.IP{{1, 2}} }, "is not an IP address"},
		{"overlap too long", func(o *Options) { o.Overlap = o.CARotateBefore }, "leaves no room for an overlap"},
		{"rotated from the start", func(o *Options) { o.CARotateBefore = o.CAValidity }, "cannot be rotated"},
		{"negative", func(o *Options) { o.Interval = -1 }, "must be positive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions("ns", clocktesting.NewFakePassiveClock(epoch))
			c.edit(&o)
			err := o.Validate()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error = %v, want %s", err, c.want)
			}
			if err := NewAuthority(nil, o).Start(t.Context()); err == nil {
				t.Error("it started")
			}
		})
	}
}
