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
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// operator is the process that writes; the tests that kill it start it again.
var operator *cluster.Manager

func startOperator(ctx context.Context) error {
	next, err := cl.StartOperator(ctx)
	if err == nil {
		operator = next
	}
	return err
}

func restartOperator(t *testing.T) {
	t.Helper()
	if err := startOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// reviveOperator starts the operator again where it has ended, as it does when it could not renew its lease, and waits until it
// has renewed it where it has not.
func reviveOperator(t *testing.T) {
	t.Helper()
	began := time.Now()
	for {
		select {
		case <-operator.Exited():
			dropLease(t)
			restartOperator(t)
			return
		case <-time.After(100 * time.Millisecond):
		}
		lease := &coordinationv1.Lease{}
		key := types.NamespacedName{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}
		err := admin.Get(t.Context(), key, lease)
		if err == nil && lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(began) && operator.Ready(t.Context()) == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("the operator neither ends nor renews its lease: %v", err)
		}
	}
}

// theFace is that of a replica which no test breaks.
func theFace() *face { return untouched.face }

// early is a resource made at the start, whose delivery Secret has a short time: it runs out while other tests run.
var early struct {
	namespace, plaintext string
	until                time.Time
}

const earlyTTL = 75 * time.Second

func createEarly(ctx context.Context, ttl time.Duration) (err error) {
	if early.namespace, err = team(ctx); err != nil {
		return err
	}
	p := pat(early.namespace, "early", func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.Delivery = &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{TTLSeconds: ptr.To(int32(ttl / time.Second))}}
	})
	early.plaintext, err = issue(ctx, p)
	early.until = time.Now().Add(ttl)
	return err
}

// The delivery Secret's time passes while the operator is down: the next start removes it for good, and does not change
// the token.
func TestCase31_TimeIsOverWhileTheOperatorIsDown(t *testing.T) {
	long.Only(t)
	ctx := t.Context()
	for ttl := time.Minute; ; ttl *= 2 { // until it is killed in time
		if time.Until(early.until) < tolerance {
			if err := createEarly(ctx, ttl); err != nil {
				t.Fatal(err)
			}
		}
		operator.Kill()
		dropLease(t)
		if time.Now().Before(early.until) {
			break
		}
		restartOperator(t)
	}
	select {
	case <-time.After(time.Until(early.until) + time.Second):
	case <-ctx.Done():
	}
	key := types.NamespacedName{Namespace: early.namespace, Name: "pat-" + mustID(t, early.plaintext)}
	if err := admin.Get(ctx, key, &corev1.Secret{}); err != nil {
		t.Fatalf("the Secret is gone before anybody could have deleted it: %v", err)
	}
	restartOperator(t)
	if err := env.Poll(ctx, patience, func() error {
		err := admin.Get(ctx, key, &corev1.Secret{})
		if err == nil {
			return errors.New("it is still there")
		}
		return client.IgnoreNotFound(err)
	}); err != nil {
		t.Errorf("the delivery Secret whose time is over: %v", err)
	}
	ask := &verdicts{t: t, face: theFace()}
	ask.want("the token whose delivery Secret is gone", early.plaintext, true)
	var secrets corev1.SecretList
	if err := admin.List(ctx, &secrets, client.InNamespace(early.namespace)); err != nil {
		t.Fatal(err)
	}
	for i := range secrets.Items {
		if s := &secrets.Items[i]; s.Type == v1alpha1.SecretTypeToken {
			t.Errorf("delivered again: %s", s.Name)
		}
	}
	report.Add(Row{Fault: "delivery Secret's time passes while the operator is down", Injected: 1, Accepted: ask.accepted, Refused: ask.refused})
}
