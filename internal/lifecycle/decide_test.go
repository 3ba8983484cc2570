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
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const (
	day      = 24 * time.Hour
	id       = "aaaaaaaaaaaaaaaa"
	other    = "bbbbbbbbbbbbbbbb"
	someHash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// input is a resource of alice's, not issued yet, that each case changes.
func input(with ...func(*Input)) Input {
	in := Input{
		Resource: &v1alpha1.PersonalAccessToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "my-pat", UID: "u1"},
			Spec:       v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice", Groups: []string{"devs"}}},
		},
		Now: now, ClockProven: true,
		Config: Config{MaxLifetime: 366 * day, SecretDelivery: true, MaxRemembered: 20},
	}
	for _, f := range with {
		f(&in)
	}
	if in.wishes == nil && in.Record != nil && in.Record.Granted != nil && in.Resource != nil {
		refused := in.Record.Refused
		in.Record.Grant(&in.Resource.Spec)
		in.Record.Refused = refused
	}
	in.wishes = nil
	return in
}

// asks lets spec ask for something after the rest was granted.
func asks(f func(*v1alpha1.PersonalAccessTokenSpec)) func(*Input) {
	return func(in *Input) {
		if in.Record != nil && in.Record.Granted != nil {
			in.Record.Grant(&in.Resource.Spec)
		}
		in.wishes = []string{"asked"}
		in.Resource = in.Resource.DeepCopy()
		f(&in.Resource.Spec)
	}
}

// issued gives the resource a token that was delivered in a Secret a minute ago and lives for 90 days.
func issued(in *Input) {
	at := now.Add(-time.Minute)
	in.Record = record.New(in.Resource, at)
	in.Record.Current = &record.Token{
		ID: id, Digest: someHash, Source: record.SourceOperator, IssuedAt: at, ExpiresAt: at.Add(90 * day),
		Delivery: &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 3600, UID: "s1"}},
	}
	in.Resource.Status.TokenID = id
}

func pending(in *Input) {
	if in.Record == nil {
		in.Record = record.New(in.Resource, now)
	}
	in.Record.Pending = &record.Token{
		ID: other, Digest: someHash, Source: record.SourceOperator, IssuedAt: now, ExpiresAt: now.Add(day),
		Delivery: &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 3600}},
	}
}

// holder makes it the holder's own token, not taken yet.
func holder(in *Input) {
	in.Resource.Spec.ExpiresAt = &metav1.Time{Time: now.Add(day)}
	in.Resource.Spec.Token = &v1alpha1.HolderToken{ID: id, SHA256: someHash, BoundTo: "team-a/my-pat"}
}

func taken(in *Input) {
	holder(in)
	in.Record = record.New(in.Resource, now)
	in.Record.Current = &record.Token{ID: id, Digest: someHash, Source: record.SourceHolder, IssuedAt: now.Add(-time.Minute), ExpiresAt: now.Add(day)}
	in.Resource.Status.TokenID = id
}

func ends(reason string) func(*Input) {
	return func(in *Input) { in.Record.End(in.Record.Current, reason) }
}

func change(f func(*v1alpha1.PersonalAccessTokenSpec)) func(*Input) {
	return func(in *Input) { f(&in.Resource.Spec) }
}

func toKeys(keys ...string) func(*Input) {
	return change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Delivery = &v1alpha1.Delivery{Recipients: keys} })
}

func from(networks ...string) func(*Input) {
	return change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = networks })
}

func expiresAt(at time.Time) func(*Input) {
	return change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresAt = &metav1.Time{Time: at} })
}

// account makes it a service account's, pinned to a UID, while the account that is there has another or none.
func account(pinned, there types.UID) func(*Input) {
	return func(in *Input) {
		in.Resource.Spec.User = &v1alpha1.UserInfo{Username: "system:serviceaccount:a:b", UID: string(pinned)}
		in.Owner.UID = there
	}
}

func retires(at time.Time) func(*Input) {
	return func(in *Input) { in.Record.Current.RetiresAt = &at }
}

func unproven(in *Input) { in.ClockProven = false }
func gone(in *Input)     { in.Resource, in.Deleted = nil, "u1" }
func deleting(in *Input) { in.Resource.DeletionTimestamp = &metav1.Time{Time: now} }
func recreated(in *Input) {
	in.Resource = in.Resource.DeepCopy()
	in.Resource.UID, in.Resource.Status = "u2", v1alpha1.PersonalAccessTokenStatus{}
}

// remembers leaves of former resources of the name only ids that must not come back for a day.
func remembers(ids ...string) func(*Input) {
	return func(in *Input) {
		in.Record = &record.Record{V: 1, Resource: record.Resource{Namespace: in.Resource.Namespace, Name: in.Resource.Name}}
		for _, id := range ids {
			in.Record.Ended = append(in.Record.Ended, record.Ended{ID: id, Reason: record.EndedDeleted, Until: now.Add(day)})
		}
	}
}

func remembersMany(n int) func(*Input) {
	return func(in *Input) {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("c%015d", i)
		}
		remembers(ids...)(in)
	}
}

// sees is what people are told: Active, Ready, Stalled, each with its reason.
func sees(s *State) string {
	if s == nil {
		return ""
	}
	word := func(c Condition) string {
		if c.Status {
			return "+" + c.Reason
		}
		return "-" + c.Reason
	}
	out := word(s.Active) + " " + word(s.Ready)
	if s.Stalled != nil {
		out += " stalled"
	}
	return out
}

// deciding is a case of Decide.
type deciding struct {
	with   []func(*Input)
	action Action
	reason string
	sees   string
	after  time.Duration
	says   string // part of the Active message, or of Ready's where that one differs
}

func TestDecide(t *testing.T) {
	decide(t, map[string]deciding{
		// Not issued yet.
		"new":                                  {nil, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, suspended":                       {[]func(*Input){change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true })}, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, clock not proven":                {[]func(*Input){unproven}, Nothing, "", "-Issuing -Issuing", waitForClock, "clock"},
		"new, already over":                    {[]func(*Input){expiresAt(now)}, Nothing, "", "-Expired +Reconciled", 0, "no token is issued; set a later one"},
		"new, over, not proven":                {[]func(*Input){expiresAt(now), unproven}, Nothing, "", "", waitForClock, ""},
		"new, too long in days":                {[]func(*Input){change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = ptr.To[int32](367) })}, Nothing, "", "-LifetimeTooLong -LifetimeTooLong stalled", 0, "(366 days); set a lesser spec.expiresInDays"},
		"new, too long by date":                {[]func(*Input){expiresAt(now.Add(366*day + time.Second))}, Nothing, "", "-LifetimeTooLong -LifetimeTooLong stalled", 0, "earlier spec.expiresAt"},
		"new, the longest":                     {[]func(*Input){expiresAt(now.Add(366 * day))}, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, delivery off":                    {[]func(*Input){func(in *Input) { in.Config.SecretDelivery = false }}, Nothing, "", "-DeliveryDisabled -DeliveryDisabled stalled", 0, "set spec.token"},
		"new, no user":                         {[]func(*Input){change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User = nil })}, Nothing, "", "-UserMissing -UserMissing stalled", 0, "restore the webhook configuration"},
		"new, a user never to be":              {[]func(*Input){change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User.Groups = []string{"system:masters"} })}, Nothing, "", "-UserRefused -UserRefused stalled", 0, "spec.user.groups[0]"},
		"new, a service account":               {[]func(*Input){account("sa1", "sa1")}, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, a service account that is gone":  {[]func(*Input){account("sa1", "")}, Nothing, "", "-OwnerGone -OwnerGone stalled", 0, "Service account a/b was deleted"},
		"new, a service account not looked up": {[]func(*Input){account("", "sa1")}, Nothing, "", "-UserMissing -UserMissing stalled", 0, "spec.user.uid"},
		"its service account re-created":       {[]func(*Input){account("sa1", "sa2"), issued}, Nothing, "", "-OwnerGone -OwnerGone stalled", 59 * time.Minute, "was deleted or re-created"},
		"its service account there":            {[]func(*Input){account("sa1", "sa1"), issued}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, ""},
		"new, from":                            {[]func(*Input){from("192.0.2.0/24")}, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, rotation":                        {[]func(*Input){trigger("1")}, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, recipients":                      {[]func(*Input){toKeys("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")}, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, recipients, no Secrets":          {[]func(*Input){toKeys("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"), func(in *Input) { in.Config.SecretDelivery = false }}, Issue, "", "-Issuing -Issuing", 0, ""},
		"new, an invalid recipient":            {[]func(*Input){toKeys("age1")}, Nothing, "", "-RecipientsRefused -RecipientsRefused stalled", 0, "spec.delivery.recipients[0]: Invalid value: is not a public key"},

		// Interrupted.
		"a pending token is replaced":            {[]func(*Input){pending}, Issue, "", "-Issuing -Issuing", 0, ""},
		"a pending token whose end came first":   {[]func(*Input){pending, expiresAt(now)}, Write, writePendingDropped, "", 0, ""},
		"a pending token that nobody wants":      {[]func(*Input){issued, pending}, Write, writePendingDropped, "", 0, ""},
		"a pending token of a user never to be":  {[]func(*Input){pending, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User = nil })}, Write, writePendingDropped, "", 0, ""},
		"a pending token, now the holder's own":  {[]func(*Input){pending, holder}, Write, WriteAdopted, "", 0, ""},
		"record gone, status knows of a token":   {[]func(*Input){issued, lose}, Write, writeRefused, "", 0, ""},
		"record gone, which is written down":     {[]func(*Input){issued, lose, refused(record.RefusedRecordLost)}, Nothing, "", "-RecordLost -RecordLost stalled", 0, "delete this resource and apply it again"},
		"record gone, status cleared since":      {[]func(*Input){issued, lose, refused(record.RefusedRecordLost), func(in *Input) { in.Resource.Status = v1alpha1.PersonalAccessTokenStatus{} }}, Nothing, "", "-RecordLost -RecordLost stalled", 0, ""},
		"record gone, a new trigger":             {[]func(*Input){issued, trigger("2"), lose}, Write, writeRefused, "", 0, ""},
		"no record, a status restored":           {[]func(*Input){issued, lose, func(in *Input) { in.Resource.CreationTimestamp = metav1.Time{Time: now} }}, Issue, "", "-Issuing -Issuing", 0, ""},
		"record gone, status cleared":            {[]func(*Input){issued, func(in *Input) { in.Record = nil; in.Resource.Status = v1alpha1.PersonalAccessTokenStatus{} }}, Issue, "", "-Issuing -Issuing", 0, ""},
		"record gone, over meanwhile":            {[]func(*Input){issued, func(in *Input) { in.Record = nil }, expiresAt(now)}, Nothing, "", "-Expired +Reconciled", 0, ""},
		"record gone, the holder's own":          {[]func(*Input){taken, func(in *Input) { in.Record = nil }}, Write, WriteRestored, "", 0, ""},
		"record gone, the holder's own, revoked": {[]func(*Input){taken, func(in *Input) { in.Record = nil; in.Resource.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: id}} }}, Write, WriteRevoked, "", 0, ""},

		// The holder's own.
		"a holder's digest":               {[]func(*Input){holder}, Write, WriteAdopted, "", 0, ""},
		"a holder's digest, delivery off": {[]func(*Input){holder, func(in *Input) { in.Config.SecretDelivery = false }}, Write, WriteAdopted, "", 0, ""},
		"a holder's digest, not proven":   {[]func(*Input){holder, unproven}, Nothing, "", "-Issuing -Issuing", waitForClock, ""},
		"bound to another name":           {[]func(*Input){holder, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token.BoundTo = "team-a/old" })}, Nothing, "", "-BindingMismatch -BindingMismatch stalled", 0, `"team-a/old" and this resource is "team-a/my-pat"`},
		"revoked under this name":         {[]func(*Input){holder, remembers(id)}, Nothing, "", "-TokenRevoked -TokenRevoked stalled", day, "stays revoked; make a new token"},
		"over by its own record":          {[]func(*Input){taken, ends(record.EndedDeleted), func(in *Input) { in.Record.Current = nil }}, Nothing, "", "-TokenRevoked -TokenRevoked stalled", 0, ""},
		"its predecessor not yet ended":   {[]func(*Input){taken, recreated}, Write, WriteTombstone, "", 0, ""},
		"another id under this name":      {[]func(*Input){holder, remembers(other)}, Write, WriteAdopted, "", 0, ""},
		"as many ids as may be":           {[]func(*Input){holder, remembersMany(record.MaxEnded)}, Write, writeRefused, "", 0, ""},
		"as many ids as may be, ours":     {[]func(*Input){remembersMany(record.MaxEnded - 1)}, Issue, "", "-Issuing -Issuing", 0, ""},
		"all but as many ids as may be":   {[]func(*Input){holder, remembersMany(record.MaxEnded - roomForEnds)}, Write, WriteAdopted, "", 0, ""},
		"as many as may be, written down": {[]func(*Input){holder, refused(record.RefusedNoRoom)}, Nothing, "", "-EndedTokensFull -EndedTokensFull stalled", 0, "use a token that the operator makes"},
		"as many in the namespace":        {[]func(*Input){holder, func(in *Input) { in.Remembered = 20 }}, Write, writeRefused, "", 0, ""},
		"all but as many, to rotate":      {[]func(*Input){taken, anotherToken, func(in *Input) { in.Remembered = 21 }}, Write, WriteRotated, "", 0, ""},
		"as many, to rotate":              {[]func(*Input){taken, anotherToken, func(in *Input) { in.Remembered = 22 }}, Write, writeRefused, "", 0, ""},
		"as many, to rotate to ours":      {[]func(*Input){taken, trigger("2"), func(in *Input) { in.Resource.Spec.Token, in.Remembered = nil, 22 }}, Issue, "", "+Active -Rotating", 0, ""},

		// Issued.
		"active":                          {[]func(*Input){issued}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, "authenticates as alice until 2027-02-21T11:59:00Z; delete this resource to revoke it"},
		"suspended":                       {[]func(*Input){issued, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true })}, Nothing, "", "-Suspended +Reconciled", 59 * time.Minute, "set spec.suspend to false"},
		"delivery over":                   {[]func(*Input){issued, func(in *Input) { in.Now = now.Add(59 * time.Minute) }}, Write, WriteDeliveryOver, "", 0, ""},
		"delivery over, clock not proven": {[]func(*Input){issued, unproven, func(in *Input) { in.Now = now.Add(2 * time.Hour) }}, Nothing, "", "+Active +Reconciled", waitForClock, ""},
		"delivery over, user changed":     {[]func(*Input){issued, func(in *Input) { in.Now = now.Add(time.Hour) }, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User.Username = "bob" })}, Write, WriteDeliveryOver, "", 0, ""},
		"shortened":                       {[]func(*Input){issued, expiresAt(now.Add(time.Minute))}, Write, writeShortened, "", 0, ""},
		"shortened, written down":         {[]func(*Input){issued, retires(now.Add(time.Minute))}, Nothing, "", "+Active +Reconciled", time.Minute, "until 2026-11-23T12:01:00Z"},
		"shortened, and over":             {[]func(*Input){issued, retires(now)}, Write, writeExpired, "", 0, ""},
		"lengthened around admission":     {[]func(*Input){issued, expiresAt(now.Add(300 * day))}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, "until 2027-02-21T11:59:00Z"},
		"a second before the end":         {[]func(*Input){taken, func(in *Input) { in.Now = now.Add(day - time.Second) }}, Nothing, "", "+Active +Reconciled", time.Second, ""},
		"at the end":                      {[]func(*Input){taken, func(in *Input) { in.Now = now.Add(day) }}, Write, writeExpired, "", 0, ""},
		"at the end, clock not proven":    {[]func(*Input){taken, func(in *Input) { in.Now = now.Add(day) }, unproven}, Nothing, "", "", waitForClock, ""},
		"shortened into the past":         {[]func(*Input){issued, expiresAt(now.Add(-time.Hour))}, Write, writeExpired, "", 0, ""},
		"expired":                         {[]func(*Input){taken, ends(record.EndedExpired)}, Nothing, "", "-Expired +Reconciled", 0, "expired at 2026-11-24T12:00:00Z; put a new one into spec.token, with a later spec.expiresAt."},
		"expired, clock stepped back":     {[]func(*Input){taken, ends(record.EndedExpired), func(in *Input) { in.Now = now.Add(-time.Hour) }}, Nothing, "", "-Expired +Reconciled", 0, ""},
		"expired, user changed":           {[]func(*Input){taken, ends(record.EndedExpired), change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User = nil })}, Nothing, "", "-Expired +Reconciled", 0, ""},
		"revoked and kept":                {[]func(*Input){taken, ends(record.EndedRevoked)}, Nothing, "", "-Revoked +Reconciled", 0, ""},
		"user changed":                    {[]func(*Input){issued, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User.Username = "bob" })}, Nothing, "", "-UserChanged -UserChanged stalled", 59 * time.Minute, "issued to (alice)"},
		"groups changed":                  {[]func(*Input){issued, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User.Groups = nil })}, Nothing, "", "-UserChanged -UserChanged stalled", 59 * time.Minute, ""},
		"from networks":                   {[]func(*Input){from("192.0.2.0/24", "2001:db8::/32"), issued}, Nothing, "", "+Active +Reconciled", 59 * time.Minute, "until 2027-02-21T11:59:00Z; delete this resource to revoke it. It works only through the proxy and only from 192.0.2.0/24, 2001:db8::/32; the API server's webhook refuses it."},

		// Records that cannot be read are left alone.
		"record too new": {[]func(*Input){func(in *Input) { in.RecordErr = record.ErrTooNew }}, Nothing, "", "-RecordTooNew -RecordTooNew stalled", 0, "Upgrade this operator; else make a new token under another name, or have an administrator delete the Secret " + record.SecretName("team-a", "my-pat")},
		"record invalid": {[]func(*Input){func(in *Input) { in.RecordErr = errors.New("current.id is not an id") }}, Nothing, "", "-RecordInvalid -RecordInvalid stalled", 0, "is inconsistent (current.id is not an id) and was not modified"},

		"record invalid, the holder's own": {[]func(*Input){holder, func(in *Input) { in.RecordErr = errors.New("x") }}, Nothing, "", "-RecordInvalid -RecordInvalid stalled", 0, "make a new token under another name"},

		// The resource is gone.
		"gone":                           {[]func(*Input){issued, gone}, Delete, deleteResourceGone, "", 0, ""},
		"gone, only pending":             {[]func(*Input){pending, gone}, Delete, deleteResourceGone, "", 0, ""},
		"being deleted":                  {[]func(*Input){issued, deleting}, Delete, deleteResourceGone, "-Deleting -Deleting", 0, "its token no longer works"},
		"being deleted, no record":       {[]func(*Input){deleting}, Nothing, "", "-Deleting -Deleting", 0, ""},
		"being deleted, suspended":       {[]func(*Input){deleting, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true })}, Nothing, "", "-Deleting -Deleting", 0, ""},
		"being deleted, unreadable":      {[]func(*Input){deleting, func(in *Input) { in.RecordErr = record.ErrTooNew }}, Nothing, "", "-Deleting -Deleting", 0, ""},
		"being deleted, the holder's":    {[]func(*Input){taken, deleting}, Write, WriteTombstone, "-Deleting -Deleting", 0, ""},
		"being deleted, a tombstone":     {[]func(*Input){remembers(id), deleting}, Nothing, "", "-Deleting -Deleting", day, ""},
		"re-created":                     {[]func(*Input){issued, recreated}, Issue, "", "-Issuing -Issuing", 0, ""},
		"re-created, of nobody":          {[]func(*Input){issued, recreated, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.User = nil })}, Delete, deleteResourceGone, "", 0, ""},
		"re-created, lost":               {[]func(*Input){issued, recreated, func(in *Input) { in.Resource.Status.TokenID, in.Resource.Status.IssuedAt = id, &metav1.Time{Time: now} }}, Write, writeRefused, "", 0, ""},
		"re-created, not proven":         {[]func(*Input){issued, recreated, unproven}, Delete, deleteResourceGone, "", 0, ""},
		"re-created, a holder's other":   {[]func(*Input){taken, recreated, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Token.ID = other })}, Write, WriteAdopted, "", 0, ""},
		"re-created, its tombstone over": {[]func(*Input){holder, remembers(other), func(in *Input) { in.Now = now.Add(day) }}, Delete, deleteTombstoneEnded, "", 0, ""},
		"gone, the holder's own":         {[]func(*Input){taken, gone}, Write, WriteTombstone, "", 0, ""},
		"gone, unreadable":               {[]func(*Input){gone, func(in *Input) { in.RecordErr = record.ErrTooNew }}, Nothing, "", "", 0, ""},
		"gone, all but a tombstone":      {[]func(*Input){taken, ends(record.EndedRevoked), gone}, Write, WriteTombstone, "", 0, ""},
		"tombstone":                      {[]func(*Input){remembers(id), gone}, Nothing, "", "", day, ""},
		"tombstone over":                 {[]func(*Input){remembers(id), gone, func(in *Input) { in.Now = now.Add(day) }}, Delete, deleteTombstoneEnded, "", 0, ""},
		"tombstone over, not proven":     {[]func(*Input){remembers(id), gone, func(in *Input) { in.Now = now.Add(day) }, unproven}, Nothing, "", "", waitForClock, ""},
	})
}

// lose is without the record of a token that was issued.
func lose(in *Input) {
	in.Record, in.Resource.Status.IssuedAt = nil, &metav1.Time{Time: now.Add(-time.Minute)}
}

// refused leaves a record that grants nothing.
func refused(why record.Refusal) func(*Input) {
	return func(in *Input) {
		in.Record = record.Empty(in.Resource)
		in.Record.Refused = why
	}
}

func decide(t *testing.T, tests map[string]deciding) {
	t.Helper()
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(tc.with...)
			before := in.Record
			if before != nil {
				before = before.DeepCopy()
			}
			d := Decide(in)
			if d.Action != tc.action || d.Reason != tc.reason || sees(d.State) != tc.sees || d.After != tc.after {
				t.Errorf("got %s %q, %q after %v; want %s %q, %q after %v",
					d.Action, d.Reason, sees(d.State), d.After, tc.action, tc.reason, tc.sees, tc.after)
			}
			if tc.says != "" && (d.State == nil || !strings.Contains(d.State.Active.Message+d.State.Ready.Message, tc.says)) {
				t.Errorf("says %+v; want %q in it", d.State, tc.says)
			}
			if (d.Next != nil) != (d.Action == Write) {
				t.Errorf("next record %v with %s", d.Next, d.Action)
			}
			if diff := cmp.Diff(before, in.Record); diff != "" {
				t.Errorf("Decide changed its input: %s", diff)
			}
			if d.Next != nil {
				if again := Decide(settle(in, d)); again.Action == Write && again.Reason == d.Reason {
					t.Errorf("written, it decides to %s again", d.Reason)
				}
			}
		})
	}
}

// settle is the input after a decision to write was carried out.
func settle(in Input, d Decision) Input {
	in.Record = d.Next
	return in
}

func TestWhatIsWritten(t *testing.T) {
	t.Run("a pending token's Secret goes on the removal list", func(t *testing.T) {
		d := Decide(input(issued, pending))
		want := []record.Removal{{Secret: "pat-" + other, Until: now.Add(RemovalWindow)}}
		if diff := cmp.Diff(want, d.Next.Removals); diff != "" || d.Next.Pending != nil {
			t.Errorf("pending %v, %s", d.Next.Pending, diff)
		}
	})
	t.Run("an expired token's digest is erased and its Secret removed", func(t *testing.T) {
		d := Decide(input(issued, expiresAt(now)))
		if d.Next.Current.Digest != "" || d.Next.EndOf(id).Reason != record.EndedExpired {
			t.Errorf("digest %q, end %v", d.Next.Current.Digest, d.Next.EndOf(id))
		}
		if got := d.Next.EndOf(id).Until; !got.Equal(d.Next.Current.ExpiresAt) {
			t.Errorf("remembered until %v, not the end it was issued with", got)
		}
		want := []record.Removal{{Secret: "pat-" + id, UID: "s1", Until: now.Add(RemovalWindow)}}
		if diff := cmp.Diff(want, d.Next.Removals); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("sealing makes one valid token and keeps its ciphertext until it ends", func(t *testing.T) {
		in := input(pending)
		tok := &record.Token{ID: id, Digest: someHash, Source: record.SourceOperator, ExpiresAt: now, Delivery: &record.Delivery{Recipients: []string{"age1"}}}
		sealed := Seal(in.Record, &in.Resource.Spec, tok, "age", now)
		if sealed.Pending != nil || sealed.Current.ID != id || sealed.Ciphertext != "age" || len(sealed.Removals) != 1 {
			t.Errorf("current %v pending %v removals %v", sealed.Current, sealed.Pending, sealed.Removals)
		}
		if sealed.End(sealed.Current, record.EndedExpired); sealed.Ciphertext != "" {
			t.Error("the ciphertext outlives its token")
		}
	})
	t.Run("a tombstone holds the id and nothing to match", func(t *testing.T) {
		d := Decide(input(taken, gone))
		want := []record.Ended{{ID: id, Reason: record.EndedDeleted, Until: now.Add(day)}}
		if diff := cmp.Diff(want, d.Next.Ended); diff != "" || d.Next.Current != nil || !d.Next.Tombstone() {
			t.Errorf("current %v, %s", d.Next.Current, diff)
		}
	})
	t.Run("adopting keeps id, digest and end as the holder gave them", func(t *testing.T) {
		d := Decide(input(holder))
		want := &record.Token{ID: id, Digest: someHash, Source: record.SourceHolder, IssuedAt: now, ExpiresAt: now.Add(day)}
		if diff := cmp.Diff(want, d.Next.Current); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("beginning and promoting leave one valid token", func(t *testing.T) {
		in := input(pending)
		begun := Begin(in.Record, &record.Token{ID: id, Delivery: &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 60}}}, now)
		if begun.Current != nil || begun.Pending.ID != id || len(begun.Removals) != 1 || begun.Removals[0].Secret != "pat-"+other {
			t.Errorf("begun: current %v pending %v removals %v", begun.Current, begun.Pending, begun.Removals)
		}
		promoted := Promote(begun, &in.Resource.Spec, &record.SecretDelivery{TTLSeconds: 60, UID: "s9"}, now)
		if promoted.Pending != nil || promoted.Current.ID != id || promoted.Current.Delivery.Secret.UID != "s9" {
			t.Errorf("promoted: current %v pending %v", promoted.Current, promoted.Pending)
		}
	})
}
