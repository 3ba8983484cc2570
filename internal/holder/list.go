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
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// pageSize is kubectl's.
const pageSize = 500

// Pages reads the resources in pages of size.
func Pages(ctx context.Context, c client.Client, size int64, opts ...client.ListOption) iter.Seq2[[]v1alpha1.PersonalAccessToken, error] {
	return func(yield func([]v1alpha1.PersonalAccessToken, error) bool) {
		for next, more := "", true; more; more = next != "" {
			page := &v1alpha1.PersonalAccessTokenList{}
			err := c.List(ctx, page, append(slices.Clone(opts), client.Limit(size), client.Continue(next))...)
			if !yield(page.Items, err) || err != nil {
				return
			}
			next = page.Continue
		}
	}
}

// ReadAll reads all pages. If the first page's revision expires in between, it reads everything in one request.
func ReadAll(ctx context.Context, c client.Client, opts ...client.ListOption) ([]v1alpha1.PersonalAccessToken, error) {
	var all []v1alpha1.PersonalAccessToken
	for page, err := range Pages(ctx, c, pageSize, opts...) {
		switch {
		case err != nil && len(all) > 0 && apierrors.IsResourceExpired(err):
			whole := &v1alpha1.PersonalAccessTokenList{}
			err := c.List(ctx, whole, opts...)
			return whole.Items, err
		case err != nil:
			return nil, err
		}
		all = append(all, page...)
	}
	return all, nil
}

// Matches reports whether each word occurs in the token's name, display name, user, id, predecessor's id or audiences, in any
// case.
func Matches(pat *v1alpha1.PersonalAccessToken, words []string) bool {
	text := strings.ToLower(strings.Join(append([]string{
		pat.Name, pat.Spec.DisplayName, Username(pat), pat.Status.TokenID, pat.Status.PreviousTokenID,
	}, pat.Spec.Audiences...), "\n"))
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, strings.ToLower(word)) })
}

// OfUser selects the tokens of a user.
func OfUser(username string) client.ListOption {
	return client.MatchingFields{"spec.user.username": username}
}

// Order compares two resources, as slices.SortFunc takes it.
type Order func(a, b *v1alpha1.PersonalAccessToken) int

// ByName orders by namespace and name.
func ByName(a, b *v1alpha1.PersonalAccessToken) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// Moment returns a time in the life of a token, or nil: Created, Modified, Expires or LastUsed.
type Moment func(pat *v1alpha1.PersonalAccessToken) *metav1.Time

// Created returns when the resource was created.
func Created(pat *v1alpha1.PersonalAccessToken) *metav1.Time { return &pat.CreationTimestamp }

// Modified returns when spec last changed.
func Modified(pat *v1alpha1.PersonalAccessToken) *metav1.Time { return pat.Status.ModifiedAt }

// Expires returns when the token expires.
func Expires(pat *v1alpha1.PersonalAccessToken) *metav1.Time { return pat.Status.ExpiresAt }

// LastUsed returns when the token was last used.
func LastUsed(pat *v1alpha1.PersonalAccessToken) *metav1.Time { return pat.Status.LastUsedAt }

// EarliestFirst orders by a moment. Resources without it come last.
func EarliestFirst(of Moment) Order {
	return func(a, b *v1alpha1.PersonalAccessToken) int { return compareTimes(of(a), of(b), time.Time.Compare) }
}

// LatestFirst orders by a moment, latest first. Resources without it come last here, too.
func LatestFirst(of Moment) Order {
	return func(a, b *v1alpha1.PersonalAccessToken) int {
		return compareTimes(of(a), of(b), func(x, y time.Time) int { return y.Compare(x) })
	}
}

// compareTimes puts nil last.
func compareTimes(a, b *metav1.Time, compare func(x, y time.Time) int) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return compare(a.Time, b.Time)
}
