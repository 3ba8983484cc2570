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
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/scope"
)

func TestScopes(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{})
	tr.run(t.Context(), t, exitOK, "scopes")
	list := tr.out.String()
	for _, p := range scope.Presets() {
		if !strings.Contains(list, "\n"+p.Name+" ") || !strings.Contains(list, p.Summary) {
			t.Errorf("%s is not in the list:\n%s", p.Name, list)
		}
		tr.run(t.Context(), t, exitOK, "scopes", p.Name, "-o", "clusterrole")
		role := &rbacv1.ClusterRole{}
		if err := yaml.UnmarshalStrict(tr.out.Bytes(), role); err != nil {
			t.Errorf("%s: %v\n%s", p.Name, err, tr.out)
		}
		if diff := cmp.Diff(p.Rules, role.Rules); diff != "" || role.Name != "pat-operator-scope-"+p.Name || role.Kind != "ClusterRole" || role.APIVersion != "rbac.authorization.k8s.io/v1" {
			t.Errorf("%s: the role %s %s/%s (-want +got):\n%s", p.Name, role.APIVersion, role.Kind, role.Name, diff)
		}
		if differs := strings.Contains(tr.out.String(), "# - Secrets\n"); differs != (p.Name == "read-only") {
			t.Errorf("%s: the role says that it allows more: %v\n%s", p.Name, differs, tr.out)
		}
	}
	tr.run(t.Context(), t, exitOK, "scopes", "ci-deploy")
	for _, want := range []string{
		"in the token's own namespace, or in those named with it: --scope 'ci-deploy -n team-a,team-b'",
		"\n  deployments.apps/scale                read, write\n", "\n  pods/log                              read\n",
	} {
		if !strings.Contains(tr.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, tr.out)
		}
	}
	tr.run(t.Context(), t, exitOK, "scopes", "read-only")
	if !strings.Contains(tr.out.String(), "\nExcept:  Secrets\n") || !strings.Contains(tr.out.String(), "\n  everything  read\n") {
		t.Errorf("the rules are\n%s", tr.out)
	}
}

// The text about read-only names each resource that a scope allows only by name and that can be read.
func TestTheExceptionsAreThoseOfTheScope(t *testing.T) {
	set, err := scope.Compile([]v1alpha1.Scope{{Preset: "read-only"}}, "team-a")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []scope.Request{
		{Resource: "secrets"}, {Resource: "pods", Subresource: "exec"}, {Resource: "pods", Subresource: "attach"}, {Resource: "pods", Subresource: "portforward"},
		{Resource: "pods", Subresource: "proxy"}, {Resource: "pods", Subresource: "ephemeralcontainers"}, {Resource: "services", Subresource: "proxy"},
		{Resource: "nodes", Subresource: "proxy"}, {Resource: "serviceaccounts", Subresource: "token"}, {Resource: "tokenreviews", Group: "authentication.k8s.io"},
		{Resource: "personalaccesstokens", Group: "pat-operator.io"}, {Resource: "tokenpolicies", Group: "pat-operator.io"}, {Resource: "things", Group: "example.com", Subresource: "console"},
	} {
		r.Verb, r.Namespace = "get", "team-a"
		name := formatResource("", r.Resource, r.Subresource)
		named := slices.ContainsFunc(exceptions, func(text string) bool { return strings.Contains(strings.ToLower(text), name) })
		if set.Allows(&r) || !named && r.Subresource != "console" {
			t.Errorf("%s: allowed %v, named %v", name, set.Allows(&r), named)
		}
	}
}

func TestScopesOfANewToken(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want []v1alpha1.Scope
	}{
		"none":          {nil, nil},
		"for reading":   {[]string{"--read-only"}, []v1alpha1.Scope{{Preset: "read-only"}}},
		"not only that": {[]string{"--read-only=false", "--scope=metrics"}, []v1alpha1.Scope{{Preset: "metrics"}}},
		"two presets":   {[]string{"--scope=read-only", "--scope=ci-deploy -n team-a,team-b"}, []v1alpha1.Scope{{Preset: "read-only"}, {Preset: "ci-deploy", Namespaces: []string{"team-a", "team-b"}}}},
		"rules": {[]string{"--scope", "get,list pods/log,things.example.com -n team-a"}, []v1alpha1.Scope{
			{Namespaces: []string{"team-a"}, Rule: &v1alpha1.ScopeRule{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods/log"}}},
			{Namespaces: []string{"team-a"}, Rule: &v1alpha1.ScopeRule{Verbs: []string{"get", "list"}, APIGroups: []string{"example.com"}, Resources: []string{"things"}}},
		}},
		"of another API": {[]string{"--scope=api:mail.send", "--audience=https://api.example.com"}, []v1alpha1.Scope{{API: "mail.send"}}},
	} {
		for _, args := range [][]string{{"create", "ci", "--dry-run=client", "-o", "yaml"}, {"generate", "ci", "--token-file", t.TempDir() + "/token"}} {
			tr := newTrial(t, interceptor.Funcs{})
			tr.run(t.Context(), t, exitOK, append(args, tc.args...)...)
			pat := &v1alpha1.PersonalAccessToken{}
			printed := any(pat)
			if args[0] == "create" {
				printed = &struct {
					PersonalAccessToken *v1alpha1.PersonalAccessToken `json:"personalAccessToken"`
				}{pat}
			}
			if err := yaml.Unmarshal(tr.out.Bytes(), printed); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, pat.Spec.Scopes); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", args[0], name, diff)
			}
		}
	}
}

// access is a cluster's answers about what users may do.
type access struct {
	me      authenticationv1.UserInfo
	reviews bool // the caller may create SubjectAccessReviews
	allowed bool
	asked   *authorizationv1.SubjectAccessReviewSpec
}

func (a *access) hooks() interceptor.Funcs {
	return interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
		switch o := o.(type) {
		case *authorizationv1.SubjectAccessReview:
			if !a.reviews {
				return apierrors.NewForbidden(schema.GroupResource{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, "", nil)
			}
			a.asked = &o.Spec
			o.Status.Allowed = a.allowed
		case *authenticationv1.SelfSubjectReview:
			o.Status.UserInfo = a.me
		case *authorizationv1.SelfSubjectAccessReview:
			o.Status.Allowed = a.allowed
		default:
			return fmt.Errorf("%T is created", o)
		}
		return nil
	}}
}

func TestCanITellsScopesAndRBACApart(t *testing.T) {
	alice := authenticationv1.UserInfo{Username: "alice", Groups: []string{"system:authenticated", "developers"}}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.PersonalAccessToken)
		access access
		args   string
		want   string
		code   int
	}{
		"both allow it":               {nil, access{reviews: true, allowed: true}, "get pods", "yes", exitOK},
		"oneself allows it":           {nil, access{me: alice, allowed: true}, "get pods x", "yes", exitOK},
		"a path":                      {paths, access{me: alice, allowed: true}, "get /metrics", "yes", exitOK},
		"without scopes":              {unlimited, access{me: alice, allowed: true}, "delete secrets", "yes", exitOK},
		"the scopes deny it":          {nil, access{me: alice, allowed: true}, "delete pods", "no - outside of the scopes read-only", exitError},
		"a Secret":                    {nil, access{reviews: true, allowed: true}, "get secrets", "no - outside of the scopes read-only", exitError},
		"another path":                {paths, access{me: alice, allowed: true}, "get /logs", "no - outside of the scopes get /metrics", exitError},
		"both deny it":                {nil, access{reviews: true}, "delete pods x --in team-b", "no - outside of the scopes read-only; RBAC does not allow it either: alice may not delete pods x in namespace team-b", exitError},
		"only RBAC denies it":         {nil, access{me: alice}, "get deployments.apps/scale -A", "no - RBAC: alice may not get deployments.apps/scale", exitError},
		"as kubectl names resources":  {nil, access{me: alice}, "get deployment.apps/scale", "no - RBAC: alice may not get deployments.apps/scale in namespace team-a", exitError},
		"without its group":           {nil, access{me: alice}, "get cronjobs", "no - RBAC: alice may not get cronjobs.batch in namespace team-a", exitError},
		"in no namespace":             {nil, access{me: alice}, "get nodes", "no - RBAC: alice may not get nodes", exitError},
		"a namespace":                 {limited, access{me: alice, allowed: true}, "get namespace team-b", "no - outside of the scopes read-only -n team-a", exitError},
		"its own namespace":           {limited, access{me: alice, allowed: true}, "get namespace team-a", "yes", exitOK},
		"unknown to the cluster":      {nil, access{me: alice}, "get things.example.com x", "no - RBAC: alice may not get things.example.com x in namespace team-a", exitError},
		"RBAC cannot be asked":        {nil, access{me: authenticationv1.UserInfo{Username: "bob"}, allowed: true}, "get pods", "unknown - the scopes allow it; RBAC was not asked: you may not create subjectaccessreviews.authorization.k8s.io, and the token is that of alice", exitError},
		"RBAC need not be asked":      {nil, access{me: authenticationv1.UserInfo{Username: "bob"}, allowed: true}, "delete pods", "no - outside of the scopes read-only", exitError},
		"other groups":                {nil, access{me: authenticationv1.UserInfo{Username: "alice", Groups: []string{"developers", "admins"}}, allowed: true}, "get pods", "unknown - the scopes allow it; RBAC was not asked: you may not create subjectaccessreviews.authorization.k8s.io, and the token has other groups than you have now", exitError},
		"a token with scopes asks":    {nil, access{me: authenticationv1.UserInfo{Username: "alice", Groups: alice.Groups, Extra: map[string]authenticationv1.ExtraValue{authnconfig.ExtraScopes: {"limited"}}}}, "get pods", "unknown - the scopes allow it; RBAC was not asked: you may not create subjectaccessreviews.authorization.k8s.io, and your own credential is a token with scopes", exitError},
		"it is suspended":             {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true }, access{me: alice, allowed: true}, "get pods", "no - the token does not work (Suspended)", exitError},
		"it has not been issued":      {func(p *v1alpha1.PersonalAccessToken) { p.Status.Conditions = nil }, access{me: alice, allowed: true}, "get pods", "no - the token does not work (Pending)", exitError},
		"a scope of another API only": {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Scopes = []v1alpha1.Scope{{API: "mail.send"}} }, access{me: alice, allowed: true}, "get pods", "no - outside of the scopes api:mail.send", exitError},
	} {
		t.Run(name, func(t *testing.T) {
			pat := withConditions(1, isActive)
			pat.Spec = v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice", Groups: []string{"developers"}}, Scopes: []v1alpha1.Scope{{Preset: "read-only"}}}
			pat.Status.TokenID = "aaaaaaaaaaaaaaaa"
			if tc.change != nil {
				tc.change(pat)
			}
			tr := newTrial(t, tc.access.hooks(), pat)
			tr.run(t.Context(), t, tc.code, append([]string{"can-i", "ci", "-n", "team-a"}, strings.Fields(tc.args)...)...)
			if got := strings.TrimSuffix(tr.out.String(), "\n"); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if strings.Contains(tr.errOut.String(), "error:") {
				t.Errorf("standard error: %s", tr.errOut)
			}
		})
	}
}

func paths(p *v1alpha1.PersonalAccessToken) {
	p.Spec.Scopes = []v1alpha1.Scope{{Rule: &v1alpha1.ScopeRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics"}}}}
}

func limited(p *v1alpha1.PersonalAccessToken) { p.Spec.Scopes[0].Namespaces = []string{"team-a"} }

func unlimited(p *v1alpha1.PersonalAccessToken) { p.Spec.Scopes = nil }

func TestCanIAsksForTheUserOfTheToken(t *testing.T) {
	pat := withConditions(2, isActive)
	pat.Status.Conditions[0].ObservedGeneration = 1
	pat.Spec = v1alpha1.PersonalAccessTokenSpec{
		User:      &v1alpha1.UserInfo{Username: "alice", UID: "u-1", Groups: []string{"developers"}, Extra: map[string]v1alpha1.ExtraValue{"example.com/team": {"a"}}},
		Audiences: []string{"https://api.example.com"},
	}
	pat.Status.TokenID = "aaaaaaaaaaaaaaaa"
	a := access{reviews: true, allowed: true}
	tr := newTrial(t, a.hooks(), pat)
	tr.run(t.Context(), t, exitOK, "can-i", "pat/ci", "-n", "team-a", "get", "pods/log", "web", "--in", "team-b")
	want := &authorizationv1.SubjectAccessReviewSpec{
		User: "alice", UID: "u-1", Groups: []string{"developers", "system:authenticated"}, Extra: map[string]authorizationv1.ExtraValue{"example.com/team": {"a"}},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Namespace: "team-b", Resource: "pods", Subresource: "log", Name: "web"},
	}
	if diff := cmp.Diff(want, a.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"The token is for https://api.example.com. The API server accepts it only if one of these is its own audience.\n",
		"The operator has not processed the last change yet. Until then the former scopes count too; this answer is by the new ones.\n",
	} {
		if !strings.Contains(tr.errOut.String(), want) {
			t.Errorf("%q is not in\n%s", want, tr.errOut)
		}
	}
	tr.run(t.Context(), t, exitError, "can-i", "no-such", "-n", "team-a", "get", "pods")
	tr.errs(t, `error: personalaccesstokens.pat-operator.io "no-such" not found in namespace team-a`)
	tr.run(t.Context(), t, exitUsage, "can-i", "ci", "-n", "team-a", "get", "/metrics", "-A")
	tr.errs(t, `error: the path /metrics is in no namespace and has no objects: leave out --in, -A and OBJECT`)
}
