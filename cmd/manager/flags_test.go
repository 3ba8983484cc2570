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

package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// values are, for each flag of a command that serves, some that it takes and some that can never work. Those of the console
// are tried with a console that is on.
var values = map[string]struct{ good, bad []string }{
	"kubeconfig":                          {nil, []string{"/no/such"}},
	"operator-namespace":                  {[]string{"pat-operator-system", "tokens"}, []string{"", "A", "a.b", "a/b", strings.Repeat("a", 64)}},
	"records-namespace":                   {[]string{"pat-operator-records", "records"}, []string{"", "A B", "pat-operator-system"}},
	"health-probe-bind-address":           {[]string{":8081", "0", "127.0.0.1:0", "[::1]:8081"}, []string{"", "8081", ":99999", "10.0.0.300:8081", ":http!", "a b:1"}},
	"metrics-bind-address":                {[]string{"0", ":8443", "localhost:8443"}, []string{"", "8443", ":-1", "10.0.0.300:8443"}},
	"audit-log":                           {[]string{"off", "-"}, []string{"", "/var/log/"}},
	"serving-host":                        {[]string{"pat.example.com", "10.0.0.30", "2001:db8::1", "a,10.0.0.30", ""}, []string{"10.0.0.300", "a_b", "https://pat.example.com", "pat.example.com:9443", "fe80::1%eth0", "a b"}},
	"max-clock-skew":                      {[]string{"1m", "2s"}, []string{"", "1", "1s", "-1m", "a minute"}},
	"zap-log-level":                       {[]string{"debug", "info", "error", "panic", "1", "7"}, []string{"", "0", "8", "129", "200", "trace"}},
	"zap-devel":                           {[]string{"false", "true"}, []string{"", "yes please"}},
	"zap-encoder":                         {[]string{"json", "console"}, []string{"", "xml"}},
	"zap-stacktrace-level":                {[]string{"info", "error", "panic"}, []string{"", "1", "debug"}},
	"zap-time-encoding":                   {[]string{"epoch", "millis", "nanos", "iso8601", "rfc3339", "rfc3339nano"}, []string{"", "nano"}},
	"admission-bind-address":              {[]string{":9443", "0.0.0.0:9443"}, []string{"", "0", "9443", "10.0.0.300:9443", ":65536"}},
	"leader-elect":                        {[]string{"true", "false"}, []string{"", "maybe"}},
	"secret-delivery":                     {[]string{"true", "false"}, []string{"", "never"}},
	"managed-impersonation":               {[]string{"true", "false"}, []string{"", "always"}},
	"require-scopes":                      {[]string{"true", "false"}, []string{"", "always"}},
	"max-lifetime":                        {[]string{"8784h", "24h", "87840h"}, []string{"", "366", "366d", "23h59m", "87841h"}},
	"policies":                            {[]string{"true", "false"}, []string{"", "some"}},
	"expiry-warnings":                     {[]string{"168h,24h", "", "1h"}, []string{"7d", "0s", "24h,-1h", "none"}},
	"restricting-extra-keys":              {[]string{"scopes.authorization.openshift.io", "", "example.com/Limit,a"}, []string{"a b", "a,,b", "a/b/c", "schlüssel"}},
	"binding-groups":                      {[]string{"contractors", "vendor-*", "CN=contractors,OU=ext,DC=example", "*,OU=ext", "/oidc/a b"}, []string{"", "contractors,vendor-*", "a-*,b-*", "CN=a,b", "a=b,", "a,,b"}},
	"verifier-bind-address":               {[]string{":9444"}, []string{"", "0", "9444", "host:", "10.0.0.300:9444"}},
	"max-staleness":                       {[]string{"1m", "20s"}, []string{"", "60", "19s", "-1m"}},
	"kube-apiservers":                     {[]string{"10.0.0.1:6443,10.0.0.2:6443", "[2001:db8::1]:443"}, []string{"10.0.0.1", ":6443", "https://10.0.0.1:6443"}},
	"scoped-tokens-trust-path":            {[]string{"true"}, []string{"", "maybe"}},
	"last-used-rate":                      {[]string{"10", "0", "1000"}, []string{"", "1001", "-1", "ten"}},
	"api-audiences":                       {[]string{"", "https://kubernetes.default.svc", "a,b"}, []string{"a,,b"}},
	"upstream-token-webhook-kubeconfig":   {[]string{""}, []string{"/no/such"}},
	"upstream-token-webhook-timeout":      {[]string{"10s", "1s"}, []string{"", "10", "999ms", "11s", "0"}},
	"verifier-client-ca-file":             {[]string{""}, nil},
	"admission-client-ca-file":            {[]string{""}, nil},
	"console-bind-address":                {[]string{"0", ":9445"}, []string{"", "9445", "10.0.0.300:9445"}},
	"console-url":                         {[]string{"https://tokens.example.com", "https://10.0.0.30:8443"}, []string{"", "http://tokens.example.com", "https://10.0.0.300", "tokens.example.com"}},
	"console-oidc-issuer-url":             {[]string{"https://login.example.com/realms/a"}, []string{"login.example.com", "http://login.example.com", "https://10.0.0.300", "https://login.example.com?a=b"}},
	"console-oidc-client-id":              {[]string{"pat"}, []string{""}},
	"console-oidc-client-secret-file":     {[]string{"", "/run/secret"}, nil},
	"console-oidc-ca-file":                {[]string{"", "/run/ca.crt"}, nil},
	"console-oidc-scopes":                 {[]string{"profile,email,groups", ""}, nil},
	"console-proxy-authorization":         {[]string{"false"}, []string{"", "true", "nginx"}}, // true goes with no issuer
	"console-oidc-name":                   {[]string{"", "Example Login"}, nil},
	"console-api-server-url":              {[]string{"", "https://kubernetes.example.com:6443", "https://10.0.0.30/k8s/a"}, []string{"kubernetes.example.com", "http://kubernetes.example.com", "https://10.0.0.300", "https://a;b", "https://a/$(b)", "https://a/?b"}},
	"console-api-server-ca-file":          {[]string{""}, nil},
	"last-used-from":                      {[]string{"true", "false"}, []string{"", "sometimes"}},
	"proxy-bind-address":                  {[]string{":6443"}, []string{"", "0", "6443", "10.0.0.300:6443"}},
	"proxy-external-url":                  {[]string{"https://pat.example.com", "https://10.0.0.30:6443/", "https://[2001:db8::1]"}, []string{"", "http://pat.example.com", "https://pat.example.com/k8s", "https://10.0.0.300", "pat.example.com", "https://u:p@pat.example.com", "https://pat.example.com?a"}},
	"proxy-tls-cert-file":                 {[]string{""}, []string{"/tls.crt"}}, // goes with a key
	"proxy-tls-key-file":                  {[]string{""}, []string{"/tls.key"}},
	"proxy-trusted-proxies":               {[]string{"", "10.0.0.0/8,2001:db8::/32"}, []string{"10.0.0.1", "10.0.0.1/8", "::ffff:10.0.0.0/104", "anywhere"}},
	"proxy-protocol":                      {[]string{"false"}, []string{"", "maybe", "true"}}, // true goes with trusted proxies
	"proxy-upstream":                      {[]string{"", "https://10.0.0.1:6443"}, []string{"http://10.0.0.1", "https://10.0.0.1/k8s", "10.0.0.1:6443"}},
	"proxy-impersonator":                  {[]string{"pat-operator-impersonator"}, []string{"", "a/b", "A"}},
	"proxy-max-connections":               {[]string{"8192", "2"}, []string{"", "1", "-1", "many", "1048577"}},
	"proxy-max-requests":                  {[]string{"8192", "2"}, []string{"", "1", "-1", "many", "1048577"}},
	"proxy-max-requests-per-token":        {[]string{"1000", "2"}, []string{"", "1", "-1", "many", "1048577"}},
	"proxy-max-session":                   {[]string{"0", "12h"}, []string{"", "-1s", "12"}},
	"proxy-drain-delay":                   {[]string{"30s", "0"}, []string{"", "-1s", "30"}},
	"proxy-drain":                         {[]string{"1m", "0"}, []string{"", "-1s", "60"}},
	"proxy-audit-log":                     {[]string{"-", "off"}, []string{"", "/var/log/"}},
	"proxy-unlisted-groups":               {[]string{"refuse", "drop"}, []string{"", "ignore", "Drop"}},
	"proxy-allow-unlimited-impersonation": {[]string{"false", "true"}, []string{"", "maybe"}},
	"faces":                               {[]string{"tokenreview", "tokenreview,tokenreview"}, []string{"", "proxy", "tokenreview,"}},
	"api-bind-address":                    {[]string{":9446"}, []string{"", "0", "9446", "10.0.0.300:9446"}},
	"api-external-url":                    {[]string{"https://pat.example.com", "https://10.0.0.30:9446/"}, []string{"", "http://pat.example.com", "https://pat.example.com/api", "https://10.0.0.300", "pat.example.com"}},
	"api-audience":                        {[]string{"pat-operator-api", "https://pat.example.com"}, []string{""}},
	"api-trusted-proxies":                 {[]string{"", "10.0.0.0/8,2001:db8::/32"}, []string{"10.0.0.1", "10.0.0.1/8", "anywhere"}},
	"api-client-ca-file":                  {[]string{""}, nil},
	"api-tls-cert-file":                   {[]string{""}, []string{"/tls.crt"}}, // goes with a key
	"api-tls-key-file":                    {[]string{""}, []string{"/tls.key"}},
	"introspection-max-age":               {[]string{"1m", "5s", "1h"}, []string{"", "60", "0s", "4.999s", "61m"}},
	"revoke-rate":                         {[]string{"10", "1"}, []string{"", "0", "-1", "1001"}},
	"console-namespaces":                  {[]string{"", "people,team-a"}, []string{"A", "a,,b"}},
}

// started is how far a command gets whose flags can be.
const started = "no way to the cluster"

// tried runs a command with a flag on top of others that are right.
func tried(t *testing.T, command, flag, value string) error {
	t.Helper()
	args := []string{command, "--kubeconfig=/no/such"}
	if strings.HasPrefix(flag, "console-") {
		args = append(args, "--console-bind-address=:9445", "--console-url=https://tokens.example.com",
			"--console-oidc-issuer-url=https://login.example.com", "--console-oidc-client-id=pat")
	}
	if strings.HasPrefix(flag, "api-") && flag != "api-audiences" || flag == "introspection-max-age" || flag == "revoke-rate" {
		args = append(args, "--faces=tokenreview,api")
		if flag != "api-external-url" {
			args = append(args, "--api-external-url=https://pat.example.com")
		}
	}
	if command == "proxy" && flag != "proxy-external-url" {
		args = append(args, "--proxy-external-url=https://pat.example.com")
	}
	return run(t.Context(), append(args, "--"+flag+"="+value), &bytes.Buffer{}, &bytes.Buffer{})
}

// Each documented flag takes the values that the documentation names, and none that can never work.
func TestCase60_EachDocumentedValue(t *testing.T) {
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| (both|operator|verifier|proxy|verifier, proxy) \\| (?:`([^`]*)`)? ?\\|").FindAllStringSubmatch(string(docs), -1) {
		flag, of, value := row[1], row[2], row[3]
		documented[flag] = true
		commands := map[string][]string{
			"both": {"operator", "proxy", "run"}, "operator": {"operator", "run"}, "verifier": {"verifier", "run"}, "proxy": {"proxy"},
			"verifier, proxy": {"verifier", "proxy", "run"},
		}[of]
		tests, ok := values[flag]
		if !ok {
			t.Errorf("no value of --%s is tried", flag)
		}
		if flag != "console-url" && flag != "console-oidc-issuer-url" && flag != "console-oidc-client-id" && flag != "proxy-external-url" && flag != "api-external-url" && flag != "binding-groups" {
			tests.good = append(tests.good, value)
		}
		if value == "" && regexp.MustCompile("^(zap|max|leader)").MatchString(flag) {
			t.Errorf("--%s has no default", flag)
		}
		for _, command := range commands {
			for _, value := range tests.good {
				if err := tried(t, command, flag, value); err == nil || !strings.HasPrefix(err.Error(), started) {
					t.Errorf("manager %s --%s=%s: %v", command, flag, value, err)
				}
			}
			for _, value := range tests.bad {
				err := tried(t, command, flag, value)
				if err == nil || strings.HasPrefix(err.Error(), started) != (flag == "kubeconfig") || !strings.Contains(err.Error(), "--"+flag) {
					t.Errorf("manager %s --%s=%s: %v", command, flag, value, err)
				}
			}
		}
	}
	for flag := range values {
		if !documented[flag] {
			t.Errorf("--%s is tried and not documented", flag)
		}
	}
}

// What is refused names a value that is taken.
func TestCase60_ARefusalNamesAnExample(t *testing.T) {
	example := regexp.MustCompile(`--([a-z-]+)=(\S+?)(?: or |$)`)
	for flag, tests := range values {
		command := "verifier"
		if strings.Contains("admission-bind-address leader-elect secret-delivery managed-impersonation require-scopes expiry-warnings restricting-extra-keys binding-groups", flag) {
			command = "operator"
		}
		if strings.HasPrefix(flag, "proxy-") || flag == "last-used-from" {
			command = "proxy"
		}
		for _, value := range tests.bad {
			if strings.HasPrefix(flag, "proxy-tls-") || strings.HasPrefix(flag, "api-tls-") || strings.HasSuffix(flag, "kubeconfig") || flag == "console-oidc-client-id" || flag == "console-proxy-authorization" && value == "true" {
				continue // no one value is right
			}
			err := tried(t, command, flag, value)
			if err == nil {
				t.Errorf("--%s=%s is taken", flag, value)
				continue
			}
			named := example.FindAllStringSubmatch(err.Error(), -1)
			if len(named) == 0 {
				t.Errorf("--%s=%s: no example in %q", flag, value, err)
			}
			for _, m := range named {
				if err := tried(t, command, m[1], m[2]); err == nil || !strings.HasPrefix(err.Error(), started) {
					t.Errorf("--%s=%s: the example %s is refused: %v", flag, value, m[0], err)
				}
			}
		}
	}
}

// An empty list of warnings is one, and a later value replaces it.
func TestCase60_NoExpiryWarnings(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want int
	}{{nil, 2}, {[]string{"--expiry-warnings="}, 0}, {[]string{"--expiry-warnings=", "--expiry-warnings=1h"}, 1}, {[]string{"--expiry-warnings=1h", "--expiry-warnings="}, 0}} {
		o, fs := &operatorOptions{}, pflag.NewFlagSet("", pflag.ContinueOnError)
		o.bind(fs)
		if err := fs.Parse(tc.args); err != nil || len(o.expiryWarnings) != tc.want {
			t.Errorf("%v: %v, %v; want %d", tc.args, o.expiryWarnings, err, tc.want)
		}
	}
}

func TestBindingGroupsNeedPolicies(t *testing.T) {
	for _, command := range []string{"operator", "run"} {
		err := run(t.Context(), []string{command, "--kubeconfig=/no/such", "--policies=false", "--binding-groups=contractors"}, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || !strings.HasPrefix(err.Error(), "--binding-groups does nothing with --policies=false") {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestEachBindingGroupIsOneFlag(t *testing.T) {
	o, fs := &operatorOptions{}, pflag.NewFlagSet("", pflag.ContinueOnError)
	o.bind(fs)
	if err := fs.Parse([]string{"--binding-groups=CN=contractors,OU=ext,DC=example", "--binding-groups=vendor-*", `--binding-groups="a"`}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"CN=contractors,OU=ext,DC=example", "vendor-*", `"a"`}; !slices.Equal(o.bindingGroups, want) {
		t.Errorf("the groups are %q, want %q", o.bindingGroups, want)
	}
	for value, want := range map[string]string{
		"": "--binding-groups has an empty one; set it once for each, as --binding-groups=contractors --binding-groups=vendor-*",
		"a,b-*": `--binding-groups "a,b-*" seems to be a list, and would match no group; write * for a comma in a name, ` +
			"and set it once for each, as --binding-groups=contractors --binding-groups=vendor-*",
	} {
		err := run(t.Context(), []string{"operator", "--kubeconfig=/no/such", "--binding-groups=contractors", "--binding-groups=" + value}, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
}
