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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
)

func TestMakeTokenLeavesADigestOfIt(t *testing.T) {
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "ci"}}
	plaintext, err := MakeToken(pat, zeros{}, EndAfter(start, 36*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if id, err := token.Parse(plaintext); err != nil || id != "aaaaaaaaaaaaaaaa" {
		t.Errorf("the token has the id %q: %v", id, err)
	}
	want := v1alpha1.PersonalAccessTokenSpec{
		ExpiresAt: after(36 * time.Hour),
		Token: &v1alpha1.HolderToken{
			ID: "aaaaaaaaaaaaaaaa", SHA256: token.NewDigest("team-a", "ci", plaintext).Hex(), BoundTo: "team-a/ci",
		},
	}
	if diff := cmp.Diff(want, pat.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestDeliverToCountsWholeDaysFromIssuing(t *testing.T) {
	keys := []string{"age1"}
	for life, want := range map[time.Duration]v1alpha1.PersonalAccessTokenSpec{
		90 * day:       {ExpiresInDays: days(90)},
		MaxLife:        {ExpiresInDays: days(3660)},
		36 * time.Hour: {ExpiresAt: after(36 * time.Hour)},
	} {
		pat := &v1alpha1.PersonalAccessToken{}
		DeliverTo(pat, keys, start.Add(time.Millisecond), life)
		want.Delivery = &v1alpha1.Delivery{Recipients: keys}
		if diff := cmp.Diff(want, pat.Spec); diff != "" {
			t.Errorf("%v (-want +got):\n%s", life, diff)
		}
	}
}
