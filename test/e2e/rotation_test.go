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

package e2e

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// rotate sets a new trigger, waits for the new token and takes it.
func rotate(t *testing.T, ns, name, trigger string, overlapSeconds int32) string {
	t.Helper()
	was := get(t, ns, name).Status.TokenID
	if err := change(t, alice, ns, name, func(s *spec) {
		s.Rotation = &v1alpha1.Rotation{Trigger: trigger, OverlapSeconds: overlapSeconds}
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() bool { now := get(t, ns, name).Status; return now.TokenID != was && now.DeliverySecretName != "" },
		func() string { return "it is not rotated" })
	return take(t, alice, ns, name)
}

// For the overlap both work; a second rotation ends the older one, and one without an overlap the one before it at once.
func TestRotation(t *testing.T) {
	t.Parallel()
	ns := team(t)
	first := issued(t, alice, pat(ns, "my-pat"))
	id := get(t, ns, "my-pat").Status.TokenID
	second := rotate(t, ns, "my-pat", "2", 3600)
	accepted(t, first)
	accepted(t, second)
	if status := get(t, ns, "my-pat").Status; status.PreviousTokenID != id || status.TokenID == id {
		t.Errorf("status names %q, and before it %q; want %q there", status.TokenID, status.PreviousTokenID, id)
	}
	third := rotate(t, ns, "my-pat", "3", 2)
	accepted(t, third)
	eventually(t, patience, func() bool { return !directReview(t, first).Authenticated && !directReview(t, second).Authenticated },
		func() string { return "a predecessor outlives its overlap" })
	refused(t, first)
	refused(t, second)
	accepted(t, third)
	eventually(t, patience, func() bool { return get(t, ns, "my-pat").Status.PreviousTokenID == "" }, func() string { return "status still names it" })
	waitFor(t, ns, "my-pat", v1alpha1.ConditionReady, "True/Reconciled")

	fourth := rotate(t, ns, "my-pat", "4", 0)
	eventually(t, patience, func() bool { return !directReview(t, third).Authenticated }, func() string { return "a predecessor goes on without an overlap" })
	accepted(t, fourth)
	refused(t, third)
}

// A token that has expired is rotated into a new one, with a longer life, and is not alive again itself.
func TestRotationOfWhatHasExpired(t *testing.T) {
	long.Only(t)
	ns := team(t)
	first := issued(t, alice, pat(ns, "my-pat", func(s *spec) { s.ExpiresAt = &metav1.Time{Time: time.Now().Add(time.Hour).Truncate(time.Second)} }))
	accepted(t, first)
	end := time.Now().Truncate(time.Second) // it lives an hour only so that it is issued at any speed
	if err := change(t, alice, ns, "my-pat", func(s *spec) { s.ExpiresAt = &metav1.Time{Time: end} }); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ns, "my-pat", v1alpha1.ConditionActive, "False/Expired")
	longer := func(s *spec) { s.ExpiresAt = &metav1.Time{Time: end.Add(2 * time.Hour)} }
	wantStatus(t, change(t, alice, ns, "my-pat", longer), 403, "spec.expiresAt", "cannot live longer; set an earlier end, or rotate the token in the same update")
	if err := change(t, alice, ns, "my-pat", func(s *spec) { longer(s); s.Rotation = &v1alpha1.Rotation{Trigger: "2"} }); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ns, "my-pat", v1alpha1.ConditionActive, "True/Active")
	accepted(t, take(t, alice, ns, "my-pat"))
	if directReview(t, first).Authenticated {
		t.Error("the expired one is alive again")
	}
}

// What a holder has replaced stays ended, whatever Git reverts to: within the overlap, after it, and under a new resource.
func TestCase17_AReplacedDigestStaysEnded(t *testing.T) {
	ns := team(t)
	first, was := holder(t, ns, "mine", time.Hour)
	create(t, alice, pat(ns, "mine", was))
	waitFor(t, ns, "mine", v1alpha1.ConditionActive, "True/Active")
	second, is := holder(t, ns, "mine", 2*time.Hour)
	if err := change(t, alice, ns, "mine", func(s *spec) { is(s); s.Rotation = &v1alpha1.Rotation{OverlapSeconds: 3} }); err != nil {
		t.Fatal(err)
	}
	accepted(t, second)
	if err := change(t, alice, ns, "mine", was); err != nil {
		t.Fatal(err)
	}
	waitFor(t, ns, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	eventually(t, patience, func() bool { return !directReview(t, first).Authenticated }, func() string { return "the revert revives it" })
	eventually(t, patience, func() bool { return get(t, ns, "mine").Status.PreviousTokenID == "" }, func() string { return "it is still the predecessor" })
	waitFor(t, ns, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	if got := directReview(t, first); got.Authenticated || got.Error != "" {
		t.Errorf("the replaced one: %+v; want a plain no", got)
	}
	accepted(t, second)
	if err := alice.Delete(t.Context(), pat(ns, "mine")); err != nil {
		t.Fatal(err)
	}
	create(t, alice, pat(ns, "mine", was))
	waitFor(t, ns, "mine", v1alpha1.ConditionStalled, "True/TokenRevoked")
	if directReview(t, first).Authenticated || directReview(t, second).Authenticated {
		t.Error("one of them is alive again")
	}
}

// Rotating hands a token over, so it takes its user.
func TestCase10_AnotherUserRotates(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "hers"))
	accepted(t, plaintext)
	trigger := func(s *spec) { s.Rotation = &v1alpha1.Rotation{Trigger: "2"} }
	wantStatus(t, change(t, bob, ns, "hers", trigger), 403, "impersonate alice")
	wantStatus(t, change(t, bearer(t, plaintext), ns, "hers", trigger, client.DryRunAll), 403, "may not make, renew or widen")
}
