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
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// load reads the CA Secret, and creates it if it does not exist.
func (a *Authority) load(ctx context.Context) (*corev1.Secret, *contents, error) {
	key := client.ObjectKey{Namespace: a.options.Namespace, Name: a.options.SecretName}
	secret := &corev1.Secret{}
	err := a.client.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		created, held, err := a.create(ctx)
		if !apierrors.IsAlreadyExists(err) {
			return created, held, err
		}
		// Another replica was first.
		if err := a.client.Get(ctx, key, secret); err != nil {
			return nil, nil, fmt.Errorf("read Secret %s: %w", key, err)
		}
	} else if err != nil {
		return nil, nil, fmt.Errorf("read Secret %s: %w", key, err)
	}
	held, err := parseContents(secret.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("the Secret %[1]s cannot be used: %[2]w; restore it, or start over with a new CA by kubectl -n %[3]s delete secret %[4]s%[5]s",
			key, err, key.Namespace, key.Name, a.options.afterNewCA(", and then "))
	}
	return secret, held, nil
}

func (a *Authority) create(ctx context.Context) (*corev1.Secret, *contents, error) {
	if err := a.options.ClockCheck(); err != nil {
		return nil, nil, fmt.Errorf("make a CA: %w", err)
	}
	held, err := newContents(a.options.Clock.Now(), a.options)
	if err != nil {
		return nil, nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.options.Namespace,
			Name:      a.options.SecretName,
			Labels:    map[string]string{"app.kubernetes.io/managed-by": "pat-operator"},
		},
		Type: corev1.SecretTypeTLS,
	}
	held.store(secret)
	if err := a.client.Create(ctx, secret); err != nil {
		return nil, nil, fmt.Errorf("create Secret %s/%s: %w", a.options.Namespace, a.options.SecretName, err)
	}
	log.FromContext(ctx).Info("Created a CA", "secret", a.options.SecretName, "notAfter", held.signer.cert.NotAfter)
	return secret, held, nil
}

// rotate does what decide says, and reports what that was.
func (a *Authority) rotate(ctx context.Context, secret *corev1.Secret, held *contents, distributed bool) (action, error) {
	now := a.options.Clock.Now()
	due := decide(held, now, distributed, a.options)
	if due == keep {
		return keep, nil
	}
	if err := a.options.ClockCheck(); err != nil {
		return keep, fmt.Errorf("rotate the CA: %w", err)
	}
	after, err := held.after(due, now, a.options)
	if err != nil {
		return keep, err
	}
	after.store(secret)
	if err := a.client.Update(ctx, secret); err != nil {
		return keep, fmt.Errorf("update Secret %s/%s: %w", a.options.Namespace, a.options.SecretName, err)
	}
	logger := log.FromContext(ctx).WithValues("secret", a.options.SecretName, "action", due)
	switch due {
	case announce:
		logger.Info("A new CA joined the bundle"+a.options.afterNewCA("; before it signs, "),
			"signsFrom", after.next.madeAt().Add(a.options.Overlap).UTC().Format(time.RFC3339))
	case replace:
		logger.Info("The CA had expired and was replaced" + a.options.afterNewCA("; "))
	default:
		logger.Info("Rotated the CA")
	}
	return due, nil
}
