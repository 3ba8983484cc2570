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
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

// Limits of the API.
const (
	// MaxName is in characters: the name of a resource becomes a label.
	MaxName = 63
	// MaxDisplayName is in characters of any language.
	MaxDisplayName = 128
	// MaxLife is the longest lifetime of a token.
	MaxLife = v1alpha1.MaxExpiresInDays * v1alpha1.Day
	// MaxOverlap is the longest overlap of a rotation.
	MaxOverlap = 366 * day

	day = v1alpha1.Day
)

// MakeToken makes a token that ends at expiresAt and writes its id, digest and end into pat, whose namespace and name must be
// set. The caller must show the plaintext exactly once.
func MakeToken(pat *v1alpha1.PersonalAccessToken, random io.Reader, expiresAt metav1.Time) (plaintext string, err error) {
	id, plaintext, err := token.New(random)
	if err != nil {
		return "", err
	}
	pat.Spec.ExpiresAt = &expiresAt
	pat.Spec.Token = &v1alpha1.HolderToken{
		ID:      id,
		SHA256:  token.NewDigest(pat.Namespace, pat.Name, plaintext).Hex(),
		BoundTo: pat.Namespace + "/" + pat.Name,
	}
	return plaintext, nil
}

// DeliverTo makes the operator issue the token, encrypted to these public keys. A lifetime of whole days counts from issuing,
// so that a rotation gives the successor the same; any other counts from now.
func DeliverTo(pat *v1alpha1.PersonalAccessToken, keys []string, now time.Time, life time.Duration) {
	pat.Spec.Delivery = &v1alpha1.Delivery{Recipients: keys}
	if life%day == 0 {
		days := int32(life / day) // #nosec G115 -- at most MaxLife
		pat.Spec.ExpiresInDays = &days
		return
	}
	end := EndAfter(now, life)
	pat.Spec.ExpiresAt = &end
}

// EndAfter returns now plus life, in whole seconds.
func EndAfter(now time.Time, life time.Duration) metav1.Time {
	return metav1.Time{Time: now.Add(life).UTC().Truncate(time.Second)}
}
