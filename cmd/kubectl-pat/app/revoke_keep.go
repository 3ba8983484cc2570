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
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	maxRevoked = 8   // entries of status.revoked
	maxBy      = 512 // characters
)

// kept is a resource one of whose tokens was revoked.
type kept struct {
	pat *v1alpha1.PersonalAccessToken
	ids []string
}

// keepAll ends tokens by status.revoked: all of them first, then it waits for the operator.
func (o *revokeOptions) keepAll(ctx context.Context, c client.WithWatch, pats []v1alpha1.PersonalAccessToken, all *tally) {
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
	o.sayf("Verifiers refuse what is revoked at once, kube-apiserver within 10 seconds.")
	if !o.wait {
		return
	}
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for i, one := range revoked {
		o.progress("Waiting until the operator has taken note: %d of %d…", i+1, len(revoked))
		switch err := o.waitNoted(waiting, c, one, entry); {
		case err == nil:
		case waiting.Err() != nil:
			all.fail(o.label(one.pat), errors.New("it is revoked, and verifiers refuse its token, which they do without the operator; that has not taken note of it: is it running?"))
		default:
			all.fail(o.label(one.pat), fmt.Errorf("it is revoked, but %w", err))
		}
	}
	o.clear()
}

// waitNoted waits until the operator has taken note. A rotation may have been on its way: what it has made is another token of
// the resource, and ends, too, where nobody has said which is to.
func (o *revokeOptions) waitNoted(ctx context.Context, c client.WithWatch, one kept, entry v1alpha1.RevokedToken) error {
	for {
		pat, err := holder.WaitFor(ctx, c, one.pat, one.noted)
		if err != nil || o.tokenID != "" || pat.DeletionTimestamp != nil || pat.Status.TokenID == "" || slices.Contains(one.ids, pat.Status.TokenID) {
			return err
		}
		o.sayf("%s was rotated meanwhile: its new token, %s, ends as well.", o.label(pat), pat.Status.TokenID)
		if one, err = o.revokeAndKeep(ctx, c, pat, entry); err != nil {
			return err
		}
	}
}

// whoami is who the API server takes us for; "" where it does not say or the field cannot hold it, since to revoke is more
// than to say who did.
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

// revokeAndKeep names the tokens to end in status.revoked. What the list has already is part of the write: an apply of one
// entry would take it for all there is.
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

// toRevoke are the ids of the tokens to end. Without --token-id these are the current one, with which its predecessor ends,
// and one that spec names and the operator has not taken yet.
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
		return nil, fmt.Errorf("token %s is neither the current one of %s, %s, nor its predecessor, %s", id, pat.Name, pat.Status.TokenID, pat.Status.PreviousTokenID)
	case id != "" && len(ids) > 0:
		return nil, fmt.Errorf("token %s is not that of %s, which has %s, and no predecessor that works beside it", id, pat.Name, ids[0])
	case len(ids) == 0:
		return nil, errNothingToRevoke
	}
	return ids, nil
}

// unnamed are those of ids that status.revoked does not name.
func unnamed(pat *v1alpha1.PersonalAccessToken, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(pat.Status.Revoked, func(r v1alpha1.RevokedToken) bool { return r.TokenID == id })
	})
}

// name adds an entry for each of ids to status.revoked.
func name(pat *v1alpha1.PersonalAccessToken, ids []string, entry v1alpha1.RevokedToken) error {
	if len(pat.Status.Revoked)+len(ids) > maxRevoked {
		return fmt.Errorf("status.revoked has %d entries, and %d is the most there may be: the operator takes out those that it has taken note of, so look whether it runs; or revoke without --keep, which deletes the resource",
			len(pat.Status.Revoked), maxRevoked)
	}
	for _, id := range ids {
		entry.TokenID = id
		pat.Status.Revoked = append(pat.Status.Revoked, entry)
	}
	return nil
}

// noted judges whether the operator has taken note: the token that status names is not honoured, or is another, and no
// predecessor is any of those that were revoked.
func (k *kept) noted(pat *v1alpha1.PersonalAccessToken) (done bool, err error) {
	active := holder.Condition(pat, v1alpha1.ConditionActive)
	ended := holder.HasStatus(active, metav1.ConditionFalse) && active.Reason != v1alpha1.ReasonSuspended && active.Reason != v1alpha1.ReasonIssuing
	switch status := &pat.Status; {
	case pat.DeletionTimestamp != nil:
		return true, nil // it ends by that, too
	case slices.Contains(k.ids, status.PreviousTokenID):
		return false, nil
	case !slices.Contains(k.ids, status.TokenID):
		return status.TokenID != "" || ended, nil
	}
	return ended, nil
}
