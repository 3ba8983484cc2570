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

package scope

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

func compiled(t testing.TB, namespace string, scopes ...v1alpha1.Scope) *Set {
	t.Helper()
	s, err := Compile(scopes, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parsed(t testing.TB, text string) []v1alpha1.Scope {
	t.Helper()
	scopes, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return scopes
}

// request is "VERB RESOURCE[.GROUP][/SUB] [NAMESPACE[/NAME]]", or "VERB /path".
func request(t testing.TB, text string) *Request {
	t.Helper()
	words := strings.Fields(text)
	r := &Request{Verb: words[0]}
	if strings.HasPrefix(words[1], "/") {
		r.Path = words[1]
		return r
	}
	scopes := parsed(t, words[0]+" "+words[1])
	r.Group = scopes[0].Rule.APIGroups[0]
	r.Resource, r.Subresource, _ = strings.Cut(scopes[0].Rule.Resources[0], "/")
	if len(words) > 2 {
		r.Namespace, r.Name, _ = strings.Cut(words[2], "/")
	}
	return r
}

func TestCase29_WhatIsInsideAScope(t *testing.T) {
	for scope, requests := range map[string]struct{ inside, outside []string }{
		"read-only": {
			inside: []string{"get pods a/x", "list pods", "watch deployments.apps b", "get nodes", "get pods/log a/x", "get deployments.apps/scale a/x",
				"get pods/status a/x", "list widgets.example.com", "get configmaps a/x", "list clusterroles.rbac.authorization.k8s.io",
				"get /api", "get /apis/apps/v1", "get /healthz", "get /healthz/etcd", "get /version", "get /openapi/v3",
				"create selfsubjectaccessreviews.authorization.k8s.io", "create selfsubjectreviews.authentication.k8s.io"},
			outside: []string{"get secrets a/x", "list secrets", "watch secrets a", "delete pods a/x", "create pods a", "patch nodes", "get pods/exec a/x",
				"create pods/exec a/x", "get pods/attach a/x", "get pods/portforward a/x", "get pods/proxy a/x", "get services/proxy a/x", "get nodes/proxy",
				"get nodes/metrics", "impersonate users", "impersonate groups", "impersonate:user-info users.authentication.k8s.io",
				"create serviceaccounts/token a/x", "create certificatesigningrequests.certificates.k8s.io", "list personalaccesstokens.pat-operator.io a",
				"create personalaccesstokens.pat-operator.io a", "create tokenreviews.authentication.k8s.io", "get virtualmachineinstances.subresources.kubevirt.io/console a/x",
				"get /metrics", "get /logs/kube-apiserver.log", "get /debug/pprof", "head /healthz", "post /api", "proxy pods a/x", "* pods", "get *", "get *.*", "get pods/* a/x"},
		},
		"read-only -n a": {
			inside:  []string{"get pods a/x", "get namespaces a/a", "get /api", "create selfsubjectreviews.authentication.k8s.io"},
			outside: []string{"get pods b/x", "list pods", "get nodes", "list namespaces", "get namespaces b/b", "get /healthz/etcd", "get secrets a/x"},
		},
		"namespace-admin": {
			inside:  []string{"create pods home", "deletecollection deployments.apps home", "get roles.rbac.authorization.k8s.io home/x", "create pods/eviction home/x", "get namespaces home/home"},
			outside: []string{"create pods a", "list pods", "get secrets home/x", "create pods/exec home/x", "create roles.rbac.authorization.k8s.io home", "update resourcequotas home/x", "create serviceaccounts/token home/x"},
		},
		"ci-deploy -n a,b": {
			inside:  []string{"create deployments.apps a", "patch services b/x", "get pods/log a/x", "update deployments.apps/scale a/x"},
			outside: []string{"create deployments.apps home", "create pods a", "deletecollection services a", "get secrets a/x", "create deployments.apps"},
		},
		"metrics": {
			inside:  []string{"get /metrics", "get /metrics/cadvisor", "get nodes/metrics", "list pods", "list pods.metrics.k8s.io a", "get pods.custom.metrics.k8s.io/http_requests a/x"},
			outside: []string{"get /metricsx", "get nodes/proxy", "get nodes/log", "get configmaps a/x", "get secrets a/x", "post /metrics"},
		},
		"* *.*": { // the widest rule that there is
			inside: []string{"create pods a", "delete deployments.apps a/x", "deletecollection pods", "get pods/status a/x", "update widgets.example.com/scale a/x"},
			outside: []string{"get secrets a/x", "create pods/exec a/x", "create pods/eviction a/x", "delete nodes /x", "create persistentvolumes", "impersonate users",
				"escalate clusterroles.rbac.authorization.k8s.io", "bind roles.rbac.authorization.k8s.io a/x", "create roles.rbac.authorization.k8s.io a",
				"approve signers.certificates.k8s.io", "sign signers.certificates.k8s.io", "attest signers.certificates.k8s.io",
				"update validatingwebhookconfigurations.admissionregistration.k8s.io", "patch apiservices.apiregistration.k8s.io", "patch customresourcedefinitions.apiextensions.k8s.io",
				"update certificatesigningrequests.certificates.k8s.io/approval", "create tokenpolicies.pat-operator.io", "patch personalaccesstokens.pat-operator.io/status a/x",
				"* *.*", "* pods", "get *.*"},
		},
		"* *":                               {inside: []string{"create pods a"}, outside: []string{"get secrets a/x", "get deployments.apps a/x"}},
		"get secrets":                       {inside: []string{"get secrets a/x"}, outside: []string{"list secrets", "get configmaps a/x"}},
		"get secrets.*":                     {outside: []string{"get secrets a/x"}},
		"* secrets":                         {inside: []string{"get secrets a/x", "list secrets", "delete secrets a/x"}, outside: []string{"impersonate secrets", "* secrets"}},
		"get secrets -n a --name x,y":       {inside: []string{"get secrets a/x", "get secrets a/y"}, outside: []string{"get secrets a/z", "get secrets b/x", "get secrets a"}},
		"list,create pods --name x":         {inside: []string{"list pods a/x"}, outside: []string{"list pods a", "create pods a", "create pods a/x"}},
		"create pods/exec":                  {inside: []string{"create pods/exec a/x", "get pods/exec a/x"}, outside: []string{"create pods/attach a/x"}},
		"get pods/exec,pods/attach":         {outside: []string{"get pods/exec a/x", "create pods/exec a/x", "get pods/attach a/x"}},
		"create */exec":                     {outside: []string{"create pods/exec a/x"}},
		"get */log":                         {inside: []string{"get pods/log a/x"}, outside: []string{"get pods a/x"}},
		"impersonate users --name bob":      {inside: []string{"impersonate users /bob"}, outside: []string{"impersonate users /eve", "impersonate groups /bob"}},
		"* users":                           {outside: []string{"impersonate users /bob"}},
		"impersonate *":                     {outside: []string{"impersonate users /bob"}},
		"create roles.*":                    {outside: []string{"create roles.rbac.authorization.k8s.io a"}},
		"* roles.rbac.authorization.k8s.io": {inside: []string{"create roles.rbac.authorization.k8s.io a"}, outside: []string{"escalate roles.rbac.authorization.k8s.io a", "bind roles.rbac.authorization.k8s.io a"}},
		"get /logs/*":                       {inside: []string{"get /logs/x"}, outside: []string{"get /logs", "get pods a/x"}},
		"get *.pat-operator.io":             {outside: []string{"get personalaccesstokens.pat-operator.io a/x"}},
		"patch nodes/status":                {inside: []string{"patch nodes/status /x"}, outside: []string{"patch nodes /x"}},
	} {
		s := compiled(t, "home", parsed(t, scope)...)
		for _, text := range requests.inside {
			if !s.Allows(request(t, text)) {
				t.Errorf("%s: %q is outside, want inside", scope, text)
			}
		}
		for _, text := range requests.outside {
			if s.Allows(request(t, text)) {
				t.Errorf("%s: %q is inside, want outside", scope, text)
			}
		}
	}
}

func TestRequestsThatAskForNothingAreOutside(t *testing.T) {
	wide := compiled(t, "home", slices.Concat(parsed(t, "* *.*"), parsed(t, "* /*"))...)
	for _, r := range []Request{
		{}, {Verb: "get"}, {Resource: "pods"}, {Path: "/x"}, {Verb: "get", Resource: "pods", Path: "/x"},
		{Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews", Path: "/x"},
	} {
		if wide.Allows(&r) {
			t.Errorf("%+v is inside", r)
		}
	}
	if (&Set{}).Allows(&Request{Verb: "get", Resource: "pods"}) {
		t.Error("no scopes at all allow something")
	}
}

func TestLimitsNeedRecordAndSpec(t *testing.T) {
	read, deploy := compiled(t, "a", parsed(t, "read-only")...), compiled(t, "a", parsed(t, "ci-deploy")...)
	both := compiled(t, "a", slices.Concat(parsed(t, "read-only"), parsed(t, "api:reports"))...)
	get, create := request(t, "get nodes"), request(t, "create deployments.apps a")
	for name, tc := range map[string]struct {
		limits      Limits
		full        bool
		get, create bool
		names       []string
	}{
		"neither":         {Limits{}, true, true, true, nil},
		"record":          {Limits{Record: read}, false, true, false, []string{"kubernetes:read-only"}},
		"spec":            {Limits{Spec: deploy}, false, false, true, []string{"kubernetes:ci-deploy"}},
		"the same":        {Limits{Record: read, Spec: read}, false, true, false, []string{"kubernetes:read-only"}},
		"different":       {Limits{Record: read, Spec: deploy}, false, false, false, []string{}},
		"narrowed":        {Limits{Record: both, Spec: read}, false, true, false, []string{"kubernetes:read-only"}},
		"widened, unseen": {Limits{Record: read, Spec: both}, false, true, false, []string{"kubernetes:read-only"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.limits.Full() != tc.full || tc.limits.Allows(get) != tc.get || tc.limits.Allows(create) != tc.create {
				t.Errorf("full %v, get %v, create %v", tc.limits.Full(), tc.limits.Allows(get), tc.limits.Allows(create))
			}
			if diff := cmp.Diff(tc.names, tc.limits.Names()); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompileRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, s := range map[string]v1alpha1.Scope{
		"a later preset": {Preset: "billing"}, "nothing": {}, "two": {Preset: "metrics", API: "x"},
		"an API's in a namespace": {API: "x", Namespaces: []string{"a"}},
	} {
		if _, err := Compile([]v1alpha1.Scope{{Preset: "read-only"}, s}, "a"); err == nil || !strings.HasPrefix(err.Error(), "scopes[1]: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEqualScopesShareASet(t *testing.T) {
	one := compiled(t, "a", parsed(t, "read-only")...)
	if compiled(t, "b", parsed(t, "read-only")...) != one {
		t.Error("the set of a preset is there twice")
	}
	if compiled(t, "a", parsed(t, "ci-deploy")...) == compiled(t, "b", parsed(t, "ci-deploy")...) {
		t.Error("two namespaces share a set that counts in the token's own")
	}
	count := func() int {
		interned.Lock()
		defer interned.Unlock()
		return len(interned.sets)
	}
	before := count()
	compiled(t, "a", parsed(t, "get pods -n only-here")...)
	runtime.KeepAlive(one)
	for start := time.Now(); count() > before; runtime.Gosched() { // to the cleanups
		if runtime.GC(); time.Since(start) > time.Minute {
			t.Fatal("a set that no token uses stays")
		}
	}
}

func TestReservedScopes(t *testing.T) {
	for _, name := range []string{"full", "kubernetes:", "kubernetes:namespace-admin"} {
		if _, err := Compile([]v1alpha1.Scope{{API: name}}, "a"); err == nil || err.Error() != fmt.Sprintf("scopes[0]: the scope %q of an API is reserved", name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAllowsAllocatesNothing(t *testing.T) {
	for _, preset := range Presets() {
		s := compiled(t, "home", v1alpha1.Scope{Preset: preset.Name})
		for _, text := range []string{"get pods home/x", "create pods/exec home/x", "get widgets.example.com/x home/x", "get /metrics", "get /x"} {
			r := request(t, text)
			if n := testing.AllocsPerRun(100, func() { s.Allows(r) }); n > 0 {
				t.Errorf("%s, %s: %v allocations", preset.Name, text, n)
			}
		}
	}
}

// FuzzAllowsWhatRBACAllows holds Allows equal to RBAC's own evaluation wherever the rule has no "*" and the request needs no name:
// there both must say the same. With a "*" it may only be stricter.
func FuzzAllowsWhatRBACAllows(f *testing.F) {
	for _, seed := range [][8]string{
		{"get,list", "", "pods,pods/log", "", "get", "", "pods/log", "x"},
		{"*", "*", "*", "", "delete", "apps", "deployments", ""},
		{"get", "apps", "*/scale", "a,b", "get", "apps", "deployments/scale", "a"},
		{"create", "", "pods", "x", "create", "", "pods", ""},
		{"get", "", "secrets", "", "get", "", "secrets", "x"},
		{"*", "*", "*", ", Q", "delete", "apps", "deployments", ""}, // an empty name in the rule, and a request without one
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7])
	}
	f.Fuzz(func(t *testing.T, verbs, groups, resources, names, verb, group, resource, name string) {
		list := func(s string) []string { return strings.Split(s, ",") }
		policy := rbacv1.PolicyRule{Verbs: list(verbs), APIGroups: list(groups), Resources: list(resources)}
		if names != "" {
			policy.ResourceNames = list(names)
		}
		r := Request{Verb: verb, Group: group, Name: name}
		r.Resource, r.Subresource, _ = strings.Cut(resource, "/")
		if r.Resource == "" || always(&r) || strings.HasSuffix(resource, "/") || strings.Contains(verb+group+resource+name, ",") {
			return
		}
		asked := rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
		if name != "" {
			asked.ResourceNames = []string{name}
		}
		rbac, _ := validation.Covers([]rbacv1.PolicyRule{policy}, []rbacv1.PolicyRule{asked})
		set := &Set{items: []item{{rules: []rule{{PolicyRule: policy}}}}}
		ours := set.Allows(&r)
		stricter := strings.Contains(verbs+groups+resources+verb+group+resource, "*") || verb == "" || verb == "proxy" ||
			verb == "create" && names != ""
		switch {
		case opensStream(&r): // another verb is asked for
		case ours && !rbac:
			t.Errorf("%+v is inside of %+v, and RBAC would not allow it", r, policy)
		case rbac && !ours && !stricter:
			t.Errorf("%+v is outside of %+v, and RBAC would allow it", r, policy)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{Example, "read-only", "ci-deploy -n a,b", "get secrets --name x", "get /metrics,/healthz", "api:reports:read", "* *.*", "get pods,deployments.apps/scale",
		",-n a", `get pods -n "a,b"`, "get pods -n , --name ,", "get ,-x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		scopes, err := Parse(text)
		if err != nil {
			return
		}
		for i := range scopes {
			again, err := Parse(Format(&scopes[i]))
			if err != nil {
				t.Fatalf("%q: %v", Format(&scopes[i]), err)
			}
			if diff := cmp.Diff([]v1alpha1.Scope{scopes[i]}, again); diff != "" {
				t.Errorf("%q as %q (-want +got):\n%s", text, Format(&scopes[i]), diff)
			}
		}
	})
}

func TestParseSaysWhatItWants(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `a scope is a preset, or verbs and resources, for example "get,list pods,deployments.apps -n team-a"`,
		"read":                   `"read" is not a preset; use read-only, namespace-admin, ci-deploy, metrics, or write a scope like "get,list pods,deployments.apps -n team-a"`,
		"get pods -x":            `unknown shorthand flag: 'x' in -x; write a scope like "get,list pods,deployments.apps -n team-a"`,
		"get pods/":              `"pods/" is not a resource; write it like pods, pods/log or deployments.apps`,
		"get .apps":              `".apps" is not a resource; write it like pods, pods/log or deployments.apps`,
		",-n pods":               `"-n" is not a verb; write it like get or list`,
		"get ,-x":                `"-x" is not a resource; write it like pods, pods/log or deployments.apps`,
		", pods":                 `verbs or resources are missing; write a scope like "get,list pods,deployments.apps -n team-a"`,
		"get /metrics -n a":      `a path has no namespace and no name; write a scope of its own for it`,
		"get pods in team-a":     `a scope is a preset, or verbs and resources, for example "get,list pods,deployments.apps -n team-a"`,
		"get /metrics,pods -n a": `a path has no namespace and no name; write a scope of its own for it`,
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
