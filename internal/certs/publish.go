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
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/authz"
)

const (
	// AuthnConfigMapName names the ConfigMap, in the operator's namespace, from which administrators take the files that
	// kube-apiserver reads. The installation creates it; everyone who is authenticated may read it, since it holds no secret.
	AuthnConfigMapName = "pat-operator-authn"
	// authnKeyCA is its key for the CAs of the verifier, as PEM.
	authnKeyCA = "ca.crt"
	// authnKeyKubeconfig is its key for a kubeconfig that names caFile in the same folder, which kube-apiserver rereads.
	authnKeyKubeconfig = "kubeconfig"
	// authnKeyScoped is its key for that kubeconfig on a kube-apiserver that enforces scopes, and authnKeyAuthorizer for the one
	// by which it asks the authorizer that enforces them.
	authnKeyScoped     = "kubeconfig-scoped"
	authnKeyAuthorizer = "kubeconfig-authorizer"
	// authnKeyEmbedded is its key for a kubeconfig that holds the CAs itself.
	authnKeyEmbedded = "kubeconfig-embedded"

	authnFieldOwner = client.FieldOwner("pat-operator-verifier")
)

// AuthnConfigMap keeps the ConfigMap AuthnConfigMapName up to date.
type AuthnConfigMap struct {
	// Namespace is the operator's own.
	Namespace string
	// Service leads to the verifier; its certificate has the name ServerName.
	Service, ServerName string
	// URL is where kube-apiserver reaches the verifier, as --server of authn-kubeconfig; empty: the ClusterIP of Service.
	URL string
}

// Publish writes what kube-apiserver needs to trust a bundle, if the ConfigMap says anything else. It needs get of the Service,
// get and patch of the ConfigMap.
func (m AuthnConfigMap) Publish(ctx context.Context, c client.Client, bundle []byte) error {
	server := m.URL
	if server == "" {
		var err error
		if server, err = ServiceURL(ctx, c, client.ObjectKey{Namespace: m.Namespace, Name: m.Service}, "--verifier-url"); err != nil {
			return err
		}
	}
	kubeconfig, err := authnKubeconfig(server, m.ServerName, nil, ClientCertificate{})
	if err != nil {
		return err
	}
	embedded, err := authnKubeconfig(server, m.ServerName, bundle, ClientCertificate{})
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(server, authn.TokenReviewPath)
	scoped, err := authnKubeconfig(base+authn.ScopedPath, m.ServerName, nil, ClientCertificate{})
	if err != nil {
		return err
	}
	authorizer, err := authnKubeconfig(base+authz.Path, m.ServerName, nil, ClientCertificate{})
	if err != nil {
		return err
	}
	want := map[string]string{
		authnKeyCA: string(bundle), authnKeyKubeconfig: string(kubeconfig), authnKeyEmbedded: string(embedded),
		authnKeyScoped: string(scoped), authnKeyAuthorizer: string(authorizer),
	}

	key := client.ObjectKey{Namespace: m.Namespace, Name: AuthnConfigMapName}
	is := &corev1.ConfigMap{}
	if err := c.Get(ctx, key, is); apierrors.IsNotFound(err) {
		// Creating it would need the right to create every ConfigMap.
		return fmt.Errorf("the ConfigMap %s does not exist: apply the manifests of the installation again", key)
	} else if err != nil {
		return fmt.Errorf("read ConfigMap %s: %w", key, err)
	}
	stale := false // Keys of others do not count, and stay.
	for key, text := range want {
		stale = stale || is.Data[key] != text
	}
	if !stale {
		return nil
	}
	apply := corev1ac.ConfigMap(key.Name, key.Namespace).WithUID(is.UID).WithData(want)
	if err := c.Apply(ctx, apply, authnFieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", key, err)
	}
	log.FromContext(ctx).Info("Published what kube-apiserver needs to ask the verifier", "configMap", key.Name, "server", server)
	return nil
}
