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

package app

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// Who looks at a token with scopes learns that the cluster does not enforce them, and nobody else does.
func TestCase29_ScopesThatAreNotEnforcedAreSaid(t *testing.T) {
	const says = "Tokens with scopes do not work at the moment: the API server is not proven to enforce scopes. Show this to a cluster administrator: kubectl pat doctor\n"
	named := func(name string, scopes ...v1alpha1.Scope) *v1alpha1.PersonalAccessToken {
		return &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.PersonalAccessTokenSpec{Scopes: scopes}}
	}
	scoped := named("scoped", v1alpha1.Scope{Preset: "read-only"})
	for name, tc := range map[string]struct {
		pat      *v1alpha1.PersonalAccessToken
		enforced string
		args     []string
		want     bool
	}{
		"list": {scoped, "false", []string{"list"}, true}, "describe": {scoped, "false", []string{"describe", "scoped"}, true},
		"enforced": {scoped, "true", []string{"list"}, false}, "an older verifier": {scoped, "", []string{"list"}, false},
		"nothing published": {scoped, "none", []string{"list"}, false}, "without scopes": {named("full"), "false", []string{"list"}, false},
		"for a program": {scoped, "false", []string{"list", "-o", "json"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, tc.pat)
			if tc.enforced != "none" {
				published := &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: authnconfig.ConfigMapName},
					Data:       map[string]string{authnconfig.KeyScopesEnforced: tc.enforced},
				}
				if err := tr.client.Create(t.Context(), published); err != nil {
					t.Fatal(err)
				}
			}
			tr.run(t.Context(), t, exitOK, tc.args...)
			if got := strings.Contains(tr.errOut.String(), says); got != tc.want {
				t.Errorf("it says so: %v\n%s", got, tr.errOut)
			}
		})
	}
}

// Who looks at a token with networks learns where it works, and nobody else does.
func TestCase75_TokensWithNetworksAreSaidToNeedTheProxy(t *testing.T) {
	const (
		works   = "Tokens that are limited to networks work only through the proxy, at https://pat.example.com. The API server's webhook refuses them.\n"
		without = "Tokens that are limited to networks do not work: they need the proxy, which this cluster does not have. Show this to a cluster administrator.\n"
	)
	named := func(name string, from ...string) *v1alpha1.PersonalAccessToken {
		return &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1alpha1.PersonalAccessTokenSpec{From: from}}
	}
	bound := named("bound", "192.0.2.0/24")
	for name, tc := range map[string]struct {
		pat     *v1alpha1.PersonalAccessToken
		url     string
		guessed bool
		args    []string
		want    string
	}{
		"list":                            {bound, "https://pat.example.com", false, []string{"list"}, works},
		"describe":                        {bound, "https://pat.example.com", false, []string{"describe", "bound"}, works},
		"no proxy":                        {bound, "none", false, []string{"list"}, without},
		"no proxy where it is looked for": {bound, "none", true, []string{"list"}, ""},
		"an address that may be anybody's": {bound, "https://pat.example.com", true, []string{"list"},
			"Tokens that are limited to networks work only through the proxy. The API server's webhook refuses them.\n"},
		"not started yet":  {bound, "", false, []string{"list"}, ""},
		"without networks": {named("free"), "none", false, []string{"list"}, ""},
		"for a program":    {bound, "none", false, []string{"list", "-o", "json"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{}, tc.pat)
			if !tc.guessed {
				tr.install(t, authnconfig.Namespace)
			}
			if tc.url != "none" {
				if err := tr.client.Create(t.Context(), &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: proxyconfig.ConfigMapName},
					Data:       map[string]string{proxyconfig.KeyURL: tc.url},
				}); err != nil {
					t.Fatal(err)
				}
			}
			tr.run(t.Context(), t, exitOK, tc.args...)
			if got := tr.errOut.String(); got != tc.want {
				t.Errorf("says %q; want %q", got, tc.want)
			}
		})
	}
}

func TestNetworksOfANewToken(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"none":          {nil, nil},
		"a list":        {[]string{"--from=203.0.113.0/24,2001:DB8::/32"}, []string{"203.0.113.0/24", "2001:db8::/32"}},
		"one by one":    {[]string{"--from", "203.0.113.7/32", "--from", "::/0"}, []string{"203.0.113.7/32", "::/0"}},
		"the same once": {[]string{"--from=2001:db8::/32,2001:0db8::/32"}, []string{"2001:db8::/32"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{})
			tr.run(t.Context(), t, exitOK, append([]string{"create", "ci", "--dry-run=client", "-o", "yaml"}, tc.args...)...)
			var printed struct {
				PersonalAccessToken *v1alpha1.PersonalAccessToken `json:"personalAccessToken"`
			}
			if err := yaml.Unmarshal(tr.out.Bytes(), &printed); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, printed.PersonalAccessToken.Spec.From); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for from, want := range map[string]string{
		"203.0.113.7":            "error: --from 203.0.113.7 is an address: write it as a network, --from 203.0.113.7/32",
		"2001:db8::1":            "error: --from 2001:db8::1 is an address: write it as a network, --from 2001:db8::1/128",
		"::ffff:203.0.113.7":     "error: --from ::ffff:203.0.113.7 is an address: write it as a network, --from 203.0.113.7/32",
		"203.0.113.7/24":         "error: --from 203.0.113.7/24 has bits after its prefix: write the network, --from 203.0.113.0/24",
		"::ffff:203.0.113.0/120": "error: --from ::ffff:203.0.113.0/120 is an IPv4 network in IPv6 form: write it like 203.0.113.0/24",
		"the office":             `error: --from "the office" is not a network: write it like 203.0.113.0/24 or 2001:db8::/32`,
		"fe80::1%eth0":           `error: --from "fe80::1%eth0" is not a network: write it like 203.0.113.0/24 or 2001:db8::/32`,
	} {
		tr := newTrial(t, interceptor.Funcs{})
		tr.run(t.Context(), t, exitUsage, "create", "ci", "--dry-run=client", "--from", from)
		tr.errs(t, want)
	}
}
