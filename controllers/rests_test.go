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

package controllers

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// A leader that starts where everything is as it should be asks the API server nothing, and knows when to look again.
func TestNothingToDoAsksNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(*world)
		// wakes: time brings something.
		wakes bool
	}{
		"in a Secret":                   {issued, true},
		"for recipients":                {settled(createForRecipients), true},
		"a holder's":                    {issuedHolders, true},
		"a holder's, its resource gone": {tombstone, true},
		"never to be issued":            {settled(createOfNobody), false},
		"revoked under its name":        {settled(tombstone, createHolders), true},
		"revoked and kept":              {settled(issued, revokeCurrent), false},
		"suspended":                     {settled(issued, suspend), true},
		"expired":                       {settled(issued, pass(91*24*time.Hour)), false},
		"with a predecessor":            {settled(issued, overlap(rotate)), true},
		"a service account's":           {issuedToAccount, true},
		"nothing there":                 {nop, false},
		"held back":                     {settled(issuedHeldBack, remove), false},
		"a holder's, held back":         {settled(issuedHolders, holdBack, remove), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.forget()
			tc.make(w)
			w.passWindow()
			w.passWindow()
			w.restart()
			after, err := w.reconcile(thePAT)
			if n := w.api.live.Load(); err != nil || n != 0 || w.api.count() != 0 {
				t.Errorf("%d reads, writes %q, %v; want none", n, w.api.log, err)
			}
			if (after > 0) != tc.wakes {
				t.Errorf("comes back after %v", after)
			}
		})
	}
}

// readsNotFound is a cache that has lost every PersonalAccessToken.
type readsNotFound struct{ client.Reader }

func (r readsNotFound) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if _, ok := o.(*v1alpha1.PersonalAccessToken); ok {
		return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
	}
	return r.Reader.Get(ctx, key, o, opts...)
}

// What a paused leader creates for a resource that is gone neither keeps the next one from its token, nor is left behind.
func TestCase34_ALateRecordOfAFormerResourceGivesWay(t *testing.T) {
	w := newWorld(t)
	first := w.create(thePAT)
	w.delete(thePAT)
	late := record.New(first, w.clock.Now())
	late.Pending = &record.Token{
		ID: "aaaaaaaaaaaaaaaa", Digest: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Source: record.SourceOperator,
		IssuedAt: w.clock.Now(), ExpiresAt: w.clock.Now().Add(time.Hour), Delivery: &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 60}},
	}
	secret, err := record.ToSecret(late, recordsNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(w.ctx, secret); err != nil {
		t.Fatal(err)
	}
	second := w.create(thePAT)
	w.settle(thePAT)
	if len(w.valid(second)) != 1 {
		t.Errorf("%d valid plaintexts; want one", len(w.valid(second)))
	}
	// The former leader goes on: its update is refused.
	late.Current, late.Pending = late.Pending, nil
	stale, err := record.ToSecret(late, recordsNamespace)
	if err != nil {
		t.Fatal(err)
	}
	stale.UID, stale.ResourceVersion = secret.UID, secret.ResourceVersion
	if err := admin.Update(w.ctx, stale); !apierrors.IsConflict(err) {
		t.Errorf("got %v; want a conflict", err)
	}
	if err := admin.Delete(w.ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}); !apierrors.IsConflict(err) {
		t.Errorf("got %v; want a conflict", err)
	}
}
