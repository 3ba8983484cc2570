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

package guards

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	webhookName = "pat-operator"
	policyName  = "pat-operator-users"

	webhookKind = "ValidatingWebhookConfiguration"
	policyKind  = "ValidatingAdmissionPolicy"
	bindingKind = "ValidatingAdmissionPolicyBinding"
)

// Service is where the validating webhook must lead.
type Service struct{ Namespace, Name, Path string }

// guard is one of the objects that judge wishes.
type guard struct {
	kind, name string
	newObject  func() client.Object
	// check returns the field that keeps the object from judging every wish, and what to do; "" if the object is in force.
	check func(o client.Object, service Service) (field, detail string)
}

var guards = [...]guard{
	{webhookKind, webhookName, func() client.Object { return &admissionregistrationv1.ValidatingWebhookConfiguration{} }, checkWebhooks},
	{policyKind, policyName, func() client.Object { return &admissionregistrationv1.ValidatingAdmissionPolicy{} }, checkPolicy},
	{bindingKind, policyName, func() client.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{} }, checkBinding},
}

// objects are the guards as one reader shows them.
type objects [len(guards)]client.Object

// fingerprint is the UID and generation of each guard. A fingerprint never returns once a guard has changed.
type fingerprint [len(guards)]version

// version is the UID and generation of one guard.
type version struct {
	Kind       string    `json:"kind"`
	UID        types.UID `json:"uid"`
	Generation int64     `json:"generation"`
}

func versionOf(kind string, o client.Object) version {
	return version{kind, o.GetUID(), o.GetGeneration()}
}

// read reads the guards in full; one that does not exist is nil.
func read(ctx context.Context, from client.Reader, opts ...client.GetOption) (objects, error) {
	var read objects
	for i, g := range guards {
		o := g.newObject()
		if err := from.Get(ctx, client.ObjectKey{Name: g.name}, o, opts...); client.IgnoreNotFound(err) != nil {
			return objects{}, err
		} else if err == nil {
			read[i] = o
		}
	}
	return read, nil
}

// examine returns the fingerprint of the guards, zero if one does not exist, and the first one that is not in force.
func (os objects) examine(service Service) (fingerprint, *Missing) {
	var f fingerprint
	for i, g := range guards {
		if os[i] == nil {
			return fingerprint{}, absent(g.kind, g.name)
		}
		f[i] = versionOf(g.kind, os[i])
	}
	for i, g := range guards {
		if field, detail := g.check(os[i], service); field != "" {
			return f, missing(g.kind, g.name, field, detail)
		}
	}
	return f, nil
}

// metadata names an object for a read of its metadata, or for an event.
func metadata(kind, name string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
	o.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind(kind))
	return o
}

// ByObject restricts a cache to the guards.
func ByObject() map[client.Object]cache.ByObject {
	restricted := map[client.Object]cache.ByObject{}
	for _, g := range guards {
		restricted[g.newObject()] = cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", g.name)}
	}
	return restricted
}
