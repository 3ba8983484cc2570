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
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// URLConfigMap keeps a ConfigMap up to date that says where clients reach a component.
type URLConfigMap struct {
	// Name is that of the ConfigMap, and of the field owner.
	Namespace, Name, URL string
	// OwnCertificate reports that the component serves a certificate that its CA has not signed.
	OwnCertificate bool
}

// Publish writes where the component is and which CA signs its certificate. It needs get and patch of the ConfigMap.
func (p URLConfigMap) Publish(ctx context.Context, c client.Client, bundle []byte) error {
	key := client.ObjectKey{Namespace: p.Namespace, Name: p.Name}
	is := &corev1.ConfigMap{}
	if err := c.Get(ctx, key, is); apierrors.IsNotFound(err) {
		return fmt.Errorf("the ConfigMap %s does not exist: apply its manifests again", key)
	} else if err != nil {
		return fmt.Errorf("read ConfigMap %s: %w", key, err)
	}
	want := proxyconfig.Config{URL: p.URL}
	if !p.OwnCertificate {
		want.CA = bundle
	}
	if maps.Equal(is.Data, want.Data()) {
		return nil
	}
	if err := c.Apply(ctx, corev1ac.ConfigMap(key.Name, key.Namespace).WithUID(is.UID).WithData(want.Data()), client.FieldOwner(p.Name), client.ForceOwnership); err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", key, err)
	}
	return nil
}
