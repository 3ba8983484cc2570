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

package admission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	longerLife = isForbidden + `spec.%s: this token was issued to end at %s, and cannot live longer; set an earlier end, or rotate the token in the same update`
	// notAutomatic is the refusal of automatic rotation without recipients.
	notAutomatic = `spec.rotation.everyDays: a token is rotated automatically only if it is delivered to recipients; set spec.delivery.recipients, or leave it out`
	byPAT        = isForbidden + `spec.%s: a personal access token may not renew or widen another, nor itself; log in as you did before you had one`
	newUser      = isForbidden + `spec.user: the user of a token cannot be changed; put it back, or make a new PersonalAccessToken`
	widens       = `, and this hands over, renews or widens the token, which takes the right to impersonate all of its user; put it back, make a new PersonalAccessToken, or have granted what is missing`
)

func lostOps(r *authenticationv1.UserInfo) { r.Groups = []string{"devs"} }

func groups(n int) modifier {
	return func(p *object) {
		p.Spec.User.Groups = nil
		for i := range n {
			p.Spec.User.Groups = append(p.Spec.User.Groups, fmt.Sprintf("g-%d", i))
		}
	}
}

func text(format string, args ...string) string {
	for _, arg := range args {
		format = strings.Replace(format, "%s", arg, 1)
	}
	return format
}

func ttl(seconds int32) modifier {
	return func(p *object) {
		p.Spec.Delivery = &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{TTLSeconds: &seconds}}
	}
}

func otherToken(p *object) { holder(p); p.Spec.Token.ID = "ponmlkjihgfedcba" }

func bound(p *object) { p.Spec.From = []string{"192.0.2.0/24"} }

func from(networks ...string) modifier { return func(p *object) { p.Spec.From = networks } }

func scoped(p *object) { p.Spec.Scopes = []v1alpha1.Scope{{Preset: "read-only"}} }

func everyDays(p *object) { p.Spec.Rotation = &v1alpha1.Rotation{EveryDays: ptr.To[int32](30)} }

func rotating(p *object) { p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "2"} }

func overlapping(p *object) {
	p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "2", OverlapSeconds: 3600}
}

func TestUpdate(t *testing.T) {
	nobody := func(p *object) { p.Spec.User = nil }
	masters := user(func(u *v1alpha1.UserInfo) { u.Groups = []string{"system:masters"} })
	long := days(3000)
	for _, tc := range []struct {
		name     string
		by       requester
		was, is  *object
		config   func(*admission.Config)
		want     string
		warnings ctrladmission.Warnings
	}{
		{name: "suspend", was: alicesPAT(issued), is: alicesPAT(issued, suspended)},
		{name: "full authority from before, suspended", was: alicesPAT(issued), is: alicesPAT(issued, suspended), config: onlyLimited},
		{name: "full authority from before, resumed", was: alicesPAT(issued, suspended), is: alicesPAT(issued), config: onlyLimited},
		{name: "scopes are required and set", was: alicesPAT(issued), is: alicesPAT(issued, scoped), config: onlyLimited},
		{name: "scopes are taken away", was: alicesPAT(issued, scoped), is: alicesPAT(issued)},
		{
			name: "required scopes are taken away", was: alicesPAT(issued, scoped), is: alicesPAT(issued), config: onlyLimited,
			want: isForbidden + `spec.scopes: ` + allowsOnlyLimited,
		},
		{
			name: "full authority is rotated where scopes are required", was: alicesPAT(issued), is: alicesPAT(issued, rotating), config: onlyLimited,
			want: isForbidden + `spec.scopes: ` + allowsOnlyLimited,
		},
		{name: "resume", was: alicesPAT(issued, suspended), is: alicesPAT(issued)},
		{name: "audiences", was: alicesPAT(issued), is: alicesPAT(issued, audiences("a"))},
		{name: "shorter, in days", was: alicesPAT(issued), is: alicesPAT(issued, days(89))},
		{name: "shorter, by date", was: alicesPAT(issued, days(2)), is: alicesPAT(issued, expires(now.Add(47*time.Hour)))},
		{name: "over at once", was: alicesPAT(issued), is: alicesPAT(issued, expires(now.Add(-time.Hour))), warnings: ctrladmission.Warnings{`spec.expiresAt (2026-11-01T11:00:00Z) has passed, so no token will work; set a later one to get a token`}},
		{name: "the same end in other words", was: alicesPAT(issued), is: alicesPAT(issued, expires(now.Add(90*24*time.Hour)))},
		{name: "metadata by anybody", by: bob, was: alicesPAT(), is: alicesPAT(func(p *object) { p.Labels = map[string]string{"a": "b"} })},
		{name: "groups in another order", was: alicesPAT(), is: alicesPAT(suspended, user(func(u *v1alpha1.UserInfo) { u.Groups = []string{"ops", "devs"} }))},
		{name: "longer before it is issued", was: alicesPAT(days(1)), is: alicesPAT(days(366)), warnings: overAYear},
		{name: "another mind before it is issued", was: alicesPAT(), is: alicesPAT(holder)},
		{name: "suspend what today's limit would refuse", was: alicesPAT(long), is: alicesPAT(long, suspended), config: shortLived},
		{name: "shorten what today's limit would refuse", was: alicesPAT(issued, long), is: alicesPAT(issued, days(2000)), config: shortLived},
		{name: "suspend what can no longer be delivered", was: alicesPAT(ttl(60)), is: alicesPAT(ttl(60), suspended), config: noSecrets},
		{name: "networks", was: alicesPAT(issued), is: alicesPAT(issued, bound), warnings: onlyByProxy},
		{name: "networks by another", by: bob, was: alicesPAT(issued), is: alicesPAT(issued, bound), warnings: onlyByProxy},
		{name: "networks, with what widens", was: alicesPAT(issued, suspended), is: alicesPAT(issued, bound), warnings: onlyByProxy},
		{name: "fewer networks by another", by: bob, was: alicesPAT(issued, bound), is: alicesPAT(issued, from("192.0.2.0/25"))},
		{name: "more networks", was: alicesPAT(issued, bound), is: alicesPAT(issued, from("192.0.2.0/24", "2001:db8::/32"))},
		{name: "no networks", was: alicesPAT(issued, bound), is: alicesPAT(issued)},
		{name: "suspend with networks", was: alicesPAT(bound), is: alicesPAT(bound, suspended)},
		{
			name: "suspend a digest that is bound elsewhere",
			was:  alicesPAT(holder, func(p *object) { p.Spec.Token.BoundTo = "x/y" }),
			is:   alicesPAT(holder, suspended, func(p *object) { p.Spec.Token.BoundTo = "x/y" }),
		},
		{
			name: "an end that has passed before it is issued", was: alicesPAT(), is: alicesPAT(expires(now)),
			warnings: ctrladmission.Warnings{`spec.expiresAt (2026-11-01T12:00:00Z) has passed, so no token will work; set a later one to get a token`},
		},
		{name: "longer, in days", was: alicesPAT(issued), is: alicesPAT(issued, days(91)), want: text(longerLife, "expiresInDays", "2027-01-30T12:00:00Z")},
		{name: "longer, by date", was: alicesPAT(issued, days(1)), is: alicesPAT(issued, expires(now.Add(25*time.Hour))), want: text(longerLife, "expiresAt", "2026-11-02T12:00:00Z")},
		{name: "longer, by leaving it out", was: alicesPAT(issued, days(30)), is: alicesPAT(issued), want: text(longerLife, "expiresInDays", "2026-12-01T12:00:00Z")},
		{
			name: "life counts from when it was issued", was: alicesPAT(issuedAt(now.Add(time.Hour)), days(1)),
			is: alicesPAT(issued, expires(now.Add(25*time.Hour+time.Second))), want: text(longerLife, "expiresAt", "2026-11-02T13:00:00Z"),
		},
		{
			name: "or was created, where that is not known", was: alicesPAT(issued, days(1), func(p *object) { p.Status.IssuedAt = nil }),
			is: alicesPAT(expires(now.Add(25 * time.Hour))), want: text(longerLife, "expiresAt", "2026-11-02T12:00:00Z"),
		},
		{
			name: "too long before it is issued", was: alicesPAT(), is: alicesPAT(days(367)),
			want: isForbidden + `spec.expiresInDays: a token lives 366 days at most on this operator; set at most 366, or spec.expiresAt to 2027-11-02T12:00:00Z or earlier`,
		},
		{name: "rotate", was: alicesPAT(issued), is: alicesPAT(issued, rotating)},
		{name: "rotate, with another delivery and a longer life", was: alicesPAT(issued, ttl(60)), is: alicesPAT(issued, ttl(61), rotating, days(120))},
		{name: "rotate, to recipients", was: alicesPAT(issued, ttl(60)), is: alicesPAT(issued, toKeys(vendorKey), rotating)},
		{name: "rotate what has expired", was: alicesPAT(issued, expires(now)), is: alicesPAT(issued, rotating, expires(now.Add(time.Hour)))},
		{name: "rotate, to what is over", was: alicesPAT(issued, expires(now)), is: alicesPAT(issued, rotating, expires(now)), warnings: ctrladmission.Warnings{
			`spec.expiresAt (2026-11-01T12:00:00Z) has passed, so no token will work; set a later one to get a token`,
		}},
		{
			name: "rotate, to no key", was: alicesPAT(issued), is: alicesPAT(issued, toKeys("x"), rotating),
			want: isForbidden + `spec.delivery.recipients[0]: is not a public key that a token can be encrypted to; give one age recipient (age1…, age1pq1…) or one SSH public key (ssh-ed25519, or ssh-rsa of 2048 to 8192 bits)`,
		},
		{
			name: "rotate, with too long a life", was: alicesPAT(issued, days(30)), is: alicesPAT(issued, rotating, days(367)),
			want: isForbidden + `spec.expiresInDays: a token lives 366 days at most on this operator; set at most 366, or spec.expiresAt to 2027-11-02T12:00:00Z or earlier`,
		},
		{
			name: "rotate, with an overlap that more days would not cut short", was: alicesPAT(issuedAt(now.Add(-60 * 24 * time.Hour))),
			is: alicesPAT(issuedAt(now.Add(-60*24*time.Hour)), overlapping, days(61)),
		},
		{
			name: "rotate, with an overlap that fewer days cut short", was: alicesPAT(issuedAt(now.Add(-60 * 24 * time.Hour))),
			is:       alicesPAT(issuedAt(now.Add(-60*24*time.Hour)), overlapping, days(30)),
			warnings: ctrladmission.Warnings{`the token that is replaced, ponmlkjihgfedcba, ends at once, before the overlap is over: its days count from when it was issued; set more in spec.expiresInDays, or spec.expiresAt for it to work as long`},
		},
		{
			name: "rotate, with an overlap that the new end cuts short", was: alicesPAT(issued), is: alicesPAT(issued, overlapping, expires(now.Add(time.Minute))),
			warnings: ctrladmission.Warnings{`the token that is replaced, ponmlkjihgfedcba, ends at 2026-11-01T12:01:00Z, before the overlap is over: set a later spec.expiresAt for it to work as long`},
		},
		{name: "rotate, with an overlap beyond its own end", was: alicesPAT(issued, expires(now.Add(time.Minute))), is: alicesPAT(issued, overlapping, expires(now.Add(time.Hour)))},
		{name: "a trigger taken away renews nothing", was: alicesPAT(issued, rotating, days(1)), is: alicesPAT(issued, days(2)), want: text(longerLife, "expiresInDays", "2026-11-02T12:00:00Z")},
		{name: "a new token", was: alicesPAT(issued, holder), is: alicesPAT(issued, otherToken, expires(now.Add(100*24*time.Hour)))},
		{
			name: "a new token, bound elsewhere", was: alicesPAT(issued, holder), is: alicesPAT(issued, otherToken, func(p *object) { p.Spec.Token.BoundTo = "x/y" }),
			want: isForbidden + `spec.token.boundTo: this resource is "team-a/ci", and the digest matches only where it was computed for; set boundTo to "team-a/ci" and sha256 to what this prints: printf 'pat-operator.io/v1\0%s\0%s\0%s' team-a ci "$TOKEN" | sha256sum`,
		},
		{
			name: "the same id, another digest", was: alicesPAT(issued, holder), is: alicesPAT(issued, holder, func(p *object) { p.Spec.Token.SHA256 = strings.Repeat("1", 64) }),
			want: isForbidden + `spec.token: a new token has a new id; put the old values back, or set id and sha256 of another token`,
		},
		{
			name: "no more a token", was: alicesPAT(issued, holder), is: alicesPAT(issued, expires(now)),
			want: isForbidden + `spec.token: without it the operator makes a new token, which takes a new spec.rotation.trigger in the same update; set one, or put spec.token back`,
		},
		{name: "no more a token, rotated", was: alicesPAT(issued, holder), is: alicesPAT(issued, rotating)},
		{
			name: "a trigger for a holder's own", was: alicesPAT(issued, holder), is: alicesPAT(issued, holder, rotating),
			want: isForbidden + `spec.rotation.trigger: this token is made by its holder, so no trigger makes another; put id and sha256 of a new one into spec.token`,
		},
		{
			name: "another delivery", was: alicesPAT(issued, ttl(60)), is: alicesPAT(issued, ttl(61)),
			want: isForbidden + `spec.delivery: how a token is delivered changes only together with the token; set a new spec.rotation.trigger in the same update, or put it back`,
		},
		{
			name: "other recipients, for the next token", was: alicesPAT(issued, toKeys(vendorKey)), is: alicesPAT(issued, toKeys(vendorSSH)),
			warnings: ctrladmission.Warnings{`the token that was issued stays encrypted to the former spec.delivery.recipients; set a new spec.rotation.trigger for one for these`},
		},
		{name: "other recipients, rotated", was: alicesPAT(issued, toKeys(vendorKey)), is: alicesPAT(issued, toKeys(vendorSSH), rotating)},
		{name: "automatic, to recipients", was: alicesPAT(issued, toKeys(vendorKey)), is: alicesPAT(issued, toKeys(vendorKey), everyDays)},
		{
			name: "automatic, later than its end", was: alicesPAT(issued, toKeys(vendorKey)), is: alicesPAT(issued, toKeys(vendorKey), everyDays, days(30)),
			want: isForbidden + `spec.rotation.everyDays: the token ends after 30 days, before it would be rotated; set fewer days here, or more in spec.expiresInDays`,
		},
		{
			name: "rotate, where Secret delivery is off", was: alicesPAT(issued), is: alicesPAT(issued, rotating), config: noSecrets,
			want: isForbidden + `spec.delivery: delivery in a Secret, the default, is switched off on this operator; set spec.delivery.recipients, or make the token on your own machine and set spec.token`,
		},
		{name: "automatic, shortened below", was: alicesPAT(issued, toKeys(vendorKey), everyDays), is: alicesPAT(issued, toKeys(vendorKey), everyDays, days(20))},
		{name: "automatic, to a Secret", was: alicesPAT(issued), is: alicesPAT(issued, everyDays), want: isForbidden + notAutomatic},
		{name: "automatic, a holder's own", was: alicesPAT(issued, holder), is: alicesPAT(issued, holder, everyDays), want: isForbidden + notAutomatic},
		{name: "automatic, no longer to recipients", was: alicesPAT(toKeys(vendorKey), everyDays), is: alicesPAT(everyDays), want: isForbidden + notAutomatic},
		{name: "from a Secret to the holder's own", was: alicesPAT(issued, ttl(60)), is: alicesPAT(issued, holder)},
		{
			name: "to Secret delivery where it is off", was: alicesPAT(holder), is: alicesPAT(), config: noSecrets,
			want: isForbidden + `spec.delivery: delivery in a Secret, the default, is switched off on this operator; set spec.delivery.recipients, or make the token on your own machine and set spec.token`,
		},
		{
			name: "retirement without an overlap", was: alicesPAT(rotating), is: alicesPAT(func(p *object) { p.Spec.Rotation = &v1alpha1.Rotation{RetireOnFirstUse: true} }),
			want: isForbidden + `spec.rotation.overlapSeconds: with retireOnFirstUse it says how long the predecessor works at most; without it the predecessor ends at once, used or not`,
		},
		{
			name: "after a group was lost", by: lostOps, was: alicesPAT(suspended), is: alicesPAT(),
			want: isForbidden + `spec.suspend: you are not in group "ops" today` + widens + lackAlice + lackUID + lackDevs + lackOps,
		},
		{name: "after a group was lost: narrower", by: lostOps, was: alicesPAT(), is: alicesPAT(suspended)},
		{
			name: "by another of the same name", by: func(r *authenticationv1.UserInfo) { r.UID = "u-2" }, was: alicesPAT(suspended), is: alicesPAT(),
			want: isForbidden + `spec.suspend: your uid is "u-2"` + widens + lackAlice + lackUID + lackDevs + lackOps,
		},
		{
			name: "a user who may have none", was: alicesPAT(masters, suspended), is: alicesPAT(masters),
			want: isForbidden + `spec.user.groups[0]: "system:masters" may be in no token; set spec.user, with username, uid and the groups but this one`,
		},
		{name: "a user who may have none: suspend", was: alicesPAT(masters), is: alicesPAT(masters, suspended)},
		{name: "nobody's", was: alicesPAT(nobody, suspended), is: alicesPAT(nobody), want: isForbidden + `spec.user: the token has no user, so nobody may widen it; delete it and apply it again`},
		{name: "nobody's: suspend", was: alicesPAT(nobody), is: alicesPAT(nobody, suspended)},
		{
			name: "logged in with limits", by: limited, was: alicesPAT(suspended), is: alicesPAT(),
			want: isForbidden + `spec.suspend: you are logged in with limits (extra "scopes.example.com/limit") that a token would not keep; log in without them`,
		},
		{name: "logged in with limits: suspend", by: limited, was: alicesPAT(), is: alicesPAT(suspended)},
		{
			name: "more groups than can be asked about", by: bob, was: alicesPAT(groups(17), suspended), is: alicesPAT(groups(17)),
			want: isForbidden + `spec.user.groups: must have at most 16 items where the user is not who asks (you are "bob"); leave some out, or let the user do this`,
		},
		{name: "nobody's, taken", was: alicesPAT(nobody), is: alicesPAT(), want: newUser},
		{name: "with a PAT: suspend", by: withPAT, was: alicesPAT(issued), is: alicesPAT(issued, suspended)},
		{name: "with a PAT: shorter", by: withPAT, was: alicesPAT(issued), is: alicesPAT(issued, days(1))},
		{name: "with a PAT: an audience less", by: withPAT, was: alicesPAT(audiences("a", "b")), is: alicesPAT(audiences("b"))},
		{name: "with a PAT: resume", by: withPAT, was: alicesPAT(suspended), is: alicesPAT(), want: text(byPAT, "suspend")},
		{name: "with a PAT: an audience more", by: withPAT, was: alicesPAT(), is: alicesPAT(audiences("a")), want: text(byPAT, "audiences")},
		{name: "with a PAT: the API server's audience", by: withPAT, was: alicesPAT(audiences("a")), is: alicesPAT(), want: text(byPAT, "audiences")},
		{name: "with a PAT: longer", by: withPAT, was: alicesPAT(), is: alicesPAT(days(100)), want: text(byPAT, "expiresInDays")},
		{name: "with a PAT: another delivery", by: withPAT, was: alicesPAT(), is: alicesPAT(ttl(60)), want: text(byPAT, "delivery")},
		{name: "with a PAT: from everywhere", by: withPAT, was: alicesPAT(bound), is: alicesPAT(), want: text(byPAT, "from")},
		{name: "with a PAT: without scopes", by: withPAT, was: alicesPAT(scoped), is: alicesPAT(), want: text(byPAT, "scopes")},
		{name: "with a PAT: rotate", by: withPAT, was: alicesPAT(), is: alicesPAT(rotating), want: text(byPAT, "rotation")},
		{name: "with a PAT: a new token", by: withPAT, was: alicesPAT(), is: alicesPAT(holder), want: text(byPAT, "token")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config
			if tc.config != nil {
				tc.config(&cfg)
			}
			by := tc.by
			if by == nil {
				by = func(*authenticationv1.UserInfo) {}
			}
			warnings, err := admission.NewValidator(cfg).ValidateUpdate(request(by), tc.was, tc.is)
			check(t, err, tc.want)
			if diff := cmp.Diff(tc.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCase05_NobodyChangesTheUser(t *testing.T) {
	validator := admission.NewValidator(config)
	for name, change := range map[string]func(*v1alpha1.UserInfo){
		"username":     func(u *v1alpha1.UserInfo) { u.Username = "bob" },
		"uid":          func(u *v1alpha1.UserInfo) { u.UID = "" },
		"a group less": func(u *v1alpha1.UserInfo) { u.Groups = u.Groups[:1] },
		"a group more": func(u *v1alpha1.UserInfo) { u.Groups = append(u.Groups, "system:masters") },
		"no group":     func(u *v1alpha1.UserInfo) { u.Groups = []string{} },
		"extra":        func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{"a": {"b"}} },
	} {
		for who, by := range map[string]requester{
			"alice": func(*authenticationv1.UserInfo) {},
			"bob":   bob,
			"admin": func(r *authenticationv1.UserInfo) {
				*r = authenticationv1.UserInfo{Username: "kubernetes-admin", Groups: []string{"system:masters"}}
			},
		} {
			t.Run(name+" by "+who, func(t *testing.T) {
				_, err := validator.ValidateUpdate(request(by), alicesPAT(issued), alicesPAT(issued, user(change)))
				check(t, err, newUser)
			})
		}
	}
	_, err := validator.ValidateUpdate(request(), alicesPAT(issued), alicesPAT(issued, func(p *object) { p.Spec.User = nil }))
	check(t, err, newUser)
}

func TestCase10_AnotherUsersUpdate(t *testing.T) {
	for name, tc := range map[string]struct {
		was, change modifier
		widens      string
	}{
		"token":             {holder, otherToken, "token"},
		"recipients":        {suspended, func(p *object) { p.Spec.Delivery = &v1alpha1.Delivery{Recipients: []string{vendorKey}} }, "delivery"},
		"delivery":          {suspended, ttl(60), "delivery"},
		"rotation":          {suspended, rotating, "rotation"},
		"scopes":            {scoped, func(p *object) { p.Spec.Scopes = nil }, "scopes"},
		"more networks":     {bound, from("192.0.2.0/23"), "from"},
		"from everywhere":   {bound, from(), "from"},
		"fewer networks":    {bound, from("192.0.2.0/25"), ""},
		"an audience more":  {audiences("a"), audiences("a", "b"), "audiences"},
		"another audience":  {suspended, audiences("a"), "audiences"},
		"the API server's":  {audiences("a"), audiences(), "audiences"},
		"resume":            {suspended, func(p *object) { p.Spec.Suspend = false }, "suspend"},
		"longer":            {days(1), days(2), "expiresInDays"},
		"suspend":           {days(1), suspended, ""},
		"shorter":           {days(2), expires(now.Add(time.Hour)), ""},
		"an audience less":  {audiences("a", "b"), audiences("b"), ""},
		"display name":      {days(1), func(p *object) { p.Spec.DisplayName = "x" }, ""},
		"shorter, resumed":  {suspended, func(p *object) { p.Spec.Suspend = false; days(1)(p) }, "suspend"},
		"renamed, resumed":  {suspended, func(p *object) { p.Spec.Suspend = false; p.Spec.DisplayName = "x" }, "suspend"},
		"suspended, longer": {days(1), func(p *object) { suspended(p); days(2)(p) }, "expiresInDays"},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if tc.widens != "" {
				want = isForbidden + "spec." + tc.widens + `: you are "bob"` + widens + lackAlice + lackUID + lackDevs + lackOps
			}
			_, err := admission.NewValidator(config).ValidateUpdate(request(bob), alicesPAT(tc.was), alicesPAT(tc.was, tc.change))
			check(t, err, want)

			// With every right but one he may not, with all he may do what alice may.
			for i := range aliceRights {
				cfg := config
				cfg.Client = may(slices.Delete(slices.Clone(aliceRights), i, i+1)...)
				_, err := admission.NewValidator(cfg).ValidateUpdate(request(bob), alicesPAT(tc.was), alicesPAT(tc.was, tc.change))
				if apierrors.IsForbidden(err) != (want != "") {
					t.Errorf("without %s: %v", aliceRights[i], err)
				}
			}
			cfg := config
			cfg.Client = may(aliceRights...)
			_, alices := admission.NewValidator(config).ValidateUpdate(request(), alicesPAT(tc.was), alicesPAT(tc.was, tc.change))
			_, bobs := admission.NewValidator(cfg).ValidateUpdate(request(bob), alicesPAT(tc.was), alicesPAT(tc.was, tc.change))
			if fmt.Sprint(alices) != fmt.Sprint(bobs) || apierrors.IsForbidden(bobs) {
				t.Errorf("with every right: %v; alice: %v", bobs, alices)
			}
		})
	}
}

// A user who may patch status can forge issuedAt, and so move the end of a life in days.
func TestCase10_AForgedIssuedAtWidensNothing(t *testing.T) {
	forged := func(p *object) { p.Status.IssuedAt = new(metav1.NewTime(now.Add(300 * 24 * time.Hour))) }
	_, err := admission.NewValidator(config).ValidateUpdate(request(bob), alicesPAT(forged, days(30)), alicesPAT(forged, expires(now.Add(200*24*time.Hour))))
	check(t, err, isForbidden+`spec.expiresAt: you are "bob"`+widens+lackAlice+lackUID+lackDevs+lackOps)
}

// Whether a token was issued is read from its record, whatever status has been made to say.
func TestCase05_AClearedStatusGivesNoLongerLife(t *testing.T) {
	cfg := config
	cfg.Record = holding(&record.Token{IssuedAt: now})
	_, err := admission.NewValidator(cfg).ValidateUpdate(request(), alicesPAT(days(1)), alicesPAT(days(30)))
	check(t, err, text(longerLife, "expiresInDays", "2026-11-02T12:00:00Z"))

	cfg.Record = func(context.Context, *object) (*record.Record, error) { return nil, errors.New("etcd is away") }
	_, err = admission.NewValidator(cfg).ValidateUpdate(request(), alicesPAT(days(1)), alicesPAT(days(2)))
	check(t, err, "Internal error occurred: whether this token was issued cannot be found out; try again")
}

// What asks for a rotation is told by the record: a trigger that goes away and comes back renews nothing.
func TestATriggerThatComesBackRenewsNothing(t *testing.T) {
	cfg := config
	cfg.Record = holding(&record.Token{IssuedAt: now, Source: record.SourceOperator, Trigger: "2"})
	v := admission.NewValidator(cfg)
	_, err := v.ValidateUpdate(request(), alicesPAT(days(1)), alicesPAT(days(30), rotating))
	check(t, err, text(longerLife, "expiresInDays", "2026-11-02T12:00:00Z"))
	_, err = v.ValidateUpdate(request(), alicesPAT(), alicesPAT(ttl(60), rotating))
	check(t, err, isForbidden+`spec.delivery: how a token is delivered changes only together with the token; set a new spec.rotation.trigger in the same update, or put it back`)
	// A token that the operator made does not count as the holder's own.
	cfg.Record = holding(&record.Token{ID: "abcdefghijklmnop", IssuedAt: now, Source: record.SourceOperator})
	_, err = admission.NewValidator(cfg).ValidateUpdate(request(), alicesPAT(), alicesPAT(holder))
	check(t, err, isForbidden+`spec.token: a new token has a new id; put the old values back, or set id and sha256 of another token`)
}

func TestDeleteIsLeftToRBAC(t *testing.T) {
	if warnings, err := admission.NewValidator(config).ValidateDelete(request(bob), alicesPAT()); err != nil || warnings != nil {
		t.Error(warnings, err)
	}
}
