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
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// tokens reads the user's tokens that have not ended, in all namespaces. Who may not list them has offboarded the user anyway.
func (o *offboardOptions) tokens(ctx context.Context, c client.Client) ([]v1alpha1.PersonalAccessToken, error) {
	pats, err := holder.ReadAll(ctx, c, holder.OfUser(o.user))
	if err != nil {
		if apierrors.IsForbidden(err) && !o.remove {
			o.sayf("You may not list tokens in all namespaces, so they are not shown. The policy stops them anyway.")
			return nil, nil
		}
		return nil, fmt.Errorf("the policy was made; the tokens that it stops cannot be listed: %w", err)
	}
	now := o.Clock.Now()
	pats = slices.DeleteFunc(pats, func(pat v1alpha1.PersonalAccessToken) bool { return ended(&pat, now) })
	slices.SortFunc(pats, func(a, b v1alpha1.PersonalAccessToken) int { return holder.ByName(&a, &b) })
	if len(pats) == 0 {
		o.sayf("%s has no tokens now. New ones are refused.", o.user)
		o.sayAlike(ctx, c)
	}
	return pats, nil
}

// sayAlike names users with tokens whose names are like this one: it may be mistyped, or lack the identity provider's prefix.
func (o *offboardOptions) sayAlike(ctx context.Context, c client.Client) {
	all, err := holder.ReadAll(ctx, c)
	if err != nil {
		return
	}
	alike, mine := map[string]bool{}, strings.ToLower(o.user)
	for i := range all {
		name := holder.Username(&all[i])
		if other := strings.ToLower(name); name != "" && name != o.user && (strings.Contains(other, mine) || strings.Contains(mine, other)) {
			alike[name] = true
		}
	}
	const most = 5
	names := slices.Sorted(maps.Keys(alike))
	if len(names) > 0 {
		o.sayf("These users have tokens, and names like it: %s. Is it one of them?", strings.Join(names[:min(most, len(names))], ", "))
	}
}

// sayStopped lists the tokens.
func (o *offboardOptions) sayStopped(pats []v1alpha1.PersonalAccessToken) error {
	if len(pats) == 0 {
		return nil
	}
	to := o.Out
	if o.output != "" {
		to = o.ErrOut // standard output has the policy
	}
	o.sayf("It stops these tokens of %s. Verifiers refuse them within a second, kube-apiserver within 10 seconds:", o.user)
	t := o.table(to, "NAMESPACE", "NAME", "DISPLAY NAME", "EXPIRES", "LAST USED")
	t.cut = []int{2}
	now, rows := o.Clock.Now(), make([][]string, 0, len(pats))
	for i := range pats {
		pat := &pats[i]
		rows = append(rows, []string{pat.Namespace, pat.Name, pat.Spec.DisplayName, untilOrAgo(pat.Status.ExpiresAt, now), agoOrNever(pat.Status.LastUsedAt, now)})
	}
	return t.print(to, rows)
}

// sayRest says what goes on working, and how to go on.
func (o *offboardOptions) sayRest(n int) {
	o.sayf("It does not stop other logins of %s: sessions and tokens of the identity provider, client certificates, tokens of service accounts. Disable the user there, too. Tokens that %[1]s made for other users work, and Secrets that %[1]s has read stay known.", o.user)
	if n > 0 {
		o.sayf("To end the tokens for good: kubectl pat offboard %s --delete", shellWord(o.user))
	}
	o.sayf("To let them work again: kubectl pat offboard %s --undo", shellWord(o.user))
}

// deleteAll deletes the resources of the tokens, after asking.
func (o *offboardOptions) deleteAll(ctx context.Context, c client.Client, pats []v1alpha1.PersonalAccessToken) error {
	those := fmt.Sprintf("these %d tokens", len(pats))
	if len(pats) == 1 {
		those = "this token"
	}
	if !o.yes {
		if err := o.confirm(ctx, fmt.Sprintf("Delete %s permanently?", those), "delete "+those); err != nil {
			return fmt.Errorf("the tokens are stopped, and were not deleted: %w", err)
		}
	}
	all := &batchResult{session: o.session, of: len(pats)}
	(&revokeOptions{session: o.session, allNamespaces: true, dryRun: dryRunNone}).deleteAll(ctx, c, pats, all)
	if all.failed == 0 {
		o.sayf("New tokens of %s are refused until you run: kubectl pat offboard %s --undo", o.user, shellWord(o.user))
	}
	return all.err("deleted")
}
