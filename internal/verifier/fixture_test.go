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

package verifier

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

const apiAudience = "https://kubernetes.default.svc"

var start = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// pat is a resource, its record and the plaintext of its current token.
type pat struct {
	resource *v1alpha1.PersonalAccessToken
	record   *record.Record
	bearer   string
}

func newToken(t testing.TB) (id, plaintext string) {
	t.Helper()
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return id, plaintext
}

func days(n int32) *int32 { return &n }

// newPAT returns what the controller leaves of alice's resource with a token that it made at start, for 90 days.
func newPAT(t testing.TB, namespace, name string, uid types.UID, mods ...func(*pat)) *pat {
	t.Helper()
	id, plaintext := newToken(t)
	p := &pat{
		bearer: plaintext,
		resource: &v1alpha1.PersonalAccessToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uid},
			Spec: v1alpha1.PersonalAccessTokenSpec{
				User: &v1alpha1.UserInfo{
					Username: "alice", UID: "u-1", Groups: []string{"dev", "ops"},
					Extra: map[string]v1alpha1.ExtraValue{"example.org/team": {"a"}},
				},
				ExpiresInDays: days(90),
			},
		},
	}
	p.record = record.New(p.resource, start)
	p.record.Current = &record.Token{
		ID:        id,
		Digest:    token.NewDigest(namespace, name, plaintext).Hex(),
		Source:    record.SourceOperator,
		Delivery:  &record.Delivery{Secret: &record.SecretDelivery{TTLSeconds: 3600}},
		IssuedAt:  start,
		ExpiresAt: start.Add(90 * 24 * time.Hour),
	}
	for _, mod := range mods {
		mod(p)
	}
	return p
}

// ofHolder makes the token one that its holder made, with this id and digest.
func ofHolder(id, digest string) func(*pat) {
	return func(p *pat) {
		p.record.Current.ID, p.record.Current.Digest = id, digest
		p.record.Current.Source, p.record.Current.Delivery = record.SourceHolder, nil
		p.resource.Spec.Token = &v1alpha1.HolderToken{ID: id, SHA256: digest, BoundTo: p.resource.Namespace + "/" + p.resource.Name}
	}
}

// ofServiceAccount makes the user a service account.
func ofServiceAccount(namespace, name, uid string) func(*pat) {
	return func(p *pat) {
		u := v1alpha1.UserInfo{
			Username: "system:serviceaccount:" + namespace + ":" + name, UID: uid,
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace},
		}
		p.record.User, p.resource.Spec.User = *u.DeepCopy(), &u
	}
}

func (p *pat) secret(t testing.TB) *corev1.Secret {
	t.Helper()
	s, err := record.ToSecret(p.record, "pat-operator-records")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *pat) secretName() string { return record.SecretName(p.resource.Namespace, p.resource.Name) }

// set feeds copies to the index, so that the test may go on changing its own.
func (p *pat) set(t testing.TB, x *Index) {
	t.Helper()
	x.SetResource(p.resource.DeepCopy())
	x.SetRecord(p.secret(t))
}

// end ends the current token as the controller does.
func (p *pat) end(reason string) { p.record.End(p.record.Current, reason) }

func (p *pat) id() string { return p.record.Current.ID }

func newIndex(t testing.TB, pats ...*pat) *Index {
	t.Helper()
	return newLoggedIndex(t, logr.Discard(), pats...)
}

func newLoggedIndex(t testing.TB, log logr.Logger, pats ...*pat) *Index {
	t.Helper()
	x := NewIndex(log)
	x.SetAPIAudiences([]string{apiAudience})
	x.MarkSynced()
	for _, p := range pats {
		p.set(t, x)
	}
	return x
}

// want checks verdict and reason of a token at a time, for the API server's own audiences.
func want(t *testing.T, x *Index, bearer string, now time.Time, verdict Verdict, reason Reason) {
	t.Helper()
	r := x.Verify(bearer, nil, now)
	if r.Verdict != verdict || r.Reason != reason {
		t.Errorf("Verify = %s/%s, want %s/%s", r.Verdict, r.Reason, verdict, reason)
	}
	switch r.Verdict {
	case Authenticated, Unknown:
		if len(r.Audiences) == 0 {
			t.Errorf("%s without audiences", r.Verdict)
		}
	case Refused, NotReady:
	}
	if r.Verdict != Authenticated && (r.User.Username != "" || !r.Limits.Full() || !r.ExpiresAt.IsZero()) {
		t.Errorf("%s tells of a user: %+v", r.Verdict, r)
	}
}

// wantClean checks that nothing of what was forgotten is left.
func wantClean(t *testing.T, x *Index) {
	t.Helper()
	left := len(x.entries) + len(x.ofUser)
	for i := range x.shards {
		left += len(x.shards[i].ids)
	}
	if left != 0 {
		t.Errorf("%d things are left in an index of which everything was deleted", left)
	}
}

// capture is a logger at the highest verbosity and what it wrote.
func capture() (logr.Logger, *strings.Builder) {
	var b strings.Builder
	return funcr.New(func(prefix, args string) { b.WriteString(prefix + " " + args + "\n") },
		funcr.Options{Verbosity: 127, LogCaller: funcr.All}), &b
}
