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
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
)

// credentialPrefix begins the credential id of a requester who came with a personal access token.
const credentialPrefix = "PAT="

// mayCreate holds a new token to the requester's own identity.
func mayCreate(requester *authenticationv1.UserInfo, u *v1alpha1.UserInfo) (f findings) {
	if isServiceAccount(requester.Username) {
		f.forbid(userPath, "service accounts come with a later version; let a person create this")
		return f
	}
	if usesPAT(requester) {
		f.forbid(userPath, "a personal access token may not make another; log in as you did before you had one")
	}
	if u == nil {
		f.invalid = append(f.invalid, field.Required(userPath,
			"the mutating webhook of pat-operator, which fills it in, was not asked; have the webhook configuration restored, or name yourself here"))
		return f
	}
	if isServiceAccount(u.Username) {
		f.forbid(userPath.Child("username"), "service accounts come with a later version; omit spec.user for a token of your own")
		return f
	}
	f.identity(u)
	f.self(requester, u)
	return f
}

// self holds u to the requester: the same name and UID, and no group that the requester is not in today.
func (f *findings) self(requester *authenticationv1.UserInfo, u *v1alpha1.UserInfo) {
	if u.Username != requester.Username {
		f.forbid(userPath.Child("username"), fmt.Sprintf(
			"you are %q, and this version makes a PAT only for oneself; omit spec.user", requester.Username))
		return
	}
	if u.UID != requester.UID {
		f.forbid(userPath.Child("uid"), fmt.Sprintf(
			"yours is %q, and this version makes a PAT only for oneself; omit spec.user", requester.UID))
	}
	for i, group := range u.Groups {
		if !slices.Contains(requester.Groups, group) {
			f.forbid(userPath.Child("groups").Index(i), fmt.Sprintf(
				"you are not in group %q today; leave it out, or omit spec.user for all groups that you are in", group))
		}
	}
	if len(u.Extra) > 0 {
		f.forbid(userPath.Child("extra"), "a PAT for oneself carries no extra; leave it out, or omit spec.user")
	}
}

// mayUpdate holds a change of spec to the token's user.
func mayUpdate(requester *authenticationv1.UserInfo, was, is *v1alpha1.PersonalAccessToken) (f findings) {
	u := is.Spec.User
	if !identity.Equal(was.Spec.User, u) {
		f.forbid(userPath, "the user of a token cannot be changed; put it back, or make a new PersonalAccessToken")
		return f
	}
	if u == nil {
		f.forbid(userPath, "the token has no user, so nobody may change it; delete it and apply it again")
		return f
	}
	f.identity(u)
	if requester.Username != u.Username || requester.UID != u.UID {
		f.forbid(specPath, fmt.Sprintf(
			"you are %q (uid %q), and in this version only a token's user, here %q (uid %q), may change it; ask them to, or delete it, which revokes it",
			requester.Username, requester.UID, u.Username, u.UID))
		return f
	}
	if len(u.Extra) > 0 {
		f.forbid(userPath.Child("extra"), "a token that carries extra is not for its user to change in this version; delete it, and make a new PersonalAccessToken without")
	}
	for i, group := range u.Groups {
		if !slices.Contains(requester.Groups, group) {
			f.forbid(userPath.Child("groups").Index(i), fmt.Sprintf(
				"you are no longer in group %q, so this token is no longer for you to change; delete it and make a new PersonalAccessToken", group))
		}
	}
	if path := widened(was, is); path != nil && usesPAT(requester) {
		f.forbid(path, "a personal access token may not renew or widen another, nor itself; log in as you did before you had one")
	}
	return f
}

// widened returns the first field that renews a token or gives it more than it had, nil where a change only narrows.
func widened(was, is *v1alpha1.PersonalAccessToken) *field.Path {
	switch a, b := &was.Spec, &is.Spec; {
	case !equal(a.Token, b.Token):
		return specPath.Child("token")
	case !equal(a.Delivery, b.Delivery):
		return specPath.Child("delivery")
	case !equal(a.Rotation, b.Rotation):
		return specPath.Child("rotation")
	case !equal(a.Scopes, b.Scopes):
		return specPath.Child("scopes")
	case end(b, was).After(end(a, was)):
		return lifePath(b)
	case a.Suspend && !b.Suspend:
		return specPath.Child("suspend")
	case !narrower(a.Audiences, b.Audiences):
		return specPath.Child("audiences")
	}
	return nil
}

// narrower tells whether every audience of b is one of a. None at all stands for the API server's own, which only equals
// itself.
func narrower(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return !slices.ContainsFunc(b, func(audience string) bool { return !slices.Contains(a, audience) })
}

func usesPAT(requester *authenticationv1.UserInfo) bool {
	return slices.ContainsFunc(requester.Extra[user.CredentialIDKey], func(id string) bool {
		return strings.HasPrefix(id, credentialPrefix)
	})
}

func isServiceAccount(username string) bool {
	return strings.HasPrefix(username, serviceaccount.ServiceAccountUsernamePrefix)
}

func (f *findings) forbid(path *field.Path, detail string) {
	f.forbidden = append(f.forbidden, field.Forbidden(path, detail))
}
