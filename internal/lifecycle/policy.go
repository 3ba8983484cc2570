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
	"fmt"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	// waitForPolicies is how soon to look again whether the TokenPolicies are known.
	waitForPolicies = 5 * time.Second
	// waitForRoom is how soon to look again whether the user has fewer tokens than a TokenPolicy allows.
	waitForRoom = 10 * time.Second
)

// Policies are what TokenPolicies ask of a resource's tokens, and what that depends on. Nothing of it enters a record, so that a
// token works again without the policy.
type Policies struct {
	// Unknown is why the policies are not known, so that nothing is issued; nil if they are.
	Unknown error
	Limits  policy.Limits
	// Tokens is how many other tokens of the user count for a limit: those that have not ended, and those that wait and are older.
	// It is known only where a policy limits them.
	Tokens int
	// APIAudiences are the API server's own.
	APIAudiences []string
}

// stopped is why policies stop the current token; nil if they do not.
func stopped(in Input) *Condition {
	t := in.Record.Current
	if d := in.Policies.Limits.Denial(); d != nil {
		c := denied(d)
		c.Message = fmt.Sprintf("Token %s does not work now. %s", t.ID, c.Message)
		return c
	}
	end, p := in.Policies.Limits.End(t.IssuedAt)
	if p == nil || in.Now.Before(end) {
		return nil
	}
	return &Condition{Reason: v1alpha1.ReasonDeniedByPolicy, Message: fmt.Sprintf(
		"Token %s stopped at %s, because TokenPolicy %q lets a token live %s; %s.", t.ID, Stamp(end), p.Name, days(*p.Spec.MaxLifetimeDays), again(in))}
}

func denied(d *policy.Denial) *Condition {
	reason := v1alpha1.ReasonDeniedByPolicy
	if len(d.Unknown) > 0 {
		reason = v1alpha1.ReasonPolicyNotUnderstood
	}
	return &Condition{Reason: reason, Message: d.String() + "."}
}

// notAllowed says why policies do not let a token be issued; nil if they do.
func notAllowed(in Input, now time.Time) *Decision {
	p := &in.Policies
	if p.Unknown != nil {
		return &Decision{Action: Nothing, After: waitForPolicies, State: issuing(fmt.Sprintf(
			"The token waits to be issued until the TokenPolicies are known (%v). The operator tries again automatically.", p.Unknown))}
	}
	if d := p.Limits.Denial(); d != nil {
		c := denied(d)
		return stalled(c.Reason, "No token is issued. "+c.Message)
	}
	refusals := p.Limits.Refusals(policy.Token{
		Spec: &in.Resource.Spec, IssuedAt: now, Ends: End(&in.Resource.Spec, now), APIAudiences: p.APIAudiences,
	})
	if len(refusals) > 0 {
		var texts []string
		for _, r := range refusals {
			texts = append(texts, r.Detail)
		}
		const most = 10 // A message has a longest length.
		if more := len(texts) - most; more > 0 {
			texts = append(texts[:most], fmt.Sprintf("and %d more limits", more))
		}
		d := stalled(v1alpha1.ReasonDeniedByPolicy, "No token is issued. "+strings.Join(texts, "; ")+".")
		if len(p.APIAudiences) == 0 {
			d.After = waitForPolicies // A list of audiences may allow it once they are known.
		}
		return d
	}
	most, by := p.Limits.MaxTokens()
	if by == nil || p.Tokens < most || HoldsToken(in.Record) {
		return nil
	}
	d := stalled(v1alpha1.ReasonTooManyTokens, fmt.Sprintf(
		"No token is issued. TokenPolicy %q lets a user have %d tokens, and %s has %d or more; delete one that is not needed, and this one is issued.",
		by.Name, most, in.Resource.Spec.User.Username, most))
	d.After = waitForRoom
	return d
}

// HoldsToken reports whether a record, nil for none, has a token that has not ended.
func HoldsToken(rec *record.Record) bool {
	return rec != nil && rec.Current != nil && rec.EndOf(rec.Current.ID) == nil
}

// policyEnd is when policies stop the current token; nil where they do not, or where it has ended for good.
func policyEnd(in Input) *time.Time {
	if !HoldsToken(in.Record) {
		return nil
	}
	end, p := in.Policies.Limits.End(in.Record.Current.IssuedAt)
	if p == nil {
		return nil
	}
	return &end
}

// currentEnd is when the current token stops: by record, spec or policies.
func currentEnd(in Input) time.Time {
	return StopsAt(&in.Resource.Spec, in.Record.Current, in.Policies.Limits)
}

// previousEnd is when the predecessor stops: by record, spec or policies; nil without one.
func previousEnd(in Input) *time.Time {
	if in.Record == nil || in.Record.Previous == nil {
		return nil
	}
	end := StopsAt(&in.Resource.Spec, in.Record.Previous, in.Policies.Limits)
	return &end
}

// narrowed says what policies leave of the current token, as sentences with a leading space; "" if all of it.
func narrowed(in Input) string {
	text, n := "", 0
	for _, p := range in.Policies.Limits {
		if len(p.Spec.AllowedFrom) > 0 {
			if n++; n <= 5 { // A message has a longest length.
				text += fmt.Sprintf(" By TokenPolicy %q it works only through the proxy and only from %s.", p.Name, policy.List(p.Spec.AllowedFrom))
			}
		}
	}
	if n > 5 {
		text += fmt.Sprintf(" %d more TokenPolicies limit where it works from.", n-5)
	}
	if out := in.Policies.Limits.LeftOut(&in.Record.User); len(out) > 0 {
		text += fmt.Sprintf(" TokenPolicies leave out %d of its groups: %s.", len(out), policy.List(out))
	}
	return text
}
