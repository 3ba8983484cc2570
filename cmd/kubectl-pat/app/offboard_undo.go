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

package app

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// takeBack deletes the policy that this command has made, and no other.
func (o *offboardOptions) takeBack(ctx context.Context, c client.Client) error {
	object, err := o.find(ctx, c)
	if err != nil {
		return err
	}
	if object == nil {
		o.sayf("Nothing to undo: %s does not exist. %s was not offboarded by this command, or it was undone already.", policyResource(offboardName(o.user)), o.user)
		return o.sayOthers(ctx, c)
	}
	name := object.GetName()
	if object.GetLabels()[madeByLabel] != madeByValue || !o.stops(policy.Parse(object)) {
		return fmt.Errorf("%s was not made by kubectl pat offboard, or was changed since, so it is not deleted: look at it with kubectl get tokenpolicy %s -o yaml, and delete it with kubectl delete tokenpolicy %[2]s",
			policyResource(name), name)
	}
	var opts []client.DeleteOption
	done := "deleted"
	if o.dryRun == dryRunServer {
		opts, done = append(opts, client.DryRunAll), "deleted (server dry run)"
	} else if !o.yes {
		if err := o.confirm(ctx, fmt.Sprintf("Let the tokens of %s work again?", o.user), "let the tokens of "+o.user+" work again"); err != nil {
			return err
		}
	}
	if err := o.whileUnchanged(ctx, c, object, func(object *unstructured.Unstructured) error {
		uid, revision := object.GetUID(), object.GetResourceVersion()
		only := client.Preconditions{UID: &uid, ResourceVersion: &revision}
		return client.IgnoreNotFound(c.Delete(ctx, object.DeepCopy(), append(slices.Clone(opts), only)...))
	}); err != nil {
		return err
	}
	if err := o.print(object, done); err != nil || o.dryRun != dryRunNone {
		return err
	}
	if tool := holder.GitOps(object); tool != "" {
		o.sayf("Note: %s will recreate %s, because it is in Git. Remove it from Git.", tool, name)
	}
	o.sayf("The tokens of %s that have not ended work again within a second.", o.user)
	return o.sayOthers(ctx, c)
}

// sayOthers names other policies that deny tokens of the user.
func (o *offboardOptions) sayOthers(ctx context.Context, c client.Client) error {
	list, err := readPolicies(ctx, c)
	if err != nil {
		return err
	}
	pats, err := holder.ReadAll(ctx, c, holder.OfUser(o.user))
	if err != nil || len(pats) == 0 {
		pats = []v1alpha1.PersonalAccessToken{{Spec: v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: o.user}}}}
	}
	for i := range list.Items {
		p := policy.Parse(&list.Items[i])
		d := (policy.Limits{p}).Denial()
		if d != nil && p.Name != offboardName(o.user) && slices.ContainsFunc(pats, func(pat v1alpha1.PersonalAccessToken) bool { return governs(p, &pat) }) {
			o.sayf("%s stops tokens of %s, too: %s", policyResource(p.Name), o.user, denialWords(d))
		}
	}
	return nil
}

// shellWord quotes a text for a shell, where it needs that.
func shellWord(text string) string {
	if regexp.MustCompile(`^[\w@%+=:,./-]+$`).MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
