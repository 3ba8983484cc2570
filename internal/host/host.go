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

// Package host checks the names and addresses of hosts.
package host

import (
	"net/netip"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Valid reports whether a text is an IP address without a zone, or a DNS name. A name that ends with a number is a mistyped
// address.
func Valid(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Zone() == ""
	}
	last := name[strings.LastIndex(name, ".")+1:]
	return strings.Trim(last, "0123456789") != "" && len(validation.IsDNS1123Subdomain(name)) == 0
}

// Server reports whether a text is https://HOST[:PORT]. Many clients lose a path.
func Server(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && Valid(strings.ToLower(u.Hostname())) && u.User == nil && strings.Trim(u.Path, "/") == "" &&
		u.RawQuery == "" && !u.ForceQuery && !strings.Contains(text, "#") && !strings.HasSuffix(u.Host, ":")
}
