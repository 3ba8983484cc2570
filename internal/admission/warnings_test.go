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

package admission_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
)

const (
	readsAll     = "get v1 secrets team-a by system:authenticated"
	readsCluster = "get v1 secrets team-a by system:authenticated,system:serviceaccounts"
	readsTeam    = "get v1 secrets team-a by system:authenticated,system:serviceaccounts,system:serviceaccounts:team-a"

	readable = ` may read Secrets in namespace "team-a", where the token will be; make the token on your own machine (spec.token), or have that right taken away`
	carries  = ` may do everything in the cluster, and so may this token; leave it out of spec.user.groups where the token can do without`
)

var onlyByProxy = ctrladmission.Warnings{
	"with spec.from the token works only through the proxy, from these networks; the API server's webhook refuses it; leave spec.from out for a token that works at the API server, too",
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rights []string
		pat    *object
		want   ctrladmission.Warnings
	}{
		{name: "none", pat: alicesPAT()},
		{name: "pods of the namespace", rights: []string{readsTeam}, pat: alicesPAT(), want: ctrladmission.Warnings{`every pod of namespace "team-a"` + readable}},
		{name: "pods of the cluster", rights: []string{readsTeam, readsCluster}, pat: alicesPAT(), want: ctrladmission.Warnings{`every pod of the cluster` + readable}},
		{name: "everybody", rights: []string{readsTeam, readsCluster, readsAll}, pat: alicesPAT(ttl(60)), want: ctrladmission.Warnings{`everybody who is logged in` + readable}},
		{name: "everybody, but no Secret", rights: []string{readsTeam, readsCluster, readsAll}, pat: alicesPAT(holder)},
		{name: "from networks", pat: alicesPAT(bound), want: onlyByProxy},
		{
			name: "a powerful group", rights: []string{"* * * * by ops"}, pat: alicesPAT(),
			want: ctrladmission.Warnings{`group "ops"` + carries},
		},
		{
			name: "all at once", rights: []string{"* * * * by devs", "* * * * by ops", readsTeam}, pat: alicesPAT(days(366)),
			want: ctrladmission.Warnings{overAYear[0], `every pod of namespace "team-a"` + readable, `group "devs"` + carries, `group "ops"` + carries},
		},
		{
			name: "nothing will be issued", rights: []string{"* * * * by devs", readsAll}, pat: alicesPAT(expires(now)),
			want: ctrladmission.Warnings{`spec.expiresAt (2026-11-01T12:00:00Z) has passed, so no token will work; set a later one to get a token`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config
			cfg.Client = may(tc.rights...)
			got, err := admission.NewValidator(cfg).ValidateCreate(request(), tc.pat)
			check(t, err, "")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarningsOnUpdate(t *testing.T) {
	cfg := config
	cfg.Client = may(readsAll, "* * * * by devs")
	got, err := admission.NewValidator(cfg).ValidateUpdate(request(), alicesPAT(holder), alicesPAT())
	check(t, err, "")
	if diff := cmp.Diff(ctrladmission.Warnings{`everybody who is logged in` + readable}, got); diff != "" {
		t.Errorf("to a Secret (-want +got):\n%s", diff)
	}
	got, err = admission.NewValidator(cfg).ValidateUpdate(request(), alicesPAT(), alicesPAT(suspended))
	check(t, err, "")
	if got != nil {
		t.Errorf("suspended: %q", got)
	}
}

// kube-apiserver cuts a warning of more than 256 characters.
func TestWarningsAreShortEnoughToBeShown(t *testing.T) {
	long := strings.Repeat("g", 256)
	cfg := config
	cfg.Client = may("* * * * by " + long)
	pat := alicesPAT(user(func(u *v1alpha1.UserInfo) { u.Groups = []string{long} }))
	got, err := admission.NewValidator(cfg).ValidateUpdate(request(), pat, pat)
	if err != nil || got != nil {
		t.Fatal(got, err)
	}
	cfg.Client = reviewer(func(_ context.Context, q authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}, nil
	})
	got, err = admission.NewValidator(cfg).ValidateCreate(request(bob), pat)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for _, warning := range append(append(got, overAYear...), onlyByProxy...) {
		if n := utf8.RuneCountInString(warning); n > 256 {
			t.Errorf("%d characters: %s", n, warning)
		}
	}
}

func TestWarningsThatCannotBeSettledAreLeftOut(t *testing.T) {
	cfg := config
	cfg.Client = reviewer(func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}, errors.New("the API server is away")
	})
	got, err := admission.NewValidator(cfg).ValidateCreate(request(), alicesPAT())
	if got != nil || err != nil {
		t.Error(got, err)
	}
}
