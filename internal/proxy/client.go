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

package proxy

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/pat-operator/pat-operator/internal/serving"
)

// clientOf returns where a request comes from. X-Forwarded-For counts only as far as trusted proxies have written it: from the
// right, until the first address that is not one of theirs.
func clientOf(r *http.Request, trusted []netip.Prefix) (client netip.Addr, byTrusted bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	client = serving.Canonical(peer.Addr())
	byTrusted = serving.InAny(client, trusted)
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !serving.InAny(client, trusted) {
			break
		}
		address, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		client = serving.Canonical(address)
	}
	return client, byTrusted
}

// sourceOf is whom an address counts for: an IPv4 address or an IPv6 /64.
func sourceOf(address netip.Addr) netip.Prefix {
	source, _ := address.Prefix(min(address.BitLen(), 64)) // fails only for more bits than an address has
	return source
}
