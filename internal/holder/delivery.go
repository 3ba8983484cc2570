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

// Delivery is a token that was found in the Secret that delivers it.
type Delivery struct {
	Secret    *corev1.Secret
	Plaintext string
}

// MayReadSecrets tells whether a token could be taken from a Secret of this namespace, to be asked before one is made that
// could not. Where it cannot be found out it is true: reading will tell.
func MayReadSecrets(ctx context.Context, c client.Client, namespace string) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "get", Resource: "secrets"},
	}}
	err := c.Create(ctx, review)
	return err != nil || review.Status.Allowed
}

// FindDelivery reads the Secret that status names. Whoever may write a status may name any Secret there, which is not to be
// shown and deleted: it has to be the one that delivers the token with this id.
func FindDelivery(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken) (*Delivery, error) {
	id, name := pat.Status.TokenID, pat.Status.DeliverySecretName
	if name == "" {
		return nil, fmt.Errorf("the new token %s is in no Secret: somebody was faster and has taken it; rotate it again if that was not you", id)
	}
	secret := &corev1.Secret{}
	switch err := c.Get(ctx, client.ObjectKey{Namespace: pat.Namespace, Name: name}, secret); {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("the Secret %s is gone: somebody was faster and has taken the new token %s; rotate it again if that was not you", name, id)
	case err != nil:
		return nil, fmt.Errorf("the new token is in Secret %s in namespace %s, under the key %q, until %s, and could not be taken: %w",
			name, pat.Namespace, v1alpha1.SecretKeyToken, DeliveryEnd(pat), err)
	}
	plaintext := string(secret.Data[v1alpha1.SecretKeyToken])
	ours := slices.ContainsFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == pat.UID })
	if in, err := token.Parse(plaintext); err != nil || in != id || !ours || secret.Type != v1alpha1.SecretTypeToken {
		return nil, fmt.Errorf("the Secret %s, which status names, does not deliver the token %s: somebody has changed one or the other", name, id)
	}
	return &Delivery{secret, plaintext}, nil
}

// Remove deletes the Secret that the token was taken from, and no other that has its name by now.
func (d *Delivery) Remove(ctx context.Context, c client.Client) error {
	return client.IgnoreNotFound(c.Delete(ctx, d.Secret, client.Preconditions{UID: &d.Secret.UID}))
}

// DeliveryEnd is when the Secret goes by itself, for people.
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

// Sealed tells whether pat's token is encrypted to recipients.
func Sealed(pat *v1alpha1.PersonalAccessToken) bool {
	return pat.Spec.Delivery != nil && len(pat.Spec.Delivery.Recipients) > 0
}

// Encrypted is the age file in status. Whoever may write a status may put anything there, and it is shown as it is: so it
// has to be such a file.
func Encrypted(pat *v1alpha1.PersonalAccessToken) (string, error) {
	file := pat.Status.EncryptedToken
	if file == "" {
		return "", errors.New("there is no status.encryptedToken")
	}
	if _, err := io.Copy(io.Discard, armor.NewReader(strings.NewReader(file))); err != nil {
		return "", errors.New("status.encryptedToken is no age file: somebody has changed it")
	}
	return strings.TrimSpace(file), nil
}
