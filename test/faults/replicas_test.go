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
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/faults/proxy"
	"github.com/pat-operator/pat-operator/test/long"
)

// leaseDuration is how long a dead leader still counts as one; takeover bounds how long nothing is issued.
const (
	leaseDuration = 15 * time.Second
	takeover      = leaseDuration + 3*tolerance
)

// Two operators, and a stream of reviews: the leader stands still for longer than its lease and goes on; the leader is
// killed. The other issues within the lease, each request gets one token, and nobody who has a token notices.
func TestCase34_LeadersComeAndGo(t *testing.T) {
	long.Only(t)
	alongside(t, theService.RLocker(), &theOperators)
	ctx := t.Context()
	s := startStream(t)
	watching, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	seen := watchOver(watching, t, s.namespace)
	second, err := cl.StartOperator(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first := operator
	waitLeader(t, "") // the suite's operator has been there for longer

	s.during(t, "leading operator stands still (SIGSTOP) past its lease, then goes on", 1, func() {
		was := leader(t)
		if err := first.Pause(); err != nil {
			t.Fatal(err)
		}
		// kube-apiserver keeps a connection for each request that there ever was at once, and loses five seconds of admission
		// to each of them, until the liveness probe ends the pod. That is not what is looked at here.
		if err := env.Poll(ctx, patience, func() error {
			if first.Ready(ctx) == nil {
				return errors.New("an operator that stands still is ready")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		cl.DropAdmissionConnections()
		t.Logf("issued %v after the leader stood still", issuesAgain(t, s.namespace, "after-pause"))
		waitLeader(t, was)
		if err := first.Resume(); err != nil {
			t.Fatal(err)
		}
		// It finds its lease gone and ends, as its pod would; until then both are at it.
		select {
		case <-first.Exited():
		case <-time.After(patience):
			t.Error("an operator that has lost its lease goes on")
		}
	})
	third, err := cl.StartOperator(ctx)
	if err != nil {
		t.Fatal(err)
	}
	operator = third
	s.during(t, "leading operator killed (SIGKILL)", 1, func() {
		was := leader(t)
		second.Kill()
		t.Logf("issued %v after the leader was killed", issuesAgain(t, s.namespace, "after-kill"))
		waitLeader(t, was)
	})
	for _, complaint := range seen.complaints() {
		t.Error(complaint)
	}
	checkOneEach(t, s.namespace, seen)
}

// issuesAgain creates resources until one gets its token, and returns how long that took.
func issuesAgain(t *testing.T, ns, name string) time.Duration {
	t.Helper()
	start := time.Now()
	if err := env.Within(t.Context(), takeover, func() error {
		if err := client.IgnoreAlreadyExists(alice.Create(t.Context(), pat(ns, name))); err != nil {
			return err
		}
		p := pat(ns, name)
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if env.Condition(p, v1alpha1.ConditionReady) != "True/"+v1alpha1.ReasonReconciled {
			return errors.New("nothing is issued")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	took := time.Since(start)
	if _, err := product.Take(t.Context(), alice, ns, name); err != nil {
		t.Error(err)
	}
	return took.Round(10 * time.Millisecond)
}

func leader(t *testing.T) string {
	t.Helper()
	lease := &coordinationv1.Lease{}
	key := types.NamespacedName{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}
	if err := client.IgnoreNotFound(admin.Get(t.Context(), key, lease)); err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// waitLeader waits until another process leads.
func waitLeader(t *testing.T, than string) {
	t.Helper()
	if err := env.Poll(t.Context(), takeover+patience, func() error {
		if now := leader(t); now == "" || now == than {
			return fmt.Errorf("the leader is %q", now)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// checkOneEach expects each living resource of a namespace to have one valid token, of all ever delivered.
func checkOneEach(t *testing.T, ns string, seen *witness) {
	t.Helper()
	var list v1alpha1.PersonalAccessTokenList
	if err := admin.List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	var secrets corev1.SecretList
	if err := admin.List(t.Context(), &secrets, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		p := &list.Items[i]
		if delivered := seen.delivered(p.UID); len(delivered) > 1 {
			t.Errorf("%d plaintexts were delivered for %s", len(delivered), p.Name)
		}
	}
}

// Verifiers are restarted one by one, each with a new certificate, while reviews go on: none fails.
func TestCase35_VerifiersRestartUnderLoad(t *testing.T) {
	long.Only(t)
	alongside(t, theService.RLocker(), &theVerifiers)
	s := startStream(t)
	s.during(t, "none: a steady stream of reviews", 0, func() {})
	s.during(t, "verifiers restarted one by one (SIGTERM), each with a new certificate", len(verifiers), func() {
		for _, r := range verifiers {
			if err := r.Stop(); err != nil {
				t.Error(err)
			}
			if err := r.start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A verifier that is killed takes with it what it was answering, and nothing more: kube-apiserver does not ask again where
// an answer breaks off (DefaultShouldRetry of apiserver's util/webhook).
func TestCase35_AVerifierIsKilledUnderLoad(t *testing.T) {
	long.Only(t)
	alongside(t, &theService, &theVerifiers)
	s := startStream(t)
	const killed = "verifier killed (SIGKILL), still an endpoint of the Service"
	var dead time.Time
	var stood time.Duration
	w := s.watch(t, killed, 1, func() {
		cl.PinVerifiers(managers()...)
		defer cl.PinVerifiers()
		stalled := env.Stalls()
		verifiers[0].Kill()
		dead = time.Now().Add(100 * time.Millisecond) // until kube-apiserver has read that its connections are gone
		if err := verifiers[0].start(t.Context()); err != nil {
			t.Fatal(err)
		}
		stood = stalled()
	})
	dead = dead.Add(2*stood + 10*w.quantile(0.5)) // it reads later where the machine is slow, or stands still
	for _, wrong := range w.refused {
		if wrong.asked.After(dead) {
			t.Errorf("%s (dead at %s): %s", killed, dead.Format(time.TimeOnly), wrong)
		}
	}
}

// One of three replicas is cut off from the API server and stays an endpoint of the Service: kube-apiserver asks another
// within milliseconds.
func TestCase35_OneStaleReplicaBehindTheService(t *testing.T) {
	long.Only(t)
	alongside(t, theService.RLocker(), theVerifiers.RLocker())
	s := startStream(t)
	stale := verifiers[2]
	cl.PinVerifiers(managers()...)
	defer cl.PinVerifiers()
	before := s.during(t, "none: a steady stream of reviews", 0, func() {})
	oneIsCutOff.Store(true)
	defer oneIsCutOff.Store(false)
	if err := stale.proxy.Set(proxy.Cut); err != nil {
		t.Fatal(err)
	}
	s.during(t, "one of three replicas cut off, an endpoint of the Service", 1, func() {
		if err := env.Within(t.Context(), maxStaleness+tolerance, func() error {
			if stale.Ready(t.Context()) == nil {
				return fmt.Errorf("it is ready without an API server")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	w := s.during(t, "one of three replicas stale, an endpoint of the Service", 1, func() {
		select {
		case <-time.After(share(5, 5*time.Second)):
		case <-t.Context().Done():
		}
	})
	t.Logf("reviews with one of three replicas stale: p50 %v, max %v (before: %v, %v)", w.quantile(0.5), w.quantile(1), before.quantile(0.5), before.quantile(1))
	if err := stale.proxy.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	if err := stale.WaitReady(t.Context()); err != nil {
		t.Error(err)
	}
}

func managers() []*cluster.Manager {
	var all []*cluster.Manager
	for _, r := range verifiers {
		all = append(all, r.Manager)
	}
	return all
}
