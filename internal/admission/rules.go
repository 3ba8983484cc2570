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
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/recipients"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/internal/token"
)

type spec = v1alpha1.PersonalAccessTokenSpec

// lifetime checks a token that is not issued yet against the operator's limit. Longer lives are refused, never clamped.
func (c *Config) lifetime(spec *v1alpha1.PersonalAccessTokenSpec, now time.Time) field.ErrorList {
	latest := now.Add(c.MaxLifetime)
	limit := fmt.Sprintf("a token lives %s at most on this operator", inDays(c.MaxLifetime))
	if at := spec.ExpiresAt; at != nil {
		if !at.After(latest) {
			return nil
		}
		return field.ErrorList{field.Invalid(specPath.Child("expiresAt"), lifecycle.Stamp(at.Time),
			fmt.Sprintf("%s; set %s or earlier", limit, lifecycle.Stamp(latest)))}
	}
	path := specPath.Child("expiresInDays")
	wayOut := fmt.Sprintf("set at most %d, or spec.expiresAt to %s or earlier", c.MaxLifetime/v1alpha1.Day, lifecycle.Stamp(latest))
	if c.MaxLifetime < v1alpha1.Day {
		wayOut = fmt.Sprintf("leave it out and set spec.expiresAt to %s or earlier", lifecycle.Stamp(latest))
	}
	switch {
	case !lifecycle.End(spec, now).After(latest):
		return nil
	case spec.ExpiresInDays == nil:
		return field.ErrorList{field.Required(path, fmt.Sprintf(
			"without it a token lives %d days, and %s; %s", v1alpha1.DefaultExpiresInDays, limit, wayOut))}
	}
	return field.ErrorList{field.Invalid(path, *spec.ExpiresInDays, fmt.Sprintf("%s; %s", limit, wayOut))}
}

// longer refuses a longer life to a token that was issued.
func longer(was, is *v1alpha1.PersonalAccessTokenSpec, issuedAt time.Time) field.ErrorList {
	ends := lifecycle.End(was, issuedAt)
	if !lifecycle.End(is, issuedAt).After(ends) {
		return nil
	}
	return field.ErrorList{field.Forbidden(lifePath(is), fmt.Sprintf(
		"this token was issued to end at %s, and cannot live longer; set an earlier end, or rotate the token in the same update", lifecycle.Stamp(ends)))}
}

// lifePath is the field that says how long the token lives.
func lifePath(spec *v1alpha1.PersonalAccessTokenSpec) *field.Path {
	if spec.ExpiresAt != nil {
		return specPath.Child("expiresAt")
	}
	return specPath.Child("expiresInDays")
}

func sameLife(a, b *v1alpha1.PersonalAccessTokenSpec) bool {
	return equal(a.ExpiresAt, b.ExpiresAt) && equal(a.ExpiresInDays, b.ExpiresInDays)
}

// passed warns of an end that has passed, which is taken since GitOps tools apply old manifests again.
func passed(spec *v1alpha1.PersonalAccessTokenSpec, now time.Time) ctrladmission.Warnings {
	if spec.ExpiresAt == nil || now.Before(spec.ExpiresAt.Time) {
		return nil
	}
	return ctrladmission.Warnings{fmt.Sprintf(
		"spec.expiresAt (%s) has passed, so no token will work; set a later one to get a token", lifecycle.Stamp(spec.ExpiresAt.Time))}
}

// bound holds a holder's digest to the resource that it was computed for; elsewhere it could never match.
func bound(t *v1alpha1.HolderToken, namespace, name string) field.ErrorList {
	if t == nil {
		return nil
	}
	var errs field.ErrorList
	path := specPath.Child("token")
	if here := namespace + "/" + name; t.BoundTo != here {
		errs = append(errs, field.Invalid(path.Child("boundTo"), t.BoundTo, fmt.Sprintf(
			`this resource is %q, and the digest matches only where it was computed for; set boundTo to %q and sha256 to what this prints: printf 'pat-operator.io/v1\0%%s\0%%s\0%%s' %s %s "$TOKEN" | sha256sum`,
			here, here, namespace, name)))
	}
	if digest, err := token.ParseDigest(t.SHA256); err != nil || digest.IsZero() {
		errs = append(errs, field.Invalid(path.Child("sha256"), field.OmitValueType{},
			"is the digest of no token; set the 64 lower-case hex digits computed for yours"))
	}
	return errs
}

// deliverable refuses what needs a Secret where the operator may write none, and keys that nothing can be encrypted to.
func (c *Config) deliverable(spec *v1alpha1.PersonalAccessTokenSpec) field.ErrorList {
	path := specPath.Child("delivery")
	switch {
	case spec.Delivery != nil && len(spec.Delivery.Recipients) > 0:
		return recipients.Check(path.Child("recipients"), spec.Delivery.Recipients)
	case c.SecretDelivery || !inSecret(spec):
		return nil
	}
	return field.ErrorList{field.Forbidden(path,
		"delivery in a Secret, the default, is switched off on this operator; set spec.delivery.recipients, or make the token on your own machine and set spec.token")}
}

// inSecret reports whether the token is delivered in a Secret.
func inSecret(spec *v1alpha1.PersonalAccessTokenSpec) bool {
	return spec.Token == nil && (spec.Delivery == nil || spec.Delivery.Secret != nil)
}

// rotates reports whether spec asks for a successor of the token that was issued, nil for none. It compares with the
// record, because a spec may change back and forth before the operator acts.
func rotates(current *record.Token, is *v1alpha1.PersonalAccessTokenSpec) bool {
	switch {
	case current == nil:
		return false
	case is.Token != nil:
		return is.Token.ID != current.ID
	}
	return is.Rotation != nil && is.Rotation.Trigger != "" && is.Rotation.Trigger != current.Trigger
}

// reissued holds an update of what makes a token, and how it is delivered, to what rotation can do. Until a token was
// issued, spec may still change its mind.
func (c *Config) reissued(was, is *v1alpha1.PersonalAccessToken, current *record.Token, namespace string) field.ErrorList {
	newToken, newDelivery := !equal(was.Spec.Token, is.Spec.Token), !equal(was.Spec.Delivery, is.Spec.Delivery)
	again := rotates(current, &is.Spec)
	var errs field.ErrorList
	switch tokenPath := specPath.Child("token"); {
	case current == nil || again:
	case newToken && is.Spec.Token == nil && current.Source == record.SourceHolder:
		return append(errs, field.Forbidden(tokenPath,
			"without it the operator makes a new token, which takes a new spec.rotation.trigger in the same update; set one, or put spec.token back"))
	case newToken && is.Spec.Token != nil && (current.Source != record.SourceHolder || is.Spec.Token.SHA256 != current.Digest):
		return append(errs, field.Forbidden(tokenPath, "a new token has a new id; put the old values back, or set id and sha256 of another token"))
	case newDelivery && !newToken && !laterDelivery(&was.Spec, &is.Spec):
		return append(errs, field.Forbidden(specPath.Child("delivery"),
			"how a token is delivered changes only together with the token; set a new spec.rotation.trigger in the same update, or put it back"))
	}
	if newToken {
		errs = append(errs, bound(is.Spec.Token, namespace, is.Name)...)
	}
	if newToken || newDelivery || again && !equal(was.Spec.Rotation, is.Spec.Rotation) {
		errs = append(errs, c.deliverable(&is.Spec)...)
	}
	return errs
}

// laterDelivery reports whether an update only names other recipients, who will receive the next token.
func laterDelivery(was, is *v1alpha1.PersonalAccessTokenSpec) bool {
	return len(record.DeliveryOf(was).Recipients) > 0 && len(record.DeliveryOf(is).Recipients) > 0 && was.Token == nil && is.Token == nil
}

// later warns that new recipients do not receive a token before the next rotation.
func later(was, is *v1alpha1.PersonalAccessTokenSpec) ctrladmission.Warnings {
	if !laterDelivery(was, is) || equal(was.Delivery, is.Delivery) {
		return nil
	}
	return ctrladmission.Warnings{"the token that was issued stays encrypted to the former spec.delivery.recipients; set a new spec.rotation.trigger for one for these"}
}

// rotation refuses rotation settings that the token's delivery does not support. was is nil on creation.
func rotation(was, is *v1alpha1.PersonalAccessTokenSpec) field.ErrorList {
	if is.Rotation == nil || was != nil && equal(was.Rotation, is.Rotation) && equal(was.Delivery, is.Delivery) && equal(was.Token, is.Token) {
		return nil
	}
	path := specPath.Child("rotation")
	var errs field.ErrorList
	if is.Rotation.EveryDays != nil && (is.Token != nil || len(record.DeliveryOf(is).Recipients) == 0) {
		errs = append(errs, field.Forbidden(path.Child("everyDays"),
			"a token is rotated automatically only if it is delivered to recipients; set spec.delivery.recipients, or leave it out"))
	}
	if is.Rotation.RetireOnFirstUse && is.Rotation.OverlapSeconds == 0 {
		errs = append(errs, field.Required(path.Child("overlapSeconds"),
			"with retireOnFirstUse it says how long the predecessor works at most; without it the predecessor ends at once, used or not"))
	}
	asked := was == nil || !equal(was.Rotation, is.Rotation) // A life is shortened later with no question asked.
	if days := int32(v1alpha1.DefaultExpiresInDays); asked && is.Rotation.EveryDays != nil && is.ExpiresAt == nil {
		if is.ExpiresInDays != nil {
			days = *is.ExpiresInDays
		}
		if *is.Rotation.EveryDays >= days {
			errs = append(errs, field.Invalid(path.Child("everyDays"), *is.Rotation.EveryDays, fmt.Sprintf(
				"the token ends after %d days, before it would be rotated; set fewer days here, or more in spec.expiresInDays", days)))
		}
	}
	if was != nil && is.Token != nil && equal(was.Token, is.Token) && is.Rotation.Trigger != "" && (was.Rotation == nil || was.Rotation.Trigger != is.Rotation.Trigger) {
		errs = append(errs, field.Forbidden(path.Child("trigger"),
			"this token is made by its holder, so no trigger makes another; put id and sha256 of a new one into spec.token"))
	}
	return errs
}

// room refuses a holder's token whose id could not be remembered once it has ended.
func (c *Config) room(ctx context.Context, pat *v1alpha1.PersonalAccessToken) field.ErrorList {
	if pat.Spec.Token == nil || !c.HistoryFull(ctx, pat) {
		return nil
	}
	return field.ErrorList{field.Forbidden(specPath.Child("token"),
		"the limit of ended tokens that are remembered, under this name or in this namespace, is reached; use a token that the operator makes (leave spec.token out, with a new spec.rotation.trigger where there is a token already), or another namespace; to end a token now, delete its PersonalAccessToken")}
}

// uncovered refuses to widen a resource that asked for more than was ever judged, unless the result asks for no more.
func uncovered(rec *record.Record, is *v1alpha1.PersonalAccessToken) field.ErrorList {
	if rec == nil || rec.Refused == "" {
		return nil
	}
	wishes := lifecycle.Wishes(lifecycle.Input{Resource: is, Record: rec})
	if len(wishes) == 0 {
		return nil
	}
	wayOut := "delete this PersonalAccessToken and apply it again"
	if rec.Granted != nil {
		wayOut = "first put back " + strings.Join(wishes, ", ") + ", as the condition Ready says, or " + wayOut
	}
	return field.ErrorList{field.Forbidden(specPath, "an earlier change was refused by the operator, which carries out nothing more of it; "+wayOut)}
}

// displayName refuses a name that could pass for other columns or rows of a table. was is nil on creation.
func displayName(was, is *v1alpha1.PersonalAccessTokenSpec) field.ErrorList {
	if was != nil && was.DisplayName == is.DisplayName {
		return nil
	}
	i := strings.IndexFunc(is.DisplayName, identity.ForgesRows)
	if i < 0 {
		return nil
	}
	r, _ := utf8.DecodeRuneInString(is.DisplayName[i:])
	return field.ErrorList{field.Invalid(specPath.Child("displayName"), field.OmitValueType{}, fmt.Sprintf(
		"contains %U, a control character or a mark that changes the direction of text; leave it out", r))}
}

// foreign refuses tokens among what belongs to the operator.
func (c *Config) foreign(namespace string) field.ErrorList {
	if !slices.Contains(c.OwnNamespaces, namespace) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "namespace"), fmt.Sprintf(
		"%s belongs to pat-operator, and holds no tokens of others; use another namespace", namespace))}
}

// limited refuses a token without scopes where these are required. was is nil where a token is issued.
func (c *Config) limited(was, is *v1alpha1.PersonalAccessTokenSpec) field.ErrorList {
	if !c.RequireScopes || len(is.Scopes) > 0 || was != nil && len(was.Scopes) == 0 {
		return nil
	}
	return field.ErrorList{field.Required(specPath.Child("scopes"),
		"this cluster allows only tokens with limited permissions; set spec.scopes, for example [{preset: read-only}]")}
}

// equal compares as the API does: times by the instant, an empty list like none.
func equal(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

func inDays(d time.Duration) string {
	switch {
	case d == v1alpha1.Day:
		return "1 day"
	case d%v1alpha1.Day == 0:
		return fmt.Sprintf("%d days", d/v1alpha1.Day)
	}
	return d.String()
}
