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
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// accountUID returns the present UID of a service account, "" if the account does not exist. The caller answers with the
// error as returned.
func (c *Config) accountUID(ctx context.Context, key types.NamespacedName) (types.UID, error) {
	ctx, cancel := context.WithTimeout(ctx, authorityTimeout)
	defer cancel()
	account := &metav1.PartialObjectMetadata{}
	account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	switch err := c.ServiceAccounts.Get(ctx, key, account); {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		logf.FromContext(ctx).Error(err, "cannot look up a service account", "account", key)
		return "", tryAgain(fmt.Sprintf("service account %s could not be looked up", key))
	}
	return account.UID, nil
}

// derived holds u to what the cluster says of the service account that it names.
func (f *findings) derived(u *v1alpha1.UserInfo, account types.NamespacedName, uid types.UID) {
	path := userPath.Child("uid")
	switch {
	case uid == "":
		f.invalid = append(f.invalid, field.Invalid(userPath.Child("username"), u.Username,
			fmt.Sprintf("service account %s does not exist; create it first, or name one that exists", account)))
	case u.UID == "":
		f.invalid = append(f.invalid, field.Required(path, fmt.Sprintf(
			"the mutating webhook of pat-operator, which fills it in, was not asked; have the webhook configuration restored, or set it to %q", uid)))
	case u.UID != string(uid):
		f.invalid = append(f.invalid, field.Invalid(path, u.UID, fmt.Sprintf(
			"metadata.uid of service account %s is %q; leave it out to have it filled in", account, uid)))
	}
	groups := serviceaccount.MakeGroupNames(account.Namespace)
	if !slices.Equal(slices.Sorted(slices.Values(u.Groups)), groups) {
		f.invalid = append(f.invalid, field.Invalid(userPath.Child("groups"), u.Groups, fmt.Sprintf(
			"service account %s is in %q, and no other group may be named; leave them out to have these filled in", account, groups)))
	}
}

// pinned keeps life out of the token of a service account that is gone.
func (f *findings) pinned(u *v1alpha1.UserInfo, account types.NamespacedName, uid types.UID) {
	if u.UID == "" || u.UID != string(uid) {
		f.forbid(userPath.Child("uid"), fmt.Sprintf(
			"service account %s was deleted or re-created, so this token has ended; delete it and make a new PersonalAccessToken", account))
	}
}
