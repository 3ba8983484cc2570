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
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/policies"
)

// known are TokenPolicies that are known.
type known struct{ *policy.Set }

func (k known) For(namespace string, u *v1alpha1.UserInfo) (policy.Limits, error) {
	return k.Set.For(namespace, u), nil
}

func (k known) Naming(namespace string, groups ...string) (policy.Limits, error) {
	return k.Set.Naming(namespace, groups...), nil
}

// unknown are TokenPolicies that nobody has listed yet.
type unknown struct{}

func (unknown) For(string, *v1alpha1.UserInfo) (policy.Limits, error) {
	return nil, errors.New("not listed yet")
}

func (unknown) Naming(string, ...string) (policy.Limits, error) {
	return nil, errors.New("not listed yet")
}

// byPolicy has a policy "contractors" with this spec, and alice have this many tokens.
func byPolicy(spec string, tokens int) func(*admission.Config) {
	return func(c *admission.Config) {
		set := policy.NewSet()
		set.Put(policy.Parse(policies.New("contractors", spec)))
		c.Policies, c.APIAudiences = known{set}, func() []string { return []string{"https://kubernetes.default.svc"} }
		c.TokensOf = func(_ context.Context, username string, except types.NamespacedName) (int, error) {
			if username != "alice" || except != (types.NamespacedName{Namespace: "team-a", Name: "ci"}) {
				return 0, errors.New("counts the tokens of another user, or this one")
			}
			return tokens, nil
		}
	}
}

func groupsOf(groups ...string) modifier {
	return user(func(u *v1alpha1.UserInfo) { u.Groups = groups })
}

func scopes(s ...v1alpha1.Scope) modifier { return func(p *object) { p.Spec.Scopes = s } }

func networks(from ...string) modifier { return func(p *object) { p.Spec.From = from } }

const (
	denies  = `spec.user: TokenPolicy "contractors" denies this user's tokens here: Left the company; an administrator can change the policy`
	names   = `you are in group "devs", which TokenPolicy "contractors" goes by, so your tokens have to name it; `
	binding = `you are in group "devs", which this operator's --binding-groups match, so your tokens have to name it; `
	rename  = `name it there, or leave spec.user out; where the user of a token cannot be changed, make a new PersonalAccessToken`
)

func TestPoliciesOfANewToken(t *testing.T) {
	for _, tc := range []struct {
		name     string
		by       requester
		pat      *object
		spec     string
		tokens   int
		config   func(*admission.Config)
		want     string
		warnings ctrladmission.Warnings
	}{
		{name: "denied", pat: alicesPAT(), spec: `{deny: {reason: "Left the company."}}`, want: isForbidden + denies},
		{
			name: "denied elsewhere", pat: alicesPAT(),
			spec: `{deny: {reason: "No."}, match: {namespaces: [team-b, "vendor-*"]}}`,
		},
		{
			name: "not understood", pat: alicesPAT(), spec: `{allowedHours: 8}`,
			want: isForbidden + `spec.user: TokenPolicy "contractors" has what this version of pat-operator does not know (spec.allowedHours), so all tokens that it matches are denied; an administrator can upgrade pat-operator, or change the policy`,
		},
		{name: "as long as allowed", pat: alicesPAT(days(30)), spec: `{maxLifetimeDays: 30}`},
		{
			name: "longer", pat: alicesPAT(), spec: `{maxLifetimeDays: 30}`,
			want: isForbidden + `spec.expiresInDays: TokenPolicy "contractors" lets a token live 30 days at most; set spec.expiresInDays to 30 or less`,
		},
		{
			name: "longer by date", pat: alicesPAT(expires(now.Add(31 * v1alpha1.Day))), spec: `{maxLifetimeDays: 30}`,
			want: isForbidden + `spec.expiresAt: TokenPolicy "contractors" lets a token live 30 days at most; set spec.expiresAt to 2026-12-01T12:00:00Z or earlier`,
		},
		{name: "as long by a clock that is ahead", pat: alicesPAT(expires(now.Add(30*v1alpha1.Day + time.Second))), spec: `{maxLifetimeDays: 30}`},
		{name: "the last that is allowed", pat: alicesPAT(), spec: `{maxTokensPerUser: 10}`, tokens: 9},
		{
			name: "one too many", pat: alicesPAT(), spec: `{maxTokensPerUser: 10}`, tokens: 10,
			want: isForbidden + `spec.user: TokenPolicy "contractors" lets a user have 10 tokens, and "alice" has 10; delete one that is not needed, or wait until one ends`,
		},
		{
			name: "without scopes", pat: alicesPAT(), spec: `{requireScopes: true}`,
			want: isForbidden + `spec.scopes: TokenPolicy "contractors" allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]`,
		},
		{
			name: "a rule among presets", pat: alicesPAT(scopes(v1alpha1.Scope{Preset: "read-only"}, v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}})),
			spec: `{allowedScopes: [read-only, metrics]}`,
			want: isForbidden + `spec.scopes[1]: TokenPolicy "contractors" allows only the presets read-only, metrics; name one of them, or leave this scope out`,
		},
		{
			name: "full authority among presets", pat: alicesPAT(), spec: `{allowedScopes: [read-only]}`,
			want: isForbidden + `spec.scopes: TokenPolicy "contractors" allows only tokens with the permissions read-only; set spec.scopes, for example [{preset: read-only}]`,
		},
		{
			name: "the API server's own audiences", pat: alicesPAT(), spec: `{allowedAudiences: [list-api]}`,
			want: isForbidden + `spec.audiences: TokenPolicy "contractors" allows only tokens for list-api, and without audiences a token is for the Kubernetes API; set spec.audiences to some of these`,
		},
		{name: "where these are allowed", pat: alicesPAT(), spec: `{allowedAudiences: [list-api, "https://kubernetes.default.svc"]}`},
		{
			name: "an audience too many", pat: alicesPAT(audiences("list-api", "pay-api")), spec: `{allowedAudiences: [list-api]}`,
			want: isForbidden + `spec.audiences[1]: TokenPolicy "contractors" allows only tokens for list-api; name one of these, or leave this audience out`,
		},
		{
			name: "in a Secret", pat: alicesPAT(), spec: `{allowedDelivery: [Recipients, Holder]}`,
			want: isForbidden + `spec.delivery: TokenPolicy "contractors" allows only the delivery Recipients, Holder; set spec.delivery.recipients, or make the token on your own machine and set spec.token (kubectl pat create does)`,
		},
		{name: "to recipients", pat: alicesPAT(toKeys(vendorKey)), spec: `{allowedDelivery: [Recipients, Holder]}`},
		{
			name: "from everywhere", pat: alicesPAT(), spec: `{allowedFrom: ["10.0.0.0/8"]}`,
			want: isForbidden + `spec.from: TokenPolicy "contractors" allows only tokens that work from 10.0.0.0/8; set spec.from to networks inside of these`,
		},
		{
			name: "from elsewhere", pat: alicesPAT(networks("10.1.0.0/16", "192.0.2.0/24")), spec: `{allowedFrom: ["10.0.0.0/8"]}`,
			want: isForbidden + `spec.from[1]: TokenPolicy "contractors" allows only tokens that work from 10.0.0.0/8; name a network inside of these, or leave this one out`,
		},
		{
			name: "groups that are left out", pat: alicesPAT(), spec: `{allowedGroups: [devs]}`,
			warnings: ctrladmission.Warnings{`TokenPolicies leave out 1 of the token's groups (ops): it does not have their permissions`},
		},
		{
			name: "without a group that a policy goes by", pat: alicesPAT(groupsOf("ops")), spec: `{match: {subjects: [{kind: Group, name: devs}]}, maxLifetimeDays: 1}`,
			want: isForbidden + `spec.user.groups: ` + names + rename,
		},
		{
			name: "without a group that a flag names", pat: alicesPAT(groupsOf("ops")), spec: `{maxLifetimeDays: 400}`,
			config: func(c *admission.Config) { c.BindingGroups = regexp.MustCompile("^dev.*$") },
			want:   isForbidden + `spec.user.groups: ` + binding + rename,
		},
		{
			name: "without a group that no token carries", by: func(r *authenticationv1.UserInfo) { r.Groups = append(r.Groups, "system:masters") }, pat: alicesPAT(),
			spec: `{match: {subjects: [{kind: Group, name: "system:masters"}]}, maxLifetimeDays: 1}`,
		},
		{
			name: "for another person", by: bob, pat: alicesPAT(groupsOf("ops")), spec: `{match: {subjects: [{kind: Group, name: devs}]}, maxLifetimeDays: 1}`,
			config:   func(c *admission.Config) { c.Client = may(aliceRights...) },
			warnings: ctrladmission.Warnings{`TokenPolicies for groups (contractors) limit this token only if spec.user.groups names the groups that the user is in`},
		},
		{
			name: "several at once", pat: alicesPAT(), spec: `{maxLifetimeDays: 30, requireScopes: true}`,
			want: isForbidden + `spec.expiresInDays: TokenPolicy "contractors" lets a token live 30 days at most; set spec.expiresInDays to 30 or less; ` +
				`spec.scopes: TokenPolicy "contractors" allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config
			byPolicy(tc.spec, tc.tokens)(&cfg)
			if tc.config != nil {
				tc.config(&cfg)
			}
			ctx := request()
			if tc.by != nil {
				ctx = request(tc.by)
			}
			warnings, err := admission.NewValidator(cfg).ValidateCreate(ctx, tc.pat)
			check(t, err, tc.want)
			if tc.want == "" || tc.warnings != nil && err == nil {
				if diff := cmp.Diff(tc.warnings, warnings); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// A token that exists is judged by what an update widens: what policies leave alone stays, and nothing of it grows.
func TestPoliciesOfAnUpdate(t *testing.T) {
	deny := `{deny: {reason: "Left the company."}}`
	strict := `{maxLifetimeDays: 30, requireScopes: true, maxTokensPerUser: 1}`
	rotated := func(p *object) { p.Spec.Rotation = &v1alpha1.Rotation{Trigger: "again"} }
	for _, tc := range []struct {
		name    string
		was, is *object
		spec    string
		tokens  int
		want    string
	}{
		{name: "narrowing a denied token", was: alicesPAT(issued), is: alicesPAT(issued, days(1)), spec: deny},
		{name: "suspending a denied token", was: alicesPAT(issued), is: alicesPAT(issued, suspended), spec: deny},
		{name: "resuming a denied token", was: alicesPAT(issued, suspended), is: alicesPAT(issued), spec: deny, want: isForbidden + denies},
		{name: "rotating a denied token", was: alicesPAT(issued), is: alicesPAT(issued, rotated), spec: deny, want: isForbidden + denies},
		{name: "resuming what would be refused as new", was: alicesPAT(issued, suspended), is: alicesPAT(issued), spec: strict, tokens: 5},
		{
			name: "rotating it", was: alicesPAT(issued), is: alicesPAT(issued, rotated), spec: strict,
			want: isForbidden + `spec.expiresInDays: TokenPolicy "contractors" lets a token live 30 days at most; set spec.expiresInDays to 30 or less; ` +
				`spec.scopes: TokenPolicy "contractors" allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]`,
		},
		{
			name: "a rotation adds no token", was: alicesPAT(issued, days(1)), is: alicesPAT(issued, days(1), rotated),
			spec: `{maxTokensPerUser: 1}`, tokens: 5,
		},
		{
			name: "a longer life before it is issued", was: alicesPAT(days(30)), is: alicesPAT(days(31)), spec: `{maxLifetimeDays: 30}`,
			want: isForbidden + `spec.expiresInDays: TokenPolicy "contractors" lets a token live 30 days at most; set spec.expiresInDays to 30 or less`,
		},
		{
			name: "another audience", was: alicesPAT(issued, audiences("list-api")), is: alicesPAT(issued, audiences("list-api", "pay-api")),
			spec: `{allowedAudiences: [list-api]}`,
			want: isForbidden + `spec.audiences[1]: TokenPolicy "contractors" allows only tokens for list-api; name one of these, or leave this audience out`,
		},
		{
			name: "an audience that is allowed, for a life that is not", was: alicesPAT(issued, audiences("list-api")), is: alicesPAT(issued, audiences("list-api", "pay-api")),
			spec: `{allowedAudiences: [list-api, pay-api], maxLifetimeDays: 30}`,
		},
		{
			name: "rotating without a group that a policy goes by", was: alicesPAT(issued, groupsOf("ops")), is: alicesPAT(issued, groupsOf("ops"), rotated),
			spec: `{match: {subjects: [{kind: Group, name: devs}]}, maxLifetimeDays: 100}`,
			want: isForbidden + `spec.user.groups: ` + names + rename,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config
			byPolicy(tc.spec, tc.tokens)(&cfg)
			_, err := admission.NewValidator(cfg).ValidateUpdate(request(), tc.was, tc.is)
			check(t, err, tc.want)
		})
	}
}

func TestWithoutPoliciesNothingIsAdmittedThatAsksForMore(t *testing.T) {
	cfg := config
	byPolicy("{}", 0)(&cfg)
	cfg.Policies = unknown{}
	v := admission.NewValidator(cfg)
	const want = `Internal error occurred: which TokenPolicies match cannot be found out: not listed yet; try again`
	if _, err := v.ValidateCreate(request(), alicesPAT()); !apierrors.IsInternalError(err) || err.Error() != want {
		t.Errorf("a new token: %v, want %s", err, want)
	}
	if _, err := v.ValidateUpdate(request(), alicesPAT(issued, suspended), alicesPAT(issued)); !apierrors.IsInternalError(err) {
		t.Errorf("resuming: %v, want an internal error", err)
	}
	if _, err := v.ValidateUpdate(request(), alicesPAT(issued), alicesPAT(issued, days(1))); err != nil {
		t.Errorf("narrowing: %v", err)
	}
	cfg.Record = func(context.Context, *object) (*record.Record, error) { return nil, errors.New("unread") }
	if _, err := admission.NewValidator(cfg).ValidateUpdate(request(), alicesPAT(issued), alicesPAT(issued, suspended)); err != nil {
		t.Errorf("suspending: %v", err)
	}
}

// A predecessor stops where policies stop it, whatever its overlap.
func TestAPolicyThatCutsAnOverlapShortIsWarnedOf(t *testing.T) {
	age := func(age time.Duration) modifier { return issuedAt(now.Add(-age)) }
	const ends = `the token that is replaced, ponmlkjihgfedcba, ends at `
	for _, tc := range []struct {
		name, spec string
		was, is    *object
		want       string
	}{
		{
			name: "within the overlap", spec: `{maxLifetimeDays: 30}`, was: alicesPAT(age(30*v1alpha1.Day - time.Minute)),
			is:   alicesPAT(age(30*v1alpha1.Day-time.Minute), overlapping, expires(now.Add(v1alpha1.Day))),
			want: ends + `2026-11-01T12:01:00Z, before the overlap is over: TokenPolicy "contractors" lets a token live 30 days at most; install the new one before that`,
		},
		{
			name: "as spec does", spec: `{maxLifetimeDays: 30}`, was: alicesPAT(age(30*v1alpha1.Day - time.Minute)),
			is:   alicesPAT(age(30*v1alpha1.Day-time.Minute), overlapping, days(30)),
			want: ends + `2026-11-01T12:01:00Z, before the overlap is over: TokenPolicy "contractors" lets a token live 30 days at most; install the new one before that`,
		},
		{
			name: "spec does before", spec: `{maxLifetimeDays: 30}`, was: alicesPAT(age(30*v1alpha1.Day - time.Minute)),
			is:   alicesPAT(age(30*v1alpha1.Day-time.Minute), overlapping, expires(now.Add(time.Second))),
			want: ends + `2026-11-01T12:00:01Z, before the overlap is over: set a later spec.expiresAt for it to work as long`,
		},
		{name: "stopped already", spec: `{maxLifetimeDays: 30}`, was: alicesPAT(age(31 * v1alpha1.Day)), is: alicesPAT(age(31*v1alpha1.Day), overlapping, days(30))},
		{name: "after the overlap", spec: `{maxLifetimeDays: 30}`, was: alicesPAT(age(29 * v1alpha1.Day)), is: alicesPAT(age(29*v1alpha1.Day), overlapping, days(30))},
		{name: "without an overlap", spec: `{maxLifetimeDays: 30}`, was: alicesPAT(age(30*v1alpha1.Day - time.Minute)), is: alicesPAT(age(30*v1alpha1.Day-time.Minute), rotating, days(30))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config
			byPolicy(tc.spec, 0)(&cfg)
			got, err := admission.NewValidator(cfg).ValidateUpdate(request(), tc.was, tc.is)
			check(t, err, "")
			var want ctrladmission.Warnings
			if tc.want != "" {
				want = ctrladmission.Warnings{tc.want}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// kube-apiserver cuts a warning of more than 256 characters.
func TestThatWarningIsShortEnoughToBeShown(t *testing.T) {
	set := policy.NewSet()
	set.Put(policy.Parse(policies.New(strings.Repeat("p", 253), `{maxLifetimeDays: 3660}`)))
	cfg := config
	byPolicy("{}", 0)(&cfg)
	cfg.Policies, cfg.MaxLifetime = known{set}, 20000*v1alpha1.Day
	old := issuedAt(now.Add(time.Minute - 3660*v1alpha1.Day))
	got, err := admission.NewValidator(cfg).ValidateUpdate(request(), alicesPAT(old, days(20000)), alicesPAT(old, overlapping, expires(now.Add(v1alpha1.Day))))
	if err != nil || len(got) != 1 || len(got[0]) > 256 {
		t.Errorf("%d warnings, %q: %v", len(got), got, err)
	}
}
