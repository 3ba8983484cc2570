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
	"net/http"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
)

// accounts are the service accounts of a cluster, and their UIDs. A UID of "?" cannot be read.
type accounts map[types.NamespacedName]types.UID

func (a accounts) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if o.GetObjectKind().GroupVersionKind() != corev1.SchemeGroupVersion.WithKind("ServiceAccount") {
		return errors.New("not asked for a service account")
	}
	uid, ok := a[key]
	switch {
	case !ok:
		return apierrors.NewNotFound(corev1.Resource("serviceaccounts"), key.Name)
	case uid == "?":
		return errors.New("etcdserver: request timed out")
	}
	o.(*metav1.PartialObjectMetadata).UID = uid
	return nil
}

func (accounts) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("nobody lists service accounts")
}

const (
	accountRight = "impersonate v1 serviceaccounts team-a ci"
	unnamedText  = `spec.user: a service account gets no token unasked; name the user in spec.user.username, and be allowed to impersonate it: ` +
		`for "system:serviceaccount:team-a:ci" by {apiGroups: [""], resources: ["serviceaccounts"], verbs: ["impersonate"], resourceNames: ["ci"]} in a Role of namespace team-a`
	ofAnAccount = `spec.user: the user is a service account` + takes
	inGroups    = `service account team-a/ci is in ["system:serviceaccounts" "system:serviceaccounts:team-a"], and no other group may be named; leave them out to have these filled in`
)

func TestCase08_ServiceAccounts(t *testing.T) {
	pod := func(r *authenticationv1.UserInfo) {
		account(r)
		r.UID = "sa-1"
		r.Extra = map[string]authenticationv1.ExtraValue{
			"authentication.kubernetes.io/pod-name": {"ci-0"}, "authentication.kubernetes.io/node-name": {"n1"},
		}
	}
	of := func(change func(*v1alpha1.UserInfo)) *object { return alicesPAT(ofAccount, user(change)) }
	for _, tc := range []struct {
		name     string
		by       requester
		rights   []string
		accounts accounts
		pat      *object
		want     string
	}{
		{name: "without a user", by: pod, rights: []string{accountRight}, pat: alicesPAT(func(p *object) { p.Spec.User = nil }), want: isForbidden + unnamedText},
		{name: "for itself, without the right", by: pod, pat: alicesPAT(ofAccount), want: isForbidden + ofAnAccount + `have granted what is missing` + lackAccount},
		{name: "for itself, by name", by: account, rights: []string{accountRight}, pat: alicesPAT(ofAccount)},
		{name: "for itself, as a pod", by: pod, rights: []string{accountRight}, pat: alicesPAT(ofAccount)},
		{name: "for it, by a person without the right", pat: alicesPAT(ofAccount), want: isForbidden + ofAnAccount + omit + lackAccount},
		{name: "for it, by a person", by: bob, rights: []string{accountRight}, pat: alicesPAT(ofAccount)},
		{
			name: "with other rights", by: bob, pat: alicesPAT(ofAccount), want: isForbidden + ofAnAccount + omit + lackAccount,
			rights: []string{"impersonate v1 users system:serviceaccount:team-a:ci", "impersonate v1 serviceaccounts team-b ci", "impersonate v1 serviceaccounts ci", "impersonate v1 serviceaccounts team-a"},
		},
		{
			name: "by it, for a person", by: account, pat: alicesPAT(), rights: aliceRights[1:],
			want: isForbidden + `spec.user: you are "system:serviceaccount:team-a:ci"` + takes + `have granted what is missing` + lackAlice,
		},
		{name: "by it, for a person, with the rights", by: account, pat: alicesPAT(), rights: aliceRights},
		{
			name: "one that is gone", by: bob, rights: []string{accountRight}, accounts: accounts{}, pat: alicesPAT(ofAccount),
			want: isInvalid + `spec.user.username: Invalid value: "system:serviceaccount:team-a:ci": service account team-a/ci does not exist; create it first, or name one that exists`,
		},
		{name: "one that is gone, named without the right", by: bob, accounts: accounts{}, pat: alicesPAT(ofAccount), want: isForbidden + ofAnAccount + omit + lackAccount},
		{
			name: "another uid", by: account, rights: []string{accountRight}, pat: of(func(u *v1alpha1.UserInfo) { u.UID = "x" }),
			want: isInvalid + `spec.user.uid: Invalid value: "x": metadata.uid of service account team-a/ci is "sa-1"; leave it out to have it filled in`,
		},
		{name: "another uid, named without the right", by: bob, pat: of(func(u *v1alpha1.UserInfo) { u.UID = "x" }), want: isForbidden + ofAnAccount + omit + lackAccount},
		{
			name: "no uid", by: account, rights: []string{accountRight}, pat: of(func(u *v1alpha1.UserInfo) { u.UID = "" }),
			want: isInvalid + `spec.user.uid: Required value: the mutating webhook of pat-operator, which fills it in, was not asked; have the webhook configuration restored, or set it to "sa-1"`,
		},
		{
			name: "no groups", by: account, rights: []string{accountRight}, pat: of(func(u *v1alpha1.UserInfo) { u.Groups = nil }),
			want: isInvalid + `spec.user.groups: Invalid value: null: ` + inGroups,
		},
		{
			name: "a group more", by: account, rights: []string{accountRight}, pat: of(func(u *v1alpha1.UserInfo) { u.Groups = append(u.Groups, "system:authenticated") }),
			want: isInvalid + `spec.user.groups: Invalid value: ["system:serviceaccounts","system:serviceaccounts:team-a","system:authenticated"]: ` + inGroups,
		},
		{
			name: "a group of people", by: account, rights: []string{accountRight, "impersonate v1 groups devs"}, pat: of(func(u *v1alpha1.UserInfo) { u.Groups = append(u.Groups, "devs") }),
			want: isInvalid + `spec.user.groups[2]: Invalid value: "devs": a service account is only in the groups that Kubernetes gives it; leave it out`,
		},
		{
			name: "extra", by: pod, rights: []string{accountRight, "impersonate v1 userextras example.com/a authentication.k8s.io b"},
			pat:  of(func(u *v1alpha1.UserInfo) { u.Extra = map[string]v1alpha1.ExtraValue{"example.com/a": {"b"}} }),
			want: isInvalid + `spec.user.extra: Invalid value: the token of a service account carries no extra; leave it out`,
		},
		{
			name: "one that cannot be looked up", by: account, rights: []string{accountRight}, accounts: accounts{{Namespace: "team-a", Name: "ci"}: "?"}, pat: alicesPAT(ofAccount),
			want: `Internal error occurred: service account team-a/ci could not be looked up; try again`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config
			cfg.Client = may(tc.rights...)
			if tc.accounts != nil {
				cfg.ServiceAccounts = tc.accounts
			}
			by := tc.by
			if by == nil {
				by = func(*authenticationv1.UserInfo) {}
			}
			_, err := admission.NewValidator(cfg).ValidateCreate(request(by), tc.pat)
			check(t, err, tc.want)
		})
	}
}

func TestCase08_AnUpdateIsForTheAccountThatIsThere(t *testing.T) {
	const gone = isForbidden + `spec.user.uid: service account team-a/ci was deleted or re-created, so this token has ended; delete it and make a new PersonalAccessToken`
	was, is := alicesPAT(ofAccount, suspended), alicesPAT(ofAccount)
	for name, tc := range map[string]struct {
		rights   []string
		accounts accounts
		want     string
	}{
		"with the right":    {[]string{accountRight}, accounts{{Namespace: "team-a", Name: "ci"}: "sa-1"}, ""},
		"without the right": {nil, accounts{{Namespace: "team-a", Name: "ci"}: "sa-1"}, isForbidden + `spec.suspend: the user is a service account` + widens + lackAccount},
		"another account":   {[]string{accountRight}, accounts{{Namespace: "team-a", Name: "ci"}: "sa-2"}, gone},
		"no account":        {[]string{accountRight}, accounts{}, gone},
		"nobody knows":      {[]string{accountRight}, accounts{{Namespace: "team-a", Name: "ci"}: "?"}, `Internal error occurred: service account team-a/ci could not be looked up; try again`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config
			cfg.Client, cfg.ServiceAccounts = may(tc.rights...), tc.accounts
			_, err := admission.NewValidator(cfg).ValidateUpdate(request(account), was, is)
			check(t, err, tc.want)
			_, err = admission.NewValidator(cfg).ValidateUpdate(request(account), is, was)
			check(t, err, "")
		})
	}

	// Pinned to none, it is nobody's, there or not.
	unpinned := user(func(u *v1alpha1.UserInfo) { u.UID = "" })
	cfg := config
	cfg.Client, cfg.ServiceAccounts = may(accountRight), accounts{}
	_, err := admission.NewValidator(cfg).ValidateUpdate(request(account), alicesPAT(ofAccount, unpinned, suspended), alicesPAT(ofAccount, unpinned))
	check(t, err, gone)
}

func TestADefaulterThatCannotLookUpSaysSo(t *testing.T) {
	cfg := config
	cfg.ServiceAccounts = accounts{{Namespace: "team-a", Name: "ci"}: "?"}
	answer := post(t, handlers(t, cfg)[admission.MutatePath], review("CREATE", bobInfo, "", `{"user": {"username": "`+ci+`"}}`, false))
	const want = `Internal error occurred: service account team-a/ci could not be looked up; try again`
	if answer.Allowed || answer.Result.Code != http.StatusInternalServerError || answer.Result.Message != want {
		t.Errorf("allowed: %v, %d, %s", answer.Allowed, answer.Result.Code, answer.Result.Message)
	}
}

// What the defaulter stamped is worth nothing to the validator: a later webhook may have put anything in its place.
func TestCase04_AHostileMutatorBehindTheDefaulter(t *testing.T) {
	cfg := config
	cfg.Client = reviewer(func(_ context.Context, q authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		return authorizationv1.SubjectAccessReviewStatus{Allowed: q.User == ci && q.ResourceAttributes.Resource == "serviceaccounts"}, nil
	})
	h := handlers(t, cfg)[admission.ValidatePath]
	const accountInfo = `{"username": "` + ci + `", "groups": ["system:serviceaccounts", "system:serviceaccounts:team-a"]}`
	for name, tc := range map[string]struct {
		by, user string
		code     int32
	}{
		"untouched":                   {aliceInfo, stamped, http.StatusOK},
		"taken away":                  {aliceInfo, `null`, http.StatusUnprocessableEntity},
		"emptied":                     {aliceInfo, `{}`, http.StatusUnprocessableEntity},
		"another's name":              {aliceInfo, `{"username":"bob","uid":"u-1","groups":["ops","devs"]}`, http.StatusForbidden},
		"another uid":                 {aliceInfo, `{"username":"alice","uid":"u-2","groups":["ops","devs"]}`, http.StatusForbidden},
		"a group more":                {aliceInfo, `{"username":"alice","uid":"u-1","groups":["ops","devs","admins"]}`, http.StatusForbidden},
		"system:masters":              {aliceInfo, `{"username":"alice","uid":"u-1","groups":["system:masters"]}`, http.StatusForbidden},
		"extra":                       {aliceInfo, `{"username":"alice","uid":"u-1","extra":{"example.com/a":["b"]}}`, http.StatusForbidden},
		"a service account":           {aliceInfo, `{"username":"` + ci + `","uid":"sa-1","groups":["system:serviceaccounts","system:serviceaccounts:team-a"]}`, http.StatusForbidden},
		"an account, untouched":       {accountInfo, `{"username":"` + ci + `","uid":"sa-1","groups":["system:serviceaccounts","system:serviceaccounts:team-a"]}`, http.StatusOK},
		"an account, its uid":         {accountInfo, `{"username":"` + ci + `","uid":"sa-2","groups":["system:serviceaccounts","system:serviceaccounts:team-a"]}`, http.StatusUnprocessableEntity},
		"an account, without its uid": {accountInfo, `{"username":"` + ci + `","groups":["system:serviceaccounts","system:serviceaccounts:team-a"]}`, http.StatusUnprocessableEntity},
		"an account, its groups":      {accountInfo, `{"username":"` + ci + `","uid":"sa-1","groups":["system:serviceaccounts","system:serviceaccounts:kube-system"]}`, http.StatusForbidden},
		"an account, a person":        {accountInfo, stamped, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			answer := post(t, h, review("CREATE", tc.by, "", `{"user": `+tc.user+`}`, false))
			if answer.Result.Code != tc.code || answer.Allowed != (tc.code == http.StatusOK) {
				t.Errorf("allowed: %v, %d, %s", answer.Allowed, answer.Result.Code, answer.Result.Message)
			}
		})
	}
}
