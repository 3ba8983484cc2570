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

package gitops

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// installation is a cluster of its own where a test installs the operator.
type installation struct {
	*env.Product
	// manifests are config/default, tokens what Git or a chart holds in addition.
	manifests, tokens []*unstructured.Unstructured
	operator          *cluster.Manager
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{ManagerBinary: binary, ConfigDir: filepath.Join(root, "config", "namespaces")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	i := &installation{Product: env.Must[*env.Product](t)(env.New(c))}
	rendered, _, err := c.Kubectl(t.Context(), "", "", "kustomize", filepath.Join(root, "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	if i.manifests, err = utils.ReadObjects(strings.NewReader(rendered)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		i.tokens = append(i.tokens, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "pat-operator.io/v1alpha1", "kind": "PersonalAccessToken",
			"metadata": map[string]any{"name": name, "namespace": "default"},
			"spec":     map[string]any{"user": map[string]any{"username": "alice"}},
		}})
	}
	return i
}

// startOnceDeployed starts the operator when its Deployment is there, as a cluster with nodes would, and returns what waits
// until it is ready.
func (i *installation) startOnceDeployed(t *testing.T) (ready func()) {
	t.Helper()
	done := make(chan error, 1)
	g := NewWithT(t)
	go func() {
		err := wait.PollUntilContextCancel(t.Context(), poll, true, func(ctx context.Context) (bool, error) {
			key := client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator"}
			return i.Admin.Get(ctx, key, &appsv1.Deployment{}) == nil, nil
		})
		if err == nil {
			err = i.RouteServices(t.Context())
		}
		if err == nil {
			i.operator, err = i.StartManager(t.Context(), cluster.ManagerOptions{Command: "operator"})
		}
		done <- err
	}()
	return func() {
		t.Helper()
		g.Eventually(done, 2*patience, poll).Should(Receive(BeNil()), "the operator does not come up")
	}
}

// asFlux applies everything as one Kustomization of Flux.
func (i *installation) asFlux(t *testing.T) error {
	t.Helper()
	poller := polling.NewStatusPoller(i.Admin, i.Admin.RESTMapper(), polling.Options{})
	manager := ssa.NewResourceManager(i.Admin, poller, ssa.Owner{Field: kustomizeController, Group: fluxGroup})
	options := ssa.DefaultApplyOptions()
	options.WaitInterval = poll
	var all []*unstructured.Unstructured
	for _, o := range slices.Concat(i.manifests, i.tokens) {
		all = append(all, o.DeepCopy()) // Flux sets defaults in what it is given.
	}
	_, err := manager.ApplyAllStaged(t.Context(), all, options)
	return err
}

// apply applies what a rule chooses, as Helm does.
func (i *installation) apply(t *testing.T, chosen func(*unstructured.Unstructured) bool) {
	t.Helper()
	for _, o := range slices.Concat(i.manifests, i.tokens) {
		if !chosen(o) {
			continue
		}
		NewWithT(t).Eventually(func() error { // A kind that was just defined is served a moment later.
			return i.Admin.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner("helm"), client.ForceOwnership)
		}, patience, poll).Should(Succeed(), "%s %s", o.GetKind(), o.GetName())
	}
}

func isToken(o *unstructured.Unstructured) bool { return o.GetKind() == "PersonalAccessToken" }

func isAdmission(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == "admissionregistration.k8s.io"
}

// says waits until all tokens have a condition with "<status>/<reason>", and returns what it says of the first.
func (i *installation) says(t *testing.T, condition, want string) (message string) {
	t.Helper()
	NewWithT(t).Eventually(func() []string {
		var got []string
		for n, o := range i.tokens {
			p := &v1alpha1.PersonalAccessToken{}
			if err := i.Admin.Get(t.Context(), client.ObjectKeyFromObject(o), p); err != nil {
				return []string{err.Error()}
			}
			c := meta.FindStatusCondition(p.Status.Conditions, condition)
			if c == nil {
				return nil
			}
			if got = append(got, fmt.Sprintf("%s/%s", c.Status, c.Reason)); n == 0 {
				message = c.Message
			}
		}
		return got
	}, patience, poll).Should(HaveEach(want), condition)
	return message
}

// deliveries are the names of all delivery Secrets.
func (i *installation) deliveries(t *testing.T) (names []string) {
	t.Helper()
	var secrets corev1.SecretList
	if err := i.Admin.List(t.Context(), &secrets, client.InNamespace("default")); err != nil {
		t.Fatal(err)
	}
	for n := range secrets.Items {
		if secrets.Items[n].Type == v1alpha1.SecretTypeToken {
			names = append(names, secrets.Items[n].Name)
		}
	}
	return names
}

// refused expects the tokens that came before the guards to be refused, and to say what to do.
func (i *installation) refused(t *testing.T) {
	t.Helper()
	if says := i.says(t, v1alpha1.ConditionStalled, "True/NotAuthorized"); !strings.Contains(says, "elete") {
		t.Errorf("says %q", says)
	}
	if got := i.deliveries(t); len(got) != 0 {
		t.Errorf("issued: %q", got)
	}
}

func (i *installation) deleteTokens(t *testing.T) {
	t.Helper()
	if err := i.Admin.DeleteAllOf(t.Context(), &v1alpha1.PersonalAccessToken{}, client.InNamespace("default")); err != nil {
		t.Fatal(err)
	}
}

// Tokens are installed together with the operator, and before the guards, since Flux and Helm install policies and webhooks
// last. The operator comes up and accepts the guards. Nobody judged these tokens, so none is issued; deleted, they come again
// from Git and are issued, once. A deleted CRD ends them at once.
func TestCase51_InstalledTogetherWithTokens(t *testing.T) {
	long.Only(t)
	t.Parallel()
	g := NewWithT(t)
	i := newInstallation(t)
	ready := i.startOnceDeployed(t)
	g.Eventually(func() error { return i.asFlux(t) }, 2*patience, poll).Should(Succeed(), "Flux's next interval does not mend it")
	ready()
	g.Expect(i.WaitAccepted(t.Context())).To(Succeed())
	i.refused(t)
	g.Expect(i.asFlux(t)).To(Succeed(), "the next interval")
	i.refused(t)
	i.deleteTokens(t)
	g.Expect(i.asFlux(t)).To(Succeed(), "the next interval")
	i.says(t, v1alpha1.ConditionReady, "True/Reconciled")
	once := i.deliveries(t)
	g.Expect(once).To(HaveLen(len(i.tokens)))
	g.Expect(i.asFlux(t)).To(Succeed(), "the next interval")
	g.Expect(i.deliveries(t)).To(Equal(once))

	t.Run("deleted CRD", i.deleteCRD)
	t.Run("Helm's order", func(t *testing.T) {
		g := NewWithT(t)
		for _, o := range i.manifests {
			if isAdmission(o) {
				g.Expect(i.Admin.Delete(t.Context(), o.DeepCopy())).To(Succeed())
			}
		}
		i.apply(t, func(o *unstructured.Unstructured) bool { return !isAdmission(o) && !isToken(o) })
		i.apply(t, isToken)
		g.Expect(i.operator.WaitReady(t.Context())).To(Succeed(), "without guards, while Helm waits")
		i.says(t, v1alpha1.ConditionReady, "False/GuardsMissing")
		i.apply(t, isAdmission)
		g.Expect(i.WaitAccepted(t.Context())).To(Succeed())
		i.refused(t)
		i.deleteTokens(t)
		i.apply(t, isToken)
		i.says(t, v1alpha1.ConditionReady, "True/Reconciled")
		g.Expect(i.deliveries(t)).To(HaveLen(len(i.tokens)))
	})
}

// deleteCRD deletes the CRD under tokens that work.
func (i *installation) deleteCRD(t *testing.T) {
	g := NewWithT(t)
	if _, err := i.StartVerifier(t.Context()); err != nil {
		t.Fatal(err)
	}
	// kube-apiserver was restarted for the verifier, and the operator may have lost its lease by that and ended.
	i.operator.Kill()
	var err error
	if i.operator, err = i.StartOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	var holders []client.Client
	for _, name := range i.deliveries(t) {
		secret := &corev1.Secret{}
		g.Expect(i.Admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, secret)).To(Succeed())
		c, err := i.Bearer(string(secret.Data[v1alpha1.SecretKeyToken]))
		g.Expect(err).NotTo(HaveOccurred())
		holders = append(holders, c)
	}
	whoami := func(c client.Client) error {
		_, err := env.WhoIs(t.Context(), c)
		return err
	}
	for _, c := range holders {
		g.Eventually(func() error { return whoami(c) }, patience, poll).Should(Succeed())
	}
	// What the operator issues anew shows that its watch is back.
	third := i.tokens[0].DeepCopy()
	third.SetName("third")
	i.tokens = append(i.tokens, third)
	g.Expect(i.asFlux(t)).To(Succeed())
	i.says(t, v1alpha1.ConditionReady, "True/Reconciled")
	for _, o := range i.manifests {
		if o.GetKind() == "CustomResourceDefinition" {
			g.Expect(i.Admin.Delete(t.Context(), o.DeepCopy())).To(Succeed())
		}
	}
	for _, c := range holders {
		g.Eventually(func() bool { return apierrors.IsUnauthorized(whoami(c)) }, patience, poll).Should(BeTrue(), "the token works on")
	}
	g.Eventually(func() (left []string) {
		var secrets corev1.SecretList
		g.Expect(i.Admin.List(t.Context(), &secrets, client.InNamespace(cluster.RecordsNamespace))).To(Succeed())
		for n := range secrets.Items {
			if secrets.Items[n].Type == record.SecretType {
				left = append(left, string(secrets.Items[n].Data["record"]))
			}
		}
		return left
	}, patience, poll).Should(BeEmpty(), "records of what was deleted before their watch")
}
