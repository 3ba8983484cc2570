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
	"net"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

const (
	authnFieldOwner  = client.FieldOwner("pat-operator-verifier")
	scopesFieldOwner = client.FieldOwner("pat-operator-scopes")
)

// AuthnConfigMap keeps the ConfigMap authnconfig.ConfigMapName up to date.
type AuthnConfigMap struct {
	// Namespace is the operator's own.
	Namespace string
	// URL is where kube-apiserver reaches the verifier; empty: the ClusterIP of its Service.
	URL string
}

// Publish writes what kube-apiserver needs to trust a bundle, if the ConfigMap says anything else. It needs get of the Service,
// get and patch of the ConfigMap.
func (m AuthnConfigMap) Publish(ctx context.Context, c client.Client, bundle []byte) error {
	server := m.URL
	if server == "" {
		var err error
		if server, err = serviceURL(ctx, c, client.ObjectKey{Namespace: m.Namespace, Name: authnconfig.Service}); err != nil {
			return err
		}
	}
	config := authnconfig.Config{Server: server, ServerName: authnconfig.ServerName(m.Namespace), Bundle: bundle}
	want, err := config.Data()
	if err != nil {
		return err
	}

	changed, err := m.write(ctx, c, authnFieldOwner, want)
	if changed {
		log.FromContext(ctx).Info("Published what kube-apiserver needs to ask the verifier", "configMap", authnconfig.ConfigMapName, "server", server)
	}
	return err
}

// PublishScopes writes whether every kube-apiserver enforces scopes, and what the authorizer of this installation answers with.
func (m AuthnConfigMap) PublishScopes(ctx context.Context, c client.Client, installation string, enforced bool) error {
	_, err := m.write(ctx, c, scopesFieldOwner, map[string]string{
		authnconfig.KeyScopesEnforced: strconv.FormatBool(enforced), authnconfig.KeyInstallation: installation,
	})
	return err
}

// write writes these keys, if the ConfigMap says anything else.
func (m AuthnConfigMap) write(ctx context.Context, c client.Client, owner client.FieldOwner, want map[string]string) (changed bool, err error) {
	key := client.ObjectKey{Namespace: m.Namespace, Name: authnconfig.ConfigMapName}
	is := &corev1.ConfigMap{}
	if err := c.Get(ctx, key, is); apierrors.IsNotFound(err) {
		// Creating it would need the right to create every ConfigMap.
		return false, fmt.Errorf("the ConfigMap %s does not exist: apply the manifests of the installation again", key)
	} else if err != nil {
		return false, fmt.Errorf("read ConfigMap %s: %w", key, err)
	}
	stale := false // Keys of others do not count, and stay.
	for key, text := range want {
		stale = stale || is.Data[key] != text
	}
	if !stale {
		return false, nil
	}
	apply := corev1ac.ConfigMap(key.Name, key.Namespace).WithUID(is.UID).WithData(want)
	if err := c.Apply(ctx, apply, owner, client.ForceOwnership); err != nil {
		return false, fmt.Errorf("write ConfigMap %s: %w", key, err)
	}
	return true, nil
}

// serviceURL returns the URL of the TokenReview face behind a Service, by its ClusterIP: kube-apiserver cannot look up its name.
func serviceURL(ctx context.Context, r client.Reader, key client.ObjectKey) (string, error) {
	service := &corev1.Service{}
	err := r.Get(ctx, key, service)
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("the Service %s does not exist: apply the manifests of the installation again, or set --verifier-url to the verifier's URL", key)
	case err != nil:
		return "", fmt.Errorf("read Service %s: %w", key, err)
	case net.ParseIP(service.Spec.ClusterIP) == nil || len(service.Spec.Ports) == 0:
		return "", fmt.Errorf("the Service %s has no ClusterIP: set --verifier-url to a URL at which kube-apiserver reaches the verifier", key)
	}
	u := url.URL{Scheme: "https", Host: service.Spec.ClusterIP, Path: authnconfig.TokenReviewPath}
	if port := service.Spec.Ports[0].Port; port != 443 {
		u.Host = net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(port)))
	} else if strings.Contains(u.Host, ":") {
		u.Host = "[" + u.Host + "]"
	}
	return u.String(), nil
}
