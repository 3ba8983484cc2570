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
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// deployer is who has the token by which both tools go through the proxy.
const deployer = "deployer"

// throughProxy starts the proxy for the deployer, who may edit the namespace, and returns the configuration and the kubeconfig
// of a client with a token.
func (n *tenant) throughProxy(t *testing.T) (*rest.Config, string) {
	t.Helper()
	accounts := filepath.Join(root, "config", "rbac", "proxy")
	if _, _, err := cl.Kubectl(t.Context(), cl.AdminKubeconfig, "", "apply", "-k", accounts); err != nil {
		t.Fatal(err)
	}
	name := metav1.ObjectMeta{Name: "gitops-through-proxy"}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: []string{deployer}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: cluster.OperatorNamespace, Name: "pat-operator-impersonator"}},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: n.ns, Name: deployer}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: deployer}},
		},
		n.manifest(deployer, spec{"user": map[string]any{"username": deployer}}),
	} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	plaintext := n.take(t, deployer)
	front, err := cl.StartManager(t.Context(), cluster.ManagerOptions{Command: "proxy", Args: []string{"--proxy-audit-log=off", "--proxy-drain-delay=0s", "--proxy-drain=1s", "--last-used-rate=0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := front.Stop(); err != nil {
			t.Error(err)
		}
		if _, _, err := cl.Kubectl(context.Background(), cl.AdminKubeconfig, "", "delete", "--ignore-not-found", "-k", accounts); err != nil {
			t.Error(err)
		}
	})
	published := &corev1.ConfigMap{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-proxy"}, published); err != nil {
		t.Fatal(err)
	}
	config := cl.Anonymous()
	config.Host, config.CAData, config.BearerToken = front.ProxyURL(), []byte(published.Data["ca.crt"]), plaintext
	kubeconfig := env.Must[string](t)(cl.Kubeconfig(deployer, config))
	NewWithT(t).Eventually(func() error {
		_, _, err := cl.Kubectl(t.Context(), kubeconfig, "", "get", "configmaps", "--namespace="+n.ns)
		return err
	}, patience, poll).Should(Succeed(), "the proxy does not know the token")
	return config, kubeconfig
}

// app is what a repository declares of an application.
func (n *tenant) app(name string) []*unstructured.Unstructured {
	labels := map[string]any{"app": name}
	object := func(apiVersion, kind string, with map[string]any) *unstructured.Unstructured {
		with["apiVersion"], with["kind"], with["metadata"] = apiVersion, kind, map[string]any{"name": name, "namespace": n.ns}
		return &unstructured.Unstructured{Object: with}
	}
	return []*unstructured.Unstructured{
		object("v1", "ConfigMap", map[string]any{"data": map[string]any{"greeting": "hello"}}),
		object("v1", "Service", map[string]any{"spec": map[string]any{"selector": labels, "ports": []any{map[string]any{"port": int64(80)}}}}),
		object("apps/v1", "Deployment", map[string]any{"spec": map[string]any{
			"replicas": int64(2), "selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels}, "spec": map[string]any{"containers": []any{map[string]any{"name": "app", "image": "app"}}},
			},
		}}),
	}
}

// With a token and through the proxy, both tools apply what is in Git, again and again, and see no difference. A token makes no
// token there either.
func TestBothToolsThroughTheProxy(t *testing.T) {
	long.Only(t)
	n := newTenant(t, "through-proxy")
	config, kubeconfig := n.throughProxy(t)

	t.Run("Flux", func(t *testing.T) {
		c := env.Must[client.Client](t)(client.New(config, client.Options{Scheme: env.Scheme}))
		f := &flux{ResourceManager: ssa.NewResourceManager(c, polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{}), ssa.Owner{Field: kustomizeController, Group: fluxGroup}), n: n}
		git := n.app("by-flux")
		f.apply(t, ssa.CreatedAction, git...)
		// The controller of Deployments writes an annotation. Within the moment of an apply it looks like drift.
		live := git[2].DeepCopy()
		env.Eventually(t, patience, func() bool {
			return admin.Get(t.Context(), client.ObjectKeyFromObject(live), live) == nil && live.GetAnnotations()["deployment.kubernetes.io/revision"] != ""
		}, func() string { return "the Deployment has no revision" })
		for range 2 {
			f.apply(t, ssa.UnchangedAction, git...)
		}
		for _, o := range f.owned(git) {
			if entry, was, is, err := f.Diff(t.Context(), o, ssa.DefaultDiffOptions()); err != nil || entry.Action != ssa.UnchangedAction {
				t.Errorf("Flux sees drift of %s: %v %s", o.GetKind(), err, cmp.Diff(was, is))
			}
		}
		git[0].Object["data"] = map[string]any{"greeting": "goodbye"}
		f.apply(t, ssa.ConfiguredAction, git[0])
		if err := f.settle(t, git[0]); err != nil {
			t.Error(err)
		}
		if _, err := f.DeleteAll(t.Context(), f.owned(git), ssa.DefaultDeleteOptions()); err != nil {
			t.Error(err)
		}
		if _, err := f.try(t, n.manifest("of-flux", nil)); err == nil || !strings.Contains(err.Error(), "a personal access token may not") {
			t.Errorf("a token by a token: %v", err)
		}
	})

	t.Run("Argo CD", func(t *testing.T) {
		run := func(o *unstructured.Unstructured, args ...string) (string, error) {
			out, _, err := cl.Kubectl(t.Context(), kubeconfig, text(t, o), append(args, "--namespace="+n.ns)...)
			return out, err
		}
		for name, way := range map[string][]string{"client-side": clientSide, "server-side": serverSide, "replace": replace} {
			for _, o := range n.app("by-argocd-" + name) {
				o = tracked(o)
				first := way
				if name == "replace" {
					first = []string{"create", "-f", "-"}
				}
				if _, err := run(o, first...); err != nil {
					t.Error(err)
					continue
				}
				live := &unstructured.Unstructured{}
				live.SetGroupVersionKind(o.GroupVersionKind())
				if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), live); err != nil {
					t.Fatal(err)
				}
				out, err := run(o, append(slices.Clone(way), "--dry-run=server", "--output=json")...)
				if err != nil {
					t.Error(err)
					continue
				}
				predicted := &unstructured.Unstructured{}
				if err := predicted.UnmarshalJSON([]byte(out)); err != nil {
					t.Fatal(err)
				}
				if name != "replace" && predicted.GetGeneration() != live.GetGeneration() {
					t.Errorf("%s is OutOfSync, %s: generation %d, live %d", o.GetKind(), name, predicted.GetGeneration(), live.GetGeneration())
				}
				if diff := cmp.Diff(live.Object["spec"], predicted.Object["spec"]); diff != "" {
					t.Errorf("%s is OutOfSync, %s (- live, + Git):\n%s", o.GetKind(), name, diff)
				}
				if _, err := run(o, way...); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := run(n.manifest("of-argocd", nil), clientSide...); err == nil || !strings.Contains(err.Error(), "a personal access token may not") {
			t.Errorf("a token by a token: %v", err)
		}
	})
}
