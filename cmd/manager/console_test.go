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
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/internal/console"
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

func TestHoldersReachTheAPIServer(t *testing.T) {
	dir := t.TempDir()
	ca, none := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "none")
	authority := httptest.NewTLSServer(nil)
	authority.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})
	if err := errors.Join(os.WriteFile(ca, certificate, 0o600), os.WriteFile(none, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	own := &rest.Config{Host: "https://127.0.0.1:6443", TLSClientConfig: rest.TLSClientConfig{CAFile: ca}}
	for name, tc := range map[string]struct {
		options consoleOptions
		own     *rest.Config
		inside  string
		want    *console.Cluster
		wrong   string
	}{
		"as the console does": {own: own, want: &console.Cluster{Server: "https://127.0.0.1:6443", CA: certificate}},
		"from inside":         {own: &rest.Config{Host: "https://10.96.0.1:443"}, inside: "10.96.0.1"},
		"by HTTP":             {own: &rest.Config{Host: "http://127.0.0.1:8080"}},
		"another, public":     {options: consoleOptions{apiServer: "https://k8s.example.com/"}, own: own, want: &console.Cluster{Server: "https://k8s.example.com"}},
		"another, with a CA":  {options: consoleOptions{apiServer: "https://k8s.example.com", apiServerCAFile: ca}, own: own, inside: "10.96.0.1", want: &console.Cluster{Server: "https://k8s.example.com", CA: certificate}},
		"no file":             {options: consoleOptions{apiServer: "https://k8s.example.com", apiServerCAFile: "/no/such"}, wrong: "--console-api-server-ca-file: open /no/such: no such file or directory"},
		"no certificate":      {options: consoleOptions{apiServer: "https://k8s.example.com", apiServerCAFile: none}, wrong: "--console-api-server-ca-file: " + none + " has no certificate in PEM form; name a file of CA certificates"},
	} {
		t.Setenv("KUBERNETES_SERVICE_HOST", tc.inside)
		got, err := tc.options.cluster(tc.own)
		if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreUnexported(console.Cluster{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if said := fmt.Sprint(err); (err != nil || tc.wrong != "") && said != tc.wrong {
			t.Errorf("%s: %s, want %s", name, said, tc.wrong)
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
		"a CA of nothing": {
			[]string{url, "--console-api-server-ca-file=f"},
			"--console-api-server-ca-file verifies what --console-api-server-url names: set that as well",
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
