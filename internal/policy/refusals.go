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
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// clockTolerance is how much later than a policy allows spec.expiresAt may be. The holder's clock reckons it, and may be ahead of
// ours; without this nobody could ask for just as long as is allowed. No token gains by it: at issuedAt plus the days, every
// verifier refuses it.
const clockTolerance = time.Minute

// Refusal is why a policy does not take a new token.
type Refusal struct {
	// Policy is the name of the TokenPolicy.
	Policy string
	// Unknown reports that the policy has fields which this program does not know.
	Unknown bool
	// Field is the one of the PersonalAccessToken's spec to change, without "spec."; user where no other one helps.
	Field string
	// Detail is what the policy allows, and what to do.
	Detail string
}

// Token is a new token.
type Token struct {
	Spec *v1alpha1.PersonalAccessTokenSpec
	// IssuedAt and Ends are when its life begins and ends by spec.
	IssuedAt, Ends time.Time
	// APIAudiences are the API server's own, which a token without audiences has. Where they are not known, such a token is not
	// allowed by a list of audiences.
	APIAudiences []string
}

// Refusals are why the policies do not take a token: each policy's, in the order of their names.
func (l Limits) Refusals(t Token) []Refusal {
	if d := l.Denial(); d != nil {
		return []Refusal{{Policy: d.Policy, Unknown: len(d.Unknown) > 0, Field: "user", Detail: d.String()}}
	}
	var all []Refusal
	for _, p := range l {
		for _, find := range []func(*Policy, Token) (field, detail string){lifetime, scopes, audiences, delivery, from} {
			if field, detail := find(p, t); field != "" {
				all = append(all, Refusal{Policy: p.Name, Field: field, Detail: fmt.Sprintf("TokenPolicy %q %s", p.Name, detail)})
			}
		}
	}
	return all
}

// String says which policy denies, why, and what to do.
func (d *Denial) String() string {
	if len(d.Unknown) == 0 {
		return fmt.Sprintf("TokenPolicy %q denies this user's tokens here: %s; an administrator can change the policy", d.Policy, cmp.Or(strings.TrimRight(d.Reason, ".;"), "it gives no reason"))
	}
	return fmt.Sprintf("TokenPolicy %q has what this version of pat-operator does not know (%s), so all tokens that it matches are denied; an administrator can upgrade pat-operator, or change the policy",
		d.Policy, strings.Join(d.Unknown, ", "))
}

func lifetime(p *Policy, t Token) (field, detail string) {
	days := p.Spec.MaxLifetimeDays
	if days == nil {
		return "", ""
	}
	latest := t.IssuedAt.Add(time.Duration(*days) * v1alpha1.Day)
	switch {
	case !t.Ends.After(latest):
		return "", ""
	case t.Spec.ExpiresAt != nil && !t.Ends.After(latest.Add(clockTolerance)):
		return "", ""
	case t.Spec.ExpiresAt != nil:
		return "expiresAt", fmt.Sprintf("lets a token live %d days at most; set spec.expiresAt to %s or earlier", *days, latest.UTC().Format(time.RFC3339))
	}
	return "expiresInDays", fmt.Sprintf("lets a token live %d days at most; set spec.expiresInDays to %d or less", *days, *days)
}

func scopes(p *Policy, t Token) (field, detail string) {
	allowed := p.Spec.AllowedScopes
	switch {
	case len(allowed) > 0 && len(t.Spec.Scopes) == 0:
		return "scopes", fmt.Sprintf("allows only tokens with the permissions %s; set spec.scopes, for example [{preset: %s}]", List(allowed), allowed[0])
	case p.Spec.RequireScopes && len(t.Spec.Scopes) == 0:
		return "scopes", "allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]"
	case len(allowed) == 0:
		return "", ""
	}
	for i, scope := range t.Spec.Scopes {
		if scope.Preset == "" || !slices.Contains(allowed, scope.Preset) {
			return fmt.Sprintf("scopes[%d]", i), fmt.Sprintf("allows only the presets %s; name one of them, or leave this scope out", List(allowed))
		}
	}
	return "", ""
}

func audiences(p *Policy, t Token) (field, detail string) {
	allowed := p.Spec.AllowedAudiences
	if len(allowed) == 0 {
		return "", ""
	}
	outside := func(audience string) bool { return !slices.Contains(allowed, audience) }
	if len(t.Spec.Audiences) == 0 {
		if len(t.APIAudiences) > 0 && !slices.ContainsFunc(t.APIAudiences, outside) {
			return "", ""
		}
		return "audiences", fmt.Sprintf("allows only tokens for %s, and without audiences a token is for the Kubernetes API; set spec.audiences to some of these", List(allowed))
	}
	if i := slices.IndexFunc(t.Spec.Audiences, outside); i >= 0 {
		return fmt.Sprintf("audiences[%d]", i), fmt.Sprintf("allows only tokens for %s; name one of these, or leave this audience out", List(allowed))
	}
	return "", ""
}

// waysOut are what to do for each way of delivery.
var waysOut = map[string]string{
	v1alpha1.DeliveryToSecret:     "leave spec.delivery.recipients and spec.token out",
	v1alpha1.DeliveryToRecipients: "set spec.delivery.recipients",
	v1alpha1.DeliveryByHolder:     "make the token on your own machine and set spec.token (kubectl pat create does)",
}

func delivery(p *Policy, t Token) (field, detail string) {
	allowed := p.Spec.AllowedDelivery
	if len(allowed) == 0 || slices.Contains(allowed, deliveryOf(t.Spec)) {
		return "", ""
	}
	field = "delivery"
	if t.Spec.Token != nil {
		field = "token"
	}
	var ways []string
	for _, way := range allowed {
		if text, ok := waysOut[way]; ok {
			ways = append(ways, text)
		}
	}
	if len(ways) == 0 {
		return field, fmt.Sprintf("allows only the delivery %s; an administrator can change the policy", List(allowed))
	}
	return field, fmt.Sprintf("allows only the delivery %s; %s", List(allowed), strings.Join(ways, ", or "))
}

// deliveryOf is the way in which a token reaches its holder.
func deliveryOf(spec *v1alpha1.PersonalAccessTokenSpec) string {
	switch {
	case spec.Token != nil:
		return v1alpha1.DeliveryByHolder
	case spec.Delivery != nil && len(spec.Delivery.Recipients) > 0:
		return v1alpha1.DeliveryToRecipients
	}
	return v1alpha1.DeliveryToSecret
}

func from(p *Policy, t Token) (field, detail string) {
	if len(p.from) == 0 {
		return "", ""
	}
	if len(t.Spec.From) == 0 {
		return "from", fmt.Sprintf("allows only tokens that work from %s; set spec.from to networks inside of these", List(p.Spec.AllowedFrom))
	}
	for i, cidr := range t.Spec.From {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil || !slices.ContainsFunc(p.from, func(allowed netip.Prefix) bool {
			return allowed.Bits() <= prefix.Bits() && allowed.Contains(prefix.Addr())
		}) {
			return fmt.Sprintf("from[%d]", i), fmt.Sprintf("allows only tokens that work from %s; name a network inside of these, or leave this one out", List(p.Spec.AllowedFrom))
		}
	}
	return "", ""
}

// List joins the first names of a list for a message, and counts the others.
func List(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Affects reports whether a token that exists does not keep to the policy: it is stopped or narrowed by it, or would be refused if
// it were new.
func (p *Policy) Affects(u *v1alpha1.UserInfo, t Token) bool {
	l := Limits{p}
	return len(l.Refusals(t)) > 0 || len(l.Groups(u)) < len(u.Groups)
}
