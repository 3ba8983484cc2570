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

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/test/policies"
)

// byPolicy has a TokenPolicy named "contractors" with these limits match the resource.
func byPolicy(spec string) func(*Input) {
	return func(in *Input) {
		in.Policies.Limits = append(in.Policies.Limits, policy.Parse(policies.New("contractors", spec)))
	}
}

func tokens(n int) func(*Input) { return func(in *Input) { in.Policies.Tokens = n } }

// after lets time pass; the token was taken long ago.
func after(d time.Duration) func(*Input) {
	return func(in *Input) { in.Now, in.Record.Current.Delivery = now.Add(d), nil }
}

// endsIn has spec name an end, and lives the record, for so long from now.
func endsIn(d time.Duration) func(*Input) {
	return change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresAt = &metav1.Time{Time: now.Add(d)} })
}

func lives(d time.Duration) func(*Input) {
	return func(in *Input) { in.Record.Current.ExpiresAt = now.Add(d) }
}

// rotate asks for a successor.
var rotate = asks(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Rotation = &v1alpha1.Rotation{Trigger: "again"} })

func TestPoliciesDecideWhatIsIssuedAndWhatWorks(t *testing.T) {
	deny := byPolicy(`{deny: {reason: "Left the company."}}`)
	unknown := byPolicy(`{allowedDays: [Monday]}`)
	days := func(n int64) func(*Input) { return byPolicy(fmt.Sprintf("maxLifetimeDays: %d", n)) }
	most := func(n int64) func(*Input) { return byPolicy(fmt.Sprintf("maxTokensPerUser: %d", n)) }
	requireScopes := byPolicy(`{requireScopes: true}`)
	for name, tc := range map[string]struct {
		in            Input
		action        Action
		active, ready string // reasons
		stalled       bool
		message       string // of Active, or of Ready where that is false
		after         time.Duration
		policyEnd     string
	}{
		"a denied token stops, and its resource is ready": {
			in: input(issued, deny), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonReconciled,
			message: `Token aaaaaaaaaaaaaaaa does not work now. TokenPolicy "contractors" denies this user's tokens here: Left the company; an administrator can change the policy.`,
		},
		"a policy that is not understood stops it too": {
			in: input(issued, unknown), active: v1alpha1.ReasonPolicyNotUnderstood, ready: v1alpha1.ReasonReconciled,
			message: `Token aaaaaaaaaaaaaaaa does not work now. TokenPolicy "contractors" has what this version of pat-operator does not know (spec.allowedDays), so all tokens that it matches are denied; an administrator can upgrade pat-operator, or change the policy.`,
		},
		"a denied user gets no first token": {
			in: input(deny), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonDeniedByPolicy, stalled: true,
			message: `No token is issued. TokenPolicy "contractors" denies this user's tokens here: Left the company; an administrator can change the policy.`,
		},
		"nor a successor": {
			in: input(issued, rotate, deny), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonDeniedByPolicy, stalled: true,
		},
		"nor one that the holder makes": {
			in: input(holder, deny), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonDeniedByPolicy, stalled: true,
		},
		"nothing is issued while the policies are not known": {
			in: input(func(in *Input) { in.Policies.Unknown = errors.New("no list yet") }), active: v1alpha1.ReasonIssuing, ready: v1alpha1.ReasonIssuing, after: waitForPolicies,
			message: `The token waits to be issued until the TokenPolicies are known (no list yet). The operator tries again automatically.`,
		},
		"once the API server's audiences are known, a list of audiences may allow it": {
			in: input(byPolicy(`{allowedAudiences: [https://api.example.com]}`)), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonDeniedByPolicy, stalled: true,
			after: waitForPolicies,
		},
		"a token that would live too long is not issued": {
			in: input(days(30)), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonDeniedByPolicy, stalled: true,
			message: `No token is issued. TokenPolicy "contractors" lets a token live 30 days at most; set spec.expiresInDays to 30 or less.`,
		},
		"one that exists ends earlier": {
			in: input(issued, days(30)), active: v1alpha1.ReasonActive, ready: v1alpha1.ReasonReconciled, policyEnd: "2026-12-23T11:59:00Z",
			message: `Token aaaaaaaaaaaaaaaa authenticates as alice until 2026-12-23T11:59:00Z; delete this resource to revoke it.`,
		},
		"then it stops, and is not written down as expired": {
			in: input(issued, days(30), after(31*day)), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonReconciled,
			policyEnd: "2026-12-23T11:59:00Z",
			message:   `Token aaaaaaaaaaaaaaaa stopped at 2026-12-23T11:59:00Z, because TokenPolicy "contractors" lets a token live 30 days; set a new spec.rotation.trigger for a new one, and set spec.expiresInDays to 30 or less.`,
		},
		"one with a date": {
			in: input(issued, endsIn(200*day), days(1), after(2*day)), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonReconciled,
			policyEnd: "2026-11-24T11:59:00Z",
			message:   `Token aaaaaaaaaaaaaaaa stopped at 2026-11-24T11:59:00Z, because TokenPolicy "contractors" lets a token live 1 day; set a new spec.rotation.trigger for a new one, and set spec.expiresAt to at most 1 day ahead.`,
		},
		"one that its holder made": {
			in: input(taken, lives(90*day), endsIn(90*day), days(30), after(31*day)), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonReconciled,
			policyEnd: "2026-12-23T11:59:00Z",
			message:   `Token aaaaaaaaaaaaaaaa stopped at 2026-12-23T11:59:00Z, because TokenPolicy "contractors" lets a token live 30 days; put a new one into spec.token, and set spec.expiresAt to at most 30 days ahead.`,
		},
		"a revoked one whose days a policy allows": {
			in: input(issued, ends("Revoked"), days(90)), active: v1alpha1.ReasonRevoked, ready: v1alpha1.ReasonReconciled,
			message: `Token aaaaaaaaaaaaaaaa was revoked; set a new spec.rotation.trigger for a new one.`,
		},
		"a revoked one whose days it does not allow": {
			in: input(issued, ends("Revoked"), days(89)), active: v1alpha1.ReasonRevoked, ready: v1alpha1.ReasonReconciled,
			message: `Token aaaaaaaaaaaaaaaa was revoked; set a new spec.rotation.trigger for a new one, and set spec.expiresInDays to 89 or less.`,
		},
		"a predecessor ends earlier": {
			in: input(issued, previous(now.Add(10*day)), days(3)), active: v1alpha1.ReasonActive, ready: v1alpha1.ReasonReconciled, policyEnd: "2026-11-26T11:59:00Z",
			message: `Token aaaaaaaaaaaaaaaa authenticates as alice until 2026-11-26T11:59:00Z, and so does its predecessor bbbbbbbbbbbbbbbb until 2026-11-25T12:00:00Z; delete this resource to revoke it.`,
		},
		"then it is not told of": {
			in: input(issued, previous(now.Add(10*day)), days(3), after(2*day)), active: v1alpha1.ReasonActive, ready: v1alpha1.ReasonReconciled, policyEnd: "2026-11-26T11:59:00Z",
			message: `Token aaaaaaaaaaaaaaaa authenticates as alice until 2026-11-26T11:59:00Z; delete this resource to revoke it.`,
		},
		"existing tokens need no scopes": {
			in: input(issued, requireScopes), active: v1alpha1.ReasonActive, ready: v1alpha1.ReasonReconciled,
		},
		"their successors do": {
			in: input(issued, rotate, requireScopes), active: v1alpha1.ReasonActive, ready: v1alpha1.ReasonDeniedByPolicy, stalled: true,
			message: `No token is issued. TokenPolicy "contractors" allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}].`,
		},
		"the last token that is allowed": {in: input(most(10), tokens(9)), action: Issue, active: v1alpha1.ReasonIssuing, ready: v1alpha1.ReasonIssuing},
		"one too many": {
			in: input(most(10), tokens(10)), active: v1alpha1.ReasonTooManyTokens, ready: v1alpha1.ReasonTooManyTokens, stalled: true, after: waitForRoom,
			message: `No token is issued. TokenPolicy "contractors" lets a user have 10 tokens, and alice has 10 or more; delete one that is not needed, and this one is issued.`,
		},
		"a successor adds no token": {
			in: input(issued, rotate, most(10), tokens(10)), action: Issue, active: v1alpha1.ReasonActive, ready: v1alpha1.ReasonRotating,
		},
		"that of an ended token is": {
			in: input(issued, ends("Revoked"), rotate, most(10), tokens(10)), active: v1alpha1.ReasonRevoked, ready: v1alpha1.ReasonTooManyTokens, stalled: true, after: waitForRoom,
		},
		"groups and networks are told": {
			in: input(issued, byPolicy(`{allowedGroups: [contractors], allowedFrom: ["10.0.0.0/8"]}`)), active: v1alpha1.ReasonActive, ready: v1alpha1.ReasonReconciled,
			message: `Token aaaaaaaaaaaaaaaa authenticates as alice until 2027-02-21T11:59:00Z; delete this resource to revoke it. By TokenPolicy "contractors" it works only through the proxy and only from 10.0.0.0/8. TokenPolicies leave out 1 of its groups: devs.`,
		},
		"a suspended token that is denied": {
			in: input(issued, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true }), deny), active: v1alpha1.ReasonDeniedByPolicy, ready: v1alpha1.ReasonReconciled,
		},
		"what has ended for good stays so": {
			in: input(issued, ends("Expired"), deny), active: v1alpha1.ReasonExpired, ready: v1alpha1.ReasonReconciled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(tc.in)
			want := tc.action
			if want == "" {
				want = Nothing
			}
			if d.Action != want || d.State == nil {
				t.Fatalf("decides %s (%s) with state %v, want %s", d.Action, d.Reason, d.State, want)
			}
			s := d.State
			if s.Active.Reason != tc.active || s.Ready.Reason != tc.ready || (s.Stalled != nil) != tc.stalled {
				t.Errorf("Active=%s Ready=%s Stalled=%v, want %s, %s, %v", s.Active.Reason, s.Ready.Reason, s.Stalled, tc.active, tc.ready, tc.stalled)
			}
			message := s.Active.Message
			if !s.Ready.Status {
				message = s.Ready.Message
			}
			if tc.message != "" {
				if diff := cmp.Diff(tc.message, message); diff != "" {
					t.Error(diff)
				}
			}
			if tc.after != 0 && d.After != tc.after {
				t.Errorf("looks again after %v, want %v", d.After, tc.after)
			}
			if end := ""; s.PolicyEnd != nil || tc.policyEnd != "" {
				if s.PolicyEnd != nil {
					end = Stamp(*s.PolicyEnd)
				}
				if end != tc.policyEnd {
					t.Errorf("policies end it at %q, want %q", end, tc.policyEnd)
				}
			}
		})
	}
}

// The API server takes no longer message of a condition.
func TestManyPoliciesFitIntoAMessage(t *testing.T) {
	var networks, audiences []string
	for i := range 64 {
		networks = append(networks, fmt.Sprintf("2001:db8:0:%d::/64", i))
		audiences = append(audiences, fmt.Sprintf("%0256d", i))
	}
	var all []func(*Input)
	for range 100 {
		all = append(all, byPolicy(fmt.Sprintf(`{requireScopes: true, allowedFrom: ["%s"], allowedAudiences: ["%s"]}`,
			strings.Join(networks, `", "`), strings.Join(audiences, `", "`))))
	}
	for name, in := range map[string]Input{"not issued": input(all...), "issued": input(append(all, issued)...)} {
		if n := len(Decide(in).State.Active.Message); n > 32768 || n < 1000 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

// While policies are not known, nobody can say whether a token works. What status says of it stays, and is looked at again.
func TestStatusStaysWhilePoliciesAreUnknown(t *testing.T) {
	unknown := func(in *Input) { in.Policies.Unknown = errors.New("no list yet") }
	for name, in := range map[string]Input{
		"a token":                   input(issued, unknown),
		"a token that is suspended": input(issued, unknown, change(func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true })),
	} {
		if d := Decide(in); d.Action != Nothing || d.State != nil || d.After != waitForPolicies {
			t.Errorf("%s: decides %s with state %v, and looks again after %v", name, d.Action, d.State, d.After)
		}
	}
	if d := Decide(input(issued, unknown, ends("Expired"))); d.State == nil || d.State.Active.Reason != v1alpha1.ReasonExpired {
		t.Errorf("what has ended for good has the state %v", d.State)
	}
}

func TestTheEndByPolicyIsWarnedOfAndWaitedFor(t *testing.T) {
	in := input(issued, byPolicy(`{maxLifetimeDays: 30}`), func(in *Input) { in.Config.ExpiryWarnings = []time.Duration{7 * day} })
	if d, want := Decide(in), 23*day-time.Minute; d.After > want {
		t.Errorf("looks again after %v, so the warning %v ahead comes late", d.After, want)
	}
	after(25 * day)(&in)
	d := Decide(in)
	if d.State.ExpiringSoon == nil || !strings.Contains(d.State.ExpiringSoon.Message, "2026-12-23T11:59:00Z") {
		t.Errorf("warns %v, want of the end by policy", d.State.ExpiringSoon)
	}
	if want := 5*day - time.Minute; d.After > want {
		t.Errorf("looks again after %v, want by %v, when policies stop the token", d.After, want)
	}
}

// Verifiers refuse a predecessor at the end by policy, so status says that end; the record keeps it until its own.
func TestAPredecessorsEndByPolicyIsToldAndWaitedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		policy    string
		passed    time.Duration
		end       string
		latest    time.Duration // when to look again, from the time passed
		neverSees bool
	}{
		"without a policy":               {"maxTokensPerUser: 5", 0, "2026-12-03T12:00:00Z", 10 * day, false},
		"the policy ends it first":       {"maxLifetimeDays: 4", 0, "2026-11-26T12:00:00Z", 3 * day, false},
		"after that":                     {"maxLifetimeDays: 4", 3 * day, "2026-11-26T12:00:00Z", day - time.Minute, true},
		"its own end is waited for, too": {"maxLifetimeDays: 4", 5 * day, "2026-11-26T12:00:00Z", 5 * day, true},
		"its own end is first":           {"maxLifetimeDays: 40", 0, "2026-12-03T12:00:00Z", 10 * day, false},
	} {
		d := Decide(input(issued, previous(now.Add(10*day)), byPolicy(tc.policy), after(tc.passed)))
		if d.Action != Nothing || d.State.PreviousEnd == nil || Stamp(*d.State.PreviousEnd) != tc.end {
			t.Errorf("%s: %s, and the predecessor ends at %v, want %s", name, d.Action, d.State.PreviousEnd, tc.end)
		}
		if d.After != tc.latest {
			t.Errorf("%s: looks again after %v, want %v", name, d.After, tc.latest)
		}
		if told := strings.Contains(d.State.Active.Message, "predecessor"); told == tc.neverSees {
			t.Errorf("%s: says %q", name, d.State.Active.Message)
		}
	}
}

// A rotation that comes after the end by policy is too late for the token's user.
func TestAnEndByPolicyBeforeTheNextRotationIsWarnedOf(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		want   bool
	}{
		"rotated before":       {"maxLifetimeDays: 31", false},
		"rotated at that time": {"maxLifetimeDays: 30", true},
		"rotated later":        {"maxLifetimeDays: 28", true},
	} {
		in := input(sealed, everyDays(30), byPolicy(tc.policy), func(in *Input) {
			in.Config.MaxLifetime, in.Config.ExpiryWarnings = 366*day, []time.Duration{7 * day}
		})
		if _, ok := rotationDue(in); !ok {
			t.Fatalf("%s: it is not rotated", name)
		}
		_, by := in.Policies.Limits.End(in.Record.Current.IssuedAt)
		warned := time.Duration(*by.Spec.MaxLifetimeDays-7)*day - time.Minute
		if d := Decide(in); tc.want && d.After > warned {
			t.Errorf("%s: looks again after %v, so the warning comes late", name, d.After)
		}
		in.Now = now.Add(25 * day)
		soon := Decide(in).State.ExpiringSoon
		if (soon != nil) != tc.want {
			t.Errorf("%s: warns %v, want %v", name, soon, tc.want)
		}
		if want := fmt.Sprintf("and set spec.expiresInDays to %d or less.", *by.Spec.MaxLifetimeDays); soon != nil && !strings.HasSuffix(soon.Message, want) {
			t.Errorf("%s: %q does not end with %q", name, soon.Message, want)
		}
	}
}
