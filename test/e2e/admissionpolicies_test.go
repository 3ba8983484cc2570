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

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission/admissiontest"
	"github.com/pat-operator/pat-operator/test/long"
)

const usersPolicy = "ValidatingAdmissionPolicy 'pat-operator-users'"

// The controller manager checks the policies' expressions against the present schema.
func TestPoliciesHaveNoTypeCheckingWarning(t *testing.T) {
	for _, name := range []string{"pat-operator-users", "pat-operator-records", "pat-operator-delivery", "pat-operator-authorities", "pat-operator-status", "pat-operator-impersonator"} {
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		eventually(t, patience, func() bool {
			if err := admin.Get(t.Context(), types.NamespacedName{Name: name}, policy); err != nil {
				t.Fatal(err)
			}
			return policy.Status.ObservedGeneration == policy.Generation && policy.Status.TypeChecking != nil
		}, func() string { return name + " is not checked" })
		for _, warning := range policy.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s: %s: %s", name, warning.FieldRef, warning.Warning)
		}
	}
}

// Without a webhook of ours, the policy alone says who may make a token for whom.
func TestCase03_WebhookConfigurationsDeleted(t *testing.T) {
	long.Only(t)
	ns := team(t)
	bearerOfPAT := login(t, ns)
	withoutWebhooks(t, ns, deleteWebhooks)
	t.Run("who may", func(t *testing.T) { policyAlone(t, ns, bearerOfPAT) })
	for _, n := range []int{1, 2, 3, 16} {
		t.Run(fmt.Sprintf("for a user with %d groups", n), func(t *testing.T) {
			eachRightMissing(t, ns, otherUser(n))
		})
	}
	t.Run("for a service account", func(t *testing.T) { forAnAccount(t, ns) })
}

// The same where the webhooks do not answer and their failurePolicy was set to Ignore.
func TestCase03_WebhooksIgnoredAndOutOfReach(t *testing.T) {
	long.Only(t)
	ns := team(t)
	bearerOfPAT := login(t, ns)
	withoutWebhooks(t, ns, ignoreWebhooks)
	policyAlone(t, ns, bearerOfPAT)
	eachRightMissing(t, ns, otherUser(2))
}

// login is a client with a token of alice's that works.
func login(t *testing.T, ns string) client.Client {
	t.Helper()
	plaintext := issued(t, alice, pat(ns, "login"))
	accepted(t, plaintext)
	return bearer(t, plaintext)
}

// policyAlone is what needs no right to impersonate.
func policyAlone(t *testing.T, ns string, bearerOfPAT client.Client) {
	t.Helper()
	asUser := func(u v1alpha1.UserInfo) func(*spec) { return func(s *spec) { s.User = &u } }
	self := asUser(v1alpha1.UserInfo{Username: "bob", Groups: []string{"team-devs"}})
	if err := bob.Create(t.Context(), pat(ns, "mine", self)); err != nil {
		t.Errorf("bob for himself: %v", err)
	}
	// What nobody but the policy has judged gets no token.
	waitFor(t, ns, "mine", "Ready", "False/GuardsMissing")
	if err := admin.Delete(t.Context(), pat(ns, "mine")); err != nil {
		t.Error(err)
	}
	_, ci := account(t, ns, "ci")
	for name, tc := range map[string]struct {
		by   client.Client
		with func(*spec)
		says []string
	}{
		"no user":                {bob, func(*spec) {}, []string{"spec.user is absent", "webhook", "was not asked", "kubectl auth whoami"}},
		"no user, by an account": {ci, func(*spec) {}, []string{"service account has to say whose", "serviceaccounts", "impersonate"}},
		"another user":           {bob, asUser(v1alpha1.UserInfo{Username: "alice"}), []string{"spec.user.username", "you are bob", "may not impersonate alice", "omit spec.user", `resources: ["users"], verbs: ["impersonate"], resourceNames: ["alice"]`}},
		"another of the name":    {bob, asUser(v1alpha1.UserInfo{Username: "bob", UID: "1"}), []string{"spec.user.uid", "omit spec.user"}},
		"a group of others":      {bob, asUser(v1alpha1.UserInfo{Username: "bob", Groups: []string{"team-devs", "ops"}}), []string{"spec.user.groups", "not in the group ops today"}},
		"an extra of one's own":  {bob, asUser(v1alpha1.UserInfo{Username: "bob", Extra: map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}}}), []string{"spec.user.extra"}},
		"masters":                {admin, asUser(v1alpha1.UserInfo{Username: "admin", Groups: []string{"system:masters"}}), []string{"spec.user.groups", "system:masters", "the groups but this one"}},
		"nodes":                  {admin, asUser(v1alpha1.UserInfo{Username: "n1", Groups: []string{"system:nodes"}}), []string{"system:nodes"}},
		"unauthenticated":        {admin, asUser(v1alpha1.UserInfo{Username: "n1", Groups: []string{"system:unauthenticated"}}), []string{"system:unauthenticated"}},
		"bootstrappers":          {admin, asUser(v1alpha1.UserInfo{Username: "n1", Groups: []string{"system:bootstrappers:worker"}}), []string{"system:bootstrappers:worker"}},
		"masters by case":        {admin, asUser(v1alpha1.UserInfo{Username: "admin", Groups: []string{"System:Masters"}}), []string{"spec.user: System:Masters", "mistaken"}},
		"masters in Cyrillic":    {admin, asUser(v1alpha1.UserInfo{Username: "admin", Groups: []string{"ѕystem:masters"}}), []string{"mistaken"}},
		"masters, another colon": {admin, asUser(v1alpha1.UserInfo{Username: "admin", Groups: []string{"system：masters"}}), []string{"mistaken"}},
		"masters, invisible":     {admin, asUser(v1alpha1.UserInfo{Username: "admin", Groups: []string{"sys\u200btem:masters"}}), []string{"holds a control or invisible character, U+200B"}},
		"masters, two lines":     {admin, asUser(v1alpha1.UserInfo{Username: "admin", Groups: []string{"system:masters\n"}}), []string{"control or invisible character"}},
		"a node":                 {admin, asUser(v1alpha1.UserInfo{Username: "system:node:n1"}), []string{"spec.user.username", "system:node:n1"}},
		"anonymous":              {admin, asUser(v1alpha1.UserInfo{Username: "system:anonymous"}), []string{"spec.user.username"}},
		"no account's name":      {admin, asUser(v1alpha1.UserInfo{Username: "system:serviceaccount:x"}), []string{"system:serviceaccount:NAMESPACE:NAME"}},
		"an account's groups":    {admin, asUser(v1alpha1.UserInfo{Username: "x", Groups: []string{"system:serviceaccounts"}}), []string{"spec.user.groups"}},
		"a credential's mark":    {admin, asUser(v1alpha1.UserInfo{Username: "x", Extra: map[string]v1alpha1.ExtraValue{"Authentication.kubernetes.io/node-name": {"n1"}}}), []string{"spec.user.extra", "only Kubernetes"}},
		"a mark of ours":         {admin, asUser(v1alpha1.UserInfo{Username: "x", Extra: map[string]v1alpha1.ExtraValue{"pat-operator.io/scoped": {"no"}}}), []string{"spec.user.extra", "pat-operator"}},
		"a key in capitals":      {admin, asUser(v1alpha1.UserInfo{Username: "x", Extra: map[string]v1alpha1.ExtraValue{"Example.com/a": {"b"}}}), []string{"spec.user.extra", "lower-case"}},
		"17 groups of others":    {admin, func(s *spec) { s.User = otherUser(17) }, []string{"spec.user.groups", "at most 16"}},
		"five keys of others":    {admin, func(s *spec) { s.User = otherUser(1); s.User.Extra["example.com/e"] = []string{"x"} }, []string{"spec.user.extra", "at most 4"}},
		"three values of others": {admin, func(s *spec) { s.User = otherUser(1); s.User.Extra["example.com/a"] = []string{"x", "y", "z"} }, []string{"spec.user.extra", "at most 2"}},
		"a token begets a token": {bearerOfPAT, asUser(v1alpha1.UserInfo{Username: "alice", Groups: []string{"team-devs"}}), []string{"personal access token may not make"}},
		"an account for itself":  {ci, func(s *spec) { s.User = accountInfo(t, ns, "ci") }, []string{"spec.user.username", "may not impersonate the service account ci", "also for the account itself"}},
		"an account without UID": {admin, asUser(v1alpha1.UserInfo{Username: "system:serviceaccount:" + ns + ":ci"}), []string{"spec.user.uid", "kubectl get serviceaccount"}},
		"an account with extra": {admin, func(s *spec) {
			s.User = accountInfo(t, ns, "ci")
			s.User.Extra = map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}}
		}, []string{"spec.user.extra", "Leave it out"}},
		"an account with a group": {admin, func(s *spec) { s.User = accountInfo(t, ns, "ci"); s.User.Groups = []string{"ops"} }, []string{"spec.user.groups", "Leave groups out"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.by.Create(t.Context(), pat(ns, "x", tc.with), client.DryRunAll)
			wantStatus(t, err, 403, append(tc.says, usersPolicy)...)
		})
	}
}

// otherUser has n groups, a UID, and as much extra as a token for another user may carry.
func otherUser(n int) *v1alpha1.UserInfo {
	u := &v1alpha1.UserInfo{Username: "carol", UID: "u-carol", Extra: map[string]v1alpha1.ExtraValue{}}
	for i := range n {
		u.Groups = append(u.Groups, fmt.Sprintf("group-%d", i))
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		u.Extra["example.com/"+key] = v1alpha1.ExtraValue{"one-" + key, "two-" + key}
	}
	return u
}

// missing is a right to impersonate, and the path that names it.
type missing struct{ group, resource, name, path string }

func (m missing) rule() string {
	return fmt.Sprintf(`{apiGroups: [%q], resources: [%q], verbs: ["impersonate"], resourceNames: [%q]}`, m.group, m.resource, m.name)
}

// eachRightMissing takes away each of the rights that a token for another user takes, one at a time, and has bob ask.
func eachRightMissing(t *testing.T, ns string, u *v1alpha1.UserInfo) {
	t.Helper()
	rights := []missing{
		{"", "users", u.Username, "spec.user.username"},
		{"authentication.k8s.io", "uids", u.UID, "spec.user.uid"},
	}
	for i, g := range u.Groups {
		rights = append(rights, missing{"", "groups", g, fmt.Sprintf("spec.user.groups[%d]", i)})
	}
	for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
		for _, value := range u.Extra[key] {
			rights = append(rights, missing{"authentication.k8s.io", "userextras/" + key, value, "spec.user.extra"})
		}
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "for-another-user-"}}
	create(t, admin, role)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{subject("bob")},
	}
	create(t, admin, binding)
	defer func() {
		if err := admin.Delete(context.Background(), binding); err != nil {
			t.Error(err)
		}
	}()
	grant := func(verbs []string, except int) {
		role.Rules = nil
		for i, r := range rights {
			if i != except {
				role.Rules = append(role.Rules, rbacv1.PolicyRule{
					APIGroups: []string{r.group}, Resources: []string{r.resource}, ResourceNames: []string{r.name}, Verbs: verbs,
				})
			}
		}
		if err := admin.Update(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
	dryRun := func() error {
		return bob.Create(t.Context(), pat(ns, "for-another-user", func(s *spec) { s.User = u }), client.DryRunAll)
	}
	for i, r := range rights {
		grant([]string{"impersonate"}, i)
		var err error
		eventually(t, patience, func() bool {
			err = dryRun()
			return err != nil && strings.Contains(err.Error(), r.path) && strings.Contains(err.Error(), r.rule())
		}, func() string { return fmt.Sprintf("without %v: %v", r, err) })
		wantStatus(t, err, 403, usersPolicy)
	}
	grant([]string{"impersonate"}, -1)
	var err error
	eventually(t, patience, func() bool { err = dryRun(); return err == nil }, func() string { return fmt.Sprintf("with every right: %v", err) })
	grant([]string{"impersonate:user-info", "impersonate:serviceaccount", "impersonate-on:user-info:create"}, -1)
	// The role may change while the policy asks for one right after another.
	eventually(t, patience, func() bool { err = dryRun(); return err != nil && strings.Contains(err.Error(), "spec.user.username") },
		func() string { return fmt.Sprintf("the newer verbs suffice: %v", err) })
	wantStatus(t, err, 403, usersPolicy)
}

// forAnAccount shows that a token for an account takes impersonate on it, for every requester.
func forAnAccount(t *testing.T, ns string) {
	t.Helper()
	_, robot := account(t, ns, "robot")
	p := pat(ns, "robots", func(s *spec) { s.User = accountInfo(t, ns, "robot") })
	for _, c := range []client.Client{robot, bob} {
		wantStatus(t, c.Create(t.Context(), p.DeepCopy(), client.DryRunAll), 403, usersPolicy, `resources: ["serviceaccounts"], verbs: ["impersonate"], resourceNames: ["robot"]`)
	}
	create(t, admin, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "may-act-as-robot"},
		Rules:      []rbacv1.PolicyRule{impersonate("", "serviceaccounts", "robot")},
	})
	create(t, admin, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "may-act-as-robot"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "may-act-as-robot"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "robot"}, subject("bob")},
	})
	for _, c := range []client.Client{robot, bob} {
		var err error
		eventually(t, patience, func() bool { err = c.Create(t.Context(), p.DeepCopy(), client.DryRunAll); return err == nil },
			func() string { return fmt.Sprintf("with the right: %v", err) })
	}
}

// With the webhooks gone, the policy judges each update as they do: what widens takes the user, what narrows takes RBAC alone.
func TestCase51_UpdatesByPolicyAlone(t *testing.T) {
	long.Only(t)
	ns := team(t)
	bearerOfPAT := login(t, ns)
	withoutWebhooks(t, ns, deleteWebhooks)
	create(t, alice, pat(ns, "hers", func(s *spec) {
		s.User = &v1alpha1.UserInfo{Username: "alice", Groups: []string{"team-devs"}}
	}))
	everybody := map[string]client.Client{"alice": alice, "bob": bob, "her token": bearerOfPAT}
	for i, u := range storedUpdates(t, ns) {
		t.Run(u.Field+": "+u.Name, func(t *testing.T) {
			for who, c := range everybody {
				err := replaceSpec(t, c, pat(ns, updateName(i)), u.Field, u.New, client.DryRunAll)
				switch {
				case u.Field == "user":
					wantStatus(t, err, 403, usersPolicy, "spec.user: the user of a token cannot be changed")
				case u.Want != admissiontest.Widens || who == "alice":
					if err != nil {
						t.Errorf("%s: %v", who, err)
					}
				case who == "bob":
					wantStatus(t, err, 403, usersPolicy, "impersonate alice")
				default:
					wantStatus(t, err, 403, usersPolicy, "may not make, renew or widen")
				}
			}
		})
	}
	for name, edit := range map[string]func(*spec){
		"another user": func(s *spec) { s.User.Username = "bob" },
		"a group more": func(s *spec) { s.User.Groups = []string{"team-devs", "system:authenticated"} },
		"a group less": func(s *spec) { s.User.Groups = nil },
		"an extra":     func(s *spec) { s.User.Extra = map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}} },
	} {
		t.Run("user: "+name, func(t *testing.T) {
			for _, c := range everybody {
				wantStatus(t, change(t, c, ns, "hers", edit, client.DryRunAll), 403, usersPolicy, "spec.user: the user of a token cannot be changed")
			}
		})
	}
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"reviewed":"yes"},"finalizers":["example.com/x"]}}`))
	if err := bob.Patch(t.Context(), pat(ns, "hers"), label, client.DryRunAll); err != nil {
		t.Errorf("a label and a finalizer: %v", err)
	}
}

// storedUpdates makes a resource with the old spec of each update, some of which the policy would not let anybody make.
func storedUpdates(t *testing.T, ns string) []admissiontest.Update {
	t.Helper()
	updates := admissiontest.Updates(time.Time{})
	withoutUsersPolicy(t, ns, func() {
		for i := range updates {
			p := pat(ns, updateName(i))
			create(t, alice, p)
			updates[i] = admissiontest.Updates(p.CreationTimestamp.Time)[i]
			if err := replaceSpec(t, alice, p, updates[i].Field, updates[i].Old); err != nil {
				t.Fatalf("%s: %s: %v", updates[i].Field, updates[i].Name, err)
			}
		}
	})
	return updates
}

func updateName(i int) string { return fmt.Sprintf("update-%d", i) }

// replaceSpec puts a spec of admissiontest in place of the whole spec, as alice's where the update is not of the user.
func replaceSpec(t *testing.T, c client.Client, p *v1alpha1.PersonalAccessToken, field, raw string, options ...client.PatchOption) error {
	t.Helper()
	var spec map[string]any
	if err := json.Unmarshal([]byte(raw), &spec); err != nil {
		t.Fatal(err)
	}
	if field != "user" {
		spec["user"] = map[string]any{"username": "alice"}
	}
	patch, err := json.Marshal([]map[string]any{{"op": "replace", "path": "/spec", "value": spec}})
	if err != nil {
		t.Fatal(err)
	}
	return c.Patch(t.Context(), p, client.RawPatch(types.JSONPatchType, patch), options...)
}

// change patches a spec, and retries while the operator writes status.
func change(t *testing.T, c client.Client, ns, name string, edit func(*spec), options ...client.PatchOption) error {
	t.Helper()
	was := get(t, ns, name)
	is := was.DeepCopy()
	edit(&is.Spec)
	return c.Patch(t.Context(), is, client.MergeFrom(was), options...)
}

// accountInfo is a service account as the mutating webhook would complete it.
func accountInfo(t *testing.T, ns, name string) *v1alpha1.UserInfo {
	t.Helper()
	account := &corev1.ServiceAccount{}
	if err := admin.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, account); err != nil {
		t.Fatal(err)
	}
	return &v1alpha1.UserInfo{
		Username: "system:serviceaccount:" + ns + ":" + name,
		UID:      string(account.UID),
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + ns},
	}
}

type (
	mutating   = admissionregistrationv1.MutatingWebhookConfiguration
	validating = admissionregistrationv1.ValidatingWebhookConfiguration
)

// withoutWebhooks takes our webhooks out of force for the rest of the test, in one of two ways.
func withoutWebhooks(t *testing.T, ns string, how func(*testing.T, *mutating, *validating)) {
	t.Helper()
	m, v := &mutating{}, &validating{}
	name := types.NamespacedName{Name: "pat-operator"}
	for _, o := range []client.Object{m, v} {
		if err := admin.Get(t.Context(), name, o); err != nil {
			t.Fatal(err)
		}
	}
	stamped := func() bool { return alice.Create(context.Background(), pat(ns, "probe"), client.DryRunAll) == nil }
	// Policies know nothing of how long a token may live.
	judged := func() bool {
		return admin.Create(context.Background(), pat(ns, "probe", func(s *spec) {
			s.User, s.ExpiresInDays = &v1alpha1.UserInfo{Username: "carol"}, ptr.To[int32](400)
		}), client.DryRunAll) != nil
	}
	t.Cleanup(func() {
		for _, o := range []client.Object{m.DeepCopy(), v.DeepCopy()} {
			now := o.DeepCopyObject().(client.Object)
			err := admin.Get(context.Background(), name, now)
			if o.SetUID(""); err == nil {
				o.SetResourceVersion(now.GetResourceVersion())
				err = admin.Update(context.Background(), o)
			} else {
				o.SetResourceVersion("")
				err = admin.Create(context.Background(), o)
			}
			if err != nil {
				t.Error(err)
			}
		}
		eventually(t, patience, func() bool { return stamped() && judged() }, func() string { return "the webhooks are not back in force" })
		if err := cl.WaitAccepted(context.Background()); err != nil {
			t.Error(err)
		}
	})
	how(t, m.DeepCopy(), v.DeepCopy())
	eventually(t, patience, func() bool { return !stamped() && !judged() }, func() string { return "the webhooks stay in force" })
}

func deleteWebhooks(t *testing.T, m *mutating, v *validating) {
	t.Helper()
	for _, o := range []client.Object{m, v} {
		if err := admin.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func ignoreWebhooks(t *testing.T, m *mutating, v *validating) {
	t.Helper()
	nowhere := ptr.To("https://127.0.0.1:1/")
	for i := range m.Webhooks {
		m.Webhooks[i].FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
		m.Webhooks[i].ClientConfig.Service, m.Webhooks[i].ClientConfig.URL = nil, nowhere
	}
	for i := range v.Webhooks {
		v.Webhooks[i].FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
		v.Webhooks[i].ClientConfig.Service, v.Webhooks[i].ClientConfig.URL = nil, nowhere
	}
	for _, o := range []client.Object{m, v} {
		if err := admin.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}
