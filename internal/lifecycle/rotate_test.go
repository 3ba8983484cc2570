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

package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

func trigger(word string) func(*Input) {
	return change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Rotation = &v1alpha1.Rotation{Trigger: word} })
}

func everyDays(n int32) func(*Input) {
	return change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Rotation = &v1alpha1.Rotation{EveryDays: &n} })
}

// sealed gives the resource a token that was delivered to recipients a minute ago.
func sealed(in *Input) {
	issued(in)
	toKeys("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")(in)
	in.Record.Current.Delivery, in.Record.Ciphertext = &record.Delivery{Recipients: []string{"age1"}}, "age"
}

func anotherToken(in *Input) { in.Resource.Spec.Token.ID = other }

// previous gives the record a predecessor that a holder made, for so long.
func previous(until time.Time) func(*Input) {
	return func(in *Input) {
		in.Record.Previous = &record.Token{
			ID: other, Digest: someHash, Source: record.SourceHolder, IssuedAt: now.Add(-day), ExpiresAt: now.Add(10 * day), RetiresAt: &until,
		}
	}
}

func onFirstUse(in *Input) { in.Resource.Spec.Rotation = &v1alpha1.Rotation{RetireOnFirstUse: true} }

// used makes status say that the token with this id was used.
func used(id string) func(*Input) {
	return func(in *Input) {
		in.Resource.Status.TokenID, in.Resource.Status.FirstUsedAt = id, &metav1.Time{Time: now}
	}
}

// filled fills what a record remembers as ended.
func filled(in *Input) {
	for i := range record.MaxEnded - roomForEnds {
		in.Record.Ended = append(in.Record.Ended, record.Ended{
			ID: fmt.Sprintf("c%015d", i), Reason: record.EndedReplaced, Until: now.Add(time.Hour + time.Duration(i)*time.Minute),
		})
	}
}

func TestDecideRotation(t *testing.T) {
	decide(t, map[string]deciding{
		"rotation asked for":                {[]func(*Input){issued, trigger("2")}, Issue, "", "+Active -Rotating", 0, "A successor"},
		"rotation asked for, suspended":     {[]func(*Input){issued, trigger("2"), change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true })}, Issue, "", "-Suspended -Rotating", 0, ""},
		"rotation asked for, not proven":    {[]func(*Input){issued, trigger("2"), unproven}, Nothing, "", "+Active -Rotating", waitForClock, ""},
		"rotation asked for, of this":       {[]func(*Input){issued, trigger("1"), func(in *Input) { in.Record.Current.Trigger = "1" }}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, ""},
		"the trigger taken away":            {[]func(*Input){issued, func(in *Input) { in.Record.Current.Trigger = "1" }}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, ""},
		"rotation into what would be over":  {[]func(*Input){taken, ends(record.EndedExpired), trigger("2"), change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token = nil }), func(in *Input) { in.Now = now.Add(day) }}, Nothing, "", "-Expired +Reconciled", 0, ""},
		"rotation, too long a life":         {[]func(*Input){issued, trigger("2"), change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = ptr.To[int32](400) })}, Nothing, "", "+Active -LifetimeTooLong stalled", 59 * time.Minute, ""},
		"rotation, to no key":               {[]func(*Input){issued, trigger("2"), toKeys("age1")}, Nothing, "", "+Active -RecipientsRefused stalled", 59 * time.Minute, ""},
		"a predecessor, the new one unused": {[]func(*Input){issued, previous(now.Add(time.Minute)), onFirstUse}, Nothing, "", "+Active +Reconciled", time.Minute, "until 2026-11-23T12:01:00Z, or until the new one is first used"},
		"a predecessor, the new one used":   {[]func(*Input){issued, previous(now.Add(time.Hour)), onFirstUse, used(id), unproven}, Write, WriteRetired, "", 0, ""},
		"a predecessor, used itself":        {[]func(*Input){issued, previous(now.Add(time.Minute)), onFirstUse, used(other)}, Nothing, "", "+Active +Reconciled", time.Minute, ""},
		"used, and no matter":               {[]func(*Input){issued, previous(now.Add(time.Minute)), used(id)}, Nothing, "", "+Active +Reconciled", time.Minute, ""},
		"expired, rotation asked for":       {[]func(*Input){issued, ends(record.EndedExpired), trigger("2")}, Issue, "", "-Expired -Rotating", 0, ""},
		"over, rotation asked for":          {[]func(*Input){issued, trigger("2"), func(in *Input) { in.Now = now.Add(90 * day) }}, Write, WriteDeliveryOver, "", 0, ""},
		"revoked, rotation asked for":       {[]func(*Input){issued, ends(record.EndedRevoked), trigger("2")}, Issue, "", "-Revoked -Rotating", 0, ""},
		"another user, rotation asked for":  {[]func(*Input){issued, trigger("2"), change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User.Username = "bob" })}, Nothing, "", "-UserChanged -UserChanged stalled", 59 * time.Minute, ""},
		"a trigger for a holder's own":      {[]func(*Input){taken, trigger("2")}, Nothing, "", "+Active +Reconciled", day, ""},
		"another holder's digest":           {[]func(*Input){taken, anotherToken}, Write, WriteRotated, "", 0, ""},
		"a holder's digest for ours":        {[]func(*Input){issued, holder, anotherToken, retires(now.Add(day))}, Write, WriteRotated, "", 0, ""},
		"a digest that was replaced":        {[]func(*Input){taken, anotherToken, func(in *Input) { in.Record.Ended = []record.Ended{{ID: other}} }}, Nothing, "", "+Active -TokenRevoked stalled", day, "was replaced by another, aaaaaaaaaaaaaaaa, and stays ended"},
		"a digest of the predecessor":       {[]func(*Input){taken, anotherToken, previous(now.Add(time.Hour))}, Nothing, "", "+Active -TokenRevoked stalled", time.Hour, "was replaced by " + id + ": it works until 2026-11-23T13:00:00Z, the end of the overlap, and never again"},
		"too many were replaced":            {[]func(*Input){taken, anotherToken, filled}, Write, writeRefused, "", 0, ""},
		"the same id, another digest":       {[]func(*Input){taken, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token.SHA256 = strings.Repeat("1", 64) })}, Nothing, "", "+Active -BindingMismatch stalled", day, "it has another id"},
		"a holder's digest taken away":      {[]func(*Input){taken, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token = nil })}, Nothing, "", "+Active -RotationNeeded stalled", day, "set a new spec.rotation.trigger"},
		"ours as a holder's own":            {[]func(*Input){issued, holder}, Write, writeShortened, "", 0, ""},
		"ours as a holder's own, settled":   {[]func(*Input){issued, holder, retires(now.Add(day))}, Nothing, "", "+Active -BindingMismatch stalled", 59 * time.Minute, "which the operator made; take spec.token away"},
		"a predecessor, shortened by spec":  {[]func(*Input){issued, previous(now.Add(time.Hour)), func(in *Input) { in.Record.Previous.IssuedAt = now.Add(-100 * day) }}, Write, WriteRetired, "", 0, ""},
		"from a holder's to ours":           {[]func(*Input){taken, trigger("2"), change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token = nil })}, Issue, "", "+Active -Rotating", 0, ""},
		"a predecessor, within its time":    {[]func(*Input){issued, previous(now.Add(time.Minute))}, Nothing, "", "+Active +Reconciled", time.Minute, "its predecessor"},
		"a predecessor's time is over":      {[]func(*Input){issued, previous(now)}, Write, WriteRetired, "", 0, ""},
		"a predecessor over, not proven":    {[]func(*Input){issued, previous(now), unproven}, Nothing, "", "+Active +Reconciled", waitForClock, ""},
		"automatic, not yet":                {[]func(*Input){sealed, everyDays(30)}, Nothing, "", "+Active +Reconciled", 30*day - time.Minute, ""},
		"automatic":                         {[]func(*Input){sealed, everyDays(30), func(in *Input) { in.Now = now.Add(30 * day) }}, Issue, "", "+Active -Rotating", 0, ""},
		"automatic, only to recipients":     {[]func(*Input){issued, everyDays(30), func(in *Input) { in.Record.Current.Delivery.Secret.Removed = true; in.Now = now.Add(30 * day) }}, Nothing, "", "+Active +Reconciled", 60*day - time.Minute, ""},
		"automatic, never once expired":     {[]func(*Input){sealed, ends(record.EndedExpired), everyDays(30), func(in *Input) { in.Now = now.Add(100 * day) }}, Nothing, "", "-Expired +Reconciled", 0, ""},
		"automatic, not for ever":           {[]func(*Input){sealed, everyDays(30), func(in *Input) { in.Record.AuthorizedAt = now.Add(-340 * day); in.Now = now.Add(30 * day) }}, Nothing, "", "+Active +Reconciled", 60*day - time.Minute, ""},
	})
}

func TestWhatRotationWrites(t *testing.T) {
	t.Run("a successor ends its predecessor, and what delivers it", func(t *testing.T) {
		in := input(issued, trigger("2"), pending)
		next := Promote(in.Record, &in.Resource.Spec, &record.SecretDelivery{TTLSeconds: 60, UID: "s9"}, now)
		if next.Current.ID != other || next.Previous != nil || len(next.Ended) != 0 {
			t.Errorf("current %v previous %v ended %v", next.Current, next.Previous, next.Ended)
		}
		if diff := cmp.Diff([]record.Removal{{Secret: "pat-" + id, UID: "s1", Until: now.Add(RemovalWindow)}}, next.Removals); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("for the overlap both are there, never past the first one's end", func(t *testing.T) {
		for overlap, want := range map[time.Duration]time.Time{time.Hour: now.Add(time.Hour), 400 * day: now.Add(-time.Minute).Add(90 * day)} {
			in := input(issued, trigger("2"), pending)
			in.Resource.Spec.Rotation.OverlapSeconds = int32(overlap.Seconds())
			next := Promote(in.Record, &in.Resource.Spec, &record.SecretDelivery{TTLSeconds: 60, UID: "s9"}, now)
			if next.Previous == nil || next.Previous.ID != id || next.Previous.Digest == "" || !next.Previous.EndsAt().Equal(want) {
				t.Fatalf("overlap %v: previous %v until %v; want %v", overlap, next.Previous, next.Previous.EndsAt(), want)
			}
		}
	})
	t.Run("what was shortened stays so during the overlap", func(t *testing.T) {
		in := input(issued, trigger("2"), pending, retires(now.Add(time.Minute)))
		in.Resource.Spec.Rotation.OverlapSeconds = 3600
		next := Promote(in.Record, &in.Resource.Spec, &record.SecretDelivery{TTLSeconds: 60, UID: "s9"}, now)
		if next.Previous == nil || !next.Previous.EndsAt().Equal(now.Add(time.Minute)) {
			t.Errorf("previous %v until %v", next.Previous, next.Previous.EndsAt())
		}
	})
	t.Run("a second rotation within the overlap ends the older one, and a holder's id stays ended until its expiry", func(t *testing.T) {
		in := input(issued, previous(now.Add(time.Hour)), trigger("2"))
		in.Resource.Spec.Rotation.OverlapSeconds = 60
		next := Seal(in.Record, &in.Resource.Spec, &record.Token{ID: "cccccccccccccccc"}, "age", now)
		want := []record.Ended{{ID: other, Reason: record.EndedReplaced, Until: now.Add(10 * day)}}
		if diff := cmp.Diff(want, next.Ended); diff != "" || next.Previous.ID != id {
			t.Errorf("previous %v, %s", next.Previous, diff)
		}
	})
	t.Run("what an expired token leaves is not taken over", func(t *testing.T) {
		in := input(issued, ends(record.EndedExpired), trigger("2"))
		in.Resource.Spec.Rotation.OverlapSeconds = 60
		next := Seal(in.Record, &in.Resource.Spec, &record.Token{ID: other}, "age", now)
		if next.Previous != nil || len(next.Ended) != 0 {
			t.Errorf("previous %v, ended %v", next.Previous, next.Ended)
		}
	})
	t.Run("an end that has passed need not be remembered", func(t *testing.T) {
		in := input(taken, anotherToken, func(in *Input) { in.Record.Ended = []record.Ended{{ID: "cccccccccccccccc", Until: now}} })
		want := []record.Ended{{ID: id, Reason: record.EndedReplaced, Until: now.Add(day)}}
		if diff := cmp.Diff(want, Decide(in).Next.Ended); diff != "" {
			t.Error(diff)
		}
	})
}
