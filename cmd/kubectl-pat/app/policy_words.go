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

package app

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// ended reports whether a token has ended for good.
func ended(pat *v1alpha1.PersonalAccessToken, now time.Time) bool {
	switch holder.StateOf(pat, now) {
	case holder.StateExpired, holder.StateRevoked, holder.StateDeleting:
		return true
	}
	return false
}

// matchWords says whose tokens a policy matches, and where.
func matchWords(p *policy.Policy) string {
	who, where := "everyone", ""
	if match := p.Spec.Match; match != nil {
		var subjects []string
		for _, s := range match.Subjects {
			switch s.Kind {
			case v1alpha1.SubjectServiceAccount:
				subjects = append(subjects, "service account "+s.Namespace+"/"+s.Name)
			default:
				subjects = append(subjects, strings.ToLower(s.Kind)+" "+s.Name)
			}
		}
		if len(subjects) > 0 {
			who = strings.Join(subjects, ", ")
		}
		if len(match.Namespaces) > 0 {
			where = " in " + strings.Join(match.Namespaces, ", ")
		}
	}
	var unknown []string
	for _, field := range p.Unknown {
		if strings.HasPrefix(field, "spec.match") {
			unknown = append(unknown, field)
		}
	}
	if len(unknown) > 0 {
		where += " (not understood, so it matches more: " + strings.Join(unknown, ", ") + ")"
	}
	return who + where
}

// limitWords says what a policy limits, a phrase for each limit.
func limitWords(p *policy.Policy) []string {
	var words []string
	if d := (policy.Limits{p}).Denial(); d != nil {
		words = append(words, "stopped: "+denialWords(d))
	}
	add := func(what string, names []string) {
		if len(names) > 0 {
			words = append(words, what+" "+strings.Join(names, ", "))
		}
	}
	if days := p.Spec.MaxLifetimeDays; days != nil {
		words = append(words, number(*days, "day")+" at most")
	}
	if tokens := p.Spec.MaxTokensPerUser; tokens != nil {
		words = append(words, number(*tokens, "token")+" for each user")
	}
	if p.Spec.RequireScopes && len(p.Spec.AllowedScopes) == 0 {
		words = append(words, "limited permissions only")
	}
	add("permissions", p.Spec.AllowedScopes)
	add("audiences", p.Spec.AllowedAudiences)
	add("delivery", p.Spec.AllowedDelivery)
	add("from", p.Spec.AllowedFrom)
	add("groups", p.Spec.AllowedGroups)
	return words
}

func number(n int32, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// denialWords is why a policy denies: the words of its administrators, or the fields that this version does not know.
func denialWords(d *policy.Denial) string {
	if len(d.Unknown) > 0 {
		return "this version of kubectl pat does not know " + strings.Join(d.Unknown, ", ")
	}
	return d.Reason
}

// effect says what a policy does to a token that it matches.
func effect(p *policy.Policy, pat *v1alpha1.PersonalAccessToken, now time.Time) string {
	limits := policy.Limits{p}
	if d := limits.Denial(); d != nil {
		return "stopped: " + denialWords(d)
	}
	token := policy.Token{Spec: &pat.Spec, IssuedAt: now}
	if pat.Status.IssuedAt != nil {
		token.IssuedAt = pat.Status.IssuedAt.Time
	}
	token.Ends = endFrom(pat, token.IssuedAt)
	if end, by := limits.End(token.IssuedAt); by != nil && pat.Status.ExpiresAt != nil && !token.Ends.Before(end) {
		// The end in status may be that of this very policy.
		asks := pat.DeepCopy()
		asks.Status.ExpiresAt = nil
		token.Ends = endFrom(asks, token.IssuedAt)
	}
	var words []string
	if end, by := limits.End(token.IssuedAt); by != nil && pat.Status.IssuedAt != nil && token.Ends.After(end) {
		word := "ends "
		if !end.After(now) {
			word = "stopped: it has ended "
		}
		words = append(words, word+untilOrAgo(&metav1.Time{Time: end}, now))
	}
	var refused []string
	for _, r := range limits.Refusals(token) {
		field, _, _ := strings.Cut(r.Field, "[")
		switch field {
		case "from":
			words = append(words, "only from "+strings.Join(p.Spec.AllowedFrom, ", "))
		case "expiresAt", "expiresInDays":
			field = "lifetime"
		case "audiences":
			if len(pat.Spec.Audiences) == 0 {
				field = "audiences, unless the API server's own are allowed"
			}
		}
		refused = append(refused, field)
	}
	if user := pat.Spec.User; user != nil {
		if lost := limits.LeftOut(user); len(lost) > 0 {
			words = append(words, "without groups "+strings.Join(lost, ", "))
		}
	}
	if len(refused) > 0 {
		words = append(words, "refused if new: "+strings.Join(refused, ", "))
	}
	if len(words) == 0 {
		return "keeps to it"
	}
	return strings.Join(words, "; ")
}

// endFrom is when a token ends that was issued at a time, by status or by what spec asks for.
func endFrom(pat *v1alpha1.PersonalAccessToken, issued time.Time) time.Time {
	switch days := pat.Spec.ExpiresInDays; {
	case end(pat) != nil:
		return end(pat).Time
	case days != nil:
		return issued.Add(time.Duration(*days) * v1alpha1.Day)
	}
	return issued.Add(v1alpha1.DefaultExpiresInDays * v1alpha1.Day)
}
