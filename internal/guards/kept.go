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
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"

	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	// SecretName names the Secret, in the records namespace, that keeps the fingerprint of the accepted guards.
	SecretName = "pat-operator-guards"
	// SecretType is the type of that Secret. Records have another.
	SecretType corev1.SecretType = "pat-operator.io/guards"

	payloadKey     = "guards"
	payloadVersion = 1
)

type payload struct {
	V      int       `json:"v"`
	Guards []version `json:"guards"`
}

func (f fingerprint) toSecret(namespace string) (*corev1.Secret, error) {
	data, err := json.Marshal(payload{payloadVersion, f[:]})
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: SecretName, Labels: map[string]string{record.LabelNoBackup: "true"}},
		Type:       SecretType,
		Data:       map[string][]byte{payloadKey: data},
	}, nil
}

// fromSecret returns zero if the Secret cannot be decoded.
func fromSecret(s *corev1.Secret) fingerprint {
	var p payload
	strict, err := kjson.UnmarshalStrict(s.Data[payloadKey], &p)
	if s.Type != SecretType || len(s.Data) != 1 || err != nil || len(strict) > 0 || p.V != payloadVersion || len(p.Guards) != len(guards) {
		return fingerprint{}
	}
	for i, v := range p.Guards {
		if v.Kind != guards[i].kind || v.UID == "" || v.Generation <= 0 {
			return fingerprint{}
		}
	}
	return fingerprint(p.Guards)
}

// kept is the Secret that keeps a fingerprint. Without the Secret, or if it cannot be decoded, the fingerprint is zero and
// equals that of no guards.
type kept struct {
	secret      *corev1.Secret
	fingerprint fingerprint
}

func readKept(ctx context.Context, from client.Reader, namespace string) (kept, error) {
	secret := &corev1.Secret{}
	if err := from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: SecretName}, secret); err != nil {
		return kept{}, client.IgnoreNotFound(err)
	}
	return kept{secret, fromSecret(secret)}, nil
}

// replace keeps another fingerprint, unless the Secret has changed since it was read.
func (k kept) replace(ctx context.Context, c client.Client, namespace string, f fingerprint) error {
	next, err := f.toSecret(namespace)
	if err != nil {
		return err
	}
	if k.secret != nil && k.fingerprint == (fingerprint{}) {
		// An update changes neither the type of a Secret nor one that is immutable.
		err := c.Delete(ctx, k.secret, client.Preconditions{UID: &k.secret.UID, ResourceVersion: &k.secret.ResourceVersion})
		if err != nil {
			return err
		}
		k.secret = nil
	}
	if k.secret == nil {
		return c.Create(ctx, next)
	}
	next.UID, next.ResourceVersion = k.secret.UID, k.secret.ResourceVersion
	return c.Update(ctx, next)
}
