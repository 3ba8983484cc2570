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
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// sample holds the objects of one token that the operator has issued. The yardstick copies them, in the writes that the
// operator should need: one event, and two writes for a holder's own, four for a token in a Secret.
type sample struct {
	resource *v1alpha1.PersonalAccessToken
	record   *corev1.Secret
	delivery *corev1.Secret // nil for a holder's own
	event    *eventsv1.Event
}

// sample has the operator issue a token and returns its objects.
func (s *site) sample(ctx context.Context, k kind) (*sample, error) {
	pat, err := s.first(ctx, k)
	if err != nil {
		return nil, err
	}
	x := &sample{resource: pat, record: &corev1.Secret{}}
	recordKey := client.ObjectKey{Namespace: cluster.RecordsNamespace, Name: record.SecretName(pat.Namespace, pat.Name)}
	if err := s.admin.Get(ctx, recordKey, x.record); err != nil {
		return nil, err
	}
	if k == inSecret {
		x.delivery = &corev1.Secret{}
		if err := s.admin.Get(ctx, client.ObjectKey{Namespace: pat.Namespace, Name: pat.Status.DeliverySecretName}, x.delivery); err != nil {
			return nil, err
		}
	}
	x.event, err = s.eventOf(ctx, pat)
	return x, err
}

// eventOf waits for an event of the token, which the operator writes last.
func (s *site) eventOf(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (*eventsv1.Event, error) {
	for range 100 {
		events := &eventsv1.EventList{}
		if err := s.admin.List(ctx, events, client.InNamespace(pat.Namespace)); err != nil {
			return nil, err
		}
		for _, event := range events.Items {
			if event.Regarding.UID == pat.UID {
				return &event, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("no event of token %s", pat.Name)
}

// write writes the objects of another token: alice writes the resource, the operator's account the rest.
func (x *sample) write(ctx context.Context, s *site, key client.ObjectKey) error {
	k := holders
	if x.delivery != nil {
		k = inSecret
	}
	pat, _, err := newToken(key, k)
	if err != nil {
		return err
	}
	pat.Spec.User = x.resource.Spec.User // no webhook sets it
	if err := s.alice.Create(ctx, pat); err != nil {
		return err
	}
	if err := x.writeRecord(ctx, s.account, pat); err != nil {
		return err
	}
	if err := x.applyStatus(ctx, s.account, pat); err != nil {
		return err
	}
	event := x.event.DeepCopy()
	rename(event, key.Namespace, string(pat.UID))
	event.Regarding.Name, event.Regarding.UID = pat.Name, pat.UID
	return s.account.Create(ctx, event)
}

// writeRecord creates the record. A token in a Secret has it updated after the delivery Secret, from another payload.
func (x *sample) writeRecord(ctx context.Context, account client.Client, pat *v1alpha1.PersonalAccessToken) error {
	written := x.record.DeepCopy()
	rename(written, cluster.RecordsNamespace, record.SecretName(pat.Namespace, pat.Name))
	written.Labels[record.LabelName] = pat.Name
	if x.delivery == nil {
		return account.Create(ctx, written)
	}
	for name := range written.Data {
		written.Data[name] = append(written.Data[name], ' ')
	}
	id, _, err := token.New(rand.Reader)
	if err != nil {
		return err
	}
	delivery := x.delivery.DeepCopy()
	rename(delivery, pat.Namespace, record.DeliverySecretName(id))
	delivery.OwnerReferences[0].Name, delivery.OwnerReferences[0].UID = pat.Name, pat.UID
	if err := errors.Join(account.Create(ctx, written), account.Create(ctx, delivery)); err != nil {
		return err
	}
	written.Data = x.record.Data
	return account.Update(ctx, written)
}

func (x *sample) applyStatus(ctx context.Context, account client.Client, pat *v1alpha1.PersonalAccessToken) error {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&x.resource.Status)
	if err != nil {
		return err
	}
	applied := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	applied.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PersonalAccessToken"))
	applied.SetNamespace(pat.Namespace)
	applied.SetName(pat.Name)
	return account.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("pat-operator"), client.ForceOwnership)
}

// rename prepares a copy of an object for a create under another name.
func rename(o client.Object, namespace, name string) {
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetUID("")
	o.SetResourceVersion("")
	o.SetManagedFields(nil)
}
