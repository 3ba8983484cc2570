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

package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Every text by which a policy refuses a new token says what it allows and what to do.
func TestRefusals(t *testing.T) {
	issued := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	const api = "https://kubernetes.default.svc"
	type spec = v1alpha1.PersonalAccessTokenSpec
	byHolder := func(s *spec) { s.Token = &v1alpha1.HolderToken{} }
	toRecipients := func(s *spec) { s.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1"}} }
	audiences := func(all ...string) func(*spec) { return func(s *spec) { s.Audiences = all } }
	from := func(all ...string) func(*spec) { return func(s *spec) { s.From = all } }
	scoped := func(all ...v1alpha1.Scope) func(*spec) { return func(s *spec) { s.Scopes = all } }
	preset := func(name string) v1alpha1.Scope { return v1alpha1.Scope{Preset: name} }
	for name, tc := range map[string]struct {
		policies []string
		mod      func(*spec)
		ends     time.Duration
		unknown  bool
		// want are the fields and texts, the name of the policy left out.
		want []string
	}{
		"nothing": {},
		"deny": {[]string{`{deny: {reason: Left}}`}, nil, 0, false,
			[]string{"user denies this user's tokens here: Left; an administrator can change the policy"}},
		"deny alone": {[]string{`{requireScopes: true}`, `{deny: {reason: Left}, requireScopes: true, maxLifetimeDays: 1}`}, nil, 0, false,
			[]string{"user denies this user's tokens here: Left; an administrator can change the policy"}},
		"not understood": {[]string{`{more: 1}`}, nil, 0, true,
			[]string{"user has what this version of pat-operator does not know (spec.more), so all tokens that it matches are denied; an administrator can upgrade pat-operator, or change the policy"}},
		"days": {[]string{`{maxLifetimeDays: 30}`}, nil, 31 * v1alpha1.Day, false,
			[]string{"expiresInDays lets a token live 30 days at most; set spec.expiresInDays to 30 or less"}},
		"a date": {[]string{`{maxLifetimeDays: 30}`}, func(s *spec) { s.ExpiresAt = &metav1.Time{Time: issued} }, 30*v1alpha1.Day + time.Minute + time.Second, false,
			[]string{"expiresAt lets a token live 30 days at most; set spec.expiresAt to 2026-12-05T12:00:00Z or earlier"}},
		"a date by a clock that is ahead": {[]string{`{maxLifetimeDays: 30}`}, func(s *spec) { s.ExpiresAt = &metav1.Time{Time: issued} }, 30*v1alpha1.Day + time.Minute, false, nil},
		"days that no clock reckons": {[]string{`{maxLifetimeDays: 30}`}, nil, 30*v1alpha1.Day + time.Second, false,
			[]string{"expiresInDays lets a token live 30 days at most; set spec.expiresInDays to 30 or less"}},
		"as many days":     {[]string{`{maxLifetimeDays: 30}`}, nil, 30 * v1alpha1.Day, false, nil},
		"no scopes":        {[]string{`{requireScopes: true}`}, nil, 0, false, []string{"scopes allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]"}},
		"scopes":           {[]string{`{requireScopes: true}`}, scoped(preset("ci-deploy")), 0, false, nil},
		"scopes are free":  {[]string{`{requireScopes: false}`}, nil, 0, false, nil},
		"no allowed scope": {[]string{`{allowedScopes: [read-only, metrics]}`}, nil, 0, false, []string{"scopes allows only tokens with the permissions read-only, metrics; set spec.scopes, for example [{preset: read-only}]"}},
		"another preset":   {[]string{`{allowedScopes: [read-only]}`}, scoped(preset("read-only"), preset("ci-deploy")), 0, false, []string{"scopes[1] allows only the presets read-only; name one of them, or leave this scope out"}},
		"a rule":           {[]string{`{allowedScopes: [read-only]}`}, scoped(v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{}}), 0, false, []string{"scopes[0] allows only the presets read-only; name one of them, or leave this scope out"}},
		"another API's":    {[]string{`{allowedScopes: [read-only]}`}, scoped(v1alpha1.Scope{API: "lists:read"}), 0, false, []string{"scopes[0] allows only the presets read-only; name one of them, or leave this scope out"}},
		"presets":          {[]string{`{allowedScopes: [read-only, metrics]}`}, scoped(preset("metrics"), preset("read-only")), 0, false, nil},
		"presets of two policies": {[]string{`{allowedScopes: [read-only]}`, `{allowedScopes: [metrics]}`}, scoped(preset("metrics")), 0, false,
			[]string{"scopes[0] allows only the presets read-only; name one of them, or leave this scope out"}},
		"no audience":      {[]string{`{allowedAudiences: [list-api]}`}, nil, 0, false, []string{"audiences allows only tokens for list-api, and without audiences a token is for the Kubernetes API; set spec.audiences to some of these"}},
		"the API's":        {[]string{`{allowedAudiences: [list-api, "` + api + `"]}`}, nil, 0, false, nil},
		"an audience":      {[]string{`{allowedAudiences: [list-api]}`}, audiences("list-api"), 0, false, nil},
		"another one":      {[]string{`{allowedAudiences: [list-api]}`}, audiences("list-api", "x"), 0, false, []string{"audiences[1] allows only tokens for list-api; name one of these, or leave this audience out"}},
		"a Secret":         {[]string{`{allowedDelivery: [Recipients]}`}, nil, 0, false, []string{"delivery allows only the delivery Recipients; set spec.delivery.recipients"}},
		"recipients":       {[]string{`{allowedDelivery: [Holder, Secret]}`}, toRecipients, 0, false, []string{"delivery allows only the delivery Holder, Secret; make the token on your own machine and set spec.token (kubectl pat create does), or leave spec.delivery.recipients and spec.token out"}},
		"by its holder":    {[]string{`{allowedDelivery: [Secret]}`}, byHolder, 0, false, []string{"token allows only the delivery Secret; leave spec.delivery.recipients and spec.token out"}},
		"by carrier":       {[]string{`{allowedDelivery: [Pigeon]}`}, nil, 0, false, []string{"delivery allows only the delivery Pigeon; an administrator can change the policy"}},
		"these deliveries": {[]string{`{allowedDelivery: [Recipients, Holder]}`}, toRecipients, 0, false, nil},
		"a holder's":       {[]string{`{allowedDelivery: [Holder]}`}, byHolder, 0, false, nil},
		"no networks":      {[]string{`{allowedFrom: [10.0.0.0/8, "2001:db8::/32"]}`}, nil, 0, false, []string{"from allows only tokens that work from 10.0.0.0/8, 2001:db8::/32; set spec.from to networks inside of these"}},
		"networks":         {[]string{`{allowedFrom: [10.0.0.0/8, "2001:db8::/32"]}`}, from("10.0.0.0/8", "10.1.2.0/24", "2001:db8:1::/48"), 0, false, nil},
		"a wider network":  {[]string{`{allowedFrom: [10.1.0.0/16]}`}, from("10.1.2.0/24", "10.0.0.0/8"), 0, false, []string{"from[1] allows only tokens that work from 10.1.0.0/16; name a network inside of these, or leave this one out"}},
		"another network":  {[]string{`{allowedFrom: [10.1.0.0/16]}`}, from("10.2.0.0/16"), 0, false, []string{"from[0] allows only tokens that work from 10.1.0.0/16; name a network inside of these, or leave this one out"}},
		"everywhere":       {[]string{`{allowedFrom: ["::/0"]}`}, from("0.0.0.0/0"), 0, false, []string{"from[0] allows only tokens that work from ::/0; name a network inside of these, or leave this one out"}},
		"in two halves":    {[]string{`{allowedFrom: [10.0.0.0/9, 10.128.0.0/9]}`}, from("10.0.0.0/8"), 0, false, []string{"from[0] allows only tokens that work from 10.0.0.0/9, 10.128.0.0/9; name a network inside of these, or leave this one out"}},
		"no network":       {[]string{`{allowedFrom: [10.0.0.0/8]}`}, from("office"), 0, false, []string{"from[0] allows only tokens that work from 10.0.0.0/8; name a network inside of these, or leave this one out"}},
		"many": {[]string{`{allowedAudiences: [a, b, c, d, e, f, g, h, i, j]}`}, audiences("x"), 0, false,
			[]string{"audiences[0] allows only tokens for a, b, c, d, e, f, g, h and 2 others; name one of these, or leave this audience out"}},
		"what is for the token that exists": {[]string{`{allowedGroups: [x], maxTokensPerUser: 0}`}, nil, 0, false, nil},
		"all at once": {[]string{`{requireScopes: true, maxLifetimeDays: 30, allowedAudiences: [a], allowedDelivery: [Holder], allowedFrom: [10.0.0.0/8]}`}, nil, 31 * v1alpha1.Day, false, []string{
			"expiresInDays lets a token live 30 days at most; set spec.expiresInDays to 30 or less",
			"scopes allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]",
			"audiences allows only tokens for a, and without audiences a token is for the Kubernetes API; set spec.audiences to some of these",
			"delivery allows only the delivery Holder; make the token on your own machine and set spec.token (kubectl pat create does)",
			"from allows only tokens that work from 10.0.0.0/8; set spec.from to networks inside of these",
		}},
	} {
		var l Limits
		for i, text := range tc.policies {
			l = append(l, parse(string(rune('a'+i)), text))
		}
		token := Token{Spec: &spec{}, IssuedAt: issued, Ends: issued.Add(tc.ends), APIAudiences: []string{api}}
		if tc.mod != nil {
			tc.mod(token.Spec)
		}
		var got []string
		for _, r := range l.Refusals(token) {
			prefix := `TokenPolicy "` + r.Policy + `" `
			if !strings.HasPrefix(r.Detail, prefix) || r.Unknown != tc.unknown {
				t.Errorf("%s: %+v", name, r)
			}
			got = append(got, r.Field+" "+strings.TrimPrefix(r.Detail, prefix))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Where the API server's audiences are not known, a token for it is not allowed by a list.
	l := Limits{parse("a", `{allowedAudiences: [list-api]}`)}
	if got := l.Refusals(Token{Spec: &spec{}, IssuedAt: issued, Ends: issued}); len(got) != 1 || got[0].Field != "audiences" {
		t.Errorf("%+v", got)
	}
}
