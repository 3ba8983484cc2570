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
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// startInterval is the pause between attempts until the first one succeeds.
	startInterval = time.Second
	// syncTimeout bounds one attempt, so that a hung request does not end renewal.
	syncTimeout = 30 * time.Second
	// maxRounds bounds how often one attempt starts again because the Secret has changed: ours is
	// at most two writes (prune or promote, then announce), the rest lost races.
	maxRounds = 6
)

// Authority keeps the CA Secret, a leaf in memory and the webhook configurations up to date. Every
// replica runs one.
type Authority struct {
	client  client.Client
	options Options
	patched func(ctx context.Context, before, after client.Object) error
	woken   chan struct{}
	remind  func(deadline time.Time)
	// reminded is when remind was last called.
	reminded time.Time

	mu        sync.RWMutex
	uid       types.UID // of the Secret
	leaf      *tls.Certificate
	err       error // why there may be no fresh leaf
	injectErr error // why the webhook configurations may lack the bundle
	injected  bool  // whether they once had it
}

var (
	_ manager.Runnable               = (*Authority)(nil)
	_ manager.LeaderElectionRunnable = (*Authority)(nil)
	_ healthz.Checker                = (*Authority)(nil).Ready
)

// NewAuthority returns an Authority that works once it is started. c must read from the API server
// itself and needs: secrets, create in the namespace and get and update of Options.SecretName; mutating-
// and validatingwebhookconfigurations, get and patch of the one named.
func NewAuthority(c client.Client, o Options) *Authority {
	a := &Authority{client: c, options: o.withDefaults(), woken: make(chan struct{}, 1), err: errors.New("the CA has not been read yet")}
	if o.WebhookConfigurationName != "" {
		a.injectErr = errors.New("the webhook configurations have not been read yet")
	}
	return a
}

// OnPatched has f called with a webhook configuration as it was before and after each injection of the bundle. Nothing else
// has changed it in between, but another mutating webhook may have changed the injection. Call OnPatched before Start.
func (a *Authority) OnPatched(f func(ctx context.Context, before, after client.Object) error) {
	a.patched = f
}

// Wake has the Secret and the webhook configurations read within a second: a configuration that has just been applied has no
// bundle, and kube-apiserver cannot call it until it has.
func (a *Authority) Wake() {
	select {
	case a.woken <- struct{}{}:
	default: // A wake-up is pending.
	}
}

// Start works until ctx ends. It returns an error for wrong Options only: whatever else goes wrong
// is logged and tried again, with the last leaf still served.
func (a *Authority) Start(ctx context.Context) error {
	if err := a.options.Validate(); err != nil {
		return fmt.Errorf("serving certificates: %w", err)
	}
	logger := log.FromContext(ctx).WithName("certs")
	ctx = log.IntoContext(ctx, logger)

	var logged string
	var loggedAt time.Time
	for {
		err := a.sync(ctx)
		if ctx.Err() != nil {
			return nil
		}
		delay := a.options.Interval
		switch {
		case err == nil:
			logged = ""
		case err.Error() != logged || time.Since(loggedAt) >= defaultInterval:
			// Attempts that fail follow each other by the second: say the same thing once a minute.
			logger.Error(err, "Serving certificates are not in order, trying again")
			logged, loggedAt = err.Error(), time.Now()
			fallthrough
		default:
			delay = min(startInterval, a.options.Interval)
		}
		// Another tool may change our bundles again and again, so attempts are at least a second apart.
		pause := min(startInterval, delay)
		if !sleep(ctx, pause, nil) || !sleep(ctx, delay-pause, a.woken) {
			return nil
		}
	}
}

// sleep returns early if it is woken. It reports whether ctx still runs.
func sleep(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-woken:
	}
	return true
}

// UID is that of the CA Secret, which tells an installation from every other; empty until the Secret has been read.
func (a *Authority) UID() types.UID {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.uid
}

// NeedLeaderElection is false: every replica serves.
func (a *Authority) NeedLeaderElection() bool { return false }

// TLSConfig serves the current leaf, by TLS 1.3 and later. Handshakes fail until there is one.
func (a *Authority) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: a.getCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

func (a *Authority) getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.leaf == nil {
		return nil, fmt.Errorf("no serving certificate has been issued yet: %w", a.err)
	}
	return a.leaf, nil
}

// Serving reports why clients would refuse the serving certificate; nil: they would not.
func (a *Authority) Serving(*http.Request) error {
	leaf, err := a.getCertificate(nil)
	if err != nil {
		return err
	}
	now := a.options.Clock.Now()
	if now.Before(leaf.Leaf.NotBefore) || ended(leaf.Leaf, now) {
		a.mu.RLock()
		defer a.mu.RUnlock()
		return errors.Join(fmt.Errorf("the serving certificate is valid from %s to %s only",
			leaf.Leaf.NotBefore.Format(time.RFC3339), leaf.Leaf.NotAfter.Format(time.RFC3339)), a.err)
	}
	return nil
}

// Ready reports what Serving does, and why the webhook configurations that are there may lack the bundle. Once they had
// it, trouble with them is logged and tried again, and keeps no replica from verifying.
func (a *Authority) Ready(r *http.Request) error {
	if err := a.Serving(r); err != nil {
		return err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.injected {
		return nil
	}
	return a.injectErr
}

// sync brings everything up to date once.
func (a *Authority) sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	for range maxRounds {
		secret, held, err := a.load(ctx)
		if err != nil {
			return a.note(err)
		}
		a.mu.Lock()
		a.uid = secret.UID
		a.mu.Unlock()
		a.renewal(held)
		// The leaf comes first: it must not wait for the rest, and a round that changes the signer
		// is followed by another.
		leafErr := a.note(a.renewLeaf(held.signer))
		injectErr := a.inject(ctx, held.bundle())
		var publishErr error
		if a.options.Publish != nil {
			publishErr = a.options.Publish(ctx, a.client, held.bundle())
		}
		a.mu.Lock()
		a.injectErr = injectErr
		a.injected = a.injected || injectErr == nil
		a.mu.Unlock()

		done, err := a.rotate(ctx, secret, held, injectErr == nil)
		switch {
		case err != nil && !lostRace(err):
			return errors.Join(leafErr, injectErr, publishErr, err)
		case err == nil && done == keep && !lostRace(injectErr):
			return errors.Join(leafErr, injectErr, publishErr)
		}
	}
	return fmt.Errorf("the Secret %s/%s or the webhook configurations kept changing", a.options.Namespace, a.options.SecretName)
}

func (a *Authority) note(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	return err
}

func (a *Authority) renewLeaf(signer *authority) error {
	now := a.options.Clock.Now()
	a.mu.RLock()
	due := leafDue(a.leaf, signer, now)
	a.mu.RUnlock()
	if !due {
		return nil
	}
	leaf, err := signer.newLeaf(now, a.options)
	if err != nil {
		return err
	}
	a.measure(certificateServing, leaf.Leaf)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaf = leaf
	return nil
}
