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

package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// limits returns the TokenPolicies for a new token of the visitor. They are for the form: admission decides. It returns none where
// the groups cannot be found out.
func (c *Console) limits(ctx context.Context, v *visitor, namespace string) policy.Limits {
	if c.policies == nil {
		return nil
	}
	if v.groups == nil {
		review := &authenticationv1.SelfSubjectReview{}
		if err := v.client.Create(ctx, review); err != nil {
			return nil
		}
		v.groups = append([]string{}, review.Status.UserInfo.Groups...)
	}
	return c.policies(namespace, &v1alpha1.UserInfo{Username: v.User, Groups: v.groups})
}

// longest returns the longest lifetime of a token.
func (c *Console) longest(limits policy.Limits) time.Duration {
	now := c.clock.Now()
	if end, by := limits.End(now); by != nil {
		return min(c.maxLife, end.Sub(now))
	}
	return c.maxLife
}

// sayLimits narrows what a form offers to what policies allow, and says what it cannot narrow.
func sayLimits(f *page.Form, limits policy.Limits) {
	if d := limits.Denial(); d != nil {
		f.Limits = append(f.Limits, "No token can be created: "+holder.Visible(strings.TrimRight(reasonOf(d), ".")+"."))
		return
	}
	for _, p := range limits {
		spec := &p.Spec
		f.Scoped = f.Scoped || spec.RequireScopes || len(spec.AllowedScopes) > 0
		if len(spec.AllowedScopes) > 0 {
			f.Presets = common(f.Presets, spec.AllowedScopes)
		}
		if len(spec.AllowedAudiences) > 0 {
			f.Limits = append(f.Limits, "A token is for these APIs only: "+holder.Visible(policy.List(spec.AllowedAudiences))+".")
		}
		if len(spec.AllowedFrom) > 0 {
			f.Limits = append(f.Limits, "A token works only from "+policy.List(spec.AllowedFrom)+", and has to say so: name its networks below.")
			if f.MoreOpen = true; f.Networks == "" {
				f.Networks = strings.Join(spec.AllowedFrom, "\n")
			}
		}
		if len(spec.AllowedDelivery) > 0 && !slices.Contains(spec.AllowedDelivery, v1alpha1.DeliveryByHolder) {
			text := "A token comes only in a Secret, which this page cannot ask for: use kubectl."
			if slices.Contains(spec.AllowedDelivery, v1alpha1.DeliveryToRecipients) {
				f.MoreOpen, text = true, "A token has to be encrypted: name its recipients below."
			}
			f.Limits = append(f.Limits, text)
		}
	}
	if most, by := limits.MaxTokens(); by != nil {
		f.Limits = append(f.Limits, fmt.Sprintf("A user has %d tokens at most.", most))
	}
	if choices := f.Choices(); len(choices) > 0 && f.Errors[fieldPermissions] == "" &&
		!slices.ContainsFunc(choices, func(p page.Permission) bool { return p.Value == f.Permissions }) {
		f.Permissions = choices[0].Value
	}
}

// common returns what two lists have in common; a nil one stands for everything.
func common(a, b []string) []string {
	if a == nil {
		return b
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// reasonOf is why a policy denies, for people.
func reasonOf(d *policy.Denial) string {
	if len(d.Unknown) > 0 {
		return "a limit that this version does not know"
	}
	return d.Reason
}

// explainStopped says why policies stop a token, and reports whether a new one would work.
func (c *Console) explainStopped(d *page.Details, pat *v1alpha1.PersonalAccessToken) (again bool) {
	if c.policies == nil || pat.Spec.User == nil {
		return false
	}
	limits := c.policies(pat.Namespace, pat.Spec.User)
	if denial := limits.Denial(); denial != nil {
		d.Stopped, d.Policy = holder.Visible(reasonOf(denial)), denial.Policy
		return false
	}
	end, by := limits.End(d.Issued)
	if by == nil || d.Issued.IsZero() || c.clock.Now().Before(end) {
		return false // status lags behind, or this process does
	}
	d.Stopped, d.Policy = fmt.Sprintf("tokens live %d days at most here.", *by.Spec.MaxLifetimeDays), by.Name
	return true
}
