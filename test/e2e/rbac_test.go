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
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	operatorAccount = "system:serviceaccount:" + cluster.OperatorNamespace + ":pat-operator"
	verifierAccount = "system:serviceaccount:" + cluster.OperatorNamespace + ":pat-operator-verifier"
	proxyAccount    = "system:serviceaccount:" + cluster.OperatorNamespace + ":pat-operator-proxy"
	apiAccount      = "system:serviceaccount:" + cluster.OperatorNamespace + ":pat-operator-api"
	// impersonatorAccount is what the proxy forwards requests as.
	impersonatorAccount = "system:serviceaccount:" + cluster.OperatorNamespace + ":pat-operator-impersonator"
)

// Each service account of ours may do what its golden file lists, and nothing more: what it is told of itself in our two
// namespaces and in any other, less what everybody may do.
func TestRBACIsWhatTheGoldenFileSays(t *testing.T) {
	namespaces := []string{cluster.OperatorNamespace, cluster.RecordsNamespace, "default"}
	proxied(t)
	withAPI(t)
	everybody := map[string]bool{}
	for _, ns := range namespaces {
		for _, line := range rules(t, "system:serviceaccount:default:nobody", ns) {
			everybody[ns+line] = true
		}
	}
	for name, account := range map[string]string{
		"operator": operatorAccount, "verifier": verifierAccount, "proxy": proxyAccount, "impersonator": impersonatorAccount, "api": apiAccount,
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			for _, ns := range namespaces {
				fmt.Fprintf(&got, "# in %s\n", ns)
				for _, line := range rules(t, account, ns) {
					if !everybody[ns+line] {
						fmt.Fprintln(&got, line)
					}
				}
			}
			golden := filepath.Join("testdata", "rbac-"+name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("the rights of the %s changed; if that is meant, run go test ./test/e2e -run TestRBACIsWhatTheGoldenFileSays -update\n%s", name, diff)
			}
		})
	}
}

// proxied installs the accounts of the proxy and what they may do in every form.
func proxied(t *testing.T) {
	t.Helper()
	apply(t, "config/rbac/proxy")
	eventually(t, patience, func() bool {
		discovery := client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-proxy"}
		return as(t, proxyAccount).List(t.Context(), &corev1.SecretList{}, client.InNamespace(cluster.RecordsNamespace)) == nil &&
			as(t, "system:serviceaccount:default:nobody").Get(t.Context(), discovery, &corev1.ConfigMap{}) == nil
	}, func() string { return "the proxy's roles do not take effect" })
}

// withAPI installs the account of the API face and what it may do.
func withAPI(t *testing.T) {
	t.Helper()
	apply(t, "config/rbac/api")
	eventually(t, patience, func() bool {
		discovery := client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-api"}
		return as(t, apiAccount).List(t.Context(), &corev1.SecretList{}, client.InNamespace(cluster.RecordsNamespace)) == nil &&
			as(t, "system:serviceaccount:default:nobody").Get(t.Context(), discovery, &corev1.ConfigMap{}) == nil
	}, func() string { return "the roles of the API face do not take effect" })
}

// apply applies a kustomization for the time of a test.
func apply(t *testing.T, kustomization string) {
	t.Helper()
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, kustomization)
	kubectl(t, cl.AdminKubeconfig, "", "apply", "-k", folder)
	t.Cleanup(func() {
		if _, _, err := cl.Kubectl(context.Background(), cl.AdminKubeconfig, "", "delete", "--ignore-not-found", "-k", folder); err != nil {
			t.Error(err)
		}
	})
}

// rules lists what an account may do in a namespace, by its own rules review, a line for each rule.
func rules(t *testing.T, account, namespace string) []string {
	t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	create(t, as(t, account), review)
	// An authorizer webhook lists no rules; ours never allows anything.
	if review.Status.Incomplete && review.Status.EvaluationError != "webhook authorizer does not support user rule resolution" {
		t.Error("the list is incomplete: " + review.Status.EvaluationError)
	}
	var lines []string
	for _, r := range review.Status.ResourceRules {
		lines = append(lines, strings.Join([]string{list(r.Verbs), list(r.APIGroups), list(r.Resources), list(r.ResourceNames)}, " "))
	}
	for _, r := range review.Status.NonResourceRules {
		lines = append(lines, list(r.Verbs)+" "+list(r.NonResourceURLs))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// as is a client of an account of ours, with the rights that RBAC gives it.
func as(t *testing.T, account string) client.Client {
	t.Helper()
	config := rest.CopyConfig(cl.Admin())
	config.Impersonate = rest.ImpersonationConfig{UserName: account}
	c, err := client.New(config, client.Options{Scheme: env.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(items []string) string {
	items = slices.Clone(items)
	slices.Sort(items)
	return "[" + strings.Join(items, ",") + "]"
}

// The resources in full, and with no slash: kubectl takes what follows one for a name.
const (
	pats       = "personalaccesstokens.pat-operator.io"
	patsStatus = pats + " --subresource=status"
)

// right is one that an account is to have, or not, in a namespace or ("") in all of them.
type right struct {
	verb, resource, namespace string
	want                      bool
}

// The same, asked a right at a time as kubectl does, for what matters most.
func hasOnly(t *testing.T, account string, rights []right) {
	t.Helper()
	for _, r := range rights {
		args := slices.Concat([]string{"auth", "can-i", r.verb}, strings.Fields(r.resource), []string{"--as=" + account})
		if r.namespace == "" {
			args = append(args, "--all-namespaces")
		} else {
			args = append(args, "-n", r.namespace)
		}
		out, _, _ := cl.Kubectl(t.Context(), cl.AdminKubeconfig, "", args...)
		if got := strings.TrimSpace(out) == "yes"; got != r.want {
			t.Errorf("%s: %s; want %v", strings.Join(args[2:], " "), strings.TrimSpace(out), r.want)
		}
	}
}

func TestTheOperatorReadsNoSecretsButItsOwn(t *testing.T) {
	long.Only(t)
	t.Parallel()
	ns := team(t)
	hasOnly(t, operatorAccount, []right{
		{"get", "secrets", "", false},
		{"list", "secrets", "", false},
		{"watch", "secrets", "", false},
		{"update", "secrets", "", false},
		{"patch", "secrets", "", false},
		{"deletecollection", "secrets", "", false},
		{"get", "secrets", ns, false},
		{"list", "secrets", ns, false},
		{"get", "secrets", "kube-system", false},
		{"create", "secrets", ns, true},
		{"delete", "secrets", ns, true},
		{"list", "secrets", cluster.OperatorNamespace, false},
		{"get", "secrets", cluster.OperatorNamespace, false},
		{"get", "secrets/pat-operator-ca", cluster.OperatorNamespace, true},
		{"get", "secrets/pat-operator-verifier-ca", cluster.OperatorNamespace, false},
		{"update", "secrets/pat-operator-verifier-ca", cluster.OperatorNamespace, false},
		{"list", "secrets", cluster.RecordsNamespace, true},
		{"update", "secrets", cluster.RecordsNamespace, true},
		{"create", pats, ns, false},
		{"update", pats, ns, false},
		{"delete", pats, ns, false},
		{"impersonate", "users", "", false},
		{"create", "serviceaccounts/token", ns, false},
		{"create", "serviceaccounts/token", cluster.OperatorNamespace, false},
		{"create", "pods", ns, false},
		{"bind", "clusterroles", "", false},
		{"escalate", "clusterroles", "", false},
		{"update", "validatingwebhookconfigurations", "", false},
		{"delete", "validatingadmissionpolicies", "", false},
	})
}

// What answers kube-apiserver, and is reached by others, can forge no record, take no key, and make nobody a token.
func TestTheVerifierWritesItsCAAndStatusAlone(t *testing.T) {
	long.Only(t)
	t.Parallel()
	ns := team(t)
	rights := []right{
		{"list", "secrets", cluster.RecordsNamespace, true},
		{"watch", "secrets", cluster.RecordsNamespace, true},
		{"get", "secrets", cluster.RecordsNamespace, false},
		{"list", pats, "", true},
		{"get", pats, "", false},
		{"get", "secrets/pat-operator-verifier-ca", cluster.OperatorNamespace, true},
		{"update", "secrets/pat-operator-verifier-ca", cluster.OperatorNamespace, true},
		{"get", "secrets/pat-operator-ca", cluster.OperatorNamespace, false},
		{"update", "secrets/pat-operator-ca", cluster.OperatorNamespace, false},
		{"create", "secrets", cluster.OperatorNamespace, true}, // less by policy: TestNeitherAccountGetsAtTheOther
		{"create", "serviceaccounts/token", cluster.OperatorNamespace, false},
		{"get", "leases/pat-operator", cluster.OperatorNamespace, false},
		{"impersonate", "users", "", false},
		{"impersonate", "serviceaccounts", cluster.OperatorNamespace, false},
		{"bind", "clusterroles", "", false},
		{"escalate", "clusterroles", "", false},
		{"patch", "mutatingwebhookconfigurations/pat-operator", "", false},
	}
	for _, verb := range []string{"get", "list", "watch"} {
		rights = append(rights, right{verb, "secrets", "", false}, right{verb, "secrets", ns, false}, right{verb, "configmaps", "", false})
	}
	for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
		rights = append(rights, right{verb, "secrets", cluster.RecordsNamespace, false})
		for _, resource := range []string{"secrets", pats, "serviceaccounts", "pods", "configmaps", "events", "events.events.k8s.io"} {
			rights = append(rights, right{verb, resource, "", false}, right{verb, resource, ns, false})
		}
		rights = append(rights, right{verb, patsStatus, "", verb == "patch"}) // When a token was used.
	}
	hasOnly(t, verifierAccount, rights)
}

// The API face, which everybody may reach, revokes tokens and writes nothing else: not when a token was used, as the verifier does.
func TestTheAPIFaceWritesItsCAAndRevocationsAlone(t *testing.T) {
	long.Only(t)
	ns := team(t)
	withAPI(t)
	rights := []right{
		{"list", "secrets", cluster.RecordsNamespace, true},
		{"watch", "secrets", cluster.RecordsNamespace, true},
		{"get", "secrets", cluster.RecordsNamespace, false},
		{"get", pats, "", true},
		{"list", pats, "", true},
		{"get", "secrets/pat-operator-api-ca", cluster.OperatorNamespace, true},
		{"update", "secrets/pat-operator-api-ca", cluster.OperatorNamespace, true},
		{"create", "secrets", cluster.OperatorNamespace, true}, // less by policy: TestNeitherAccountGetsAtTheOther
		{"patch", "configmaps/pat-operator-api", cluster.OperatorNamespace, true},
		{"patch", "configmaps/pat-operator-authn", cluster.OperatorNamespace, false},
		{"create", "serviceaccounts/token", cluster.OperatorNamespace, false},
		{"get", "leases/pat-operator", cluster.OperatorNamespace, false},
		{"list", "leases", "", false},
		{"impersonate", "users", "", false},
		{"impersonate", "serviceaccounts", cluster.OperatorNamespace, false},
		{"introspect", "audiences.pat-operator.io", "", false},
		{"bind", "clusterroles", "", false},
		{"escalate", "clusterroles", "", false},
		{"patch", "mutatingwebhookconfigurations/pat-operator", "", false},
	}
	for _, name := range []string{operatorCA, verifierCA, proxyCA, consoleKey} {
		rights = append(rights, right{"get", "secrets/" + name, cluster.OperatorNamespace, false}, right{"update", "secrets/" + name, cluster.OperatorNamespace, false})
	}
	for _, verb := range []string{"get", "list", "watch"} {
		rights = append(rights, right{verb, "secrets", "", false}, right{verb, "secrets", ns, false}, right{verb, "configmaps", "", false})
	}
	for _, verb := range []string{"create", "update", "patch", "delete", "deletecollection"} {
		rights = append(rights, right{verb, "secrets", cluster.RecordsNamespace, false})
		for _, resource := range []string{"secrets", pats, "serviceaccounts", "pods", "configmaps", "events", "events.events.k8s.io"} {
			rights = append(rights, right{verb, resource, "", false}, right{verb, resource, ns, false})
		}
		rights = append(rights, right{verb, patsStatus, "", verb == "patch"}) // less by policy: TestCase45_EachFieldOfStatusAsEachAccount
	}
	hasOnly(t, apiAccount, rights)
}

// Records are the operator's alone to write, and delivery Secrets all that it may make elsewhere: by policy, on top of
// what RBAC allows.
func TestPoliciesGuardRecordsAndDelivery(t *testing.T) {
	ns := team(t)
	issued(t, alice, pat(ns, "my-pat"))
	record := &corev1.Secret{}
	key := client.ObjectKey{Namespace: cluster.RecordsNamespace, Name: recordName(ns, "my-pat")}
	if err := admin.Get(t.Context(), key, record); err != nil {
		t.Fatal(err)
	}
	edited := record.DeepCopy()
	edited.Data["record"] = append(edited.Data["record"], ' ')
	wantStatus(t, admin.Update(t.Context(), edited), 403, "pat-operator")
	wantStatus(t, admin.Delete(t.Context(), record), 403, "pat-operator")
	forged := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.RecordsNamespace, Name: "forged"}, Type: "pat-operator.io/record"}
	wantStatus(t, admin.Create(t.Context(), forged), 403, "pat-operator")

	operator := as(t, operatorAccount)
	password := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "password"}, StringData: map[string]string{"password": "x"}}
	wantStatus(t, operator.Create(t.Context(), password.DeepCopy()), 403, "pat-operator.io/token")
	create(t, admin, password)
	wantStatus(t, operator.Delete(t.Context(), password), 403, "pat-operator.io/token")
}
