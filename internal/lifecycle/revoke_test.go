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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

// revoke makes status name ids as revoked.
func revoke(ids ...string) func(*Input) {
	return func(in *Input) {
		for _, id := range ids {
			in.Resource.Status.Revoked = append(in.Resource.Status.Revoked, v1alpha1.RevokedToken{TokenID: id})
		}
	}
}

func TestDecideRevocation(t *testing.T) {
	unknown := "cccccccccccccccc"
	decide(t, map[string]deciding{
		"revoked":                         {[]func(*Input){issued, revoke(id)}, Write, WriteRevoked, "", 0, ""},
		"revoked, clock not proven":       {[]func(*Input){issued, revoke(id), unproven}, Write, WriteRevoked, "", 0, ""},
		"revoked, rotation asked for too": {[]func(*Input){issued, revoke(id), trigger("2")}, Write, WriteRevoked, "", 0, ""},
		"revoked, written down":           {[]func(*Input){issued, revoke(id), ends(record.EndedRevoked), removed}, Nothing, "", "-Revoked +Reconciled", 0, "set a new spec.rotation.trigger for a new one"},
		"revoked, taken back in status":   {[]func(*Input){issued, ends(record.EndedRevoked), removed}, Nothing, "", "-Revoked +Reconciled", 0, ""},
		"expired, then revoked":           {[]func(*Input){taken, ends(record.EndedExpired), revoke(id)}, Nothing, "", "-Expired +Reconciled", 0, ""},
		"its predecessor revoked":         {[]func(*Input){issued, previous(now.Add(time.Hour)), revoke(other)}, Write, WriteRevoked, "", 0, ""},
		"an id of nobody's revoked":       {[]func(*Input){issued, removed, revoke(unknown)}, Nothing, "", "+Active +Reconciled", 90*day - time.Minute, ""},
		"a digest that was revoked":       {[]func(*Input){holder, revoke(id)}, Write, WriteRevoked, "", 0, ""},
		"a digest revoked, written down":  {[]func(*Input){holder, revoke(id), remembered(id)}, Nothing, "", "-TokenRevoked -TokenRevoked stalled", 0, "as status.revoked says"},
		"a digest revoked, and forgotten": {[]func(*Input){holder, remembered(id)}, Nothing, "", "-TokenRevoked -TokenRevoked stalled", 0, "under this name before"},
		"a digest revoked, and over":      {[]func(*Input){holder, revoke(id), func(in *Input) { in.Now = now.Add(day) }}, Nothing, "", "-Expired +Reconciled", 0, ""},
		"another digest, revoked before":  {[]func(*Input){taken, anotherToken, revoke(other)}, Write, WriteRevoked, "", 0, ""},
		"another digest, written down":    {[]func(*Input){taken, anotherToken, revoke(other), remembered(other)}, Nothing, "", "+Active -TokenRevoked stalled", day, "as status.revoked says"},
		"another digest, and no room":     {[]func(*Input){taken, anotherToken, revoke(other), withoutRoom}, Nothing, "", "+Active -TokenRevoked stalled", day, "as status.revoked says"},
		"revoked, not rotated any more":   {[]func(*Input){sealed, ends(record.EndedRevoked), everyDays(30), func(in *Input) { in.Now = now.Add(31 * day) }}, Nothing, "", "-Revoked +Reconciled", 0, ""},
	})
}

// remembered makes the record say that the id was revoked, before it was taken.
func remembered(id string) func(*Input) {
	return func(in *Input) {
		if in.Record == nil {
			in.Record = record.New(in.Resource, now)
		}
		in.Record.Ended = append(in.Record.Ended, record.Ended{ID: id, Reason: record.EndedRevoked, Until: now.Add(day)})
	}
}

// withoutRoom leaves no room but for the ends of what the record holds.
func withoutRoom(in *Input) {
	filled(in)
	in.Record.Ended = append(in.Record.Ended, record.Ended{ID: "dddddddddddddddd", Reason: record.EndedReplaced, Until: now.Add(2 * time.Hour)})
}

func removed(in *Input) { in.Record.Current.Delivery.Secret.Removed = true }

func TestWhatRevocationWrites(t *testing.T) {
	ended := func(r *record.Record) map[string]string {
		got := map[string]string{}
		for _, e := range r.Ended {
			got[e.ID] = e.Reason
		}
		return got
	}
	t.Run("the current token takes its predecessor with it, and what delivers it", func(t *testing.T) {
		next := Decide(input(issued, previous(now.Add(time.Hour)), revoke(id))).Next
		if diff := cmp.Diff(map[string]string{id: record.EndedRevoked, other: record.EndedRevoked}, ended(next)); diff != "" {
			t.Error(diff)
		}
		if next.Current.Digest != "" || next.Previous != nil {
			t.Errorf("current %v with digest %q, previous %v", next.Current, next.Current.Digest, next.Previous)
		}
		if diff := cmp.Diff([]record.Removal{{Secret: "pat-" + id, UID: "s1", Until: now.Add(RemovalWindow)}}, next.Removals); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a predecessor ends alone", func(t *testing.T) {
		next := Decide(input(issued, previous(now.Add(time.Hour)), revoke(other))).Next
		if diff := cmp.Diff(map[string]string{other: record.EndedRevoked}, ended(next)); diff != "" {
			t.Error(diff)
		}
		if next.Current.Digest == "" || next.Previous != nil || len(next.Removals) != 0 {
			t.Errorf("current %v, previous %v, removals %v", next.Current, next.Previous, next.Removals)
		}
	})
	t.Run("a ciphertext goes with its token", func(t *testing.T) {
		if next := Decide(input(sealed, revoke(id))).Next; next.Ciphertext != "" {
			t.Error("it is kept")
		}
	})
	t.Run("a predecessor that the operator made is forgotten: no manifest brings it back", func(t *testing.T) {
		ours := func(in *Input) {
			in.Record.Previous.Source, in.Record.Previous.Delivery = record.SourceOperator, &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 60}}
		}
		for _, revoked := range []string{id, other} {
			in := input(issued, previous(now.Add(time.Hour)), ours, revoke(revoked))
			in.Record = Decide(in).Next
			if in.Record.Previous != nil || in.Record.EndOf(other) != nil {
				t.Errorf("predecessor %v, its end %v", in.Record.Previous, in.Record.EndOf(other))
			}
			gone(&in)
			if d := Decide(in); d.Action != Delete {
				t.Errorf("once the resource is gone: %s %s", d.Action, d.Reason)
			}
		}
	})
	t.Run("what a holder revoked and then rotated stays ended", func(t *testing.T) {
		in := input(taken, revoke(id))
		in.Record = Decide(in).Next
		anotherToken(&in)
		next := Decide(in).Next
		if next == nil || next.Current.ID != other || next.Previous != nil {
			t.Fatalf("next %+v", next)
		}
		if diff := cmp.Diff(map[string]string{id: record.EndedRevoked}, ended(next)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRevocationsThatStay(t *testing.T) {
	replaced, unknown := "cccccccccccccccc", "dddddddddddddddd"
	for name, tc := range map[string]struct {
		with []func(*Input)
		want []string
	}{
		"of the current token and its predecessor": {[]func(*Input){issued, previous(now.Add(time.Hour)), revoke(id, other)}, []string{id, other}},
		"not of what is gone or never was":         {[]func(*Input){issued, revoke(replaced, id, unknown)}, []string{id}},
		"of what spec asks for":                    {[]func(*Input){taken, anotherToken, revoke(other, unknown)}, []string{other}},
		"all, where no more can be remembered":     {[]func(*Input){taken, withoutRoom, revoke(replaced, unknown)}, []string{replaced, unknown}},
		"all, where the record is missing":         {[]func(*Input){revoke(replaced, unknown)}, []string{replaced, unknown}},
		"all, where nothing was issued yet":        {[]func(*Input){pending, revoke(replaced, unknown)}, []string{replaced, unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(tc.with...)
			var got []string
			for _, r := range Revocations(in.Resource, in.Record) {
				got = append(got, r.TokenID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
