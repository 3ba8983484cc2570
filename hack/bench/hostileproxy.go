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

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// proxySlots is --proxy-max-connections here; the default is more than an attacker of this machine can open.
	proxySlots = 1024
	// attackersToken is the token, of another user than the first, that attackers have.
	attackersToken = 10
)

// addProxy installs and starts the proxy, and adds its port. The clients read a resource by a token; one of them is of the network
// that bad credentials come from.
func (h *hostile) addProxy(ctx context.Context, add func(string, *cluster.Manager, abuse.Target, []abuse.Attack, asking) *port, bearer string) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	if _, _, err := h.Kubectl(ctx, h.AdminKubeconfig, "", "apply", "-k", filepath.Join(root, "config", "rbac", "proxy")); err != nil {
		return err
	}
	attackers, _, err := createTokens(ctx, h.admin, attackersToken, 1)
	if err != nil {
		return err
	}
	name := metav1.ObjectMeta{Name: "bench-impersonated"}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}, ResourceNames: []string{user(0), user(attackersToken)}},
			{APIGroups: []string{""}, Resources: []string{"groups"}, Verbs: []string{"impersonate"}, ResourceNames: []string{"developers", "ci"}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: cluster.OperatorNamespace, Name: "pat-operator-impersonator"}},
		},
	} {
		if err := h.admin.Create(ctx, o); err != nil {
			return err
		}
	}
	if h.front, err = h.StartManager(ctx, cluster.ManagerOptions{Command: "proxy", Args: []string{
		"--proxy-audit-log=off", "--proxy-drain-delay=0s", "--proxy-drain=1s", fmt.Sprintf("--proxy-max-connections=%d", proxySlots),
	}}); err != nil {
		return err
	}
	published := &corev1.ConfigMap{}
	if err := h.admin.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-proxy"}, published); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(published.Data["ca.crt"])) {
		return errors.New("the proxy has published no CA")
	}
	asks := asking{
		method: http.MethodGet, path: "/apis/pat-operator.io/v1alpha1/namespaces/default/personalaccesstokens/" + benchKey(0).Name, bearer: bearer, want: "Benchmark",
	}
	target := abuse.Target{
		Address: fmt.Sprintf("127.0.0.1:%d", h.front.ProxyPort), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Path: asks.path, Slots: proxySlots, Bearer: attackers[0],
	}
	p := add("proxy", h.front, target, slices.Concat(abuse.All(), abuse.OfProxy()), asks)
	neighbor := asks.by(abuse.Neighbor(target), target)
	p.others = append(p.others, neighbor)
	return eventually(ctx, func() error { return neighbor(ctx, 0) })
}
