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

package identity_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
)

var user = field.NewPath("spec", "user")

func alice(modify ...func(*v1alpha1.UserInfo)) *v1alpha1.UserInfo {
	u := &v1alpha1.UserInfo{Username: "alice", UID: "u-1", Groups: []string{"devs"}}
	for _, m := range modify {
		m(u)
	}
	return u
}

func named(name string) *v1alpha1.UserInfo { return &v1alpha1.UserInfo{Username: name} }

func in(groups ...string) *v1alpha1.UserInfo {
	return alice(func(u *v1alpha1.UserInfo) { u.Groups = groups })
}

func with(key string, values ...string) *v1alpha1.UserInfo {
	return alice(func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{key: values} })
}

func texts(errs field.ErrorList) []string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}

func TestPeopleMayHaveTokens(t *testing.T) {
	for _, name := range []string{
		"alice", "Alice Smith", "Сергей Иванов", "Владимир", "Москва: отдел", "Тестем:x", "oidc:müller@example.com",
		"https://issuer#sub", "system", "system-team", "systems:team", "ecosystem:dev", "Système: Paris", "李小龙", "محمد",
		"CN=alice,O=devs", "arn:aws:iam::123:user/alice", "kubernetes-admin", "a", strings.Repeat("ü", 512),
		"system:serviceaccount:team-a:ci", "system:serviceaccount:team-a:ci.v1",
	} {
		if errs := identity.Check(user, named(name)); len(errs) > 0 {
			t.Errorf("user %q: %v", name, errs)
		}
	}
	for _, group := range []string{
		"devs", "system:authenticated", "system:monitoring", "kubeadm:cluster-admins", "system-team", "Отдел разработки",
		"oidc:Müller GmbH", strings.Repeat("ü", 512),
	} {
		if errs := identity.Check(user, in(group)); len(errs) > 0 {
			t.Errorf("group %q: %v", group, errs)
		}
	}
	for _, key := range []string{"arn", "scopes.authorization.openshift.io", "example.com/team", "iam.gke.io/user-assertion", "a_b"} {
		if errs := identity.Check(user, with(key, "Value", "Zoë Ölmez")); len(errs) > 0 {
			t.Errorf("extra key %q: %v", key, errs)
		}
	}
}

// inAccount is a service account, modified.
func inAccount(modify func(*v1alpha1.UserInfo)) *v1alpha1.UserInfo {
	u := named("system:serviceaccount:team-a:ci")
	modify(u)
	return u
}

func TestErrorsNameTheFieldAndTheWayOut(t *testing.T) {
	for _, tc := range []struct {
		name string
		user *v1alpha1.UserInfo
		want []string
	}{
		{"nobody", nil, []string{`spec.user: Required value: name the user whose token this is`}},
		{"empty name", named(""), []string{`spec.user.username: Required value: name the user whose token this is`}},
		{"long name", named(strings.Repeat("ü", 513)), []string{`spec.user.username: Too long: may not be more than 512 characters`}},
		{"control character", named("al\x00ice"), []string{`spec.user.username: Invalid value: "al\x00ice": contains U+0000, a control or invisible character; have it renamed where people log in`}},
		{"white space", named("alice\u00a0"), []string{`spec.user.username: Invalid value: "alice\u00a0": begins or ends with white space; have it renamed where people log in`}},
		{"no UTF-8", named("al\xffice"), []string{`spec.user.username: Invalid value: "al�ice": is not valid UTF-8; have it renamed where people log in`}},
		{"one of Kubernetes' own", named("system:node:n1"), []string{`spec.user.username: Forbidden: "system:node:n1" is one of Kubernetes' own users, which may have no personal access token; name a person`}},
		{"look-alike", named("sуstem:admin"), []string{`spec.user.username: Forbidden: "s\u0443stem:admin" can be mistaken for one of Kubernetes' own names, which are lower-case and begin with "system:"; leave it out, or have it renamed where people log in`}},
		{"uid", alice(func(u *v1alpha1.UserInfo) { u.UID = " u-1" }), []string{`spec.user.uid: Invalid value: " u-1": begins or ends with white space; have it renamed where people log in`}},
		{"masters", in("devs", "system:masters"), []string{`spec.user.groups[1]: Forbidden: "system:masters" may be in no token; set spec.user, with username, uid and the groups but this one`}},
		{"empty group", in(""), []string{`spec.user.groups[0]: Required value: a group has a name; leave it out`}},
		{"groups of service accounts", in("system:serviceaccounts:team-a"), []string{`spec.user.groups[0]: Forbidden: "system:serviceaccounts:team-a" is a group of service accounts, and the user is not in it; leave it out`}},
		{"too many groups", in(strings.Split(strings.Repeat("g,", 1000)+"g", ",")...), []string{`spec.user.groups: Too many: 1001: a token carries at most 1000 groups; list the groups that the token needs in spec.user.groups`}},
		{"reserved extra", with("Authentication.Kubernetes.io/credential-id", "JTI=1"), []string{`spec.user.extra["Authentication.Kubernetes.io/credential-id"]: Forbidden: only Kubernetes sets keys under authentication.kubernetes.io/; leave it out`}},
		{"our own extra", with("pat-operator.io/scoped", "true"), []string{`spec.user.extra["pat-operator.io/scoped"]: Forbidden: only pat-operator sets keys under pat-operator.io/; leave it out`}},
		{"upper-case extra", with("accessKeyId", "1"), []string{`spec.user.extra["accessKeyId"]: Invalid value: "accessKeyId": an extra key is lower-case letters, digits, '-', '_' and '.', as a rule a domain, a slash and a name; spell it so, or leave it out`}},
		{"extra without a value", with("example.com/a"), []string{`spec.user.extra[example.com/a]: Required value: an extra key has a value; leave it out`}},
		{"empty extra value", with("example.com/a", "x", ""), []string{`spec.user.extra[example.com/a][1]: Required value: a value of an extra key is not empty; leave it out`}},
		{"header injection", with("example.com/a", "x\r\nImpersonate-User: root"), []string{`spec.user.extra[example.com/a][0]: Invalid value: contains U+000D, a control or invisible character; have it renamed where people log in`}},
		{"too many values", with("example.com/a", strings.Split("a"+strings.Repeat(",a", 16), ",")...), []string{`spec.user.extra[example.com/a]: Too many: 17: must have at most 16 items`}},
		{"an account among people", inAccount(func(u *v1alpha1.UserInfo) { u.Groups = []string{"devs"} }), []string{`spec.user.groups[0]: Invalid value: "devs": a service account is only in the groups that Kubernetes gives it; leave it out`}},
		{"an account with extra", inAccount(func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}} }), []string{`spec.user.extra: Invalid value: the token of a service account carries no extra; leave it out`}},
		{"everything at once", &v1alpha1.UserInfo{Username: "system:anonymous", Groups: []string{"system:nodes"}}, []string{
			`spec.user.username: Forbidden: "system:anonymous" is one of Kubernetes' own users, which may have no personal access token; name a person`,
			`spec.user.groups[0]: Forbidden: "system:nodes" may be in no token; set spec.user, with username, uid and the groups but this one`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, texts(identity.Check(user, tc.user))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCase58_GroupsUpToTheBoundAndOnePastIt(t *testing.T) {
	const wayOut = "; list the groups that the token needs in spec.user.groups"
	// named returns n groups of a size in bytes.
	named := func(n, size int) []string {
		groups := make([]string, n)
		for i := range groups {
			groups[i] = fmt.Sprintf("%0*d", size, i)
		}
		return groups
	}
	for name, tc := range map[string]struct {
		groups []string
		want   string
	}{
		"1000 of 131 bytes":      {named(1000, 131), ""},
		"128 of 1024 bytes":      {named(128, 1024), ""},
		"1001":                   {named(1001, 4), "spec.user.groups: Too many: 1001: a token carries at most 1000 groups" + wayOut},
		"1025 bytes":             {append(named(2, 2), strings.Repeat("x", 1025)), "spec.user.groups[2]: Too long: the name of a group has at most 1024 bytes, and this one has 1025" + wayOut},
		"513 letters of 2 byte":  {[]string{strings.Repeat("ü", 513)}, "spec.user.groups[0]: Too long: the name of a group has at most 1024 bytes, and this one has 1026" + wayOut},
		"a byte past 128 KiB":    {append(named(128, 1024), "x"), "spec.user.groups: Too long: a token carries groups of at most 131072 bytes together, and these have 131073" + wayOut},
		"an invisible character": {[]string{"devs", "o\u200cps"}, `spec.user.groups[1]: Invalid value: "o\u200cps": contains U+200C, a control or invisible character; have it renamed where people log in`},
	} {
		if got := strings.Join(texts(identity.Check(user, in(tc.groups...))), "\n"); got != tc.want {
			t.Errorf("%s: got %q; want %q", name, got, tc.want)
		}
	}
}

func TestCase06_WhoMayNeverHaveAToken(t *testing.T) {
	for _, name := range []string{
		"system:anonymous", "system:node:n1", "system:kube-controller-manager", "system:admin", "system:", "system:masters",
		"system:serviceaccount:", "system:serviceaccount:team-a", "system:serviceaccount:team-a:", "system:serviceaccount::ci",
		"system:serviceaccount:team-a:ci:x", "system:serviceaccount:Team:ci", "system:serviceaccount:team-a:с",
	} {
		if !forbidden(identity.Check(user, named(name))) {
			t.Errorf("user %q is not refused", name)
		}
	}
	for _, group := range []string{
		"system:masters", "system:nodes", "system:unauthenticated", "system:bootstrappers", "system:bootstrappers:kubeadm",
		"system:serviceaccounts", "system:serviceaccounts:team-a",
	} {
		if !forbidden(identity.Check(user, in(group))) {
			t.Errorf("group %q is not refused", group)
		}
	}
	account := named("system:serviceaccount:team-a:ci")
	account.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:team-a", "system:authenticated"}
	if errs := identity.Check(user, account); len(errs) > 0 {
		t.Errorf("a service account in its own groups: %v", errs)
	}
	account.Groups = []string{"system:serviceaccounts:kube-system"}
	if !forbidden(identity.Check(user, account)) {
		t.Error("a service account in another namespace's group is not refused")
	}
}

func TestCase06_LookAlikesOfKubernetesOwnNames(t *testing.T) {
	for _, name := range []string{
		"System:masters", "SYSTEM:MASTERS", "system:Masters", "system:mаsters", "system:mästers", "system:masters%00",
		"sуstem:masters", "ѕуѕтем:masters", "ЅУЅТЕМ:masters", "ｓｙｓｔｅｍ：ｍａｓｔｅｒｓ", "system：masters", "system︰masters",
		"system∶masters", "systemː masters", "system˸masters", "system։masters", "system׃masters", "system﹕masters",
		"system꞉masters", "system፡masters", "ſyſtem:masters", "𝐬𝐲𝐬𝐭𝐞𝐦:masters", "ꜱʏꜱᴛᴇᴍ:masters", "ṡýśţèḿ:masters",
		"s̈ystem:masters", "ᏚᎩᏚᎢᎬᎷ:masters", "ꓢꓬꓢꓔꓰꓟ:masters", "syѕtεm:node:n1", "sΥsΤΕΜ:x",
	} {
		if !forbidden(identity.Check(user, named(name))) {
			t.Errorf("user %q is not refused", name)
		}
		if !forbidden(identity.Check(user, in(name))) {
			t.Errorf("group %q is not refused", name)
		}
	}
	for _, name := range []string{"system\u200b:masters", "\u2066system:masters", "sys\u00adtem:masters", "system\ufe0f:masters", "system\u3164:masters", "system:masters\n", " system:masters"} {
		if len(identity.Check(user, named(name))) == 0 || len(identity.Check(user, in(name))) == 0 {
			t.Errorf("%q is not refused", name)
		}
	}
}

func forbidden(errs field.ErrorList) bool {
	return len(errs) == 1 && errs[0].Type == field.ErrorTypeForbidden
}

func TestErrorsAreBounded(t *testing.T) {
	u := named("\x01")
	for i := range 128 {
		u.Groups = append(u.Groups, fmt.Sprintf("\U0010fffe\u202e%0250d", i))
	}
	errs := identity.Check(user, u)
	if n := len(errs.ToAggregate().Error()); len(errs) != 16 || n > 16<<10 {
		t.Errorf("%d errors of %d bytes", len(errs), n)
	}
}

func TestEqual(t *testing.T) {
	full := alice(func(u *v1alpha1.UserInfo) {
		u.Groups = []string{"a", "b"}
		u.Extra = map[string]v1alpha1.ExtraValue{"k": {"1", "2"}}
	})
	but := func(modify func(*v1alpha1.UserInfo)) *v1alpha1.UserInfo {
		u := full.DeepCopy()
		modify(u)
		return u
	}
	for _, tc := range []struct {
		name string
		a, b *v1alpha1.UserInfo
		want bool
	}{
		{"nobody", nil, nil, true},
		{"nobody and an empty one", nil, &v1alpha1.UserInfo{}, false},
		{"itself", full, full, true},
		{"groups in another order, one twice", full, but(func(u *v1alpha1.UserInfo) { u.Groups = []string{"b", "a", "b"} }), true},
		{"absent and empty", &v1alpha1.UserInfo{}, &v1alpha1.UserInfo{Groups: []string{}, Extra: map[string]v1alpha1.ExtraValue{}}, true},
		{"another name", full, but(func(u *v1alpha1.UserInfo) { u.Username = "Alice" }), false},
		{"another uid", full, but(func(u *v1alpha1.UserInfo) { u.UID = "" }), false},
		{"a group less", full, but(func(u *v1alpha1.UserInfo) { u.Groups = []string{"a"} }), false},
		{"an extra key less", full, but(func(u *v1alpha1.UserInfo) { u.Extra = nil }), false},
		{"another extra key", full, but(func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{"K": {"1", "2"}} }), false},
		{"extra values in another order", full, but(func(u *v1alpha1.UserInfo) { u.Extra["k"] = v1alpha1.ExtraValue{"2", "1"} }), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if identity.Equal(tc.a, tc.b) != tc.want || identity.Equal(tc.b, tc.a) != tc.want {
				t.Errorf("Equal is not %v both ways", tc.want)
			}
		})
	}
}

func TestServiceAccount(t *testing.T) {
	got, ok := identity.ServiceAccount("system:serviceaccount:team-a:ci")
	if want := (types.NamespacedName{Namespace: "team-a", Name: "ci"}); !ok || got != want {
		t.Errorf("got %v, %v", got, ok)
	}
	for _, name := range []string{"alice", "", "system:serviceaccount:a", "system:serviceaccount:a:b:c", "System:serviceaccount:a:b"} {
		if _, ok := identity.ServiceAccount(name); ok {
			t.Errorf("%q is taken for a service account", name)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"alice", "system:masters", "System:Nodes", "ｓｙｓｔｅｍ：masters", "sys\u200dtem:masters", "\xff\x00", "ﷺ:x"} {
		f.Add(seed, seed, seed)
	}
	never := map[string]bool{"system:masters": true, "system:nodes": true, "system:unauthenticated": true, "system:bootstrappers": true}
	f.Fuzz(func(t *testing.T, name, key, value string) {
		u := &v1alpha1.UserInfo{Username: name, UID: value, Groups: []string{value}, Extra: map[string]v1alpha1.ExtraValue{key: {value}}}
		for _, err := range identity.Check(user, u) {
			if !utf8.ValidString(err.Error()) {
				t.Errorf("an error with invalid UTF-8: %q", err.Error())
			}
		}
		if never[strings.ToLower(norm.NFKC.String(value))] && len(identity.Check(user, in(value))) == 0 {
			t.Errorf("group %q passes", value)
		}
		folded := strings.ToLower(norm.NFKC.String(name))
		if _, account := identity.ServiceAccount(name); strings.HasPrefix(folded, "system:") && !account && len(identity.Check(user, named(name))) == 0 {
			t.Errorf("user %q passes", name)
		}
		if folded := strings.ToLower(key); strings.HasPrefix(folded, "authentication.kubernetes.io/") || strings.HasPrefix(folded, "pat-operator.io/") {
			if len(identity.Check(user, with(key, "x"))) == 0 {
				t.Errorf("extra key %q passes", key)
			}
		}
		if !identity.Equal(u, u.DeepCopy()) {
			t.Error("an identity does not equal its copy")
		}
	})
}
