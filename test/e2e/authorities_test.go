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
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/console"
	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	authoritiesPolicy = "ValidatingAdmissionPolicy 'pat-operator-authorities'"

	operatorCA = "pat-operator-ca"
	verifierCA = "pat-operator-verifier-ca"
	proxyCA    = "pat-operator-proxy-ca"
	apiCA      = "pat-operator-api-ca"
	consoleKey = console.KeySecretName
)

// ofUs is a Secret in the operator's namespace.
func ofUs(name string, kind corev1.SecretType, with ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.OperatorNamespace, Name: name}, Type: kind}
	switch kind {
	case corev1.SecretTypeTLS:
		s.Data = map[string][]byte{"tls.crt": {}, "tls.key": {}}
	case corev1.SecretTypeServiceAccountToken:
		// Filled in by the controller manager with a token of that account.
		s.Annotations = map[string]string{corev1.ServiceAccountNameKey: "pat-operator"}
	}
	for _, f := range with {
		f(s)
	}
	return s
}

// Who has taken over one of the accounts may create Secrets in their namespace and read one by name. By policy that is the
// Secret of their own CA, so none gets a token of another's account, nor its key.
func TestNeitherAccountGetsAtTheOther(t *testing.T) {
	proxied(t)
	withAPI(t)
	for _, name := range []string{proxyCA, apiCA} { // Neither runs here; one that ran has left its CA.
		if err := admin.Delete(t.Context(), ofUs(name, corev1.SecretTypeTLS)); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		create(t, admin, ofUs(name, corev1.SecretTypeTLS))
		t.Cleanup(func() {
			if err := admin.Delete(context.Background(), ofUs(name, corev1.SecretTypeTLS)); err != nil {
				t.Error(err)
			}
		})
	}
	const sometoken = "pat-abcdefghijklmnop"
	generated := func(s *corev1.Secret) { s.Name, s.GenerateName = "", s.Name }
	of := func(account string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Annotations[corev1.ServiceAccountNameKey] = account }
	}
	for _, account := range []struct {
		name, own, foreign string
		refused            map[string]*corev1.Secret
	}{
		{operatorAccount, operatorCA, verifierCA, map[string]*corev1.Secret{
			"a token of the verifier under the name of its CA": ofUs(operatorCA, corev1.SecretTypeServiceAccountToken, of("pat-operator-verifier")),
			"a delivery Secret under the name of its CA":       ofUs(operatorCA, "pat-operator.io/token"),
			"a delivery Secret under a name of no token":       ofUs("pat-operator-verifier", "pat-operator.io/token"),
			"a delivery Secret's name for a token":             ofUs(sometoken, corev1.SecretTypeServiceAccountToken, of("pat-operator-verifier")),
			"the console's key":                                ofUs(consoleKey, console.KeySecretType),
		}},
		{verifierAccount, verifierCA, operatorCA, map[string]*corev1.Secret{
			"a token of the operator under the name of its CA": ofUs(verifierCA, corev1.SecretTypeServiceAccountToken),
			"a token of the operator under another name":       ofUs("mine", corev1.SecretTypeServiceAccountToken),
			"a token of the operator under a generated name":   ofUs(verifierCA+"-", corev1.SecretTypeServiceAccountToken, generated),
			"a delivery Secret":                                ofUs(sometoken, "pat-operator.io/token"),
			"a token of the operator as the console's key":     ofUs(consoleKey, corev1.SecretTypeServiceAccountToken),
			"the console's key under another name":             ofUs("mine", console.KeySecretType),
			"the proxy's CA":                                   ofUs(proxyCA, corev1.SecretTypeTLS),
			"the API face's CA":                                ofUs(apiCA, corev1.SecretTypeTLS),
		}},
		{proxyAccount, proxyCA, verifierCA, map[string]*corev1.Secret{
			"a token of the operator under the name of its CA":     ofUs(proxyCA, corev1.SecretTypeServiceAccountToken),
			"a token of the impersonator under the name of its CA": ofUs(proxyCA, corev1.SecretTypeServiceAccountToken, of("pat-operator-impersonator")),
			"a token of the impersonator under another name":       ofUs("mine", corev1.SecretTypeServiceAccountToken, of("pat-operator-impersonator")),
			"a delivery Secret": ofUs(sometoken, "pat-operator.io/token"),
			"the console's key": ofUs(consoleKey, console.KeySecretType),
			"the operator's CA": ofUs(operatorCA, corev1.SecretTypeTLS),
			"the API face's CA": ofUs(apiCA, corev1.SecretTypeTLS),
		}},
		{apiAccount, apiCA, verifierCA, map[string]*corev1.Secret{
			"a token of the operator under the name of its CA": ofUs(apiCA, corev1.SecretTypeServiceAccountToken),
			"a token of the verifier under the name of its CA": ofUs(apiCA, corev1.SecretTypeServiceAccountToken, of("pat-operator-verifier")),
			"a token of the operator under another name":       ofUs("mine", corev1.SecretTypeServiceAccountToken),
			"a token of the operator under a generated name":   ofUs(apiCA+"-", corev1.SecretTypeServiceAccountToken, generated),
			"a delivery Secret":                            ofUs(sometoken, "pat-operator.io/token"),
			"the console's key":                            ofUs(consoleKey, console.KeySecretType),
			"a token of the operator as the console's key": ofUs(consoleKey, corev1.SecretTypeServiceAccountToken),
			"the operator's CA":                            ofUs(operatorCA, corev1.SecretTypeTLS),
			"the proxy's CA":                               ofUs(proxyCA, corev1.SecretTypeTLS),
		}},
	} {
		t.Run(account.name, func(t *testing.T) {
			c := as(t, account.name)
			refused := account.refused
			refused["any other type under the name of its CA"] = ofUs(account.own, corev1.SecretTypeOpaque)
			refused["the other's CA"] = ofUs(account.foreign, corev1.SecretTypeTLS)
			refused["a certificate of another name"] = ofUs("tls", corev1.SecretTypeTLS)
			for what, secret := range refused {
				t.Run(what, func(t *testing.T) {
					wantStatus(t, c.Create(t.Context(), secret), 403, authoritiesPolicy, "look into both")
				})
			}
			if err := c.Create(t.Context(), ofUs(account.own, corev1.SecretTypeTLS)); !apierrors.IsAlreadyExists(err) {
				t.Errorf("its own CA: %v; want that it is there", err)
			}
			own := &corev1.Secret{}
			if err := c.Get(t.Context(), types.NamespacedName{Namespace: cluster.OperatorNamespace, Name: account.own}, own); err != nil {
				t.Fatal(err)
			}
			if err := c.Update(t.Context(), own, client.DryRunAll); err != nil {
				t.Errorf("its own CA written again: %v", err)
			}
		})
	}
	t.Run("the console's key is the verifier's", func(t *testing.T) {
		if err := as(t, verifierAccount).Create(t.Context(), ofUs(consoleKey, console.KeySecretType), client.DryRunAll); err != nil {
			t.Error(err)
		}
	})
	t.Run("delivery here as elsewhere", func(t *testing.T) {
		c := as(t, operatorAccount)
		secret := ofUs(sometoken, "pat-operator.io/token")
		create(t, c, secret)
		if err := c.Delete(t.Context(), secret); err != nil {
			t.Error(err)
		}
		// RBAC lets the operator delete any Secret anywhere, for delivery.
		wantStatus(t, c.Delete(t.Context(), ofUs(verifierCA, corev1.SecretTypeTLS)), 403, authoritiesPolicy)
	})
}

// The same after an admin has given the account of the verifier, or of the API face, every right in our namespaces.
func TestAccountsAreHeldByPolicyToo(t *testing.T) {
	ns := team(t)
	withAPI(t)
	issued(t, alice, pat(ns, "my-pat"))
	for _, account := range []string{"pat-operator-verifier", "pat-operator-api"} {
		t.Run(account, func(t *testing.T) { heldByPolicy(t, account, recordName(ns, "my-pat")) })
	}
}

func heldByPolicy(t *testing.T, account, record string) {
	for _, namespace := range []string{cluster.OperatorNamespace, cluster.RecordsNamespace} {
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "too-wide-"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: cluster.OperatorNamespace}},
		}
		create(t, admin, binding)
		t.Cleanup(func() {
			if err := admin.Delete(context.Background(), binding); err != nil {
				t.Error(err)
			}
		})
	}
	c := as(t, "system:serviceaccount:"+cluster.OperatorNamespace+":"+account)
	for name, policy := range map[types.NamespacedName]string{
		{Namespace: cluster.OperatorNamespace, Name: operatorCA}: authoritiesPolicy,
		{Namespace: cluster.RecordsNamespace, Name: record}:      "ValidatingAdmissionPolicy 'pat-operator-records'",
	} {
		secret := &corev1.Secret{}
		eventually(t, patience, func() bool { return c.Get(t.Context(), name, secret) == nil }, func() string { return "the binding does not take effect" })
		edited := secret.DeepCopy()
		edited.Data["x"] = []byte("x")
		wantStatus(t, c.Update(t.Context(), edited), 403, policy)
		wantStatus(t, c.Delete(t.Context(), secret), 403, policy)
		forged := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: "forged"}, Type: "pat-operator.io/record"}
		wantStatus(t, c.Create(t.Context(), forged), 403, policy)
	}
}
