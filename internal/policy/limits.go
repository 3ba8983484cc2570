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
	"net/netip"
	"slices"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Limits are the policies that match a token, in the order of their names; none limit nothing. Each counts, so the strictest
// of each limit does.
type Limits []*Policy

// Denial is why a token does not work.
type Denial struct {
	// Policy is the name of the TokenPolicy.
	Policy string
	// Reason is in the words of the policy; empty where Unknown says it.
	Reason string
	// Unknown are the fields that this program does not know.
	Unknown []string
}

// Denial is the first one, those first that are meant as one; nil where no policy denies.
func (l Limits) Denial() *Denial {
	for _, p := range l {
		if p.Spec.Deny != nil {
			return &Denial{Policy: p.Name, Reason: p.Spec.Deny.Reason}
		}
	}
	for _, p := range l {
		if p.denies {
			return &Denial{Policy: p.Name, Unknown: p.Unknown}
		}
	}
	return nil
}

// End is when a token that was issued at issuedAt ends at the latest, and by which policy; nil where no policy says so.
func (l Limits) End(issuedAt time.Time) (time.Time, *Policy) {
	p := l.fewest(func(p *Policy) *int32 { return p.Spec.MaxLifetimeDays })
	if p == nil {
		return time.Time{}, nil
	}
	return issuedAt.Add(time.Duration(*p.Spec.MaxLifetimeDays) * v1alpha1.Day), p
}

// MaxTokens is how many tokens the user may have that have not ended, and by which policy; nil where no policy says so.
func (l Limits) MaxTokens() (int, *Policy) {
	p := l.fewest(func(p *Policy) *int32 { return p.Spec.MaxTokensPerUser })
	if p == nil {
		return 0, nil
	}
	return int(*p.Spec.MaxTokensPerUser), p
}

// fewest is the policy with the smallest number.
func (l Limits) fewest(number func(*Policy) *int32) *Policy {
	var found *Policy
	for _, p := range l {
		if n := number(p); n != nil && (found == nil || *n < *number(found)) {
			found = p
		}
	}
	return found
}

// Networks are lists of networks; an address must be in each list. Nil is everywhere.
func (l Limits) Networks() [][]netip.Prefix {
	var all [][]netip.Prefix
	for _, p := range l {
		if len(p.from) > 0 {
			all = append(all, p.from)
		}
	}
	return all
}

// LeftOut are those of a user's groups that a token may not give.
func (l Limits) LeftOut(u *v1alpha1.UserInfo) []string {
	left := l.Groups(u)
	return slices.DeleteFunc(slices.Clone(u.Groups), func(group string) bool { return slices.Contains(left, group) })
}

// Groups are those of a user's groups that a token may give.
func (l Limits) Groups(u *v1alpha1.UserInfo) []string {
	groups := u.Groups
	for _, p := range l {
		if len(p.Spec.AllowedGroups) == 0 {
			continue
		}
		stay := impliedGroups(u)
		groups = slices.DeleteFunc(slices.Clone(groups), func(group string) bool {
			return !slices.Contains(p.Spec.AllowedGroups, group) && !slices.Contains(stay, group)
		})
	}
	return groups
}
