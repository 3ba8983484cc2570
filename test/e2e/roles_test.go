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
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// revocation revokes the token of a resource and keeps the resource.
func revocation(t *testing.T, ns, name string) client.Patch {
	t.Helper()
	return client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status":{"revoked":[{"tokenID":%q}]}}`, get(t, ns, name).Status.TokenID))
}

// Kubernetes' own admin, edit and view reach PersonalAccessTokens by aggregation.
func TestAggregatedRoles(t *testing.T) {
	ns := team(t)
	issued(t, alice, pat(ns, "hers"))
	for role, writes := range map[string]bool{"admin": true, "edit": true, "view": false} {
		t.Run(role, func(t *testing.T) {
			u, err := product.User("one-who-may-" + role)
			if err != nil {
				t.Fatal(err)
			}
			create(t, admin, &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
				Subjects:   []rbacv1.Subject{subject(u.Name)},
			})
			eventually(t, patience, func() bool {
				return u.List(t.Context(), &v1alpha1.PersonalAccessTokenList{}, client.InNamespace(ns)) == nil
			}, func() string { return "the role is not aggregated" })
			label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))
			for what, err := range map[string]error{
				"create":       u.Create(t.Context(), pat(ns, "theirs"), client.DryRunAll),
				"patch":        u.Patch(t.Context(), pat(ns, "hers"), label, client.DryRunAll),
				"revoke":       u.Status().Patch(t.Context(), pat(ns, "hers"), revocation(t, ns, "hers"), client.DryRunAll),
				"delete":       u.Delete(t.Context(), pat(ns, "hers"), client.DryRunAll),
				"delete a lot": u.DeleteAllOf(t.Context(), &v1alpha1.PersonalAccessToken{}, client.InNamespace(ns), client.DryRunAll),
			} {
				switch {
				case !writes:
					wantStatus(t, err, 403, "cannot")
				case err != nil:
					t.Errorf("%s: %v", what, err)
				}
			}
			wantStatus(t, u.Status().Update(t.Context(), get(t, ns, "hers"), client.DryRunAll), 403, "cannot update")
		})
	}
}

// The help desk of the sample revokes anybody's token and makes nobody one.
func TestHelpDeskSample(t *testing.T) {
	ns := team(t)
	plaintext := issued(t, alice, pat(ns, "hers"))
	desk := helpDesk(t)
	wantStatus(t, desk.Create(t.Context(), pat(ns, "own")), 403, "cannot create")
	wantStatus(t, desk.Patch(t.Context(), pat(ns, "hers"), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`))), 403, "cannot patch")
	if err := desk.Status().Patch(t.Context(), pat(ns, "hers"), revocation(t, ns, "hers"), client.DryRunAll); err != nil {
		t.Error(err)
	}
	if err := desk.Delete(t.Context(), pat(ns, "hers")); err != nil {
		t.Fatal(err)
	}
	refused(t, plaintext)
}

// The issuers of the sample make tokens for whom it names, with the groups that it names.
func TestIssueForOthersSample(t *testing.T) {
	ns := team(t)
	kubectl(t, cl.AdminKubeconfig, sample(t, "role-issue-for-others.yaml"), "-n", ns, "apply", "-f", "-")
	account(t, ns, "ci")
	issuer, err := product.User("ida", "token-issuers")
	if err != nil {
		t.Fatal(err)
	}
	forUser := func(username string, groups ...string) error {
		return issuer.Create(t.Context(), pat(ns, "for-another", func(s *spec) {
			s.User = &v1alpha1.UserInfo{Username: username, Groups: groups}
		}), client.DryRunAll)
	}
	for _, who := range [][]string{{"bob", "developers"}, {"alice"}, {"system:serviceaccount:" + ns + ":ci"}} {
		var last error
		eventually(t, patience, func() bool { last = forUser(who[0], who[1:]...); return last == nil },
			func() string { return fmt.Sprintf("the rights do not take effect: %v", last) })
	}
	wantStatus(t, forUser("carol"), 403, "carol")
	wantStatus(t, forUser("alice", "admins"), 403, "admins")
	wantStatus(t, forUser("system:serviceaccount:"+ns+":default"), 403, "default")
}

// GitOps controllers impersonate a tenant's account by its name alone. It makes tokens for whom the samples name.
func TestGitOpsSamples(t *testing.T) {
	long.Only(t)
	tokens := sample(t, filepath.Join("gitops", "tokens.yaml"))
	for _, tenant := range []string{"flux", "argocd"} {
		t.Run(tenant, func(t *testing.T) {
			rights := strings.ReplaceAll(sample(t, filepath.Join("gitops", tenant+"-tenant.yaml")), "team-a", "team-"+tenant)
			kubectl(t, cl.AdminKubeconfig, rights, "apply", "-f", "-")
			ns := "team-" + tenant
			as := "--as=system:serviceaccount:" + ns + ":" + tenant
			mine := strings.ReplaceAll(tokens, "team-a", ns)
			var last error
			eventually(t, patience, func() bool {
				_, _, last = cl.Kubectl(t.Context(), cl.AdminKubeconfig, mine, as, "apply", "--server-side", "-f", "-")
				return last == nil
			}, func() string { return last.Error() })
			for _, name := range []string{"alices-dashboard", "ci-outside"} {
				waitFor(t, ns, name, v1alpha1.ConditionReady, "True/Reconciled")
			}
			if u := get(t, ns, "ci-outside").Spec.User; u.UID == "" || len(u.Groups) != 2 {
				t.Errorf("the account's identity was not looked up: %+v", u)
			}
			config := rest.CopyConfig(cl.Admin())
			config.Impersonate = rest.ImpersonationConfig{UserName: strings.TrimPrefix(as, "--as=")}
			c, err := client.New(config, client.Options{Scheme: env.Scheme})
			if err != nil {
				t.Fatal(err)
			}
			wantStatus(t, c.Create(t.Context(), pat(ns, "unnamed")), 403, "spec.user")
			wantStatus(t, c.Create(t.Context(), pat(ns, "bobs", func(s *spec) { s.User = &v1alpha1.UserInfo{Username: "bob"} })), 403, "bob")
			wantStatus(t, c.Create(t.Context(), pat(ns, "itself", func(s *spec) {
				s.User = &v1alpha1.UserInfo{Username: config.Impersonate.UserName}
			})), 403, tenant)
		})
	}
}

// sample reads a file of config/samples.
func sample(t *testing.T, file string) string {
	t.Helper()
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "config", "samples", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
