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
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

// say patches status as others than the reconciler do.
func (w *world) say(name string, f func(*v1alpha1.PersonalAccessTokenStatus)) {
	w.t.Helper()
	pat := w.get(name)
	before := pat.DeepCopy()
	f(&pat.Status)
	if err := admin.Status().Patch(w.ctx, pat, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) revoke(name, id string) {
	w.t.Helper()
	w.say(name, func(s *v1alpha1.PersonalAccessTokenStatus) {
		at := metav1.NewTime(w.clock.Now().Truncate(time.Second))
		s.Revoked = append(s.Revoked, v1alpha1.RevokedToken{TokenID: id, At: &at, By: "alice", Reason: "lost"})
	})
}

// revokeCurrent revokes the token that status names and, if that is the current one, its predecessor. From then on they
// have ended.
func revokeCurrent(w *world) {
	_, _, valid := w.look()
	pat := w.get(thePAT)
	id := pat.Status.TokenID
	all := w.record(pat.UID).Current.ID == id
	w.revoke(thePAT, id)
	w.forget()
	w.old = nil
	for _, plaintext := range valid {
		if all || strings.HasPrefix(plaintext, token.Prefix+id) {
			w.end(plaintext)
		}
	}
}

// revokePrevious revokes the predecessor alone.
func revokePrevious(w *world) {
	id := w.get(thePAT).Status.PreviousTokenID
	w.revoke(thePAT, id)
	w.forget()
	w.old = nil
	w.end(w.plaintexts[slices.IndexFunc(w.plaintexts, func(p string) bool { return strings.HasPrefix(p, token.Prefix+id) })])
}

// anew asks for another token while none is valid.
func anew(w *world) { w.trigger("2") }

// onFirstUse has the predecessor end, too, when its successor is used.
func onFirstUse(step func(*world)) func(*world) {
	return func(w *world) {
		step(w)
		w.change(thePAT, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation.RetireOnFirstUse = true })
	}
}

// use says that the current token was used, as a verifier does.
func use(w *world) {
	w.say(thePAT, func(s *v1alpha1.PersonalAccessTokenStatus) {
		at := metav1.NewTime(w.clock.Now().Truncate(time.Second))
		s.FirstUsedAt, s.LastUsedAt = &at, &at
	})
	w.forget()
}

func TestRevokedAndKept(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat")
	w.settle("my-pat")
	id := w.record(pat.UID).Current.ID
	w.revoke("my-pat", id)
	w.settle("my-pat")
	w.expect("my-pat", "False/Revoked", "True/Reconciled", "")
	rec := w.record(pat.UID)
	if e := rec.EndOf(id); e == nil || e.Reason != record.EndedRevoked || rec.Current.Digest != "" || len(w.deliveries()) != 0 {
		t.Errorf("end %v, digest %q, %d delivery Secrets", e, rec.Current.Digest, len(w.deliveries()))
	}
	if got := w.events.text(); !strings.Contains(got, "Normal Revoked Observe: Token "+id+" was revoked; set a new spec.rotation.trigger for a new one.") {
		t.Errorf("events %s", got)
	}
	// It stays as a trace, and taking it away brings nothing back.
	if got := w.get("my-pat").Status.Revoked; len(got) != 1 || got[0].By != "alice" {
		t.Errorf("status.revoked %v", got)
	}
	w.say("my-pat", func(s *v1alpha1.PersonalAccessTokenStatus) { s.Revoked = nil })
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.DisplayName = "applied again" })
	w.settle("my-pat")
	w.expect("my-pat", "False/Revoked", "True/Reconciled", "")

	w.revoke("my-pat", id)
	w.revoke("my-pat", "cccccccccccccccc")
	w.trigger2("my-pat")
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if got := w.get("my-pat").Status.Revoked; len(got) != 0 {
		t.Errorf("status.revoked %v is not pruned", got)
	}
}

func (w *world) trigger2(name string) {
	w.t.Helper()
	w.change(name, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "2"} })
}

// A holder's token is revoked before the operator has seen it: no revert of spec or status brings it back.
func TestRevokedBeforeItIsTaken(t *testing.T) {
	w := newWorld(t)
	w.forget()
	createHolders(w)
	id := w.get(thePAT).Spec.Token.ID
	w.revoke(thePAT, id)
	w.settle(thePAT)
	w.expect(thePAT, "False/TokenRevoked", "False/TokenRevoked", "True/TokenRevoked")
	w.say(thePAT, func(s *v1alpha1.PersonalAccessTokenStatus) { s.Revoked = nil })
	w.settle(thePAT)
	w.expect(thePAT, "False/TokenRevoked", "False/TokenRevoked", "True/TokenRevoked")
	anotherHolders(w)
	w.settle(thePAT)
	w.expect(thePAT, "True/Active", "True/Reconciled", "")
	revert(w)
	w.settle(thePAT)
	w.expect(thePAT, "True/Active", "False/TokenRevoked", "True/TokenRevoked")
	w.delete(thePAT)
	w.settle(thePAT)
	createHolders(w)
	w.settle(thePAT)
	w.expect(thePAT, "False/TokenRevoked", "False/TokenRevoked", "True/TokenRevoked")
}

// An unknown id in status.revoked ends nothing and leaves an event. Revoking a predecessor leaves an event, too.
func TestWhatStatusNamesIsAnsweredByAnEvent(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation = &v1alpha1.Rotation{OverlapSeconds: 3600} })
	w.settle("my-pat")
	first := w.record(pat.UID).Current.ID
	w.revoke("my-pat", "cccccccccccccccc")
	w.settle("my-pat")
	w.expect("my-pat", "True/Active", "True/Reconciled", "")
	if got := w.events.text(); !strings.Contains(got, "Warning NotRevoked Refuse: status.revoked named cccccccccccccccc, which does not belong to this resource, or no longer does; nothing was revoked") {
		t.Errorf("events %s", got)
	}
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation.Trigger = "2" })
	w.settle("my-pat")
	w.revoke("my-pat", first)
	w.settle("my-pat")
	second := w.record(pat.UID).Current.ID
	if got := w.events.text(); !strings.Contains(got, "Normal Revoked Revoke: Token "+first+" was revoked; its successor "+second+" keeps working") || strings.Contains(got, "named "+first) {
		t.Errorf("events %s", got)
	}
}

// Stopped between the two writes of status, an operator still tells of what happened.
func TestNoEventIsLostBetweenTwoWritesOfStatus(t *testing.T) {
	w := newWorld(t)
	w.create("my-pat")
	w.settle("my-pat")
	warn := func() { w.Config.ExpiryWarnings = []time.Duration{7 * 24 * time.Hour} }
	warn()
	w.advance(85 * 24 * time.Hour)
	w.settle("my-pat")
	w.advance(6 * 24 * time.Hour)
	w.restart()
	warn()
	w.api.cutOff(3, false) // The record says that it has expired, ExpiringSoon is gone; the rest of status is not written.
	for range 3 {
		_, _ = w.reconcile("my-pat")
	}
	if w.condition("my-pat", "ExpiringSoon") != "" || w.condition("my-pat", "Active") != "True/Active" {
		t.Fatalf("ExpiringSoon %q, Active %q: not stopped between the two", w.condition("my-pat", "ExpiringSoon"), w.condition("my-pat", "Active"))
	}
	w.restart()
	w.settle("my-pat")
	w.expect("my-pat", "False/Expired", "True/Reconciled", "")
	if got := w.events.reasons(); !slices.Contains(got, "Expired") {
		t.Errorf("events %q", got)
	}
}

func TestOnlyALastUseIsPassedOver(t *testing.T) {
	at := metav1.NewTime(time.Now())
	was := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.PersonalAccessToken)
		want   bool
	}{
		"last use":  {func(p *v1alpha1.PersonalAccessToken) { p.Status.LastUsedAt = &at }, false},
		"first use": {func(p *v1alpha1.PersonalAccessToken) { p.Status.LastUsedAt, p.Status.FirstUsedAt = &at, &at }, true},
		"a revocation with it": {func(p *v1alpha1.PersonalAccessToken) {
			p.Status.LastUsedAt = &at
			p.Status.Revoked = []v1alpha1.RevokedToken{{TokenID: "x"}}
		}, true},
		"spec with it":       {func(p *v1alpha1.PersonalAccessToken) { p.Status.LastUsedAt = &at; p.Spec.Suspend = true }, true},
		"the rest of status": {func(*v1alpha1.PersonalAccessToken) {}, true},
		"a deletion with it": {func(p *v1alpha1.PersonalAccessToken) { p.Status.LastUsedAt = &at; p.DeletionTimestamp = &at }, true},
	} {
		is := was.DeepCopy()
		is.ResourceVersion = "2"
		tc.change(is)
		if got := !onlyLastUse(was, is); got != tc.want {
			t.Errorf("%s: wakes the controller %v, want %v", name, got, tc.want)
		}
	}
}

// A first use is of the token that status names: a rotation starts it anew.
func TestAPredecessorRetiresOnFirstUse(t *testing.T) {
	w := newWorld(t)
	pat := w.create("my-pat", func(p *v1alpha1.PersonalAccessToken) {
		p.Spec.Rotation = &v1alpha1.Rotation{OverlapSeconds: 3600, RetireOnFirstUse: true}
	})
	w.settle("my-pat")
	first := w.record(pat.UID).Current.ID
	used := func() {
		at := metav1.NewTime(w.clock.Now().Truncate(time.Second))
		w.say("my-pat", func(s *v1alpha1.PersonalAccessTokenStatus) { s.FirstUsedAt, s.LastUsedAt = &at, &at })
		w.settle("my-pat")
	}
	used()
	w.change("my-pat", func(p *v1alpha1.PersonalAccessToken) { p.Spec.Rotation.Trigger = "2" })
	w.settle("my-pat")
	s := w.get("my-pat").Status
	if s.FirstUsedAt != nil || s.LastUsedAt == nil || s.PreviousTokenID != first || len(w.valid(pat)) != 1 {
		t.Errorf("rotated: first used %v, last %v, predecessor %q", s.FirstUsedAt, s.LastUsedAt, s.PreviousTokenID)
	}
	if c := w.get("my-pat").Status.Conditions; !slices.ContainsFunc(c, func(c metav1.Condition) bool {
		return c.Type == "Active" && strings.Contains(c.Message, ", or until the new one is first used")
	}) {
		t.Errorf("conditions %v", c)
	}
	used()
	rec := w.record(pat.UID)
	if rec.Previous != nil || w.get("my-pat").Status.PreviousTokenID != "" || w.get("my-pat").Status.FirstUsedAt == nil {
		t.Errorf("used: predecessor %v, first used %v", rec.Previous, w.get("my-pat").Status.FirstUsedAt)
	}
	if got := w.events.text(); !strings.Contains(got, fmt.Sprintf("Retired Retire: Token %s no longer works: %s has replaced it", first, rec.Current.ID)) {
		t.Errorf("events %s", got)
	}
}

func TestExpiringSoonIsSaidOnceForEachWarning(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t)
	warn := func() { w.Config.ExpiryWarnings = []time.Duration{7 * day, day} }
	warn()
	w.create("my-pat")
	warnings := func() []string {
		var out []string
		for line := range strings.SplitSeq(w.events.text(), "\n") {
			if strings.HasPrefix(line, "Warning ExpiringSoon Warn: ") {
				out = append(out, line[strings.Index(line, "in less"):strings.Index(line, ";")])
			}
		}
		return out
	}
	for _, step := range []struct {
		pass      time.Duration
		condition string
		warnings  []string
	}{
		{0, "", nil},
		{82 * day, "", nil},
		{day + time.Minute, "True/ExpiringSoon", []string{"in less than 7d"}},
		{day, "True/ExpiringSoon", []string{"in less than 7d"}},
		{5 * day, "True/ExpiringSoon", []string{"in less than 7d", "in less than 24h"}},
		{day, "", []string{"in less than 7d", "in less than 24h"}},
	} {
		w.advance(step.pass)
		w.restart() // Nothing of it is in the process.
		warn()
		w.settle("my-pat")
		if got := w.condition("my-pat", "ExpiringSoon"); got != step.condition {
			t.Errorf("after %v more: %q, want %q", step.pass, got, step.condition)
		}
		if diff := cmp.Diff(step.warnings, warnings()); diff != "" {
			t.Errorf("after %v more (-want +got):\n%s", step.pass, diff)
		}
	}
	w.expect("my-pat", "False/Expired", "True/Reconciled", "")
}
