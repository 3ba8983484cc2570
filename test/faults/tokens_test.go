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
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/env"
)

// pat is a PersonalAccessToken as a manifest would hold it.
func pat(namespace, name string, with ...func(*v1alpha1.PersonalAccessTokenSpec)) *v1alpha1.PersonalAccessToken {
	p := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, f := range with {
		f(&p.Spec)
	}
	return p
}

// holder makes a token on the holder's machine and the spec that declares it.
func holder(namespace, name string) (plaintext string, spec func(*v1alpha1.PersonalAccessTokenSpec), err error) {
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		return "", nil, err
	}
	return plaintext, func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.ExpiresAt = &metav1.Time{Time: time.Now().Add(24 * time.Hour).Truncate(time.Second)}
		s.Token = &v1alpha1.HolderToken{ID: id, SHA256: token.NewDigest(namespace, name, plaintext).Hex(), BoundTo: namespace + "/" + name}
	}, nil
}

// issue creates a resource as alice, as soon as there is an operator to admit it, and takes its plaintext from the
// delivery Secret.
func issue(ctx context.Context, p *v1alpha1.PersonalAccessToken) (string, error) {
	if err := env.Poll(ctx, patience, func() error {
		err := alice.Create(ctx, p.DeepCopy())
		return client.IgnoreAlreadyExists(err) // a create whose answer was lost
	}); err != nil {
		return "", err
	}
	return product.Take(ctx, alice, p.Namespace, p.Name)
}

// stock are tokens that were issued before anything was broken, so that a test need not wait for an operator which another
// one has killed.
var stock = make(chan spare, 48)

// spare is a token that nobody has used yet, and its resource.
type spare struct{ namespace, name, plaintext string }

func fillStock(ctx context.Context) error {
	ns, err := team(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, cap(stock))
	var filling sync.WaitGroup
	for i := range errs {
		filling.Go(func() {
			s := spare{namespace: ns, name: fmt.Sprintf("spare-%d", i)}
			s.plaintext, errs[i] = issue(ctx, pat(ns, s.name))
			stock <- s
		})
	}
	filling.Wait()
	_, err = streamTokens()
	return errors.Join(err, errors.Join(errs...))
}

// aToken takes one from the stock, or has one issued while nobody breaks the operators.
func aToken(t *testing.T) spare {
	t.Helper()
	select {
	case s := <-stock:
		return s
	default:
	}
	theOperators.Lock()
	defer theOperators.Unlock()
	s := spare{name: "spare"}
	var err error
	if s.namespace, err = team(t.Context()); err == nil {
		s.plaintext, err = issue(t.Context(), pat(s.namespace, s.name))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s spare) delete(ctx context.Context) error {
	return client.IgnoreNotFound(alice.Delete(ctx, pat(s.namespace, s.name)))
}

// face is a verifier's TokenReview face, asked directly, past everything that kube-apiserver remembers.
type face struct {
	url    string
	client *http.Client
}

func newFace(url string) (*face, error) {
	pem, err := os.ReadFile(cl.AuthnCAFile)
	if err != nil {
		return nil, err
	}
	hc, err := env.Face(pem)
	return &face{url, hc}, err
}

// review returns what a verifier says of a token: env.ErrNotReady where it is stale or draining.
func (f *face) review(ctx context.Context, plaintext string, audiences ...string) (authenticationv1.TokenReviewStatus, error) {
	return env.Review(ctx, f.client, f.url, plaintext, audiences...)
}

// accepts reports whether a verifier authenticates a token now, as alice's. Every other answer counts as a refusal.
func (f *face) accepts(ctx context.Context, plaintext string) (bool, error) {
	status, err := f.review(ctx, plaintext)
	if err == nil && status.Authenticated && status.User.Username != "alice" {
		err = fmt.Errorf("it authenticates as %q", status.User.Username)
	}
	return status.Authenticated, err
}
