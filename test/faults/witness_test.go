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

package faults

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// witness sees everything that becomes of the tokens of a namespace, however short it was there.
type witness struct {
	namespace string

	mu sync.Mutex
	// plaintexts of every delivery Secret there ever was, by the resource's UID and the token's id.
	plaintexts map[types.UID]map[string]string
	// issued is the id that status has named first, by UID: nothing here rotates, so it stays.
	issued map[types.UID]string
	// active are the UIDs under which an id has been valid.
	active map[string]map[types.UID]bool
	wrong  []string
}

// watchOver starts a witness, which sees until ctx ends.
func watchOver(ctx context.Context, t *testing.T, namespace string) *witness {
	w := &witness{
		namespace: namespace, plaintexts: map[types.UID]map[string]string{},
		issued: map[types.UID]string{}, active: map[string]map[types.UID]bool{},
	}
	var watching sync.WaitGroup
	watching.Go(func() { w.follow(ctx, &corev1.SecretList{}, w.secret) })
	watching.Go(func() { w.follow(ctx, &v1alpha1.PersonalAccessTokenList{}, w.resource) })
	t.Cleanup(watching.Wait)
	return w
}

// follow watches from the beginning of the namespace, which was empty, and goes on where a watch ends.
func (w *witness) follow(ctx context.Context, list client.ObjectList, see func(runtime.Object)) {
	if err := admin.List(ctx, list, client.InNamespace(w.namespace)); err != nil {
		w.complain("the witness cannot list: %v", err)
		return
	}
	version := list.GetResourceVersion()
	for ctx.Err() == nil {
		stream, err := admin.Watch(ctx, list, client.InNamespace(w.namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}})
		if err != nil {
			if ctx.Err() == nil {
				w.complain("the witness cannot watch: %v", err)
			}
			return
		}
		for event := range stream.ResultChan() {
			if event.Type == watch.Error {
				w.complain("the witness has not seen all: %v", event.Object)
				return
			}
			if o, ok := event.Object.(client.Object); ok {
				version = o.GetResourceVersion()
			}
			if event.Type != watch.Bookmark {
				see(event.Object)
			}
		}
	}
}

func (w *witness) secret(o runtime.Object) {
	secret, ok := o.(*corev1.Secret)
	if !ok || secret.Type != v1alpha1.SecretTypeToken {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	owner := metav1.GetControllerOfNoCopy(secret)
	if owner == nil && len(secret.OwnerReferences) == 1 {
		owner = &secret.OwnerReferences[0]
	}
	if owner == nil {
		w.wrong = append(w.wrong, "a delivery Secret without an owner: "+secret.Name)
		return
	}
	if w.plaintexts[owner.UID] == nil {
		w.plaintexts[owner.UID] = map[string]string{}
	}
	w.plaintexts[owner.UID][secret.Name[len("pat-"):]] = string(secret.Data[v1alpha1.SecretKeyToken])
}

func (w *witness) resource(o runtime.Object) {
	p, ok := o.(*v1alpha1.PersonalAccessToken)
	if !ok || p.Status.TokenID == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if first, ok := w.issued[p.UID]; ok && first != p.Status.TokenID {
		w.wrong = append(w.wrong, fmt.Sprintf("%s (%s) has got a second token: %s, then %s", p.Name, p.UID, first, p.Status.TokenID))
	}
	w.issued[p.UID] = p.Status.TokenID
	for _, c := range p.Status.Conditions {
		if c.Type == v1alpha1.ConditionActive && c.Status == metav1.ConditionTrue {
			if w.active[p.Status.TokenID] == nil {
				w.active[p.Status.TokenID] = map[types.UID]bool{}
			}
			w.active[p.Status.TokenID][p.UID] = true
		}
	}
}

func (w *witness) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// complaints are what should never have been seen.
func (w *witness) complaints() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong
}

// delivered are the plaintexts that were seen of a resource, by id.
func (w *witness) delivered(uid types.UID) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.plaintexts[uid])
}

// resources are the UIDs of which a plaintext was seen.
func (w *witness) resources() []types.UID {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []types.UID
	for uid := range w.plaintexts {
		out = append(out, uid)
	}
	return out
}

// wasActive reports whether an id was valid under another UID than this one.
func (w *witness) wasActive(id string, besides types.UID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for uid := range w.active[id] {
		if uid != besides {
			return true
		}
	}
	return false
}
