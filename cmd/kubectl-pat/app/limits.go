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

package app

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// warnOfLimits says where tokens with limits do not work, if some of these have any. It is news, and where it cannot be read,
// nothing is said.
func (s *session) warnOfLimits(ctx context.Context, c client.Client, pats ...v1alpha1.PersonalAccessToken) {
	scoped := slices.ContainsFunc(pats, func(pat v1alpha1.PersonalAccessToken) bool { return len(pat.Spec.Scopes) > 0 })
	bound := slices.ContainsFunc(pats, func(pat v1alpha1.PersonalAccessToken) bool { return len(pat.Spec.From) > 0 })
	if !scoped && !bound {
		return
	}
	var operator operatorFlags
	operator.find(ctx, c)
	published := func(name string) (map[string]string, error) {
		configMap := &corev1.ConfigMap{}
		err := c.Get(ctx, client.ObjectKey{Namespace: operator.namespace, Name: name}, configMap)
		return configMap.Data, err
	}
	if scoped {
		if data, err := published(authnconfig.ConfigMapName); err == nil && data[authnconfig.KeyScopesEnforced] == "false" {
			s.sayf("Tokens with scopes do not work at the moment: the API server is not proven to enforce scopes. Show this to a cluster administrator: kubectl pat doctor")
		}
	}
	if !bound {
		return
	}
	switch data, err := published(proxyconfig.ConfigMapName); {
	case apierrors.IsNotFound(err) && !operator.guessed:
		s.sayf("Tokens that are limited to networks do not work: they need the proxy, which this cluster does not have. Show this to a cluster administrator.")
	case err == nil:
		if operator.guessed { // its address may be anybody's
			s.sayf("Tokens that are limited to networks work only through the proxy. The API server's webhook refuses them.")
		} else if proxy, err := proxyconfig.FromData(data); err == nil {
			s.sayf("Tokens that are limited to networks work only through the proxy, at %s. The API server's webhook refuses them.", proxy.URL)
		}
	}
}
