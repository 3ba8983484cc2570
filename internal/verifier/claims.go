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

import "slices"

// maxCompared is how many digests one verification computes at most.
const maxCompared = 64

// claims are the claims of one id.
type claims struct {
	// compared are claims with a digest, at most maxCompared. Readers share the slice, so it is replaced, never written to.
	compared []*claim
	// waiting are the claims with a digest that compared has no room for; none waits while there is room.
	waiting map[*claim]struct{}
	// ended and pending count the claims without a digest.
	ended, pending int32
}

// over reports whether every claim has ended.
func (a *claims) over() bool { return len(a.compared) == 0 && a.pending == 0 }

func (a *claims) empty() bool { return a.over() && a.ended == 0 }

// add takes a claim in; where there is no room for another, one of them has to wait.
func (a *claims) add(c *claim) {
	switch {
	case c == nil:
	case c.ended:
		a.ended++
	case c.digest.IsZero():
		a.pending++
	default:
		a.compared = slices.Concat(a.compared, []*claim{c})
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
			a.compared = slices.Concat(a.compared, []*claim{c})
			break
		}
	}
	if len(a.waiting) == 0 {
		a.waiting = nil
	}
}

// displaced returns the claim that has to wait: the latest of the user with the most claims in the namespace with the most
// claims. The first claim of a namespace therefore waits only while maxCompared other namespaces have an earlier one.
func displaced(all []*claim) *claim {
	crowd := most(all, func(c *claim) claimant { return claimant{namespace: c.namespace} })
	crowd = most(crowd, func(c *claim) claimant { return claimant{c.namespace, c.user.Username} })
	return slices.MaxFunc(crowd, func(a, b *claim) int { return a.since.Compare(b.since) })
}

type claimant struct{ namespace, username string }

// most returns the claims of whoever has the most of them.
func most(all []*claim, by func(*claim) claimant) []*claim {
	count, highest := make(map[claimant]int, len(all)), 0
	for _, c := range all {
		count[by(c)]++
		highest = max(highest, count[by(c)])
	}
	return slices.DeleteFunc(slices.Clone(all), func(c *claim) bool { return count[by(c)] < highest })
}

func without(all []*claim, c *claim) []*claim {
	return slices.DeleteFunc(slices.Clone(all), func(other *claim) bool { return other == c })
}
