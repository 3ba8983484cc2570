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
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
)

const (
	takes   = `, so this token takes the right to impersonate all of its user; `
	omit    = `omit spec.user for a token of your own, or have granted what is missing`
	notBobs = `spec.user: you are "bob"` + takes + omit

	lackAlice    = `; spec.user.username: you may not impersonate user "alice"; what grants it: {apiGroups: [""], resources: ["users"], verbs: ["impersonate"], resourceNames: ["alice"]}`
	lackUID      = `; spec.user.uid: you may not impersonate uid "u-1"; what grants it: {apiGroups: ["authentication.k8s.io"], resources: ["uids"], verbs: ["impersonate"], resourceNames: ["u-1"]}`
	lackOtherUID = `; spec.user.uid: you may not impersonate uid "u-2"; what grants it: {apiGroups: ["authentication.k8s.io"], resources: ["uids"], verbs: ["impersonate"], resourceNames: ["u-2"]}`
	lackDevs     = `; spec.user.groups[0]: you may not impersonate group "devs"; what grants it: {apiGroups: [""], resources: ["groups"], verbs: ["impersonate"], resourceNames: ["devs"]}`
	lackOps      = `; spec.user.groups[1]: you may not impersonate group "ops"; what grants it: {apiGroups: [""], resources: ["groups"], verbs: ["impersonate"], resourceNames: ["ops"]}`
	lackAdmins   = `; spec.user.groups[1]: you may not impersonate group "admins"; what grants it: {apiGroups: [""], resources: ["groups"], verbs: ["impersonate"], resourceNames: ["admins"]}`
	lackExtra    = `; spec.user.extra[example.com/a][0]: you may not impersonate this value of extra "example.com/a"; what grants it: {apiGroups: ["authentication.k8s.io"], resources: ["userextras/example.com/a"], verbs: ["impersonate"], resourceNames: ["b"]}`
	lackAccount  = `; spec.user.username: you may not impersonate service account team-a/ci; what grants it: {apiGroups: [""], resources: ["serviceaccounts"], verbs: ["impersonate"], resourceNames: ["ci"]} in a Role of namespace team-a`
)

// reviewer answers SubjectAccessReviews in the API server's place.
type reviewer func(ctx context.Context, q authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error)

func (r reviewer) Create(ctx context.Context, o client.Object, _ ...client.CreateOption) (err error) {
	review := o.(*authorizationv1.SubjectAccessReview)
	review.Status, err = r(ctx, review.Spec)
	return err
}

// describe writes what is asked, and of whom where it is not the requester, as one line.
func describe(q authorizationv1.SubjectAccessReviewSpec) string {
	on := q.ResourceAttributes
	words := []string{on.Verb, on.Version, on.Resource, on.Subresource, on.Group, on.Namespace, on.Name}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	if q.User == "" {
		words = append(words, "by", strings.Join(q.Groups, ","))
	}
	return strings.Join(words, " ")
}

// may grants rights, as describe writes them.
func may(rights ...string) reviewer {
	return func(_ context.Context, q authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: slices.Contains(rights, describe(q))}, nil
	}
}

var (
	nothing     = may()
	aliceRights = []string{"impersonate v1 users alice", "impersonate v1 uids authentication.k8s.io u-1", "impersonate v1 groups devs", "impersonate v1 groups ops"}
)

func TestCase02_EachRightMissingInTurn(t *testing.T) {
	pat := alicesPAT(user(func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}} }))
	rights := append(slices.Clone(aliceRights), "impersonate v1 userextras example.com/a authentication.k8s.io b")
	lacks := []string{lackAlice, lackUID, lackDevs, lackOps, lackExtra}
	create := func(rights ...string) error {
		cfg := config
		cfg.Client = may(rights...)
		_, err := admission.NewValidator(cfg).ValidateCreate(request(bob), pat)
		return err
	}
	check(t, create(), isForbidden+notBobs+strings.Join(lacks, ""))
	check(t, create(rights...), "")
	for i, right := range rights {
		t.Run(right, func(t *testing.T) {
			check(t, create(slices.Delete(slices.Clone(rights), i, i+1)...), isForbidden+notBobs+lacks[i])
		})
	}
	t.Run("with the newer verbs", func(t *testing.T) {
		var newer []string
		for _, mode := range []string{"user-info", "arbitrary-node", "associated-node", "serviceaccount", "*"} {
			for _, right := range rights {
				newer = append(newer, strings.Replace(right, "impersonate", "impersonate:"+mode, 1), strings.Replace(right, "impersonate", "impersonate-on:"+mode+":create", 1))
			}
		}
		check(t, create(newer...), isForbidden+notBobs+strings.Join(lacks, ""))
	})
}

func TestCase02_ALostGroupCannotBeKept(t *testing.T) {
	// alice's other groups and her name do not help: the token's user differs from her.
	cfg := config
	cfg.Client = may(aliceRights[:3]...)
	_, err := admission.NewValidator(cfg).ValidateUpdate(request(lostOps), alicesPAT(), alicesPAT(rotating))
	check(t, err, isForbidden+`spec.rotation: you are not in group "ops" today`+widens+lackOps)
	_, err = admission.NewValidator(cfg).ValidateCreate(request(lostOps), alicesPAT())
	check(t, err, isForbidden+`spec.user: you are not in group "ops" today`+takes+omit+lackOps)
}

func TestCase02_EmptyValuesAreRefused(t *testing.T) {
	cfg := config
	cfg.Client = reviewer(func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}, nil
	})
	for _, tc := range []struct {
		change func(*v1alpha1.UserInfo)
		want   string
	}{
		{func(u *v1alpha1.UserInfo) { *u = v1alpha1.UserInfo{} }, `spec.user.username: Required value: name the user whose token this is`},
		{func(u *v1alpha1.UserInfo) { u.Groups = []string{"devs", ""} }, `spec.user.groups[1]: Required value: a group has a name; leave it out`},
		{
			func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{"example.com/a": {""}} },
			`spec.user.extra[example.com/a][0]: Required value: a value of an extra key is not empty; leave it out`,
		},
		{
			func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{"example.com/a": {}} },
			`spec.user.extra[example.com/a]: Required value: an extra key has a value; leave it out`,
		},
	} {
		_, err := admission.NewValidator(cfg).ValidateCreate(request(bob), alicesPAT(user(tc.change)))
		check(t, err, isInvalid+tc.want)
	}
}

func TestOthersHaveLimits(t *testing.T) {
	const items = ` where the user is not who asks (you are "bob"); leave some out, or let the user do this`
	values := func(n int) v1alpha1.ExtraValue { return slices.Repeat(v1alpha1.ExtraValue{"b"}, n) }
	extra := func(keys, n int) modifier {
		return user(func(u *v1alpha1.UserInfo) {
			u.Extra = map[string]v1alpha1.ExtraValue{}
			for i := range keys {
				u.Extra[fmt.Sprintf("example.com/%d", i)] = values(n)
			}
		})
	}
	for _, tc := range []struct {
		name string
		by   requester
		pat  *object
		want string
		asks int
	}{
		{name: "as many as there may be", by: bob, pat: alicesPAT(groups(16), extra(4, 2)), asks: 26},
		{name: "groups", by: bob, pat: alicesPAT(groups(17)), want: isInvalid + `spec.user.groups: Too many: 17: must have at most 16 items` + items},
		{name: "extra keys", by: bob, pat: alicesPAT(extra(5, 1)), want: isInvalid + `spec.user.extra: Too many: 5: must have at most 4 items` + items},
		{name: "extra values", by: bob, pat: alicesPAT(extra(1, 3)), want: isInvalid + `spec.user.extra[example.com/0]: Too many: 3: must have at most 2 items` + items},
		{name: "oneself", by: func(r *authenticationv1.UserInfo) { r.Groups = alicesPAT(groups(128)).Spec.User.Groups }, pat: alicesPAT(groups(128))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var mu sync.Mutex
			asked, under, most := 0, 0, 0
			cfg := config
			cfg.Client = reviewer(func(_ context.Context, q authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
				mu.Lock()
				under++
				most = max(most, under)
				if q.ResourceAttributes.Verb == "impersonate" {
					asked++
				}
				mu.Unlock()
				time.Sleep(time.Millisecond) // of the bubble's time: until no other review can begin
				mu.Lock()
				under--
				mu.Unlock()
				return authorizationv1.SubjectAccessReviewStatus{Allowed: q.ResourceAttributes.Verb == "impersonate"}, nil
			})
			synctest.Test(t, func(t *testing.T) {
				_, err := admission.NewValidator(cfg).ValidateCreate(request(tc.by), tc.pat)
				check(t, err, tc.want)
			})
			if asked != tc.asks || most > 8 {
				t.Errorf("asked about %d rights, %d at a time", asked, most)
			}
		})
	}
}

func TestRightsAreTheRequestersOwn(t *testing.T) {
	by := authenticationv1.UserInfo{
		Username: "bob", UID: "b-1", Groups: []string{"helpdesk", "system:authenticated"},
		Extra: map[string]authenticationv1.ExtraValue{"example.com/a": {"b", "c"}},
	}
	cfg := config
	var asked []authorizationv1.SubjectAccessReviewSpec
	cfg.Client = reviewer(func(_ context.Context, q authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		asked = append(asked, q)
		return authorizationv1.SubjectAccessReviewStatus{}, nil
	})
	_, err := admission.NewValidator(cfg).ValidateCreate(request(func(r *authenticationv1.UserInfo) { *r = by }),
		alicesPAT(user(func(u *v1alpha1.UserInfo) { *u = v1alpha1.UserInfo{Username: "alice"} })))
	check(t, err, isForbidden+notBobs+lackAlice)
	want := []authorizationv1.SubjectAccessReviewSpec{{
		User: "bob", UID: "b-1", Groups: []string{"helpdesk", "system:authenticated"},
		Extra:              map[string]authorizationv1.ExtraValue{"example.com/a": {"b", "c"}},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "impersonate", Version: "v1", Resource: "users", Name: "alice"},
	}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatCannotBeAskedIsRefused(t *testing.T) {
	const again = "; not every rule could be weighed, so try again first"
	type status = authorizationv1.SubjectAccessReviewStatus
	for _, tc := range []struct {
		name   string
		status status
		err    error
		want   string
	}{
		{name: "an error", status: status{Allowed: true}, err: errors.New("dial tcp 10.0.0.1:443: refused"), want: "Internal error occurred: whether you may impersonate the user could not be asked; try again"},
		{name: "rules that are broken", status: status{EvaluationError: "clusterrole x not found"}, want: isForbidden + notBobs + lackAlice + again + lackUID + again + lackDevs + again + lackOps + again},
		{name: "rules that are broken, and one that allows", status: status{Allowed: true, EvaluationError: "clusterrole x not found"}},
		{name: "allowed and denied", status: status{Allowed: true, Denied: true}, want: isForbidden + notBobs + lackAlice + lackUID + lackDevs + lackOps},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config
			cfg.Client = reviewer(func(_ context.Context, q authorizationv1.SubjectAccessReviewSpec) (status, error) {
				if q.ResourceAttributes.Verb != "impersonate" {
					return status{}, nil
				}
				return tc.status, tc.err
			})
			_, err := admission.NewValidator(cfg).ValidateCreate(request(bob), alicesPAT())
			check(t, err, tc.want)
			if tc.err != nil && !apierrors.IsInternalError(err) {
				t.Errorf("%v is not a 500", err)
			}
			_, err = admission.NewValidator(cfg).ValidateUpdate(request(bob), alicesPAT(suspended), alicesPAT())
			if (err == nil) != (tc.want == "") {
				t.Errorf("on update: %v", err)
			}
		})
	}
}

func TestReviewsHaveADeadline(t *testing.T) {
	cfg := config
	cfg.Client = reviewer(func(ctx context.Context, _ authorizationv1.SubjectAccessReviewSpec) (s authorizationv1.SubjectAccessReviewStatus, _ error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("without a deadline")
		}
		return s, nil
	})
	for _, by := range []requester{bob, func(*authenticationv1.UserInfo) {}} {
		_, _ = admission.NewValidator(cfg).ValidateCreate(request(by), alicesPAT())
	}
}

func TestCase07_APATMakesNoPAT(t *testing.T) {
	everything := config
	everything.Client = reviewer(func(context.Context, authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: true}, nil
	})
	validator := admission.NewValidator(everything)
	const want = isForbidden + `spec.user: a personal access token may not make another; log in as you did before you had one`
	bobWithPAT := func(r *authenticationv1.UserInfo) { bob(r); withPAT(r) }
	second := func(r *authenticationv1.UserInfo) {
		r.Extra = map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/credential-id": {"JTI=1", "PAT=abcdefghijklmnop"}}
	}
	for _, by := range []requester{withPAT, bobWithPAT, second} {
		_, err := validator.ValidateCreate(request(by), alicesPAT())
		check(t, err, want)
		_, err = validator.ValidateUpdate(request(by), alicesPAT(suspended), alicesPAT())
		check(t, err, text(byPAT, "suspend"))
	}
	_, err := validator.ValidateCreate(request(withPAT), alicesPAT(func(p *object) { p.Spec.User = nil }))
	check(t, err, want)
	for _, id := range []string{"JTI=1", "X509SHA256=PAT=", ""} {
		by := func(r *authenticationv1.UserInfo) {
			r.Extra = map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/credential-id": {id}}
		}
		if _, err := validator.ValidateCreate(request(by), alicesPAT()); err != nil {
			t.Errorf("credential %q: %v", id, err)
		}
	}
}

func TestALimitedLoginMakesNoPAT(t *testing.T) {
	_, err := admission.NewValidator(config).ValidateCreate(request(limited), alicesPAT())
	check(t, err, isForbidden+`spec.user: you are logged in with limits (extra "scopes.example.com/limit") that a token would not keep; log in without them`)
	cfg := config
	cfg.RestrictingExtraKeys = nil
	_, err = admission.NewValidator(cfg).ValidateCreate(request(limited), alicesPAT())
	check(t, err, "")
}
