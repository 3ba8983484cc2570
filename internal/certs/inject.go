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
	"context"
	"encoding/json"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// inject puts bundle into every webhook of both configurations. It returns nil if no configuration exists.
func (a *Authority) inject(ctx context.Context, bundle []byte) error {
	if a.options.WebhookConfigurationName == "" {
		return nil
	}
	mutating := &admissionregistrationv1.MutatingWebhookConfiguration{}
	validating := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	return errors.Join(
		a.injectInto(ctx, "MutatingWebhookConfiguration", mutating, bundle, func() [][]byte {
			var out [][]byte
			for i := range mutating.Webhooks {
				out = append(out, mutating.Webhooks[i].ClientConfig.CABundle)
			}
			return out
		}),
		a.injectInto(ctx, "ValidatingWebhookConfiguration", validating, bundle, func() [][]byte {
			var out [][]byte
			for i := range validating.Webhooks {
				out = append(out, validating.Webhooks[i].ClientConfig.CABundle)
			}
			return out
		}),
	)
}

func (a *Authority) injectInto(ctx context.Context, kind string, config client.Object, bundle []byte, bundles func() [][]byte) error {
	name := a.options.WebhookConfigurationName
	err := a.client.Get(ctx, client.ObjectKey{Name: name}, config)
	if apierrors.IsNotFound(err) {
		// Not a reason to be unready: who deletes it must not stop verification too.
		log.FromContext(ctx).Error(nil, "The webhook configuration is missing, so admission is not asked; apply config/webhook", "kind", kind, "name", name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("the caBundle of %s %q is not in place: %w", kind, name, err)
	}
	patch, err := bundlePatch(config.GetResourceVersion(), bundles(), bundle)
	if err != nil || patch == nil {
		return err
	}
	before := config.DeepCopyObject().(client.Object)
	if err := a.client.Patch(ctx, config, patch); err != nil {
		return fmt.Errorf("the caBundle of %s %q is not in place: %w", kind, name, err)
	}
	log.FromContext(ctx).Info("Injected the CA bundle", "kind", kind, "name", name)
	if a.patched == nil {
		return nil
	}
	if err := a.patched(ctx, before, config); err != nil {
		// The bundle is in place, so this replica is ready.
		log.FromContext(ctx).Error(err, "Cannot carry the accepted guards over to the new CA bundle: they are accepted anew", "kind", kind, "name", name)
	}
	return nil
}

type patchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// bundlePatch changes the webhooks whose bundle differs; nil: none does. It is a JSON patch because
// a merge patch replaces the list, and with it every field that our version of the API lacks.
func bundlePatch(resourceVersion string, have [][]byte, want []byte) (client.Patch, error) {
	var changes []patchOperation
	for i := range have {
		if !bytes.Equal(have[i], want) {
			changes = append(changes, patchOperation{Op: "add", Path: fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", i), Value: want})
		}
	}
	if len(changes) == 0 {
		return nil, nil
	}
	// The positions hold for the version that was read only.
	unchanged := patchOperation{Op: "test", Path: "/metadata/resourceVersion", Value: resourceVersion}
	data, err := json.Marshal(append([]patchOperation{unchanged}, changes...))
	if err != nil {
		return nil, err
	}
	return client.RawPatch(types.JSONPatchType, data), nil
}

// lostRace says whether another replica may have done what err kept us from doing: a conflict, or
// the failed test of a JSON patch, which kube-apiserver calls invalid.
func lostRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsInvalid(err)
}
