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
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
)

const maxReason = 256 // characters

type revokeOptions struct {
	*session
	keep          bool
	reason        string
	tokenID       string
	user          string
	allNamespaces bool
	yes           bool
	wait          bool
	timeout       time.Duration
	dryRun        string
	ignoreMissing bool
}

func newRevokeCommand(s *session) *cobra.Command {
	o := &revokeOptions{session: s}
	cmd := &cobra.Command{
		Use:        "revoke NAME... | --user USER",
		SuggestFor: []string{"delete", "remove", "rm", "end"},
		Short:      "Revoke tokens permanently",
		Long: `Revoke tokens permanently. Verifiers refuse them at once, kube-apiserver within 10 seconds. The cluster remembers a token
that its holder made, so that no manifest revives it.

This command deletes the resources. With --keep they stay as a trace, which also helps where Git would recreate them. A current
token ends together with its predecessor.

If there are several tokens, or with --user, this command lists them and asks first. If one fails, the others are still revoked,
and the exit code is 1.`,
		Example: `  # A leaked token; its resource stays for the investigation
  kubectl pat revoke ci --keep --reason "in a log of build 4711"

  # Only a predecessor that still works
  kubectl pat revoke ci --keep --token-id k3xq5v7c2mzr4nbd

  # All tokens of alice that exist, for good. If she has left: kubectl pat offboard alice
  kubectl pat revoke --user alice -A`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: s.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), namesOf(args)) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.keep, "keep", false, "revoke the token and keep its resource as a trace")
	flags.StringVar(&o.reason, "reason", "", "with --keep, a `TEXT` that says why")
	flags.StringVar(&o.tokenID, "token-id", "", "with --keep, the `ID` of the token to revoke, the current one or its predecessor (default: both)")
	flags.StringVar(&o.user, "user", "", "all tokens of this `USER` instead of names")
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "with --user, in all namespaces")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&o.wait, "wait", true, "with --keep, wait until the operator has processed it")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait until the operator has processed it")
	flags.StringVar(&o.dryRun, "dry-run", dryRunNone, "the `MODE`: none or server (validate, and change nothing)")
	flags.BoolVar(&o.ignoreMissing, "ignore-not-found", false, "skip names that do not exist")
	completeValues(cmd, "dry-run", dryRunNone, dryRunServer)
	return cmd
}

func (o *revokeOptions) validate(names []string) error {
	switch {
	case len(names) == 0 && o.user == "":
		return usagef("kubectl pat revoke takes one NAME or more, or --user USER; see kubectl pat revoke --help")
	case len(names) > 0 && o.user != "":
		return usagef("give either names or --user, not both")
	case o.allNamespaces && o.user == "":
		return usagef("--all-namespaces works only with --user: give names of one namespace, or --user USER")
	case o.allNamespaces && *o.flags.Namespace != "":
		return usagef("give either --namespace or --all-namespaces, not both")
	case o.reason != "" && !o.keep:
		return usagef("--reason is recorded only with --keep: add --keep, or leave --reason out")
	case utf8.RuneCountInString(o.reason) > maxReason:
		return usagef("--reason has %d characters: use at most %d", utf8.RuneCountInString(o.reason), maxReason)
	case o.tokenID != "" && !o.keep:
		return usagef("--token-id works only with --keep, because otherwise all tokens of the resource end: add --keep")
	case o.tokenID != "" && len(names) != 1:
		return usagef("--token-id works only with one NAME")
	case o.tokenID != "" && !token.ValidID(o.tokenID):
		return usagef("--token-id is not a token's ID: give the part between \"kubepat_\" and the next \"_\"")
	}
	return cmp.Or(oneOf("dry-run", o.dryRun, dryRunNone, dryRunServer), positive(o.timeout))
}

func (o *revokeOptions) run(ctx context.Context, names []string) error {
	if err := o.validate(names); err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	all := &batchResult{session: o.session, of: len(names)}
	var pats []v1alpha1.PersonalAccessToken
	if o.user == "" {
		pats = o.named(ctx, c, names, all)
	} else {
		if pats, err = o.ofUser(ctx, c); err != nil {
			return err
		}
		all.of = len(pats)
	}
	if len(pats) == 0 {
		return all.err("revoked")
	}
	if o.dryRun == dryRunNone && (len(pats) > 1 || o.user != "") {
		if err := o.consent(ctx, pats); err != nil {
			return err
		}
	}
	if o.keep {
		o.keepAll(ctx, c, pats, all)
	} else {
		o.deleteAll(ctx, c, pats, all)
	}
	return all.err("revoked")
}

// named reads the resources with these names. If the user may delete but not read them, it returns only their names.
func (o *revokeOptions) named(ctx context.Context, c client.Client, names []string, all *batchResult) []v1alpha1.PersonalAccessToken {
	var pats []v1alpha1.PersonalAccessToken
	for _, name := range names {
		pat, err := o.read(ctx, c, name)
		if apierrors.IsForbidden(err) && !o.keep {
			pat = &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Name: name}}
			pat.Namespace, err = o.namespace()
		}
		switch {
		case o.ignoreMissing && isMissing(err):
		case err != nil:
			all.fail(name, err)
		default:
			pats = append(pats, *pat)
		}
	}
	return pats
}

func (o *revokeOptions) ofUser(ctx context.Context, c client.Client) ([]v1alpha1.PersonalAccessToken, error) {
	namespace, err := o.namespace()
	if err != nil {
		return nil, err
	}
	where := "namespace " + namespace
	if o.allNamespaces {
		namespace, where = "", "any namespace"
	}
	pats, err := holder.ReadAll(ctx, c, client.InNamespace(namespace), holder.OfUser(o.user))
	if err == nil && len(pats) == 0 {
		o.sayf("%s has no tokens in %s.", o.user, where)
	}
	slices.SortFunc(pats, func(a, b v1alpha1.PersonalAccessToken) int { return holder.ByName(&a, &b) })
	return pats, err
}

// consent lists the tokens and asks whether to revoke them.
func (o *revokeOptions) consent(ctx context.Context, pats []v1alpha1.PersonalAccessToken) error {
	if o.yes {
		return nil
	}
	t := o.table(o.ErrOut, "NAMESPACE", "NAME", "DISPLAY NAME", "USER", "EXPIRES")
	t.cut = []int{2, 3}
	rows := make([][]string, 0, len(pats))
	for i := range pats {
		pat := &pats[i]
		rows = append(rows, []string{pat.Namespace, pat.Name, pat.Spec.DisplayName, holder.Username(pat), untilOrAgo(pat.Status.ExpiresAt, o.Clock.Now())})
	}
	if err := t.print(o.ErrOut, rows); err != nil {
		return err
	}
	those := fmt.Sprintf("these %d tokens", len(pats))
	if len(pats) == 1 {
		those = "this token"
	}
	return o.confirm(ctx, fmt.Sprintf("Revoke %s permanently?", those), "revoke "+those)
}

// revokeOne returns the command that revokes only this token of a resource.
func revokeOne(pat *v1alpha1.PersonalAccessToken, id string) string {
	return fmt.Sprintf("kubectl pat revoke %s -n %s --keep --token-id %s", pat.Name, pat.Namespace, id)
}

// label names a resource among others.
func (o *revokeOptions) label(pat *v1alpha1.PersonalAccessToken) string {
	if o.allNamespaces {
		return pat.Namespace + "/" + pat.Name
	}
	return pat.Name
}

// done prints a result, such as "revoked".
func (o *revokeOptions) done(pat *v1alpha1.PersonalAccessToken, revoked string) error {
	where, how := "", ""
	if o.allNamespaces {
		where = " in namespace " + pat.Namespace
	}
	if o.dryRun != dryRunNone {
		how = " (server dry run)"
	}
	o.clear()
	_, err := fmt.Fprintf(o.Out, "%s %s%s%s\n", holder.ResourceName(pat.Name), revoked, where, how)
	return err
}

// deleteAll deletes the resources, which ends their tokens.
func (o *revokeOptions) deleteAll(ctx context.Context, c client.Client, pats []v1alpha1.PersonalAccessToken, all *batchResult) {
	for i := range pats {
		err := errInterrupted
		if ctx.Err() == nil {
			o.progress("Revoking token %d of %d…", i+1, len(pats))
			err = o.delete(ctx, c, &pats[i])
			o.clear()
		}
		if err != nil {
			all.fail(o.label(&pats[i]), err)
		}
	}
}

func (o *revokeOptions) delete(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken) error {
	var opts []client.DeleteOption
	if pat.UID != "" { // keep a new resource of the same name
		opts = append(opts, client.Preconditions{UID: &pat.UID})
	}
	if o.dryRun != dryRunNone {
		opts = append(opts, client.DryRunAll)
	}
	revoked := "revoked"
	switch err := c.Delete(ctx, pat, opts...); {
	case apierrors.IsNotFound(err) && (pat.UID != "" || o.ignoreMissing && isMissing(err)):
		revoked = "already revoked"
	case err != nil:
		return err
	}
	if err := o.done(pat, revoked); err != nil {
		return err
	}
	if tool := holder.GitOps(pat); tool != "" {
		then := "a new token will be issued"
		if pat.Spec.Token != nil {
			then = "its token stays revoked"
		}
		o.sayf("Note: %s will recreate %s, because it is in Git: %s. Remove it from Git, or use --keep.", tool, pat.Name, then)
	}
	return nil
}

var errNothingToRevoke = errors.New("no token has been issued yet, so --keep has nothing to record; without --keep the resource is deleted")

const (
	maxRevoked = 8   // entries of status.revoked
	maxBy      = 512 // characters
)

// kept is a resource with revoked tokens.
type kept struct {
	pat *v1alpha1.PersonalAccessToken
	ids []string
}

// keepAll adds all tokens to status.revoked, and then waits for the operator.
func (o *revokeOptions) keepAll(ctx context.Context, c client.WithWatch, pats []v1alpha1.PersonalAccessToken, all *batchResult) {
	entry := v1alpha1.RevokedToken{
		At: &metav1.Time{Time: o.Clock.Now().UTC().Truncate(time.Second)}, By: o.whoami(ctx, c), Reason: o.reason,
	}
	var revoked []kept
	for i := range pats {
		err, one := errInterrupted, kept{}
		if ctx.Err() == nil {
			o.progress("Revoking token %d of %d…", i+1, len(pats))
			one, err = o.revokeAndKeep(ctx, c, &pats[i], entry)
		}
		o.clear()
		if err != nil {
			all.fail(o.label(&pats[i]), err)
			continue
		}
		revoked = append(revoked, one)
	}
	if o.dryRun != dryRunNone || len(revoked) == 0 {
		return
	}
	o.sayf("Verifiers refuse revoked tokens at once, kube-apiserver within 10 seconds.")
	if !o.wait {
		return
	}
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for i, one := range revoked {
		o.progress("Waiting for the operator: %d of %d…", i+1, len(revoked))
		switch err := o.waitNoted(waiting, c, one, entry); {
		case err == nil:
		case waiting.Err() != nil:
			all.fail(o.label(one.pat), errors.New("it is revoked, and verifiers refuse its token; the operator has not processed this yet: is it running?"))
		default:
			all.fail(o.label(one.pat), fmt.Errorf("it is revoked, but %w", err))
		}
	}
	o.clear()
}

// waitNoted waits until the operator has processed the revocation. If a rotation was in progress, its new token is revoked too,
// unless --token-id chose one.
func (o *revokeOptions) waitNoted(ctx context.Context, c client.WithWatch, one kept, entry v1alpha1.RevokedToken) error {
	for {
		pat, err := holder.WaitFor(ctx, c, one.pat, one.noted)
		if err != nil || o.tokenID != "" || pat.DeletionTimestamp != nil || pat.Status.TokenID == "" || slices.Contains(one.ids, pat.Status.TokenID) {
			return err
		}
		o.sayf("%s was rotated in the meantime: its new token %s is revoked too.", o.label(pat), pat.Status.TokenID)
		if one, err = o.revokeAndKeep(ctx, c, pat, entry); err != nil {
			return err
		}
	}
}

// whoami returns the name of the caller. It is "" if the API server does not tell or the name is too long for status: revoking
// matters more than the name.
func (o *revokeOptions) whoami(ctx context.Context, c client.Client) string {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return ""
	}
	name := review.Status.UserInfo.Username
	if utf8.RuneCountInString(name) > maxBy {
		return ""
	}
	return name
}

// revokeAndKeep adds the tokens to status.revoked. It writes the whole list, because a merge patch replaces it.
func (o *revokeOptions) revokeAndKeep(ctx context.Context, c client.WithWatch, pat *v1alpha1.PersonalAccessToken, entry v1alpha1.RevokedToken) (kept, error) {
	ids, err := o.toRevoke(pat)
	if err != nil {
		return kept{}, err
	}
	if len(unnamed(pat, ids)) == 0 {
		return kept{pat, ids}, o.done(pat, "already revoked")
	}
	pat, err = holder.Change{
		Client: c, FieldOwner: fieldOwner, Status: true, DryRun: o.dryRun != dryRunNone,
		Edit: func(pat *v1alpha1.PersonalAccessToken) error {
			if ids, err = o.toRevoke(pat); err != nil {
				return err
			}
			return name(pat, unnamed(pat, ids), entry)
		},
		Made: func(pat *v1alpha1.PersonalAccessToken) bool { return len(unnamed(pat, ids)) == 0 },
	}.To(ctx, pat)
	if err != nil {
		return kept{}, err
	}
	return kept{pat, ids}, o.done(pat, "revoked")
}

// toRevoke returns the ids of the tokens to revoke: that of --token-id, or else the current one, whose predecessor ends with it,
// and one that spec names and the operator has not issued yet.
func (o *revokeOptions) toRevoke(pat *v1alpha1.PersonalAccessToken) ([]string, error) {
	var ids []string
	if id := pat.Status.TokenID; id != "" {
		ids = append(ids, id)
	}
	if t := pat.Spec.Token; t != nil && !slices.Contains(ids, t.ID) {
		ids = append(ids, t.ID)
	}
	switch id := o.tokenID; {
	case id != "" && (slices.Contains(ids, id) || id == pat.Status.PreviousTokenID):
		return []string{id}, nil
	case id != "" && pat.Status.PreviousTokenID != "":
		return nil, fmt.Errorf("%s does not have token %s: its token is %s, and its predecessor is %s", pat.Name, id, pat.Status.TokenID, pat.Status.PreviousTokenID)
	case id != "" && len(ids) > 0:
		return nil, fmt.Errorf("%s does not have token %s: its token is %s, and it has no predecessor that still works", pat.Name, id, ids[0])
	case len(ids) == 0:
		return nil, errNothingToRevoke
	}
	return ids, nil
}

// unnamed returns the ids that status.revoked does not have.
func unnamed(pat *v1alpha1.PersonalAccessToken, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(pat.Status.Revoked, func(r v1alpha1.RevokedToken) bool { return r.TokenID == id })
	})
}

// name adds an entry for each id to status.revoked.
func name(pat *v1alpha1.PersonalAccessToken, ids []string, entry v1alpha1.RevokedToken) error {
	if len(pat.Status.Revoked)+len(ids) > maxRevoked {
		return fmt.Errorf("status.revoked has %d entries, and the limit is %d: the operator removes entries that it has processed, so check that it runs; or revoke without --keep, which deletes the resource",
			len(pat.Status.Revoked), maxRevoked)
	}
	for _, id := range ids {
		entry.TokenID = id
		pat.Status.Revoked = append(pat.Status.Revoked, entry)
	}
	return nil
}

// noted is a holder.Judge: done when the operator has processed the revocation. Status then names another token or says that the
// token does not work, and names none of the revoked tokens as predecessor.
func (k *kept) noted(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	active := holder.Condition(pat, v1alpha1.ConditionActive)
	ended := holder.HasStatus(active, metav1.ConditionFalse) && active.Reason != v1alpha1.ReasonSuspended && active.Reason != v1alpha1.ReasonIssuing
	switch status := &pat.Status; {
	case pat.DeletionTimestamp != nil:
		return true, nil // which ends the token, too
	case slices.Contains(k.ids, status.PreviousTokenID):
		return false, nil
	case !slices.Contains(k.ids, status.TokenID):
		return status.TokenID != "" || ended, nil
	}
	return ended, nil
}
