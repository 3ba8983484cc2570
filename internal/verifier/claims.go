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
	"time"
)

// maxCompared is how many digests one verification computes at most.
const maxCompared = 64

// indexEntries are the index entries of one id.
type indexEntries struct {
	// compared are entries with a digest in the order of byClaimant, at most maxCompared. Readers share the slice, so it is
	// replaced, never written to.
	compared []*indexEntry
	// waiting are the entries with a digest that do not fit into compared; it is empty while compared has room.
	waiting map[*indexEntry]struct{}
	// ended and pending count the entries without a digest.
	ended, pending int32
}

// allEnded reports whether every entry has ended.
func (a *indexEntries) allEnded() bool { return len(a.compared) == 0 && a.pending == 0 }

func (a *indexEntries) empty() bool { return a.allEnded() && a.ended == 0 }

// add inserts an entry; if the compared ones exceed their limit, it moves one of them to waiting.
func (a *indexEntries) add(c *indexEntry) {
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
				a.waiting = map[*indexEntry]struct{}{}
			}
			a.waiting[out] = struct{}{}
		}
	}
}

func (a *indexEntries) remove(c *indexEntry) {
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

// promote moves any waiting entry into free room: a search for the best one would cost more the more of them wait.
func (a *indexEntries) promote() {
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

// displaced returns the entry that has to wait: the latest of the user with the most entries in the namespace with the most
// entries. So the first entry of a namespace has to wait only if maxCompared other namespaces have an earlier one.
func displaced(all []*indexEntry) *indexEntry {
	var out *indexEntry
	var mostOfNamespace, mostOfUser int
	for ofNamespace := range runs(all, sameNamespace) {
		for ofUser := range runs(ofNamespace, sameUser) {
			latest := ofUser[len(ofUser)-1]
			if out == nil || cmp.Or(cmp.Compare(len(ofNamespace), mostOfNamespace), cmp.Compare(len(ofUser), mostOfUser),
				latest.since().Compare(out.since())) > 0 {
				out, mostOfNamespace, mostOfUser = latest, len(ofNamespace), len(ofUser)
			}
		}
	}
	return out
}

// byClaimant orders entries by namespace, then by user, the earliest first.
func byClaimant(a, b *indexEntry) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.user.Username, b.user.Username), a.since().Compare(b.since()))
}

// since orders the entries of an id. It is zero if the operator made the token, because then no user could choose its id.
func (c *indexEntry) since() time.Time {
	if c.ofHolder {
		return c.issuedAt
	}
	return time.Time{}
}

func sameNamespace(a, b *indexEntry) bool { return a.namespace == b.namespace }

func sameUser(a, b *indexEntry) bool { return a.user.Username == b.user.Username }

// runs yields the longest runs of adjacent entries that are the same in some way.
func runs(all []*indexEntry, same func(a, b *indexEntry) bool) iter.Seq[[]*indexEntry] {
	return func(yield func([]*indexEntry) bool) {
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

func with(all []*indexEntry, c *indexEntry) []*indexEntry {
	at, _ := slices.BinarySearchFunc(all, c, byClaimant)
	return slices.Concat(all[:at], []*indexEntry{c}, all[at:])
}

func without(all []*indexEntry, c *indexEntry) []*indexEntry {
	return slices.DeleteFunc(slices.Clone(all), func(other *indexEntry) bool { return other == c })
}
