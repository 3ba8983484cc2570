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

// Package issued makes tokens as the operator leaves them, for tests that need no operator: a resource, its record, and the
// plaintext.
package issued

import (
	"crypto/rand"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// Days is how long the tokens live.
const Days = 90

// Token is a token with what the cluster knows of it.
type Token struct {
	Resource *v1alpha1.PersonalAccessToken
	Record   *record.Record
	Bearer   string
}

// New makes a token of a user that is issued now. Each mod changes its spec before that.
func New(t testing.TB, namespace, name string, user v1alpha1.UserInfo, mods ...func(*v1alpha1.PersonalAccessTokenSpec)) *Token {
	t.Helper()
	id, bearer, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	days, now := int32(Days), time.Now().Truncate(time.Second)
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + id)},
		Spec:       v1alpha1.PersonalAccessTokenSpec{User: &user, ExpiresInDays: &days},
	}
	for _, mod := range mods {
		mod(&pat.Spec)
	}
	issued := &Token{Resource: pat, Bearer: bearer}
	issued.Issue(id, now)
	return issued
}

// Issue makes the record anew, for a resource whose UID or spec has changed.
func (i *Token) Issue(id string, now time.Time) {
	i.Record = record.New(i.Resource, now)
	i.Record.Current = &record.Token{
		ID: id, Digest: token.NewDigest(i.Resource.Namespace, i.Resource.Name, i.Bearer).Hex(), Source: record.SourceOperator,
		Delivery: &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 3600}}, IssuedAt: now, ExpiresAt: now.AddDate(0, 0, Days),
	}
}

// ID is the public id.
func (i *Token) ID() string { return i.Record.Current.ID }

// Secret is the stored form of the record.
func (i *Token) Secret(t testing.TB, namespace string) *corev1.Secret {
	t.Helper()
	secret, err := record.ToSecret(i.Record, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// Feed has an index know the token in its present state.
func (i *Token) Feed(t testing.TB, x *verifier.Index) {
	t.Helper()
	x.SetResource(i.Resource.DeepCopy())
	x.SetRecord(i.Secret(t, "pat-operator-records"))
}

// Revoke ends the token by status, as its holder does.
func (i *Token) Revoke(t testing.TB, x *verifier.Index) {
	t.Helper()
	i.Resource.Status.Revoked = append(i.Resource.Status.Revoked, v1alpha1.RevokedToken{TokenID: i.ID()})
	i.Feed(t, x)
}
