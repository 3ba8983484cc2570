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

// Package fleet makes any number of tokens that look like those of a large company, for tests and benchmarks.
package fleet

import (
	"crypto/rand"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// Audience is the API server's own.
	Audience = "https://kubernetes.default.svc"

	tokensOfAUser = 10
	namespaces    = 500
	groups        = 200
	groupsOfAUser = 5
	lifetimeDays  = 90
)

// Member is one resource with its record, as the API server delivers them, and the plaintext of its token.
type Member struct {
	Resource *v1alpha1.PersonalAccessToken
	Record   *corev1.Secret
	Bearer   string
}

// Index is what takes members in; verifier.Index is one.
type Index interface {
	SetResource(*v1alpha1.PersonalAccessToken)
	SetRecord(*corev1.Secret)
}

// New makes the i-th member, whose token was issued now. Ten tokens have the same user, who is in five groups.
func New(i int, now time.Time) (*Member, error) {
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		return nil, err
	}
	return member(i, id, plaintext, false, now)
}

// OfHolder makes the i-th member with a token that its holder made. Other members may claim the same id.
func OfHolder(i int, id, plaintext string, now time.Time) (*Member, error) {
	return member(i, id, plaintext, true, now)
}

func member(i int, id, plaintext string, ofHolder bool, now time.Time) (*Member, error) {
	namespace, name := fmt.Sprintf("team-%03d", i%namespaces), fmt.Sprintf("build-pipeline-%06d", i)
	days, end := int32(lifetimeDays), now.Add(lifetimeDays*24*time.Hour)
	digest := token.NewDigest(namespace, name, plaintext).Hex()
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(uuid(0xa, i)), Generation: 1,
			ResourceVersion: fmt.Sprint(1_000_000 + i), CreationTimestamp: metav1.NewTime(now),
		},
		Spec: v1alpha1.PersonalAccessTokenSpec{
			DisplayName:   fmt.Sprintf("Build pipeline %d", i),
			User:          user(i / tokensOfAUser),
			ExpiresInDays: &days,
			Delivery:      &v1alpha1.Delivery{Secret: &v1alpha1.SecretDelivery{}},
		},
		Status: v1alpha1.PersonalAccessTokenStatus{TokenID: id},
	}
	if ofHolder {
		pat.Spec.ExpiresInDays, pat.Spec.ExpiresAt, pat.Spec.Delivery = nil, &metav1.Time{Time: end}, nil
		pat.Spec.Token = &v1alpha1.HolderToken{ID: id, SHA256: digest, BoundTo: namespace + "/" + name}
	}
	r := record.New(pat, now)
	r.Current = &record.Token{
		ID:        id,
		Digest:    digest,
		Source:    record.SourceOperator,
		Delivery:  &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 3600, UID: types.UID(uuid(0xb, i)), Removed: true}},
		IssuedAt:  now,
		ExpiresAt: end,
	}
	if ofHolder {
		r.Current.Source, r.Current.Delivery = record.SourceHolder, nil
	}
	secret, err := record.ToSecret(r, cluster.RecordsNamespace)
	if err != nil {
		return nil, err
	}
	secret.ResourceVersion = fmt.Sprint(2_000_000 + i)
	return &Member{Resource: pat, Record: secret, Bearer: plaintext}, nil
}

// Feed gives an index its tokens from first on, and returns their plaintexts and how long the index took.
func Feed(x Index, first, count int, now time.Time) (bearers []string, took time.Duration, err error) {
	for i := first; i < first+count; i++ {
		m, err := New(i, now)
		if err != nil {
			return nil, 0, err
		}
		bearers = append(bearers, m.Bearer)
		begun := time.Now()
		x.SetResource(m.Resource)
		x.SetRecord(m.Record)
		took += time.Since(begun)
	}
	return bearers, took, nil
}

// Username is whom the i-th token is of.
func Username(i int) string { return user(i / tokensOfAUser).Username }

func user(n int) *v1alpha1.UserInfo {
	u := &v1alpha1.UserInfo{Username: fmt.Sprintf("employee-%05d@example.com", n), UID: uuid(0xc, n)}
	for g := range groupsOfAUser {
		u.Groups = append(u.Groups, fmt.Sprintf("oidc:department-%03d", (n*7+g*31)%groups))
	}
	return u
}

func uuid(kind, n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", kind, n) }
