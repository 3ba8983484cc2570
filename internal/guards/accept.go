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

package guards

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/audit"
)

const (
	// settle is how long guards are in force before they are accepted. An API server acts on a new one within a second.
	settle = 10 * time.Second
	// leastPause is the time between two rounds, whatever wakes the acceptance.
	leastPause = time.Second
	// poll is the time between two rounds that nothing wakes.
	poll = 5 * time.Minute
)

// afterFailure paces rounds that fail.
var afterFailure = wait.Backoff{Duration: leastPause, Factor: 2, Jitter: 0.1, Steps: 6, Cap: 30 * time.Second}

// candidate is a fingerprint that is in force and may be accepted.
type candidate struct {
	fingerprint fingerprint
	since       time.Time
}

// NeedLeaderElection is true: the leader accepts.
func (*Guards) NeedLeaderElection() bool { return true }

// Start accepts guards until ctx ends.
func (g *Guards) Start(ctx context.Context) error {
	backoff := afterFailure
	for {
		pause := leastPause
		next, err := g.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			backoff = afterFailure
		} else {
			pause, next = backoff.Step(), 0
			g.opts.Log.Error(err, "Cannot accept the guards; trying again", "after", pause.String())
		}
		if !g.sleep(ctx, pause, nil) || !g.sleep(ctx, next-pause, g.woken) {
			return nil
		}
	}
}

// sleep returns early if it is woken. It reports whether ctx still runs.
func (g *Guards) sleep(ctx context.Context, d time.Duration, woken <-chan struct{}) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := g.opts.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
	case <-woken:
	}
	return true
}

// round takes the acceptance one step further, and starts it over if anything fails. It returns when to take the next.
func (g *Guards) round(ctx context.Context) (next time.Duration, err error) {
	defer func() {
		if err != nil {
			g.candidate = nil
		}
	}()
	k, err := readKept(ctx, g.opts.Live, g.opts.RecordsNamespace)
	if err != nil {
		return 0, fmt.Errorf("cannot read the accepted fingerprint: %w", err)
	}
	began := g.opts.Clock.Now()
	current, err := read(ctx, g.opts.Live)
	if err != nil {
		return 0, fmt.Errorf("cannot read the guards: %w", err)
	}
	f, missing := current.examine(g.opts.Service)
	if missing != nil {
		g.candidate = nil
		g.reportMissing(missing)
		g.reportOthers(ctx)
		return poll, nil
	}
	if f != k.fingerprint {
		if g.candidate == nil || g.candidate.fingerprint != f {
			g.candidate = &candidate{f, g.opts.Clock.Now()}
			g.opts.Audit.Write(audit.Event{Event: "GuardsChanged"})
			g.reportState("Guards have changed and are in force; accepting them in 10 seconds")
			return settle, nil
		}
		if age := began.Sub(g.candidate.since); age < settle {
			return settle - age, nil
		}
		if err := g.opts.RefuseUncovered(ctx); err != nil {
			return 0, fmt.Errorf("cannot refuse the wishes that no guard has judged: %w", err)
		}
		if err := k.replace(ctx, g.opts.Client, g.opts.RecordsNamespace, f); err != nil {
			return 0, fmt.Errorf("cannot keep the accepted fingerprint: %w", err)
		}
		g.opts.Audit.Write(audit.Event{Event: "GuardsAccepted"})
	}
	g.candidate = nil
	g.reportState("Guards are accepted")
	g.reportOthers(ctx)
	return poll, nil
}

// Carry keeps guards accepted across the operator's own update of a caBundle, which changes a generation. The update was
// made under the resourceVersion of before, so before and after are consecutive. Every replica may call it.
func (g *Guards) Carry(ctx context.Context, before, after client.Object) error {
	was, ok := before.(*admissionregistrationv1.ValidatingWebhookConfiguration)
	is, same := after.(*admissionregistrationv1.ValidatingWebhookConfiguration)
	if !ok || !same || is.Name != webhookName || was.UID != is.UID || !equality.Semantic.DeepEqual(withoutBundles(was), withoutBundles(is)) {
		return nil // not a guard, or more has changed: another mutating webhook may have added a selector
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		k, err := readKept(ctx, g.opts.Live, g.opts.RecordsNamespace)
		if err != nil || k.fingerprint[0] != versionOf(webhookKind, was) {
			return err
		}
		carried := k.fingerprint
		carried[0] = versionOf(webhookKind, is)
		return k.replace(ctx, g.opts.Client, g.opts.RecordsNamespace, carried)
	})
}

func withoutBundles(config *admissionregistrationv1.ValidatingWebhookConfiguration) []admissionregistrationv1.ValidatingWebhook {
	entries := config.DeepCopy().Webhooks
	for i := range entries {
		entries[i].ClientConfig.CABundle = nil
	}
	return entries
}
