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

package host

import "testing"

func TestCase60_AMistypedAddressIsNoHost(t *testing.T) {
	for name, want := range map[string]bool{
		"10.0.0.30": true, "2001:db8::1": true, "localhost": true, "api.example.com": true, "xn--bcher-kva.example": true, "3com.example": true,
		"": false, "10.0.0.300": false, "10.0.0": false, "300": false, "10.0.0.99999999999999999999": false, "fe80::1%eth0": false,
		"a_b": false, "A.example.com": false, "a b": false, ":9443": false, "example.com.": false, "*.example.com": false,
	} {
		if got := Valid(name); got != want {
			t.Errorf("%q: %t; want %t", name, got, want)
		}
	}
}

func TestAServerIsHTTPSWithoutAPath(t *testing.T) {
	for text, want := range map[string]bool{
		"https://pat.example.com": true, "https://pat.example.com/": true, "https://10.0.0.1:6443": true, "https://[2001:db8::1]:6443": true, "https://PAT.example.com": true,
		"": false, "pat.example.com": false, "http://pat.example.com": false, "https://pat.example.com/api": false, "https://me@pat.example.com": false,
		"https://pat.example.com:": false, "https://pat.example.com?": false, "https://pat.example.com?a": false, "https://pat.example.com#": false, "https://10.0.0.300": false, "https:": false,
	} {
		if got := Server(text); got != want {
			t.Errorf("%q: %t; want %t", text, got, want)
		}
	}
}
