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

package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age/armor"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

// Delivery is a token and the Secret that delivers it.
type Delivery struct {
	Secret    *corev1.Secret
	Plaintext string
}

// MayReadSecrets reports whether the client may read Secrets in a namespace. Callers ask before they request a token that they
// could not read. It is true if the answer is unknown: reading then fails or not.
func MayReadSecrets(ctx context.Context, c client.Client, namespace string) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "secrets"},
	}}
	err := c.Create(ctx, review)
	return err != nil || review.Status.Allowed
}

// FindDelivery reads the Secret that status names. A user who may write status could name any Secret there, so FindDelivery
// returns only the one that delivers the token with status.tokenID: the caller prints and deletes it.
func FindDelivery(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken) (*Delivery, error) {
	id, name := pat.Status.TokenID, pat.Status.DeliverySecretName
	if name == "" {
		return nil, fmt.Errorf("status names no Secret for the new token %s: it was already taken; if that was not you, rotate it again", id)
	}
	secret := &corev1.Secret{}
	switch err := c.Get(ctx, client.ObjectKey{Namespace: pat.Namespace, Name: name}, secret); {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("the Secret %s no longer exists: the new token %s was already taken; if that was not you, rotate it again", name, id)
	case err != nil:
		return nil, fmt.Errorf("cannot read the new token from Secret %s in namespace %s (key %q, kept until %s): %w",
			name, pat.Namespace, v1alpha1.SecretKeyToken, DeliveryEnd(pat), err)
	}
	plaintext := string(secret.Data[v1alpha1.SecretKeyToken])
	ours := slices.ContainsFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == pat.UID })
	if in, err := token.Parse(plaintext); err != nil || in != id || !ours || secret.Type != v1alpha1.SecretTypeToken {
		return nil, fmt.Errorf("the Secret %s, which status names, does not hold token %s: the Secret or status was changed", name, id)
	}
	return &Delivery{secret, plaintext}, nil
}

// Remove deletes the Secret that the token was read from, but not another one of the same name.
func (d *Delivery) Remove(ctx context.Context, c client.Client) error {
	return client.IgnoreNotFound(c.Delete(ctx, d.Secret, client.Preconditions{UID: &d.Secret.UID}))
}

// DeliveryEnd returns when the operator deletes the Secret, for people.
func DeliveryEnd(pat *v1alpha1.PersonalAccessToken) string {
	if pat.Status.IssuedAt == nil {
		return "an unknown time"
	}
	ttl := int32(v1alpha1.DefaultDeliveryTTLSeconds)
	if d := pat.Spec.Delivery; d != nil && d.Secret != nil && d.Secret.TTLSeconds != nil {
		ttl = *d.Secret.TTLSeconds
	}
	return Stamp(&metav1.Time{Time: pat.Status.IssuedAt.Add(time.Duration(ttl) * time.Second)})
}

// Sealed reports whether pat's token is encrypted to recipients.
func Sealed(pat *v1alpha1.PersonalAccessToken) bool {
	return pat.Spec.Delivery != nil && len(pat.Spec.Delivery.Recipients) > 0
}

// Encrypted returns the age file in status. A user who may write status could put any text there, and callers print it
// unchanged, so Encrypted accepts only an age file.
func Encrypted(pat *v1alpha1.PersonalAccessToken) (string, error) {
	file := pat.Status.EncryptedToken
	if file == "" {
		return "", errors.New("status.encryptedToken is empty")
	}
	if _, err := io.Copy(io.Discard, armor.NewReader(strings.NewReader(file))); err != nil {
		return "", errors.New("status.encryptedToken is not an age file: another user or program changed it")
	}
	return strings.TrimSpace(file), nil
}
