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

package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/token"
)

const (

	// The limits of an identity that is not the requester's own. With the user and the UID they make 26 rights to ask
	// about, which is what a ValidatingAdmissionPolicy can ask about too.
	maxOthersGroups    = 16
	maxOthersExtraKeys = 4
	maxOthersValues    = 2
)

// mayCreate asks whether the requester may have a new token for u. An error is the one to answer with.
func (v *validator) mayCreate(ctx context.Context, requester *authenticationv1.UserInfo, u *v1alpha1.UserInfo) (f findings, err error) {
	if usesPAT(requester) {
		f.forbid(userPath, "a personal access token may not make another; log in as you did before you had one")
	}
	f.restricted(userPath, requester, v.RestrictingExtraKeys)
	switch {
	case u == nil && isServiceAccount(requester.Username):
		f.forbid(userPath, unnamed(requester.Username))
	case u == nil:
		f.invalid = append(f.invalid, field.Required(userPath,
			"the mutating webhook of pat-operator, which fills it in, was not asked; have the webhook configuration restored, or name yourself here"))
	default:
		f.identity(u)
	}
	if f.any() {
		return f, nil
	}
	why := impersonationReason(requester, u)
	if why == "" {
		return f, nil
	}
	if f.invalid = checkLimits(u, why); f.any() {
		return f, nil
	}
	wayOut := "omit spec.user for a token of your own, or have granted what is missing"
	if isServiceAccount(requester.Username) {
		wayOut = "have granted what is missing"
	}
	err = v.authority(ctx, &f, requester, u, f.derived, field.Forbidden(userPath, fmt.Sprintf(
		"%s, so this token takes the right to impersonate all of its user; %s", why, wayOut)))
	return f, err
}

// mayUpdate asks whether the requester may change spec as they do. RBAC alone
// allows changes that do not widen a token, because the right to delete it takes away more. The caller answers with the
// error as returned.
func (v *validator) mayUpdate(ctx context.Context, requester *authenticationv1.UserInfo, was, is *v1alpha1.PersonalAccessToken) (f findings, err error) {
	u := is.Spec.User
	if !identity.Equal(was.Spec.User, u) {
		f.forbid(userPath, "the user of a token cannot be changed; put it back, or make a new PersonalAccessToken")
		return f, nil
	}
	path := widened(was, is)
	if path == nil {
		return f, nil
	}
	if u == nil {
		f.forbid(userPath, "the token has no user, so nobody may widen it; delete it and apply it again")
		return f, nil
	}
	if usesPAT(requester) {
		f.forbid(path, "a personal access token may not renew or widen another, nor itself; log in as you did before you had one")
	}
	f.restricted(path, requester, v.RestrictingExtraKeys)
	f.identity(u)
	if f.any() {
		return f, nil
	}
	why := impersonationReason(requester, u)
	if why == "" {
		return f, nil
	}
	// No 422: the values are there already, and what is missing is that the requester be the user.
	if f.forbidden = checkLimits(u, why); f.any() {
		return f, nil
	}
	err = v.authority(ctx, &f, requester, u, f.pinned, field.Forbidden(path, fmt.Sprintf(
		"%s, and this hands over, renews or widens the token, which takes the right to impersonate all of its user; put it back, make a new PersonalAccessToken, or have granted what is missing", why)))
	return f, err
}

// widened returns the first field that renews a token, hands it over, or gives it more than it had; nil where an update
// does no such thing.
func widened(was, is *v1alpha1.PersonalAccessToken) *field.Path {
	all := lifecycle.Changes(&was.Spec, &is.Spec, was.CreationTimestamp.Time)
	if i := slices.IndexFunc(all, func(c lifecycle.Change) bool { return c.Effect == lifecycle.Widens }); i >= 0 {
		return specPath.Child(all[i].Field)
	}
	return nil
}

// impersonationReason returns why a token for u takes the right to impersonate, "" if u is the requester: the same name and UID, and
// in every group today. A service account always takes that right: a pod must not turn its short-lived token into a
// long-lived one.
func impersonationReason(requester *authenticationv1.UserInfo, u *v1alpha1.UserInfo) string {
	switch {
	case isServiceAccount(u.Username):
		return "the user is a service account"
	case u.Username != requester.Username:
		return "you are " + quote(requester.Username)
	case u.UID != requester.UID:
		return "your uid is " + quote(requester.UID)
	}
	today := sets.New(requester.Groups...)
	for _, group := range u.Groups {
		if !today.Has(group) {
			return fmt.Sprintf("you are not in group %s today", quote(group))
		}
	}
	if len(u.Extra) > 0 {
		return "a token of one's own carries no extra"
	}
	return ""
}

// authority finds what the requester lacks of the rights to impersonate u, and introduces it. An account that the
// requester may impersonate is looked up, and judged by what the cluster says of it.
func (v *validator) authority(
	ctx context.Context, f *findings, requester *authenticationv1.UserInfo, u *v1alpha1.UserInfo,
	judge func(*v1alpha1.UserInfo, types.NamespacedName, types.UID), intro *field.Error,
) error {
	ctx, cancel := context.WithTimeout(ctx, authorityTimeout)
	defer cancel()
	lacking, err := v.lacking(ctx, requester, rightsTo(u))
	if err != nil {
		return err
	}
	if len(lacking) > 0 {
		f.forbidden = append(f.forbidden, intro)
		for _, right := range lacking {
			f.forbidden = append(f.forbidden, right.lacked())
		}
		return nil
	}
	account, ok := identity.ServiceAccount(u.Username)
	if !ok {
		return nil
	}
	uid, err := v.accountUID(ctx, account)
	if err != nil {
		return err
	}
	judge(u, account, uid)
	return nil
}

// checkLimits limits an identity other than the requester's to the number of rights that can be checked.
func checkLimits(u *v1alpha1.UserInfo, why string) field.ErrorList {
	var errs field.ErrorList
	limit := func(path *field.Path, n, limit int) {
		if n > limit {
			err := field.TooMany(path, n, limit)
			err.Detail += fmt.Sprintf(" where the user is not who asks (%s); leave some out, or let the user do this", why)
			errs = append(errs, err)
		}
	}
	limit(userPath.Child("groups"), len(u.Groups), maxOthersGroups)
	limit(userPath.Child("extra"), len(u.Extra), maxOthersExtraKeys)
	for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
		limit(userPath.Child("extra").Key(key), len(u.Extra[key]), maxOthersValues)
	}
	return errs
}

// restricted refuses a requester who is held to less than what their name and groups may do: a token would not be.
func (f *findings) restricted(path *field.Path, requester *authenticationv1.UserInfo, keys []string) {
	for _, key := range slices.Sorted(maps.Keys(requester.Extra)) {
		if slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) }) {
			f.forbid(path, fmt.Sprintf(
				"you are logged in with limits (extra %q) that a token would not keep; log in without them", key))
		}
	}
}

// unnamed tells a service account that it has to name whom it makes a token for.
func unnamed(requester string) string {
	detail := "a service account gets no token unasked; name the user in spec.user.username, and be allowed to impersonate it"
	if _, ok := identity.ServiceAccount(requester); ok {
		self := rightsTo(&v1alpha1.UserInfo{Username: requester})[0]
		detail += fmt.Sprintf(": for %q by %s", requester, self.rule())
	}
	return detail
}

func usesPAT(requester *authenticationv1.UserInfo) bool {
	return slices.ContainsFunc(requester.Extra[user.CredentialIDKey], func(id string) bool {
		return strings.HasPrefix(id, token.CredentialPrefix)
	})
}

func isServiceAccount(username string) bool {
	return strings.HasPrefix(username, serviceaccount.ServiceAccountUsernamePrefix)
}

func (f *findings) forbid(path *field.Path, detail string) {
	f.forbidden = append(f.forbidden, field.Forbidden(path, detail))
}
