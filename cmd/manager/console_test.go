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
	"testing"

	"github.com/spf13/pflag"
)

// Browsers leave the default port out of Origin, and write hosts in one way: a console that expected another would refuse
// every form.
func TestTheConsolesURLIsWrittenAsBrowsersDo(t *testing.T) {
	const wrong = ""
	for given, want := range map[string]string{
		"https://tokens.example.com":      "https://tokens.example.com",
		"https://tokens.example.com/":     "https://tokens.example.com",
		"https://Tokens.Example.COM":      "https://tokens.example.com",
		"HTTPS://tokens.example.com":      "https://tokens.example.com",
		"https://tokens.example.com:443":  "https://tokens.example.com",
		"https://tokens.example.com:0443": "https://tokens.example.com",
		"https://tokens.example.com:":     "https://tokens.example.com",
		"https://tokens.example.com:8443": "https://tokens.example.com:8443",
		"https://localhost:30443/":        "https://localhost:30443",
		"https://192.0.2.1:443":           "https://192.0.2.1",
		"https://[2001:DB8:0::1]:443":     "https://[2001:db8::1]",
		"https://[::1]:8443":              "https://[::1]:8443",

		"":                                   wrong,
		"tokens.example.com":                 wrong,
		"http://tokens.example.com":          wrong,
		"https://":                           wrong,
		"https://:443":                       wrong,
		"https://tokens.example.com:99999":   wrong,
		"https://tokens.example.com:0":       wrong,
		"https://tokens.example.com/console": wrong,
		"https://tokens.example.com?":        wrong,
		"https://tokens.example.com?a=b":     wrong,
		"https://tokens.example.com#a":       wrong,
		"https://alice@tokens.example.com":   wrong,
		"https://münchen.example.com":        wrong,
		"https://a b":                        wrong,
		"https://10.0.0.300":                 wrong,
		"https://*.example.com":              wrong,
		"https://[fe80::1%25eth0]":           wrong,
	} {
		at, err := (&consoleOptions{url: given}).origin()
		switch {
		case want == wrong && err == nil:
			t.Errorf("%q becomes %s; it is to be refused", given, at)
		case want != wrong && (err != nil || at.String() != want):
			t.Errorf("%q becomes %v, %v; want %s", given, at, err, want)
		}
	}
}

func TestTheConsolesFlagsAreChecked(t *testing.T) {
	const url = "--console-url=https://tokens.example.com"
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"on, with a token": {[]string{url}, ""},
		"on, with an issuer": {
			[]string{url, "--console-oidc-issuer-url=https://login.example.com", "--console-oidc-client-id=c", "--console-oidc-client-secret-file=f", "--console-oidc-ca-file=f"}, "",
		},
		"on, behind a proxy": {[]string{url, "--console-proxy-authorization", "--console-namespaces=people,team-a"}, ""},
		"off":                {[]string{"--console-bind-address=0", "--console-url=nonsense"}, ""},
		"no address":         {[]string{url, "--console-bind-address=9445"}, `--console-bind-address "9445" is not [HOST]:PORT; set it as --console-bind-address=:9443 or --console-bind-address=127.0.0.1:9443`},
		"no URL":             {nil, `--console-url "" is not https://HOST[:PORT], as browsers reach the console; set it as --console-url=https://pat.example.com`},
		"a URL with a path":  {[]string{url + "/x"}, `--console-url "https://tokens.example.com/x" is not https://HOST[:PORT], as browsers reach the console; set it as --console-url=https://pat.example.com`},
		"an issuer without a client": {
			[]string{url, "--console-oidc-issuer-url=https://login.example.com"},
			"--console-oidc-issuer-url and --console-oidc-client-id go together: set both, or neither",
		},
		"a client without an issuer": {
			[]string{url, "--console-oidc-client-id=c"},
			"--console-oidc-issuer-url and --console-oidc-client-id go together: set both, or neither",
		},
		"a secret without an issuer": {
			[]string{url, "--console-oidc-client-secret-file=f"},
			"--console-oidc-client-secret-file and --console-oidc-ca-file say more about an issuer: set --console-oidc-issuer-url as well",
		},
		"a CA without an issuer": {
			[]string{url, "--console-oidc-ca-file=f"},
			"--console-oidc-client-secret-file and --console-oidc-ca-file say more about an issuer: set --console-oidc-issuer-url as well",
		},
		"two ways to sign in": {
			[]string{url, "--console-oidc-issuer-url=https://login.example.com", "--console-oidc-client-id=c", "--console-proxy-authorization"},
			"--console-oidc-issuer-url and --console-proxy-authorization are two ways to sign in: set one",
		},
		"an issuer without TLS": {
			[]string{url, "--console-oidc-issuer-url=http://login.example.com", "--console-oidc-client-id=c"},
			`--console-oidc-issuer-url "http://login.example.com" is not an https URL without a query, which the API server needs as well; set it as --console-oidc-issuer-url=https://login.example.com`,
		},
		"an issuer without a host": {
			[]string{url, "--console-oidc-issuer-url=https:login", "--console-oidc-client-id=c"},
			`--console-oidc-issuer-url "https:login" is not an https URL without a query, which the API server needs as well; set it as --console-oidc-issuer-url=https://login.example.com`,
		},
		"no namespace": {
			[]string{url, "--console-namespaces=people,A"},
			`--console-namespaces "A" is not a namespace; set names of a-z, 0-9 and '-', as --console-namespaces=team-a`,
		},
		"everything at once": {
			[]string{"--console-bind-address=x", "--console-oidc-client-id=c"},
			`--console-bind-address "x" is not [HOST]:PORT; set it as --console-bind-address=:9443 or --console-bind-address=127.0.0.1:9443` + "\n" +
				`--console-url "" is not https://HOST[:PORT], as browsers reach the console; set it as --console-url=https://pat.example.com` + "\n" +
				"--console-oidc-issuer-url and --console-oidc-client-id go together: set both, or neither",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, fs := &consoleOptions{}, pflag.NewFlagSet("", pflag.ContinueOnError)
			o.bind(fs)
			if err := fs.Parse(append([]string{"--console-bind-address=:9445"}, tc.args...)); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := o.validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
