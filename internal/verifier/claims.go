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

package verifier

import (
	"cmp"
	"iter"
	"slices"
)

// maxCompared is how many digests one verification computes at most.
const maxCompared = 64

// claims are the claims of one id.
type claims struct {
	// compared are claims with a digest in the order of byClaimant, at most maxCompared. Readers share the slice, so it is
	// replaced, never written to.
	compared []*claim
	// waiting are the claims with a digest that compared has no room for; none waits while there is room.
	waiting map[*claim]struct{}
	// ended and pending count the claims without a digest.
	ended, pending int32
}

// over reports whether every claim has ended.
func (a *claims) over() bool { return len(a.compared) == 0 && a.pending == 0 }

func (a *claims) empty() bool { return a.over() && a.ended == 0 }

// add inserts a claim; if the compared ones exceed their limit, it moves one of them to waiting.
func (a *claims) add(c *claim) {
	switch {
	case c == nil:
	case c.ended:
		a.ended++
	case c.digest.IsZero():
		a.pending++
	default:
		a.compared = with(a.compared, c)
		if len(a.compared) > maxCompared {
			out := displaced(a.compared)
			a.compared = without(a.compared, out)
			if a.waiting == nil {
				a.waiting = map[*claim]struct{}{}
			}
			a.waiting[out] = struct{}{}
		}
	}
}

func (a *claims) remove(c *claim) {
	switch {
	case c == nil:
	case c.ended:
		a.ended--
	case c.digest.IsZero():
		a.pending--
	default:
		if _, waits := a.waiting[c]; waits {
			delete(a.waiting, c)
		} else {
			a.compared = without(a.compared, c)
		}
	}
}

// promote gives room that has become free to any claim that waits: to search for the best one would cost more the more wait.
func (a *claims) promote() {
	if len(a.compared) < maxCompared {
		for c := range a.waiting {
			delete(a.waiting, c)
			a.compared = with(a.compared, c)
			break
		}
	}
	if len(a.waiting) == 0 {
		a.waiting = nil
	}
}

// displaced returns the claim that has to wait: the latest of the user with the most claims in the namespace with the most
// claims. So the first claim of a namespace has to wait only if maxCompared other namespaces have an earlier one.
func displaced(all []*claim) *claim {
	var out *claim
	var mostOfNamespace, mostOfUser int
	for ofNamespace := range runs(all, sameNamespace) {
		for ofUser := range runs(ofNamespace, sameUser) {
			latest := ofUser[len(ofUser)-1]
			if out == nil || cmp.Or(cmp.Compare(len(ofNamespace), mostOfNamespace), cmp.Compare(len(ofUser), mostOfUser),
				latest.since.Compare(out.since)) > 0 {
				out, mostOfNamespace, mostOfUser = latest, len(ofNamespace), len(ofUser)
			}
		}
	}
	return out
}

// byClaimant puts the claims of a namespace side by side, in it those of a user, the earliest first.
func byClaimant(a, b *claim) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.user.Username, b.user.Username), a.since.Compare(b.since))
}

func sameNamespace(a, b *claim) bool { return a.namespace == b.namespace }

func sameUser(a, b *claim) bool { return a.user.Username == b.user.Username }

// runs yields the longest runs of claims that are the same in some way.
func runs(all []*claim, same func(a, b *claim) bool) iter.Seq[[]*claim] {
	return func(yield func([]*claim) bool) {
		for len(all) > 0 {
			n := 1
			for n < len(all) && same(all[0], all[n]) {
				n++
			}
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}

func with(all []*claim, c *claim) []*claim {
	at, _ := slices.BinarySearchFunc(all, c, byClaimant)
	return slices.Concat(all[:at], []*claim{c}, all[at:])
}

func without(all []*claim, c *claim) []*claim {
	return slices.DeleteFunc(slices.Clone(all), func(other *claim) bool { return other == c })
}
