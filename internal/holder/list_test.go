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
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// pages serves ten pages of one resource each. With expires, the revision expires at the third page.
func pages(t *testing.T, expires bool) interceptor.Funcs {
	return interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			var o client.ListOptions
			o.ApplyOptions(opts)
			n := 0
			if _, err := fmt.Sscan(o.Continue, &n); o.Continue != "" && err != nil {
				t.Errorf("continue %q", o.Continue)
			}
			if expires && n == 2 {
				return apierrors.NewResourceExpired("too old")
			}
			page := list.(*v1alpha1.PersonalAccessTokenList)
			for {
				page.Items = append(page.Items, v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(n)}})
				if n++; n == 10 {
					return nil
				}
				if o.Limit > 0 {
					page.Continue = fmt.Sprint(n)
					return nil
				}
			}
		},
	}
}

func TestReadAllReadsEveryPage(t *testing.T) {
	for name, expires := range map[string]bool{"in pages": false, "again after the first revision expired": true} {
		t.Run(name, func(t *testing.T) {
			pats, err := ReadAll(t.Context(), cluster(t, pages(t, expires)))
			if err != nil || len(pats) != 10 {
				t.Errorf("%d tokens, %v", len(pats), err)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	pat := withConditions(1)
	pat.Name, pat.Spec.DisplayName, pat.Spec.Audiences = "backup", "Nightly Copy", []string{"smtp", "imap"}
	pat.Spec.User = &v1alpha1.UserInfo{Username: `CORP\bob`}
	pat.Status.TokenID, pat.Status.PreviousTokenID = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
	for words, want := range map[string]bool{
		"":              true,
		"back":          true,
		"nightly":       true,
		`corp\BOB`:      true,
		"aaaaaaaa BBBB": true,
		"IMAP copy":     true,
		"copy mail":     false,
		"team-a":        false,
		"backupnightly": false, // no word goes across
	} {
		if got := Matches(pat, strings.Fields(words)); got != want {
			t.Errorf("%q: %v", words, got)
		}
	}
	if Matches(withConditions(1), []string{"bob"}) {
		t.Error("a token without a user is bob's")
	}
}

func TestOrders(t *testing.T) {
	of := func(name string, age time.Duration, modified, expires, used *metav1.Time) *v1alpha1.PersonalAccessToken {
		pat := withConditions(1)
		pat.Name, pat.CreationTimestamp = name, *after(-age)
		pat.Status.ModifiedAt, pat.Status.ExpiresAt, pat.Status.LastUsedAt = modified, expires, used
		return pat
	}
	fresh := of("c", time.Hour, nil, nil, nil)
	old := of("b", 9*day, after(-2*day), after(day), after(-8*day))
	older := of("a", 10*day, after(-3*day), after(5*day), after(-day))
	older.Namespace = "team-b"
	for name, tc := range map[string]struct {
		order Order
		want  string
	}{
		"name, in each namespace": {ByName, "b c a"},
		"created":                 {LatestFirst(Created), "c b a"},
		"created, the first":      {EarliestFirst(Created), "a b c"},
		"modified":                {LatestFirst(Modified), "b a c"},
		"modified, the first":     {EarliestFirst(Modified), "a b c"},
		"expires":                 {EarliestFirst(Expires), "b a c"},
		"expires, the last":       {LatestFirst(Expires), "a b c"},
		"last used":               {LatestFirst(LastUsed), "a b c"},
		"last used, the first":    {EarliestFirst(LastUsed), "b a c"},
	} {
		pats := []*v1alpha1.PersonalAccessToken{fresh, older, old}
		slices.SortFunc(pats, tc.order)
		var names []string
		for _, pat := range pats {
			names = append(names, pat.Name)
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%s: %s; want %s", name, got, tc.want)
		}
	}
}
