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

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
)

// Policies are the TokenPolicies, as they are known. Each call fails where they are not.
type Policies interface {
	// For is what the policies ask of tokens of a user in a namespace.
	For(namespace string, u *v1alpha1.UserInfo) (policy.Limits, error)
	// Naming are the policies that name one of the groups and may match in a namespace; without groups, those that name any.
	Naming(namespace string, groups ...string) (policy.Limits, error)
}

// asked is a token that a request asks for.
type asked struct {
	requester *authenticationv1.UserInfo
	pat       *v1alpha1.PersonalAccessToken
	// widened are the fields by which an update asks for more, without "spec."; nil where a new token is asked for.
	widened []string
	// issuedAt is when its life begins.
	issuedAt time.Time
	// rec is the record of the resource; nil for none.
	rec *record.Record
}

// limits are what TokenPolicies ask of a resource's tokens. An error is the one to answer with.
func (v *validator) limits(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (policy.Limits, error) {
	if v.Policies == nil || pat.Spec.User == nil {
		return nil, nil
	}
	limits, err := v.Policies.For(pat.Namespace, pat.Spec.User)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot tell which TokenPolicies match", "namespace", pat.Namespace, "name", pat.Name)
		return nil, tryAgain(fmt.Sprintf("which TokenPolicies match cannot be found out: %v", err))
	}
	return limits, nil
}

// byPolicies finds what TokenPolicies refuse of a token, and what they leave of it. An error is the one to answer with.
func (v *validator) byPolicies(ctx context.Context, limits policy.Limits, a asked) (forbidden field.ErrorList, warnings ctrladmission.Warnings, err error) {
	u := a.pat.Spec.User
	if v.Policies == nil || u == nil {
		return nil, nil, nil
	}
	for _, r := range limits.Refusals(policy.Token{
		Spec: &a.pat.Spec, IssuedAt: a.issuedAt, Ends: lifecycle.End(&a.pat.Spec, a.issuedAt), APIAudiences: v.APIAudiences(),
	}) {
		if a.concerns(r.Field) {
			forbidden = append(forbidden, byPolicy(&field.Error{Type: field.ErrorTypeForbidden, Field: specPath.String() + "." + r.Field, Detail: r.Detail}))
		}
	}
	if a.widened == nil {
		more, err := v.tooMany(ctx, limits, a)
		if err != nil {
			return nil, nil, err
		}
		omitted, err := v.omitted(a)
		if err != nil {
			return nil, nil, err
		}
		forbidden = append(append(forbidden, more...), omitted...)
	}
	if out := limits.LeftOut(u); len(out) > 0 {
		warnings = append(warnings, fmt.Sprintf("TokenPolicies leave out %d of the token's groups (%s): it does not have their permissions", len(out), policy.List(out)))
	}
	if a.widened == nil && u.Username != a.requester.Username {
		named, err := v.unnamedGroups(limits, a)
		if err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, named...)
	}
	return forbidden, warnings, nil
}

// byPolicy marks a refusal as a TokenPolicy's: clients, such as the console, tell it by the type of its cause.
func byPolicy(err *field.Error) *field.Error { return err.WithOrigin(v1alpha1.ReasonDeniedByPolicy) }

// concerns reports whether a refusal of a field counts: all do for a new token, and those of a denial and of what is widened for one
// that exists.
func (a *asked) concerns(field string) bool {
	if a.widened == nil || field == "user" {
		return true
	}
	field, _, _ = strings.Cut(field, "[")
	return slices.Contains(a.widened, field)
}

// tooMany refuses another token to a user who has as many as policies allow.
func (v *validator) tooMany(ctx context.Context, limits policy.Limits, a asked) (field.ErrorList, error) {
	most, by := limits.MaxTokens()
	if by == nil || lifecycle.HoldsToken(a.rec) {
		return nil, nil
	}
	u := a.pat.Spec.User
	n, err := v.TokensOf(ctx, u.Username, client.ObjectKeyFromObject(a.pat))
	if err != nil {
		return nil, tryAgain("how many tokens the user has cannot be found out")
	}
	if n < most {
		return nil, nil
	}
	return field.ErrorList{byPolicy(field.Forbidden(userPath, fmt.Sprintf(
		"TokenPolicy %q lets a user have %d tokens, and %s has %d; delete one that is not needed, or wait until one ends", by.Name, most, quote(u.Username), n)))}, nil
}

// omitted refuses a token of one's own without a group that policies go by: it would escape them.
func (v *validator) omitted(a asked) (field.ErrorList, error) {
	u := a.pat.Spec.User
	if u.Username != a.requester.Username || isServiceAccount(u.Username) {
		return nil, nil
	}
	var errs field.ErrorList
	for _, group := range a.requester.Groups {
		if slices.Contains(u.Groups, group) || !identity.Carried(group) {
			continue
		}
		naming, err := v.Policies.Naming(a.pat.Namespace, group)
		if err != nil {
			return nil, tryAgain(fmt.Sprintf("which TokenPolicies match cannot be found out: %v", err))
		}
		wayOut := "name it there, or leave spec.user out; where the user of a token cannot be changed, make a new PersonalAccessToken"
		switch {
		case len(naming) > 0:
			errs = append(errs, byPolicy(field.Forbidden(userPath.Child("groups"), fmt.Sprintf(
				"you are in group %s, which TokenPolicy %q goes by, so your tokens have to name it; %s", quote(group), naming[0].Name, wayOut))))
		case v.BindingGroups != nil && v.BindingGroups.MatchString(group):
			errs = append(errs, field.Forbidden(userPath.Child("groups"), fmt.Sprintf(
				"you are in group %s, which this operator's --binding-groups match, so your tokens have to name it; %s", quote(group), wayOut)))
		}
	}
	return errs, nil
}

// unnamedGroups warns the maker of a token for another person that policies for groups count only for the groups it names.
func (v *validator) unnamedGroups(limits policy.Limits, a asked) (ctrladmission.Warnings, error) {
	naming, err := v.Policies.Naming(a.pat.Namespace)
	if err != nil {
		return nil, tryAgain(fmt.Sprintf("which TokenPolicies match cannot be found out: %v", err))
	}
	var names []string
	for _, p := range naming {
		if !slices.Contains(limits, p) {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return ctrladmission.Warnings{fmt.Sprintf(
		"TokenPolicies for groups (%s) limit this token only if spec.user.groups names the groups that the user is in", policy.List(names))}, nil
}

// widens are the fields by which an update asks for more, without "spec.".
func widens(was, is *v1alpha1.PersonalAccessToken) []string {
	fields := []string{}
	for _, c := range lifecycle.Changes(&was.Spec, &is.Spec, was.CreationTimestamp.Time) {
		if c.Effect == lifecycle.Widens {
			fields = append(fields, c.Field)
		}
	}
	return fields
}
