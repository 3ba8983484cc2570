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

// Package streams tests what stays open through `manager proxy`: shells, ports, logs, copies and watches of kubectl.
package streams

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/kubelet"
	"github.com/pat-operator/pat-operator/test/long"
)

const podName = "pod"

var (
	product *env.Product
	node    *kubelet.Kubelet
	// alice may do anything with tokens and pods in team.
	alice env.User
	team  string
	// front is the proxy, and frontAudit where it writes its lines.
	front      *cluster.Manager
	frontAudit string
)

func TestMain(m *testing.M) {
	if flag.Parse(); !long.Form() {
		os.Exit(m.Run()) // All skip themselves.
	}
	os.Exit(cluster.RunTests(m, 4, run))
}

func run(ctx context.Context, dir string, tests func()) (err error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	binary, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{
		ConfigDir: filepath.Join(root, "test", "streams", "testdata", "install"), ManagerBinary: binary, Audit: true,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	if product, err = env.New(c); err != nil {
		return err
	}
	// No verifier: kube-apiserver has no flag of ours, as where others run it.
	if product.Operator, err = c.StartOperator(ctx); err != nil {
		return err
	}
	if alice, err = product.User("alice", "team-devs"); err != nil {
		return err
	}
	if team, err = product.Team(ctx, env.Group("team-devs"), "secrets"); err != nil {
		return err
	}
	if err := mayUsePods(ctx); err != nil {
		return err
	}
	if node, err = kubelet.Start(ctx, product); err != nil {
		return err
	}
	defer node.Stop()
	if err := node.Pod(ctx, team, podName); err != nil {
		return err
	}
	if front, frontAudit, err = startProxy(ctx, dir, cluster.ManagerOptions{}); err != nil {
		return err
	}
	tests()
	return nil
}

// startProxy starts `manager proxy`, and returns it and the file with its audit lines.
func startProxy(ctx context.Context, dir string, o cluster.ManagerOptions) (*cluster.Manager, string, error) {
	file, err := os.CreateTemp(dir, "audit-")
	if err != nil {
		return nil, "", err
	}
	if err := file.Close(); err != nil {
		return nil, "", err
	}
	o.Command = "proxy"
	// What the caller says counts: it comes later.
	o.Args = append([]string{"--proxy-audit-log=" + file.Name(), "--proxy-drain-delay=0s", "--proxy-drain=1s"}, o.Args...)
	m, err := product.StartManager(ctx, o)
	return m, file.Name(), err
}

// mayUsePods lets the team do with pods what kubectl can.
func mayUsePods(ctx context.Context) error {
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "pods"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods", "pods/log"}, Verbs: []string{"get", "list", "watch", "patch"}},
			{APIGroups: []string{""}, Resources: []string{"pods/exec", "pods/attach", "pods/portforward"}, Verbs: []string{"get", "create"}},
		},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "pods"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "pods"},
		Subjects:   []rbacv1.Subject{env.Group("team-devs")},
	}
	return errors.Join(product.Admin.Create(ctx, role), product.Admin.Create(ctx, binding))
}

// pat is a token of alice's.
type pat struct {
	*v1alpha1.PersonalAccessToken
	plaintext string
}

// id is the public part of the token.
func (p pat) id() string { return strings.Split(p.plaintext, "_")[1] }

// issued makes a token of alice's that the proxy knows, and returns it with its kubeconfig for the proxy.
func issued(t *testing.T, through *cluster.Manager, spec v1alpha1.PersonalAccessTokenSpec) (pat, string) {
	t.Helper()
	p := pat{PersonalAccessToken: &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: team, GenerateName: "pat-"}, Spec: spec}}
	if err := alice.Create(t.Context(), p.PersonalAccessToken); err != nil {
		t.Fatal(err)
	}
	p.plaintext = env.Must[string](t)(product.Take(t.Context(), alice, team, p.Name))
	config := at(t, through)
	config.BearerToken = p.plaintext
	c := env.Must[client.WithWatch](t)(client.NewWithWatch(config, client.Options{Scheme: env.Scheme, Mapper: product.Admin.RESTMapper()}))
	if err := env.Poll(t.Context(), env.Patience, func() error {
		who, err := env.WhoIs(t.Context(), c)
		if err == nil && who.Username != alice.Name {
			err = fmt.Errorf("the token is of %s", who.Username)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return p, env.Must[string](t)(product.Kubeconfig("alice", config))
}

// at is the configuration of a client of a proxy, without a credential.
func at(t *testing.T, through *cluster.Manager) *rest.Config {
	t.Helper()
	published := &corev1.ConfigMap{}
	key := client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-proxy"}
	if err := product.Admin.Get(t.Context(), key, published); err != nil {
		t.Fatal(err)
	}
	config := product.Anonymous()
	config.Host, config.CAData = through.ProxyURL(), []byte(published.Data["ca.crt"])
	return config
}

// kubectl is a way to a pod.
func kubectl(kubeconfig, pod string, old bool) kubelet.Kubectl {
	return kubelet.Kubectl{Kubelet: node, Kubeconfig: kubeconfig, Namespace: team, Pod: pod, Old: old}
}
