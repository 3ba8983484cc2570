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
	"testing"
)

func TestCase70_TheAddressOfTheClient(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, tc := range []struct {
		name, peer, forwarded, want string
		byTrusted                   bool
	}{
		{"a stranger is not believed", "1.2.3.4:5", "9.9.9.9", "1.2.3.4", false},
		{"a trusted proxy is", "10.1.1.1:5", "9.9.9.9", "9.9.9.9", true},
		{"only from the right", "10.1.1.1:5", "6.6.6.6, 9.9.9.9, 10.2.2.2", "9.9.9.9", true},
		{"no header", "10.1.1.1:5", "", "10.1.1.1", true},
		{"garbage", "10.1.1.1:5", "garbage", "10.1.1.1", true},
		{"garbage before the address", "10.1.1.1:5", "garbage, 9.9.9.9", "9.9.9.9", true},
		{"IPv4 in IPv6 form", "[::1]:5", "::ffff:9.9.9.9", "9.9.9.9", true},
		{"a peer in IPv6 form", "[::ffff:10.1.1.1]:5", "9.9.9.9", "9.9.9.9", true},
		{"this machine is not trusted by default", "10.1.1.1:5", "127.0.0.1, 10.3.3.3", "127.0.0.1", true},
		{"a port", "10.1.1.1:5", "9.9.9.9:80", "10.1.1.1", true},
		{"a zone", "10.1.1.1:5", "fe80::1%eth0", "fe80::1", true},
	} {
		r := &http.Request{RemoteAddr: tc.peer, Header: http.Header{}}
		if tc.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tc.forwarded)
		}
		got := OriginOf(r, trusted)
		if forwarded := tc.byTrusted && netip.MustParseAddrPort(tc.peer).Addr().Unmap().String() != tc.want; got.Address.String() != tc.want ||
			got.ByTrusted != tc.byTrusted || got.Forwarded != forwarded {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
}
