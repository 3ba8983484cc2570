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

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	// creators is how many create tokens at once.
	creators = 16
	// perNamespace stays below the number of holder-made ids that the operator remembers per namespace.
	perNamespace = 1000
	tokenLife    = 30 * 24 * time.Hour
)

// kind is how a token reaches its holder.
type kind string

const (
	holders  kind = "the holder's own"
	inSecret kind = "in a Secret"
)

// newToken returns a resource for a token of the requester, and the plaintext of a holder's own.
func newToken(key client.ObjectKey, k kind) (pat *v1alpha1.PersonalAccessToken, plaintext string, err error) {
	end := holder.EndAfter(time.Now(), tokenLife)
	pat = &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec:       v1alpha1.PersonalAccessTokenSpec{DisplayName: "Benchmark " + key.Name, ExpiresAt: &end},
	}
	if k == holders {
		plaintext, err = holder.MakeToken(pat, rand.Reader, end)
	}
	return pat, plaintext, err
}

// user is the owner of the i-th token: ten tokens share one.
func user(i int) string { return fmt.Sprintf("user-%05d", i/10) }

// rightsForOthers is how many rights forOther takes: one user and two groups.
const rightsForOthers = 3

// forOther names the user of the i-th token. The administrator needs it: no token may have the group system:masters.
func forOther(pat *v1alpha1.PersonalAccessToken, i int) {
	pat.Spec.User = &v1alpha1.UserInfo{Username: user(i), Groups: []string{"developers", "ci"}}
}

// benchKey names the i-th token.
func benchKey(i int) client.ObjectKey {
	namespace := "default"
	if i >= perNamespace {
		namespace = fmt.Sprintf("bench-%d", i/perNamespace)
	}
	return client.ObjectKey{Namespace: namespace, Name: fmt.Sprintf("bench-%06d", i)}
}

// createTokens makes n holders' own tokens for other users, from the i-th on, and waits until all are active.
func createTokens(ctx context.Context, admin client.WithWatch, first, n int) (bearers []string, took time.Duration, err error) {
	bearers = make([]string, n)
	keys := make([]client.ObjectKey, n)
	for i := range n {
		keys[i] = benchKey(first + i)
		if i == 0 || keys[i].Namespace != keys[i-1].Namespace {
			if err := createNamespace(ctx, admin, keys[i].Namespace); err != nil {
				return nil, 0, err
			}
		}
	}
	took, err = untilActive(ctx, admin, keys, func(i int) error {
		pat, plaintext, err := newToken(keys[i], holders)
		if err != nil {
			return err
		}
		bearers[i] = plaintext
		forOther(pat, first+i)
		return admin.Create(ctx, pat)
	})
	return bearers, took, err
}

func createNamespace(ctx context.Context, admin client.Client, name string) error {
	return client.IgnoreAlreadyExists(admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
}

var errWatchEnded = errors.New("the API server ended the watch")

// untilActive calls create for each key, many at once, and returns how long it took until a watch showed all as Active.
func untilActive(ctx context.Context, admin client.WithWatch, keys []client.ObjectKey, create func(i int) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(len(keys))*250*time.Millisecond)
	defer cancel()
	now := &v1alpha1.PersonalAccessTokenList{}
	if err := admin.List(ctx, now, client.Limit(1)); err != nil {
		return 0, err
	}
	changes, err := admin.Watch(ctx, &v1alpha1.PersonalAccessTokenList{},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}})
	if err != nil {
		return 0, err
	}
	defer changes.Stop()
	began, created := time.Now(), make(chan error, 1)
	go func() { created <- each(len(keys), create) }()
	waiting := sets.New(keys...)
	for {
		select {
		case err := <-created:
			if err != nil {
				return 0, err
			}
			created = nil // only the watch is left
		case event, ok := <-changes.ResultChan():
			if !ok {
				return 0, fmt.Errorf("%d of %d tokens are not active: %w", len(waiting), len(keys), cmp.Or(ctx.Err(), errWatchEnded))
			}
			pat, ok := event.Object.(*v1alpha1.PersonalAccessToken)
			if ok && meta.IsStatusConditionTrue(pat.Status.Conditions, v1alpha1.ConditionActive) {
				waiting.Delete(client.ObjectKeyFromObject(pat))
			}
		}
		if len(waiting) == 0 && created == nil {
			return time.Since(began), nil
		}
	}
}

// each calls f for each number below n, creators at once, until one fails.
func each(n int, f func(i int) error) error {
	errs := make([]error, creators)
	var running sync.WaitGroup
	for w := range creators {
		running.Go(func() {
			for i := w; i < n && errs[w] == nil; i += creators {
				errs[w] = f(i)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}
