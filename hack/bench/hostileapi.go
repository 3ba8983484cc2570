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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/api"
	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// addAPI installs and starts the face for other HTTP APIs, and adds its port. The clients are reverse proxies that ask about a token.
func (h *hostile) addAPI(ctx context.Context, add func(string, *cluster.Manager, abuse.Target, []abuse.Attack, asking) *port, bearer string) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	if _, _, err := h.Kubectl(ctx, h.AdminKubeconfig, "", "apply", "-k", filepath.Join(root, "config", "rbac", "api")); err != nil {
		return err
	}
	m, err := h.StartManager(ctx, cluster.ManagerOptions{Command: cluster.API})
	if err != nil {
		return err
	}
	published := &corev1.ConfigMap{}
	if err := h.admin.Get(ctx, client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-api"}, published); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(published.Data["ca.crt"])) {
		return errors.New("the API face has published no CA")
	}
	target := abuse.Target{
		Address: fmt.Sprintf("127.0.0.1:%d", m.APIPort), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Path: "/auth", Slots: api.Limits.Slots,
	}
	asks := asking{method: http.MethodGet, path: "/auth", bearer: bearer, want: "{}"}
	p := add("api", m, target, slices.Concat(abuse.All(), abuse.OfAPI()), asks)
	return eventually(ctx, func() error { return p.others[0](ctx, 0) })
}
