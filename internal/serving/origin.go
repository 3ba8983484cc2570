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

package serving

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Origin is where a request comes from.
type Origin struct {
	// Address is the client's, as far as known.
	Address netip.Addr
	// ByTrusted reports that a trusted proxy has sent the request, and Forwarded that it says for whom.
	ByTrusted, Forwarded bool
}

// OriginOf returns where a request comes from. X-Forwarded-For counts only as far as trusted proxies have written it: from the
// right, until the first address that is not one of theirs.
func OriginOf(r *http.Request, trusted []netip.Prefix) Origin {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return Origin{}
	}
	o := Origin{Address: Canonical(peer.Addr())}
	o.ByTrusted = InAny(o.Address, trusted)
	forwarded := r.Header["X-Forwarded-For"]
	if len(forwarded) == 0 {
		return o
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !InAny(o.Address, trusted) {
			break
		}
		address, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		o.Address, o.Forwarded = Canonical(address), true
	}
	return o
}

// Source is whom the origin counts for: an IPv4 address or an IPv6 /64.
func (o Origin) Source() netip.Prefix {
	source, _ := o.Address.Prefix(min(o.Address.BitLen(), 64)) // fails only for more bits than an address has
	return source
}
