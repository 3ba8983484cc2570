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
	"net/netip"
	"slices"
)

// Networks are where requests with a token may come from, by its record, by its spec and by each policy: an address must be in all
// of them. Nil is everywhere.
type Networks struct {
	record, spec []netip.Prefix
	policies     [][]netip.Prefix
}

// Allow reports whether requests may come from an address. An IPv4 address is the same in IPv6 form.
func (n *Networks) Allow(address netip.Addr) bool {
	if n == nil {
		return true
	}
	address = address.Unmap().WithZone("")
	outside := func(list []netip.Prefix) bool {
		return list != nil && !slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(address) })
	}
	return address.IsValid() && !outside(n.record) && !outside(n.spec) && !slices.ContainsFunc(n.policies, outside)
}

func (n *Networks) equal(other *Networks) bool {
	if n == nil || other == nil {
		return n == other
	}
	return slices.Equal(n.record, other.record) && slices.Equal(n.spec, other.spec) &&
		slices.EqualFunc(n.policies, other.policies, slices.Equal)
}
