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

package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/env"
)

var api env.APIServer

func TestMain(m *testing.M) { os.Exit(api.Run(m)) }

func admin(t *testing.T) client.Client { return api.Client(t) }

// operator makes a namespace, and a client that may do in it what NewAuthority says and nothing else.
func operator(t *testing.T) (client.Client, Options, *clocktesting.FakePassiveClock) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "certs-"}}
	create(t, namespace)
	name := namespace.Name

	subject := rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}
	meta := metav1.ObjectMeta{Name: name, Namespace: name}
	create(t, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{VerifierSecretName}, Verbs: []string{"get", "update"}},
	}})
	create(t, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}})
	create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"admissionregistration.k8s.io"}, ResourceNames: []string{name}, Verbs: []string{"get", "patch"},
		Resources: []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations"},
	}}})
	create(t, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{subject},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}})

	c := api.As(t, name)
	NewWithT(t).Eventually(func() error {
		return errors.Join(
			client.IgnoreNotFound(c.Get(t.Context(), client.ObjectKey{Namespace: name, Name: VerifierSecretName}, &corev1.Secret{})),
			client.IgnoreNotFound(c.Get(t.Context(), client.ObjectKey{Name: name}, &admissionregistrationv1.ValidatingWebhookConfiguration{})))
	}, env.Patience, "50ms").Should(Succeed(), "RBAC takes effect")

	clock := clocktesting.NewFakePassiveClock(epoch)
	return c, testOptions(name, clock), clock
}

func create(t *testing.T, object client.Object) {
	t.Helper()
	if err := admin(t).Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
}

func caSecret(t *testing.T, namespace string) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	if err := admin(t).Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: VerifierSecretName}, secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

// bundleOf returns the certificates that clients of the verifier in namespace have to trust.
func bundleOf(t *testing.T, namespace string) []byte { return caSecret(t, namespace).Data[bundleKey] }

func served(t *testing.T, a *Authority) *tls.Certificate {
	t.Helper()
	return must[*tls.Certificate](t)(a.getCertificate(nil))
}

func syncAll(t *testing.T, replicas ...*Authority) {
	t.Helper()
	for _, a := range replicas {
		if err := a.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplicasThatRaceShareOneCA(t *testing.T) {
	c, o, _ := operator(t)
	replicas := make([]*Authority, 8)
	errs := make([]error, len(replicas))
	var group sync.WaitGroup
	for i := range replicas {
		replicas[i] = NewAuthority(c, o)
		group.Go(func() { errs[i] = replicas[i].sync(t.Context()) })
	}
	group.Wait()

	bundle := bundleOf(t, o.Namespace)
	for i, a := range replicas {
		if errs[i] != nil {
			t.Errorf("replica %d: %v", i, errs[i])
			continue
		}
		if err := verify(served(t, a), bundle, "localhost", epoch); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
		if err := a.Ready(nil); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
	}
}

func TestCARotatesWithOverlapAcrossReplicas(t *testing.T) {
	c, o, clock := operator(t)
	a, b := NewAuthority(c, o), NewAuthority(c, o)
	syncAll(t, a, b)
	first := bundleOf(t, o.Namespace)

	clock.SetTime(epoch.Add(o.CAValidity - o.CARotateBefore))
	syncAll(t, a, b)
	both := bundleOf(t, o.Namespace)
	announced := caSecret(t, o.Namespace)
	if !bytes.HasPrefix(both, first) || len(announced.Data[nextCertKey]) == 0 || !bytes.HasSuffix(both, announced.Data[nextCertKey]) {
		t.Fatalf("the bundle does not hold the signer and its successor:\n%s", both)
	}
	for _, replica := range []*Authority{a, b} {
		if err := verify(served(t, replica), first, "localhost", clock.Now()); err != nil {
			t.Errorf("the successor signed before the overlap had passed: %v", err)
		}
	}

	clock.SetTime(clock.Now().Add(o.Overlap))
	syncAll(t, b)
	promoted := caSecret(t, o.Namespace)
	if diff := cmp.Diff(map[string][]byte{
		"tls.crt": announced.Data["next.crt"], "tls.key": announced.Data["next.key"], "ca.crt": both,
	}, promoted.Data); diff != "" {
		t.Error("the promotion did not move the successor into the place of the signer")
	}
	syncAll(t, a)
	for _, replica := range []*Authority{a, b} {
		if err := verify(served(t, replica), promoted.Data["tls.crt"], "localhost", clock.Now()); err != nil {
			t.Errorf("after the overlap: %v", err)
		}
	}

	clock.SetTime(epoch.Add(o.CAValidity + time.Minute))
	syncAll(t, a, b)
	if got := bundleOf(t, o.Namespace); !bytes.Equal(got, promoted.Data["tls.crt"]) {
		t.Errorf("the expired CA is still trusted:\n%s", got)
	}
}

func TestReplicaWithAStaleReadDoesNotRotateAgain(t *testing.T) {
	c, o, clock := operator(t)
	a, b := NewAuthority(c, o), NewAuthority(c, o)
	syncAll(t, a)
	clock.SetTime(epoch.Add(o.CAValidity - o.CARotateBefore))
	secret, held, err := a.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	syncAll(t, b)
	announced := caSecret(t, o.Namespace)

	if _, err := a.rotate(t.Context(), secret, held, true); !lostRace(err) {
		t.Errorf("error = %v, want a conflict", err)
	}
	syncAll(t, a)
	if got := caSecret(t, o.Namespace); got.ResourceVersion != announced.ResourceVersion {
		t.Error("the Secret was written again")
	}
}

func TestExpiredCAIsReplacedAtOnce(t *testing.T) {
	c, o, clock := operator(t)
	a := NewAuthority(c, o)
	syncAll(t, a)
	clock.SetTime(epoch.Add(o.CAValidity + day))
	if err := a.Ready(nil); err == nil {
		t.Error("ready with an expired leaf")
	}
	syncAll(t, a)
	if err := a.Ready(nil); err != nil {
		t.Error(err)
	}
	if err := verify(served(t, a), bundleOf(t, o.Namespace), "localhost", clock.Now()); err != nil {
		t.Error(err)
	}
}

func TestUnusableSecretIsReportedAndKeptUntilItIsDeleted(t *testing.T) {
	c, o, _ := operator(t)
	a := NewAuthority(c, o)
	syncAll(t, a)
	before := served(t, a)
	broken := caSecret(t, o.Namespace)
	broken.Data["tls.key"] = []byte("garbage")
	if err := admin(t).Update(t.Context(), broken); err != nil {
		t.Fatal(err)
	}

	err := a.sync(t.Context())
	want := "tls.key is not the private key of tls.crt; restore it, or start over with a new CA by kubectl -n " + o.Namespace + " delete secret pat-operator-verifier-ca"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %s", err, want)
	}
	if served(t, a) != before {
		t.Error("the leaf changed")
	}
	if err := a.Ready(nil); err != nil {
		t.Errorf("a replica with a good leaf is not ready: %v", err)
	}
	if err := NewAuthority(c, o).Ready(nil); err == nil {
		t.Error("a replica without a leaf is ready")
	}
	if diff := cmp.Diff(broken, caSecret(t, o.Namespace)); diff != "" {
		t.Error("the Secret was written")
	}

	if err := admin(t).Delete(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	syncAll(t, a)
	if err := verify(served(t, a), bundleOf(t, o.Namespace), "localhost", epoch); err != nil {
		t.Error(err)
	}
}

func TestClockThatIsNotProvenMakesAndRotatesNoCA(t *testing.T) {
	c, o, clock := operator(t)
	var wrong error
	o.ClockCheck = func() error { return wrong }
	a := NewAuthority(c, o)

	wrong = errors.New("this clock is off")
	if err := a.sync(t.Context()); !errors.Is(err, wrong) {
		t.Errorf("without a CA: error = %v", err)
	}
	wrong = nil
	syncAll(t, a)
	before := caSecret(t, o.Namespace)
	wrong = errors.New("this clock is years ahead")
	clock.SetTime(epoch.Add(o.CAValidity + day))
	if err := a.sync(t.Context()); !errors.Is(err, wrong) {
		t.Errorf("with a CA: error = %v", err)
	}
	if diff := cmp.Diff(before, caSecret(t, o.Namespace)); diff != "" {
		t.Error("the Secret was written")
	}
}

// Operator and verifier share a namespace: neither's CA is the other's, and only the verifier's has a copy to replace.
func TestOperatorAndVerifierShareNoCA(t *testing.T) {
	_, ofVerifier, _ := operator(t)
	ofOperator := ofVerifier
	ofOperator.SecretName, ofOperator.WebhookConfigurationName = OperatorSecretName, ofVerifier.Namespace
	a, b := NewAuthority(admin(t), ofOperator), NewAuthority(admin(t), ofVerifier)
	syncAll(t, a, b)
	bundle := bundleOf(t, ofVerifier.Namespace)
	if err := verify(served(t, b), bundle, "localhost", epoch); err != nil {
		t.Error(err)
	}
	if err := verify(served(t, a), bundle, "localhost", epoch); err == nil {
		t.Error("the verifier's CA vouches for the operator")
	}
	for authority, advised := range map[*Authority]bool{a: false, b: true} {
		secret := &corev1.Secret{}
		if err := admin(t).Get(t.Context(), client.ObjectKey{Namespace: authority.options.Namespace, Name: authority.options.SecretName}, secret); err != nil {
			t.Fatal(err)
		}
		secret.Data["tls.key"] = []byte("garbage")
		if err := admin(t).Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		err := authority.sync(t.Context())
		if err == nil || !strings.Contains(err.Error(), "delete secret "+secret.Name) || strings.Contains(err.Error(), "copy ca.crt") != advised {
			t.Errorf("%s: %v; want the advice about kube-apiserver's file: %v", secret.Name, err, advised)
		}
	}
}

func TestAPIErrorsAreSaidAndTheLeafIsServedOn(t *testing.T) {
	c, o, _ := operator(t)
	a := NewAuthority(c, o)
	syncAll(t, a)
	before := served(t, a)
	if err := admin(t).Delete(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Namespace}}); err != nil {
		t.Fatal(err)
	}
	NewWithT(t).Eventually(func() error { return a.sync(t.Context()) }, env.Patience, "20ms").Should(
		And(MatchError(ContainSubstring("read Secret")), Satisfy(apierrors.IsForbidden)))
	if served(t, a) != before || a.Ready(nil) != nil {
		t.Errorf("the leaf is not served on: %v", a.Ready(nil))
	}
}
