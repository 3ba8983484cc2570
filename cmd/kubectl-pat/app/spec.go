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
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/scope"
)

// specFlags are the flags of create and generate that describe the new token.
type specFlags struct {
	displayName string
	expiresIn   period
	audiences   []string
	readOnly    bool
	scopes      []string
	from        []string
	user, uid   string
	groups      []string
}

func (f *specFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.expiresIn = period(v1alpha1.DefaultExpiresInDays * day)
	flags.StringVar(&f.displayName, "display-name", "", "the name for people: a `TEXT` of at most 128 characters")
	flags.Var(&f.expiresIn, "expires-in", "the lifetime of the token: 90d (or 90), 3w, 1y, 12h, 1d12h")
	flags.StringArrayVar(&f.audiences, "audience", nil, "an `AUDIENCE` of the token, an API that alone takes it; repeat it for more (default: the API server)")
	flags.BoolVar(&f.readOnly, "read-only", false, "let the token only read, and no Secrets: short for --scope read-only")
	flags.StringArrayVar(&f.scopes, "scope", nil,
		"let the token do only what this `SCOPE` allows: a preset (see kubectl pat scopes), verbs and resources like '"+scope.Example+"', or api:NAME for another API; repeat it for more (default: all that its user may do)")
	flags.StringArrayVar(&f.from, "from", nil,
		"let the token work only from these `NETWORKS`, for example 203.0.113.0/24,2001:db8::/32, and only through the proxy; may be repeated (default: from everywhere)")
	flags.StringVar(&f.user, "for", "", "the `USER` whose token it is (default: you); another user requires permission to impersonate them")
	flags.StringArrayVar(&f.groups, "group", nil, "a `GROUP` of the user of --for; repeat it for more")
	flags.StringVar(&f.uid, "uid", "", "the `UID` of the user of --for")
	completeValues(cmd, "scope", presetCompletions()...)
}

// object returns the resource that the flags describe. It checks only what would make a digest useless; the cluster checks the
// rest.
func (f *specFlags) object(namespace, name string) (*v1alpha1.PersonalAccessToken, error) {
	switch {
	case f.user == "" && (len(f.groups) > 0 || f.uid != ""):
		return nil, usagef("--group and --uid describe the user of --for: add --for USER")
	case len(name) > holder.MaxName || len(validation.IsDNS1123Subdomain(name)) > 0:
		return nil, usagef("%q is not a valid resource name: use at most %d of a-z, 0-9, '-' and '.', and put the name for people into --display-name", name, holder.MaxName)
	case len(validation.IsDNS1123Label(namespace)) > 0:
		return nil, usagef("%q is not a valid namespace: use at most 63 of a-z, 0-9 and '-'", namespace)
	case utf8.RuneCountInString(f.displayName) > holder.MaxDisplayName:
		return nil, usagef("--display-name has %d characters: use at most %d", utf8.RuneCountInString(f.displayName), holder.MaxDisplayName)
	case strings.ContainsFunc(f.displayName, identity.ForgesRows):
		return nil, usagef("--display-name has a control character, such as a tab, or a mark that changes the direction of text: remove it, as in --display-name 'Build agent'")
	}
	scopes, err := f.parseScopes()
	if err != nil {
		return nil, err
	}
	from, err := f.parseNetworks()
	if err != nil {
		return nil, err
	}
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.PersonalAccessTokenSpec{DisplayName: f.displayName, Audiences: f.audiences, Scopes: scopes, From: from},
	}
	withKind(pat)
	if f.user != "" {
		pat.Spec.User = &v1alpha1.UserInfo{Username: f.user, UID: f.uid, Groups: f.groups}
	}
	return pat, nil
}

// parseScopes returns the scopes of --read-only and --scope, nil without either.
func (f *specFlags) parseScopes() (all []v1alpha1.Scope, err error) {
	texts := f.scopes
	switch {
	case f.readOnly && len(texts) > 0:
		return nil, usagef("--read-only and --scope: a scope adds to what --read-only allows; if that is what you want, give --scope read-only as well, instead of --read-only")
	case f.readOnly:
		texts = []string{readOnlyPreset}
	}
	for _, text := range texts {
		parsed, err := scope.Parse(text)
		if err != nil {
			return nil, usagef("--scope: %w", err)
		}
		if parsed[0].API != "" && len(f.audiences) == 0 {
			return nil, usagef("--scope %s is for another API: name the API with --audience, as in --audience https://api.example.com", text)
		}
		for i := range parsed {
			if err := checkNames(parsed[i].Rule); err != nil {
				return nil, err
			}
		}
		all = append(all, parsed...)
	}
	return all, nil
}

// parseNetworks returns the networks of --from as spec.from holds them, nil without any.
func (f *specFlags) parseNetworks() (networks []string, err error) {
	var texts []string // An empty one, as of a variable that is not set, must not mean everywhere.
	for _, list := range f.from {
		texts = append(texts, strings.Split(list, ",")...)
	}
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if address, alone := netip.ParseAddr(text); alone == nil && address.Zone() == "" {
			return nil, usagef("--from %s is an address: write it as a network, --from %s", text, hostNetwork(address))
		}
		switch {
		case err != nil:
			return nil, usagef("--from %q is not a network: write it like 203.0.113.0/24 or 2001:db8::/32", text)
		case network.Addr().Is4In6():
			return nil, usagef("--from %s is an IPv4 network in IPv6 form: write it like 203.0.113.0/24", text)
		case network.Masked() != network:
			return nil, usagef("--from %s has bits after its prefix: write the network, --from %s", text, network.Masked())
		}
		if !slices.Contains(networks, network.String()) {
			networks = append(networks, network.String())
		}
	}
	return networks, nil
}

// hostNetwork returns the network of one address.
func hostNetwork(address netip.Addr) netip.Prefix {
	address = address.Unmap()
	return netip.PrefixFrom(address, address.BitLen())
}

// checkNames refuses names of Kubernetes' own resources that kubectl completes and a scope does not, such as deployments or pod: a
// token with such a scope could do nothing.
func checkNames(rule *v1alpha1.ScopeRule) error {
	if rule == nil {
		return nil
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			main, subresource, _ := strings.Cut(resource, "/")
			if known := ownResource(schema.GroupResource{Group: group, Resource: main}); known != nil {
				return usagef("--scope: in a scope, %s is written %s",
					formatResource(group, main, subresource), formatResource(known.Group, known.Resource, subresource))
			}
		}
	}
	return nil
}

// ownResource returns the resource of Kubernetes that a name without a group, or in the singular, means; nil without one, or
// if the name is right.
func ownResource(named schema.GroupResource) (meant *schema.GroupResource) {
	for kind := range scheme.Scheme.AllKnownTypes() {
		plural, singular := meta.UnsafeGuessKindToResource(kind)
		switch r := plural.GroupResource(); {
		case r == named:
			return nil
		case r.Group == "extensions": // its resources have moved
		case (r.Resource == named.Resource || singular.Resource == named.Resource) && (named.Group == "" || named.Group == r.Group):
			if meant == nil || r.Group < meant.Group {
				meant = &r
			}
		}
	}
	return meant
}

// withKind sets the kind, which typed clients leave out, for printing.
func withKind(pat *v1alpha1.PersonalAccessToken) {
	pat.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PersonalAccessToken"))
}
