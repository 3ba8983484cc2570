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
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

func TestTokensAreCountedByState(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 30, 0, 0, time.UTC)
	c := newCensus()
	c.clock, c.maxLifetime = clocktesting.NewFakePassiveClock(now), 366*v1alpha1.Day
	pat := &v1alpha1.PersonalAccessToken{Spec: v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice"}}}
	n := 0
	add := func(with func(*record.Record)) string {
		n++
		pat.Namespace, pat.Name, pat.UID = "team", fmt.Sprintf("pat-%d", n), types.UID(fmt.Sprint(n))
		rec := record.New(pat, now)
		rec.Current = heldToken("aaaaaaaaaaaaaaaa", now.Add(-time.Hour), now.Add(30*v1alpha1.Day))
		with(rec)
		secret, err := record.ToSecret(rec, recordsNamespace)
		if err != nil {
			t.Fatal(err)
		}
		c.count(secret)
		return secret.Name
	}
	ends := func(in time.Duration) func(*record.Record) {
		return func(r *record.Record) { r.Current.ExpiresAt = now.Add(in) }
	}
	first := add(ends(time.Hour))
	add(ends(2 * v1alpha1.Day))
	add(ends(8 * v1alpha1.Day))
	add(func(r *record.Record) { // renewed tomorrow
		every := int32(1)
		ends(2 * v1alpha1.Day)(r)
		r.Current.Source, r.Current.Delivery, r.Ciphertext = record.SourceOperator, &record.Delivery{Recipients: []string{"age1"}}, "age"
		r.Granted.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1"}}
		r.Granted.Rotation = &v1alpha1.Rotation{EveryDays: &every}
	})
	add(func(r *record.Record) { r.Granted.Suspend = true })
	add(func(r *record.Record) { r.Current = nil })
	add(func(r *record.Record) { r.Current, r.Refused = nil, record.RefusedNotJudged })
	add(func(r *record.Record) { r.MissingSince = &now })
	add(func(r *record.Record) { r.End(r.Current, record.EndedExpired) })
	add(func(r *record.Record) { r.End(r.Current, record.EndedRevoked) })
	add(func(r *record.Record) {
		r.Previous = heldToken("bbbbbbbbbbbbbbbb", now.Add(-2*time.Hour), now.Add(v1alpha1.Day))
	})
	expect := func(active, day, week int) {
		t.Helper()
		want := fmt.Sprintf(`# HELP pat_operator_tokens Tokens by state. A predecessor that works during an overlap is replaced.
# TYPE pat_operator_tokens gauge
pat_operator_tokens{state="active"} %d
pat_operator_tokens{state="expired"} 1
pat_operator_tokens{state="issuing"} 1
pat_operator_tokens{state="missing"} 1
pat_operator_tokens{state="refused"} 1
pat_operator_tokens{state="replaced"} 1
pat_operator_tokens{state="revoked"} 1
pat_operator_tokens{state="suspended"} 1
# HELP pat_operator_tokens_expiring Active tokens that end within a time, to the hour, and are not rotated automatically before.
# TYPE pat_operator_tokens_expiring gauge
pat_operator_tokens_expiring{within="1d"} %d
pat_operator_tokens_expiring{within="7d"} %d
`, active, day, week)
		if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	expect(5, 1, 2)
	n = 0
	if again := add(ends(3 * time.Hour)); again != first { // an event of the same record
		t.Fatal("the first record has another name now")
	}
	expect(5, 1, 2)
	c.set(first, tally{})
	expect(4, 0, 1)
}

func heldToken(id string, issued, expires time.Time) *record.Token {
	return &record.Token{ID: id, Digest: strings.Repeat("ab", 32), Source: record.SourceHolder, IssuedAt: issued, ExpiresAt: expires}
}

func TestWaitingResourcesAreCounted(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	fake := clocktesting.NewFakePassiveClock(now)
	r := &Reconciler{Clock: fake}
	pat := func(name, tokenID string) *v1alpha1.PersonalAccessToken {
		return &v1alpha1.PersonalAccessToken{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now.Add(-10 * time.Minute))},
			Status:     v1alpha1.PersonalAccessTokenStatus{TokenID: tokenID},
		}
	}
	note := func(p *v1alpha1.PersonalAccessToken, state *lifecycle.State) {
		r.waiting.note(types.NamespacedName{Name: p.Name}, p, state, fake.Now())
	}
	waits := &lifecycle.State{Ready: lifecycle.Condition{Reason: v1alpha1.ReasonGuardsMissing}}
	expect := func(n int, longest time.Duration) {
		t.Helper()
		if err := testutil.CollectAndCompare(r, strings.NewReader(fmt.Sprintf(`# HELP pat_operator_issuing_waiting PersonalAccessTokens that wait for the operator to issue a token; the leader counts them.
# TYPE pat_operator_issuing_waiting gauge
pat_operator_issuing_waiting %d
# HELP pat_operator_issuing_longest_wait_seconds How long the first of them has waited.
# TYPE pat_operator_issuing_longest_wait_seconds gauge
pat_operator_issuing_longest_wait_seconds %v
`, n, longest.Seconds()))); err != nil {
			t.Error(err)
		}
	}
	expect(0, 0)
	note(pat("successor", "aaaaaaaaaaaaaaaa"), waits)
	expect(1, 0)
	note(pat("first", ""), waits)
	expect(2, 10*time.Minute)
	fake.SetTime(now.Add(time.Minute))
	note(pat("first", ""), waits)
	note(pat("first", ""), nil)
	note(pat("the user's turn", ""), &lifecycle.State{Ready: waits.Ready, Stalled: &lifecycle.Condition{}})
	note(pat("expired", "aaaaaaaaaaaaaaaa"), &lifecycle.State{Ready: lifecycle.Condition{Status: true}})
	expect(2, 11*time.Minute)
	note(pat("first", ""), &lifecycle.State{Ready: lifecycle.Condition{Status: true}})
	expect(1, time.Minute)
	r.waiting.note(types.NamespacedName{Name: "successor"}, nil, nil, fake.Now())
	expect(0, 0)
}

// An API server chooses the text of a reason, and must not choose labels.
func TestReconcileErrorsHaveBoundedReasons(t *testing.T) {
	for want, err := range map[metav1.StatusReason]error{
		metav1.StatusReasonConflict:  fmt.Errorf("a: %w", apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("a").GroupResource(), "b", nil)),
		metav1.StatusReasonForbidden: errors.Join(errors.New("a"), apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("a").GroupResource(), "b", nil)),
		metav1.StatusReasonTimeout:   &url.Error{Op: "Get", URL: "https://a", Err: context.DeadlineExceeded},
		reasonNoAnswer:               &url.Error{Op: "Get", URL: "https://a", Err: &net.OpError{Op: "dial", Err: errors.New("refused")}},
		reasonOther:                  &apierrors.StatusError{ErrStatus: metav1.Status{Reason: "kubepat_chosen_by_a_server", Code: 418}},
	} {
		if got := errorReason(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	before := testutil.ToFloat64(reconcileErrors.WithLabelValues("Other"))
	countError(nil)
	countError(errors.New("a"))
	if counted := testutil.ToFloat64(reconcileErrors.WithLabelValues("Other")) - before; counted != 1 {
		t.Errorf("counted %v errors", counted)
	}
}
