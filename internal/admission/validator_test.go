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
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
)

var overAYear = ctrladmission.Warnings{
	`the token lives more than a year, until 2027-11-02T12:00:00Z, and anyone who finds it can use it that long; set spec.expiresInDays to 365 or less`,
}

func noSecrets(c *admission.Config)   { c.SecretDelivery = false }
func shortLived(c *admission.Config)  { c.MaxLifetime = 36 * time.Hour }
func onlyLimited(c *admission.Config) { c.RequireScopes = true }
func hours(c *admission.Config)       { c.MaxLifetime = 12 * time.Hour }

const allowsOnlyLimited = `this cluster allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]`

func TestCreate(t *testing.T) {
	for _, tc := range []struct {
		name     string
		by       requester
		pat      *object
		config   func(*admission.Config)
		want     string
		warnings ctrladmission.Warnings
	}{
		{name: "for oneself", pat: alicesPAT()},
		{name: "fewer groups, in another order", pat: alicesPAT(user(func(u *v1alpha1.UserInfo) { u.Groups = []string{"system:authenticated", "devs"} }))},
		{name: "an empty extra", pat: alicesPAT(user(func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{} }))},
		{name: "a year", pat: alicesPAT(days(365))},
		{name: "the longest life in days", pat: alicesPAT(days(366)), warnings: overAYear},
		{name: "the longest life by date", pat: alicesPAT(expires(now.Add(366 * 24 * time.Hour))), warnings: overAYear},
		{name: "a holder's token", pat: alicesPAT(holder)},
		{name: "a holder's token without Secret delivery", pat: alicesPAT(holder), config: noSecrets},
		{
			name: "an end that has passed", pat: alicesPAT(expires(now.Add(-time.Hour))),
			warnings: ctrladmission.Warnings{`spec.expiresAt (2026-11-01T11:00:00Z) has passed, so no token will work; set a later one to get a token`},
		},
		{
			name: "for another user", by: bob, pat: alicesPAT(),
			want: isForbidden + notBobs + lackAlice + lackUID + lackDevs + lackOps,
		},
		{
			name: "with a uid of one's own, a group of others, extra", pat: alicesPAT(user(func(u *v1alpha1.UserInfo) {
				u.Groups, u.Extra = []string{"devs", "admins"}, map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}}
			})),
			want: isForbidden + `spec.user: you are not in group "admins" today` + takes + omit + lackAlice + lackUID + lackDevs + lackAdmins + lackExtra,
		},
		{
			name: "another uid", pat: alicesPAT(user(func(u *v1alpha1.UserInfo) { u.UID, u.Groups = "u-2", nil })),
			want: isForbidden + `spec.user: your uid is "u-1"` + takes + omit + lackAlice + lackOtherUID,
		},
		{
			name: "extra for oneself", pat: alicesPAT(user(func(u *v1alpha1.UserInfo) {
				u.Groups, u.Extra = nil, map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}}
			})),
			want: isForbidden + `spec.user: a token of one's own carries no extra` + takes + omit + lackAlice + lackUID + lackExtra,
		},
		{
			name: "a cluster administrator", by: func(r *authenticationv1.UserInfo) { r.Groups = []string{"devs", "ops", "system:masters"} },
			pat:  alicesPAT(user(func(u *v1alpha1.UserInfo) { u.Groups = []string{"devs", "system:masters"} })),
			want: isForbidden + `spec.user.groups[1]: "system:masters" may be in no token; set spec.user, with username, uid and the groups but this one`,
		},
		{
			name: "without the mutating webhook", pat: alicesPAT(func(p *object) { p.Spec.User = nil }),
			want: isInvalid + `spec.user: Required value: the mutating webhook of pat-operator, which fills it in, was not asked; have the webhook configuration restored, or name yourself here`,
		},
		{
			name: "an identity with a control character", by: func(r *authenticationv1.UserInfo) { r.UID = "u\t1" },
			pat:  alicesPAT(user(func(u *v1alpha1.UserInfo) { u.UID = "u\t1" })),
			want: isInvalid + `spec.user.uid: Invalid value: "u\t1": contains U+0009, a control or invisible character; have it renamed where people log in`,
		},
		{
			name: "too many days", pat: alicesPAT(days(367)),
			want: isInvalid + `spec.expiresInDays: Invalid value: 367: a token lives 366 days at most on this operator; set at most 366, or spec.expiresAt to 2027-11-02T12:00:00Z or earlier`,
		},
		{
			name: "too late a date", pat: alicesPAT(expires(now.Add(366*24*time.Hour + time.Second))),
			want: isInvalid + `spec.expiresAt: Invalid value: "2027-11-02T12:00:01Z": a token lives 366 days at most on this operator; set 2027-11-02T12:00:00Z or earlier`,
		},
		{
			name: "the end of time", pat: alicesPAT(expires(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))),
			want: isInvalid + `spec.expiresAt: Invalid value: "9999-12-31T00:00:00Z": a token lives 366 days at most on this operator; set 2027-11-02T12:00:00Z or earlier`,
		},
		{
			name: "the default is too long", pat: alicesPAT(), config: shortLived,
			want: isInvalid + `spec.expiresInDays: Required value: without it a token lives 90 days, and a token lives 36h0m0s at most on this operator; set at most 1, or spec.expiresAt to 2026-11-03T00:00:00Z or earlier`,
		},
		{
			name: "a day is too long", pat: alicesPAT(days(1)), config: hours,
			want: isInvalid + `spec.expiresInDays: Invalid value: 1: a token lives 12h0m0s at most on this operator; leave it out and set spec.expiresAt to 2026-11-02T00:00:00Z or earlier`,
		},
		{name: "a limited token where scopes are required", pat: alicesPAT(scoped), config: onlyLimited},
		{
			name: "full authority where scopes are required", pat: alicesPAT(), config: onlyLimited,
			want: isInvalid + `spec.scopes: Required value: ` + allowsOnlyLimited,
		},
		{
			name: "no Secret delivery, by default", pat: alicesPAT(), config: noSecrets,
			want: isInvalid + `spec.delivery: Forbidden: delivery in a Secret, the default, is switched off on this operator; set spec.delivery.recipients, or make the token on your own machine and set spec.token`,
		},
		{
			name: "no Secret delivery, outright", pat: alicesPAT(func(p *object) { p.Spec.Delivery = &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{}} }), config: noSecrets,
			want: isInvalid + `spec.delivery: Forbidden: delivery in a Secret, the default, is switched off on this operator; set spec.delivery.recipients, or make the token on your own machine and set spec.token`,
		},
		{
			name: "a digest of no token", pat: alicesPAT(holder, func(p *object) { p.Spec.Token.SHA256 = strings.Repeat("0", 64) }),
			want: isInvalid + `spec.token.sha256: Invalid value: is the digest of no token; set the 64 lower-case hex digits computed for yours`,
		},
		{
			name: "retirement without an overlap", pat: alicesPAT(func(p *object) { p.Spec.Rotation = &v1alpha1.Rotation{RetireOnFirstUse: true} }),
			want: isInvalid + `spec.rotation.overlapSeconds: Required value: with retireOnFirstUse it says how long the predecessor works at most; without it the predecessor ends at once, used or not`,
		},
		{name: "retired on first use", pat: alicesPAT(func(p *object) { p.Spec.Rotation = &v1alpha1.Rotation{RetireOnFirstUse: true, OverlapSeconds: 60} })},
		{name: "rotation", pat: alicesPAT(rotating)},
		{name: "automatic, to a Secret", pat: alicesPAT(everyDays), want: isInvalid + strings.Replace(notAutomatic, ": ", ": Forbidden: ", 1)},
		{name: "automatic, to recipients", pat: alicesPAT(everyDays, toKeys(vendorKey))},
		{name: "recipients", pat: alicesPAT(toKeys(vendorKey, vendorSSH)), config: noSecrets},
		{
			name: "recipients that are none, all at once", pat: alicesPAT(toKeys("nonsense", vendorKey, "AGE-SECRET-KEY-1MYSECRET", vendorSSH+" "+vendorKey)),
			want: isInvalid + `[spec.delivery.recipients[0]: Invalid value: is not a public key that a token can be encrypted to; give one age recipient (age1…, age1pq1…) or one SSH public key (ssh-ed25519, or ssh-rsa of 2048 to 8192 bits), ` +
				`spec.delivery.recipients[2]: Invalid value: is a private key, which belongs on its owner's machine only: regard it as leaked, make another, and give its public key, ` +
				`spec.delivery.recipients[3]: Invalid value: holds more than one key or line; give each key an entry of its own]`,
		},
		{
			name: "a 403 wins", by: bob, pat: alicesPAT(days(367)),
			want: isForbidden + notBobs + lackAlice + lackUID + lackDevs + lackOps,
		},
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
			before := tc.pat.DeepCopy()
			warnings, err := admission.NewValidator(cfg).ValidateCreate(request(by), tc.pat)
			check(t, err, tc.want)
			if diff := cmp.Diff(tc.warnings, warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tc.pat); diff != "" {
				t.Errorf("validation changed the object:\n%s", diff)
			}
		})
	}
}

func TestCase42_ADigestBoundToAnotherResource(t *testing.T) {
	const says = `this resource is "team-a/ci", and the digest matches only where it was computed for; ` +
		`set boundTo to "team-a/ci" and sha256 to what this prints: printf 'pat-operator.io/v1\0%s\0%s\0%s' team-a ci "$TOKEN" | sha256sum`
	validator := admission.NewValidator(config)
	moved := alicesPAT(holder, func(p *object) { p.Spec.Token.BoundTo = "team-b/ci" })
	_, err := validator.ValidateCreate(request(), moved)
	check(t, err, isInvalid+`spec.token.boundTo: Invalid value: "team-b/ci": `+says)
	_, err = validator.ValidateUpdate(request(), alicesPAT(), moved)
	check(t, err, isForbidden+`spec.token.boundTo: `+says)
	for _, boundTo := range []string{"ci", "team-a/", "/ci", "team-a/ci ", "Team-A/ci", "team-a/ci/", "team-a//ci"} {
		if _, err := validator.ValidateCreate(request(), alicesPAT(holder, func(p *object) { p.Spec.Token.BoundTo = boundTo })); err == nil {
			t.Errorf("boundTo %q is taken", boundTo)
		}
	}
}

func TestCase06_NobodyCreatesWhatMayNeverBe(t *testing.T) {
	validator := admission.NewValidator(config)
	for _, name := range []string{"system:anonymous", "system:node:n1", "SYSTEM:masters", "sуstem:masters", "system:kube-scheduler"} {
		by := func(r *authenticationv1.UserInfo) { r.Username = name }
		if _, err := validator.ValidateCreate(request(by), alicesPAT(user(func(u *v1alpha1.UserInfo) { u.Username = name }))); err == nil {
			t.Errorf("user %q may have a token", name)
		}
	}
	for _, group := range []string{"system:masters", "system:nodes", "system:unauthenticated", "system:bootstrappers:x", "system:Masters", "system:serviceaccounts"} {
		by := func(r *authenticationv1.UserInfo) { r.Groups = append(r.Groups, group) }
		if _, err := validator.ValidateCreate(request(by), alicesPAT(user(func(u *v1alpha1.UserInfo) { u.Groups = append(u.Groups, group) }))); err == nil {
			t.Errorf("group %q may be in a token", group)
		}
	}
}

func TestCase64_ADisplayNameThatForgesARow(t *testing.T) {
	validator := admission.NewValidator(config)
	named := func(name string) modifier { return func(p *object) { p.Spec.DisplayName = name } }
	for _, tc := range []struct{ character, point string }{
		{"\t", "U+0009"}, {"\n", "U+000A"}, {"\r", "U+000D"}, {"\v", "U+000B"}, {"\x1b", "U+001B"}, {"\x00", "U+0000"}, {"\x7f", "U+007F"}, {"\u0085", "U+0085"},
		{"\u061c", "U+061C"}, {"\u200e", "U+200E"}, {"\u200f", "U+200F"}, {"\u2028", "U+2028"}, {"\u2029", "U+2029"},
		{"\u202a", "U+202A"}, {"\u202e", "U+202E"}, {"\u2066", "U+2066"}, {"\u2069", "U+2069"},
	} {
		says := "spec.displayName: %scontains " + tc.point + ", a control character or a mark that changes the direction of text; leave it out"
		forged := named("CI" + tc.character + "alice True")
		_, err := validator.ValidateCreate(request(), alicesPAT(forged))
		check(t, err, isInvalid+fmt.Sprintf(says, "Invalid value: "))
		for _, update := range []modifier{suspended, rotating, func(*object) {}} {
			_, err = validator.ValidateUpdate(request(), alicesPAT(), alicesPAT(forged, update))
			check(t, err, isForbidden+fmt.Sprintf(says, ""))
		}
		if _, err := validator.ValidateUpdate(request(), alicesPAT(forged), alicesPAT(forged, suspended)); err != nil {
			t.Errorf("a name that is there already: %v", err)
		}
	}
	for _, name := range []string{"PoliteMail Comparison List API", "Ключ для CI", "مفتاح", "می\u200cخواهم", "👩\u200d💻 laptop", "a  b"} {
		if _, err := validator.ValidateCreate(request(), alicesPAT(named(name))); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCase65_OurOwnNamespacesHoldNoTokens(t *testing.T) {
	const says = isForbidden + "metadata.namespace: team-a belongs to pat-operator, and holds no tokens of others; use another namespace"
	cfg := config
	cfg.OwnNamespaces = []string{"pat-operator-system", "team-a"}
	validator := admission.NewValidator(cfg)
	_, err := validator.ValidateCreate(request(), alicesPAT())
	check(t, err, says)
	_, err = validator.ValidateUpdate(request(), alicesPAT(), alicesPAT(rotating))
	check(t, err, says)
	if _, err := validator.ValidateUpdate(request(), alicesPAT(), alicesPAT(suspended)); err != nil {
		t.Errorf("suspended: %v", err)
	}
}
