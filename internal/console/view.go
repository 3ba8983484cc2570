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

package console

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/recipients"
	"github.com/pat-operator/pat-operator/internal/scope"
)

// titleOf returns the display name, or else the name, of a token.
func titleOf(pat *v1alpha1.PersonalAccessToken) string {
	return holder.Visible(cmp.Or(pat.Spec.DisplayName, pat.Name))
}

func userOf(pat *v1alpha1.PersonalAccessToken) string {
	return holder.Visible(holder.Username(pat))
}

func pathOf(pat *v1alpha1.PersonalAccessToken) string {
	return "/tokens/" + url.PathEscape(pat.Namespace) + "/" + url.PathEscape(pat.Name)
}

func rowOf(pat *v1alpha1.PersonalAccessToken, now time.Time) page.Row {
	return page.Row{
		Namespace: pat.Namespace, Name: pat.Name, Title: titleOf(pat),
		Created: pat.CreationTimestamp.Time, Modified: timeOf(cmp.Or(pat.Status.ModifiedAt, &pat.CreationTimestamp)), LastUsed: timeOf(pat.Status.LastUsedAt), Expires: endOf(pat),
		Permissions: permissionsOf(pat.Spec.Scopes), State: stateOf(pat, now), Path: pathOf(pat), MayRevoke: !holder.Deleting(pat),
		Keywords: visible(append([]string{pat.Status.TokenID, pat.Status.PreviousTokenID}, pat.Spec.Audiences...)),
	}
}

// permissionsOf returns a word for what a token may do, "" for all that its user may.
func permissionsOf(scopes []v1alpha1.Scope) string {
	switch {
	case len(scopes) == 0:
		return ""
	case len(scopes) == 1 && scopes[0].Preset != "":
		return page.PermissionWord(scopes[0].Preset)
	}
	return page.Limited
}

// describeScope formats a scope for people: a preset by its word and where it counts, anything else as kubectl pat does.
func describeScope(s *v1alpha1.Scope, namespace string) string {
	i := slices.IndexFunc(scope.Presets(), func(p scope.Preset) bool { return p.Name == s.Preset })
	if i < 0 {
		return scope.Format(s)
	}
	text := page.PermissionWord(s.Preset)
	switch {
	case len(s.Namespaces) > 0:
		text += " in " + strings.Join(s.Namespaces, ", ")
	case scope.Presets()[i].OwnNamespace:
		text += " in " + namespace
	}
	return text
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// endOf returns the earlier of the ends in status and spec, zero if unknown.
func endOf(pat *v1alpha1.PersonalAccessToken) time.Time {
	issued, asked := timeOf(pat.Status.ExpiresAt), timeOf(pat.Spec.ExpiresAt)
	if issued.IsZero() || !asked.IsZero() && asked.Before(issued) {
		return asked
	}
	return issued
}

var pageStates = map[holder.State]page.State{
	holder.StatePending: page.StateIssuing, holder.StateNotIssued: page.StateFailed, holder.StateActive: page.StateActive,
	holder.StateExpiring: page.StateExpiringSoon, holder.StateSuspended: page.StateSuspended, holder.StateExpired: page.StateExpired,
	holder.StateRevoked: page.StateRevoked, holder.StateFailed: page.StateFailed, holder.StateDeleting: page.StateDeleting,
	holder.StateStopped: page.StateStopped,
}

// stateOf returns the state for the Active column. It shows a stalled resource as failed while its token has not ended, because an
// administrator has to look at it.
func stateOf(pat *v1alpha1.PersonalAccessToken, now time.Time) page.State {
	state := holder.StateOf(pat, now)
	switch state {
	case holder.StateDeleting, holder.StateRevoked, holder.StateExpired, holder.StateStopped:
	default:
		if meta.IsStatusConditionTrue(pat.Status.Conditions, v1alpha1.ConditionStalled) {
			state = holder.StateFailed
		}
	}
	return pageStates[state]
}

// detailsOf returns everything about a token.
func (c *Console) detailsOf(ctx context.Context, pat *v1alpha1.PersonalAccessToken, v *visitor) page.Details {
	status := &pat.Status
	d := page.Details{
		Row: rowOf(pat, c.clock.Now()), ResourceName: pat.Name,
		TokenID: holder.Visible(status.TokenID), PreviousTokenID: holder.Visible(status.PreviousTokenID),
		Issued: timeOf(status.IssuedAt), FirstUsed: timeOf(status.FirstUsedAt),
		DeliverySecret: holder.Visible(status.DeliverySecretName), Audiences: visible(pat.Spec.Audiences), From: visible(pat.Spec.From), GitOps: holder.Visible(holder.GitOps(pat)), ReadOnly: readOnly(v),
	}
	active := holder.Active(pat)
	d.Works = active != nil && active.Status == metav1.ConditionTrue
	d.User = userOf(pat)
	if pat.Spec.User != nil {
		d.Groups = visible(pat.Spec.User.Groups)
	}
	if pat.Spec.Delivery != nil {
		for _, key := range pat.Spec.Delivery.Recipients {
			d.Recipients = append(d.Recipients, holder.Visible(recipients.Trim(key)))
		}
	}
	for i := range pat.Spec.Scopes {
		d.Scopes = append(d.Scopes, holder.Visible(describeScope(&pat.Spec.Scopes[i], pat.Namespace)))
	}
	d.Unenforced = d.Works && len(d.Scopes) > 0 && c.scopesEnforced != nil && !c.scopesEnforced()
	if d.Works && len(d.From) > 0 {
		if cluster := c.clusterOf(ctx, v); cluster != nil && cluster.proxy {
			d.Proxy = holder.Visible(cluster.Server)
		}
	}
	if holder.Sealed(pat) {
		d.EncryptedToken, _ = holder.Encrypted(pat) // empty for any other text
	}
	for _, c := range holder.Conditions(pat) {
		d.Conditions = append(d.Conditions, page.Condition{
			Type: c.Type, Status: string(c.Status), Reason: c.Reason, Message: holder.Visible(c.Message), Since: c.LastTransitionTime.Time,
		})
	}
	for _, r := range status.Revoked {
		d.Revoked = append(d.Revoked, page.RevokedEntry{
			TokenID: holder.Visible(r.TokenID), By: holder.Visible(r.By), Reason: holder.Visible(r.Reason), At: timeOf(r.At),
		})
	}
	live := !holder.Deleting(pat)
	d.MayRename, d.DisplayName, d.UID = live && !v.PAT, holder.Visible(pat.Spec.DisplayName), seen(pat)
	d.MayRevoke = live
	d.Fixed = live && !v.PAT && c.fixed(pat)
	d.MayRotate = live && !v.PAT && !d.Fixed
	d.MaySuspend = live && !pat.Spec.Suspend && d.State != page.StateExpired && d.State != page.StateRevoked
	d.MayResume = pat.Spec.Suspend && d.State == page.StateSuspended && !v.PAT // resuming does not help an expired, revoked or stalled token
	if d.State == page.StateStopped {
		d.MaySuspend, d.MayResume = false, false
		d.MayRotate = c.explainStopped(&d, pat) && d.MayRotate
	}
	return d
}

func visible(texts []string) []string {
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		out = append(out, holder.Visible(text))
	}
	return out
}
