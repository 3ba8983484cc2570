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
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

type specs = v1alpha1.PersonalAccessTokenSpec

func unguarded(in *Input) { in.Guards = errors.New("the webhook is gone") }

func notJudged(in *Input) { in.Record.Refused = record.RefusedNotJudged }

// wishes are one of each kind, of a token in a Secret or to a recipient.
var wishes = map[string]func(*specs){
	"spec.token": func(s *specs) {
		s.Token = &v1alpha1.HolderToken{ID: other, SHA256: someHash, BoundTo: "team-a/my-pat"}
		s.Delivery, s.ExpiresAt = nil, &metav1.Time{Time: now.Add(day)}
	},
	"spec.rotation":      func(s *specs) { s.Rotation = &v1alpha1.Rotation{Trigger: "9"} },
	"spec.delivery":      func(s *specs) { s.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1mallory"}} },
	"spec.audiences":     func(s *specs) { s.Audiences = []string{"vault"} },
	"spec.expiresInDays": func(s *specs) { s.ExpiresInDays = ptr.To[int32](300) },
	"spec.expiresAt":     func(s *specs) { s.ExpiresAt = &metav1.Time{Time: now.Add(300 * day)} },
	"spec.suspend":       func(s *specs) { s.Suspend = false },
}

func networks(from ...string) func(*specs) { return func(s *specs) { s.From = from } }

func suspendedBefore(in *Input) { in.Resource.Spec.Suspend = true }

// Whatever a spec asks for that nobody has judged, the token goes on as it was granted, and nothing of the wish is written.
func TestCase51_AWishThatNobodyJudgedIsNotCarriedOut(t *testing.T) {
	for field, wish := range wishes {
		for name, with := range map[string][]func(*Input){
			"guards missing":          {unguarded},
			"refused":                 {notJudged},
			"refused, guards missing": {notJudged, unguarded},
		} {
			t.Run(field+", "+name, func(t *testing.T) {
				in := input(append([]func(*Input){issued, suspendedBefore, asks(wish)}, with...)...)
				d := Decide(in)
				if d.Action != Nothing || d.State.Active.Reason != v1alpha1.ReasonSuspended || d.State.Ready.Status {
					t.Fatalf("%s %s, %s", d.Action, d.Reason, sees(d.State))
				}
				if !strings.Contains(d.State.Ready.Message, field) {
					t.Errorf("says %q; want %s in it", d.State.Ready.Message, field)
				}
				if stalled := d.State.Stalled != nil; stalled != (in.Record.Refused != "") {
					t.Errorf("stalled %v", stalled)
				}
			})
		}
		t.Run(field+", judged", func(t *testing.T) {
			in := input(issued, suspendedBefore, asks(wish))
			d := Decide(in)
			if d.Reason == writeShortened {
				in.Record = d.Next // What is narrowed comes first.
				d = Decide(in)
			}
			written := d.Next
			if d.Action == Issue {
				written = d.Base
			}
			if written == nil {
				t.Fatalf("%s %s, %s", d.Action, d.Reason, sees(d.State))
			}
			if got := Wishes(Input{Resource: in.Resource, Record: written}); len(got) != 0 {
				t.Errorf("%s %s, and %v is not granted", d.Action, d.Reason, got)
			}
		})
	}
}

func TestDecideGranting(t *testing.T) {
	narrower := asks(func(s *specs) { s.Audiences, s.Suspend = []string{"a"}, true })
	wide := change(func(s *specs) { s.Audiences = []string{"a", "b"} })
	decide(t, map[string]deciding{
		"new, guards missing":               {[]func(*Input){unguarded}, Nothing, "", "-Issuing -GuardsMissing", waitForGuards, "spec is not carried out yet: the webhook is gone"},
		"new, refused":                      {[]func(*Input){refused(record.RefusedNotJudged)}, Nothing, "", "-NotAuthorized -NotAuthorized stalled", 0, "delete this resource and apply it again"},
		"new, refused, guards missing":      {[]func(*Input){refused(record.RefusedNotJudged), unguarded}, Nothing, "", "-NotAuthorized -NotAuthorized stalled", 0, ""},
		"new, no user, guards missing":      {[]func(*Input){unguarded, change(func(s *specs) { s.User = nil })}, Nothing, "", "-UserMissing -UserMissing stalled", 0, ""},
		"a holder's, guards missing":        {[]func(*Input){holder, unguarded}, Nothing, "", "-Issuing -GuardsMissing", waitForGuards, ""},
		"a holder's, refused":               {[]func(*Input){holder, refused(record.RefusedNotJudged)}, Nothing, "", "-NotAuthorized -NotAuthorized stalled", 0, ""},
		"granted, and not yet issued":       {[]func(*Input){pending, unguarded}, Issue, "", "-Issuing -Issuing", 0, ""},
		"re-created, guards missing":        {[]func(*Input){issued, recreated, unguarded}, Delete, deleteResourceGone, "", 0, ""},
		"nothing asked, guards missing":     {[]func(*Input){issued, unguarded}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, ""},
		"another name, guards missing":      {[]func(*Input){issued, asks(func(s *specs) { s.DisplayName = "x" }), unguarded}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, ""},
		"narrowed, guards missing":          {[]func(*Input){issued, wide, narrower, unguarded}, Write, writeNarrowed, "", 0, ""},
		"narrowed while refused":            {[]func(*Input){issued, wide, narrower, notJudged}, Write, writeNarrowed, "", 0, ""},
		"shortened, guards missing":         {[]func(*Input){issued, asks(func(s *specs) { s.ExpiresInDays = ptr.To[int32](10) }), unguarded}, Write, writeNarrowed, "", 0, ""},
		"put back while refused":            {[]func(*Input){issued, notJudged}, Write, writeNarrowed, "", 0, ""},
		"expired, and a wish":               {[]func(*Input){issued, ends(record.EndedExpired), asks(wishes["spec.rotation"]), unguarded}, Nothing, "", "-Expired -GuardsMissing", waitForGuards, ""},
		"over, and a wish not judged":       {[]func(*Input){taken, asks(wishes["spec.expiresAt"]), unguarded, func(in *Input) { in.Now = now.Add(day) }}, Write, writeExpired, "", 0, ""},
		"everyDays, planted recipients":     {[]func(*Input){sealed, everyDays(30), asks(wishes["spec.delivery"]), unguarded, func(in *Input) { in.Now = now.Add(30 * day) }}, Issue, "", "+Active -Rotating", 0, ""},
		"revoked, and a wish not judged":    {[]func(*Input){issued, asks(wishes["spec.rotation"]), unguarded, revoke(id)}, Write, WriteRevoked, "", 0, ""},
		"networks, guards missing":          {[]func(*Input){issued, asks(networks("192.0.2.0/24")), unguarded}, Write, writeNarrowed, "", 0, ""},
		"fewer networks, guards missing":    {[]func(*Input){from("192.0.2.0/24"), issued, asks(networks("192.0.2.0/25")), unguarded}, Write, writeNarrowed, "", 0, ""},
		"more networks, not judged":         {[]func(*Input){from("192.0.2.0/24"), issued, asks(networks("192.0.2.0/23")), unguarded}, Nothing, "", "+Active -GuardsMissing", waitForGuards, "only from 192.0.2.0/24;"},
		"no networks, not judged":           {[]func(*Input){from("192.0.2.0/24"), issued, asks(networks()), unguarded}, Nothing, "", "+Active -GuardsMissing", waitForGuards, "spec.from is not carried out yet"},
		"more networks, judged":             {[]func(*Input){from("192.0.2.0/24"), issued, asks(networks("192.0.2.0/23"))}, Write, writeGranted, "", 0, ""},
		"resumed, not judged":               {[]func(*Input){issued, suspendedBefore, asks(wishes["spec.suspend"]), unguarded}, Nothing, "", "-Suspended -GuardsMissing", waitForGuards, ""},
		"resumed, judged":                   {[]func(*Input){issued, suspendedBefore, asks(wishes["spec.suspend"])}, Write, writeGranted, "", 0, ""},
		"a wish too long, judged":           {[]func(*Input){issued, asks(func(s *specs) { s.ExpiresInDays = ptr.To[int32](400); s.Rotation = &v1alpha1.Rotation{Trigger: "9"} })}, Nothing, "", "+Active -LifetimeTooLong stalled", 59 * time.Minute, ""},
		"another user, and a wish, judged":  {[]func(*Input){issued, asks(func(s *specs) { s.User = &v1alpha1.UserInfo{Username: "bob"}; s.Audiences = []string{"x"} })}, Nothing, "", "-UserChanged -UserChanged stalled", 59 * time.Minute, ""},
		"seen as revoked, status forgot it": {[]func(*Input){issued, func(in *Input) { in.Revoked = []string{id} }}, Write, WriteRevoked, "", 0, ""},
		"seen as used, status forgot it":    {[]func(*Input){issued, previous(now.Add(time.Hour)), onFirstUse, func(in *Input) { in.Used = []string{id} }}, Write, WriteRetired, "", 0, ""},
	})
}

// What rotates with everyDays is encrypted to the recipients that were granted, whatever spec names now.
func TestCase51_EveryDaysKeepsToTheGrantedRecipients(t *testing.T) {
	in := input(sealed, everyDays(30), asks(wishes["spec.delivery"]), unguarded, func(in *Input) { in.Now = now.Add(30 * day) })
	granted := in.Record.Granted.Delivery.Recipients
	for name, guards := range map[string]error{"guards missing": in.Guards, "refused": nil} {
		in.Guards = guards
		if guards == nil {
			in.Record.Refused = record.RefusedNotJudged
		}
		d := Decide(in)
		if d.Action != Issue {
			t.Fatalf("%s: %s %s", name, d.Action, d.Reason)
		}
		if diff := cmp.Diff(granted, d.Spec.Delivery.Recipients); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(in.Record.Granted, d.Base.Granted); diff != "" {
			t.Errorf("%s: it grants %s", name, diff)
		}
	}
}

// The record keeps the networks that were granted, and each narrowing of them.
func TestNetworksEnterTheRecord(t *testing.T) {
	for name, tc := range map[string]struct {
		granted, asked, want []string
		guards               error
	}{
		"added":                   {nil, []string{"192.0.2.0/24"}, []string{"192.0.2.0/24"}, errors.New("gone")},
		"narrowed":                {[]string{"192.0.2.0/24"}, []string{"192.0.2.0/25"}, []string{"192.0.2.0/25"}, errors.New("gone")},
		"widened by right":        {[]string{"192.0.2.0/24"}, []string{"192.0.2.0/23"}, []string{"192.0.2.0/23"}, nil},
		"removed by right":        {[]string{"192.0.2.0/24"}, nil, nil, nil},
		"widened, and not judged": {[]string{"192.0.2.0/24"}, []string{"192.0.2.0/23"}, []string{"192.0.2.0/24"}, errors.New("gone")},
		"removed, and not judged": {[]string{"192.0.2.0/24"}, nil, []string{"192.0.2.0/24"}, errors.New("gone")},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(from(tc.granted...), issued, asks(networks(tc.asked...)))
			in.Guards = tc.guards
			got := in.Record
			if d := Decide(in); d.Next != nil {
				got = d.Next
			}
			if diff := cmp.Diff(tc.want, got.Granted.From, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("granted (-want +got):\n%s", diff)
			}
		})
	}
}

// What is narrowed and widened in one update is narrowed at once, and the rest waits.
func TestNarrowingEntersTheRecordWithoutGuards(t *testing.T) {
	in := input(issued, asks(func(s *specs) { s.Suspend, s.Rotation = true, &v1alpha1.Rotation{Trigger: "9"} }), unguarded)
	d := Decide(in)
	if d.Reason != writeNarrowed || !d.Next.Granted.Suspend || d.Next.Granted.Rotation != nil {
		t.Fatalf("%s: granted %+v", d.Reason, d.Next.Granted)
	}
	in.Record = d.Next
	in.Resource.Spec.Suspend = false
	if d := Decide(in); d.Action != Nothing || d.State.Active.Reason != v1alpha1.ReasonSuspended {
		t.Errorf("widened back: %s %s, %s", d.Action, d.Reason, sees(d.State))
	}
}

func TestDecideMissing(t *testing.T) {
	unseen := func(in *Input) { in.Resource, in.Listed = nil, true }
	since := func(d time.Duration) func(*Input) {
		return func(in *Input) { in.Record.MissingSince = ptr.To(now.Add(-d)) }
	}
	open := func(in *Input) { in.BreakerOpen = true }
	decide(t, map[string]deciding{
		"not found, and no list says so":   {[]func(*Input){issued, func(in *Input) { in.Resource = nil }}, Nothing, "", "", 0, ""},
		"missing":                          {[]func(*Input){issued, unseen}, Write, writeMissing, "", 0, ""},
		"missing, clock not proven":        {[]func(*Input){issued, unseen, unproven}, Nothing, "", "", waitForClock, ""},
		"missing for a while":              {[]func(*Input){issued, since(time.Minute), unseen}, Nothing, "", "", 59 * time.Minute, ""},
		"missing for an hour":              {[]func(*Input){issued, since(time.Hour), unseen}, Delete, deleteResourceGone, "", 0, ""},
		"missing for an hour, not proven":  {[]func(*Input){issued, since(time.Hour), unseen, unproven}, Nothing, "", "", waitForClock, ""},
		"missing for an hour, a holder's":  {[]func(*Input){taken, since(time.Hour), unseen}, Write, WriteTombstone, "", 0, ""},
		"missing for an hour, with others": {[]func(*Input){issued, since(time.Hour), unseen, open}, Nothing, "", "", waitForBreaker, ""},
		"missing for a week, with others":  {[]func(*Input){issued, since(missingForAll), unseen, open}, Delete, deleteResourceGone, "", 0, ""},
		"deleted, with others":             {[]func(*Input){issued, gone, open}, Delete, deleteResourceGone, "", 0, ""},
		"another was deleted":              {[]func(*Input){issued, unseen, func(in *Input) { in.Deleted = "u0" }}, Write, writeMissing, "", 0, ""},
		"found again":                      {[]func(*Input){issued, since(time.Hour)}, Write, writeFound, "", 0, ""},
		"marked deleted while missing":     {[]func(*Input){issued, since(time.Minute), deleting}, Delete, deleteResourceGone, "-Deleting -Deleting", 0, ""},
		"re-created while missing":         {[]func(*Input){issued, since(time.Minute), recreated}, Issue, "", "-Issuing -Issuing", 0, ""},
	})
}
