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
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/record"
)

var (
	resource = v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource()
	kind     = schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: "PersonalAccessToken"}

	specPath = field.NewPath("spec")
	userPath = specPath.Child("user")
)

// NewValidator returns the validator of PersonalAccessTokens. Who-may-not is answered with 403, bad values with 422, all
// of them at once; where there are both, with the 403. An update is never answered with 422, by which GitOps tools that are
// told to use force delete the resource and create it again. What could not be found out is a 500.
func NewValidator(cfg Config) ctrladmission.Validator[*v1alpha1.PersonalAccessToken] {
	if cfg.advice == nil {
		cfg.advice = cfg.Client
	}
	return &validator{Config: cfg}
}

type validator struct{ Config }

// ValidateCreate implements ctrladmission.Validator.
func (v *validator) ValidateCreate(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (ctrladmission.Warnings, error) {
	req, err := ctrladmission.RequestFromContext(ctx)
	if err != nil {
		return nil, err
	}
	now := v.Now()
	f, err := v.mayCreate(ctx, &req.UserInfo, pat.Spec.User)
	if err != nil {
		return nil, err
	}
	f.invalid = append(f.invalid, v.lifetime(&pat.Spec, now)...)
	f.invalid = append(f.invalid, bound(pat.Spec.Token, req.Namespace, pat.Name)...)
	f.invalid = append(f.invalid, v.deliverable(&pat.Spec)...)
	f.invalid = append(f.invalid, rotation(nil, &pat.Spec)...)
	f.invalid = append(f.invalid, v.limited(nil, &pat.Spec)...)
	f.invalid = append(f.invalid, displayName(nil, &pat.Spec)...)
	f.forbidden = append(f.forbidden, v.room(ctx, pat)...)
	f.forbidden = append(f.forbidden, v.foreign(req.Namespace)...)
	limits, err := v.limits(ctx, pat)
	if err != nil {
		return nil, err
	}
	refused, byPolicies, err := v.byPolicies(ctx, limits, asked{requester: &req.UserInfo, pat: pat, issuedAt: now})
	if err != nil {
		return nil, err
	}
	f.forbidden = append(f.forbidden, refused...)
	over := passed(&pat.Spec, now)
	if err := f.err(pat.Name); err != nil || over != nil {
		return over, err
	}
	if err := v.accepted(req); err != nil {
		return nil, err
	}
	warnings := append(append(long(&pat.Spec, now), onlyByProxy(nil, &pat.Spec)...), byPolicies...)
	if ptr.Deref(req.DryRun, false) {
		// GitOps tools ask again and again; what costs the API server questions is said when it counts.
		return warnings, nil
	}
	concerns := append(readers(&pat.Spec, req.Namespace), powerful(&pat.Spec)...)
	return append(warnings, v.advise(ctx, concerns)...), nil
}

// ValidateUpdate implements ctrladmission.Validator. It judges only what widens, so that a resource that today's rules would
// refuse can still be suspended or shortened.
func (v *validator) ValidateUpdate(ctx context.Context, was, is *v1alpha1.PersonalAccessToken) (ctrladmission.Warnings, error) {
	req, err := ctrladmission.RequestFromContext(ctx)
	if err != nil {
		return nil, err
	}
	if equal(was.Spec, is.Spec) {
		return nil, nil
	}
	f, err := v.mayUpdate(ctx, &req.UserInfo, was, is)
	if err != nil {
		return nil, err
	}
	if widened(was, is) == nil {
		if len(f.forbidden) == 0 {
			f.forbidden = displayName(&was.Spec, &is.Spec)
		}
		var over ctrladmission.Warnings
		if !sameLife(&was.Spec, &is.Spec) {
			over = passed(&is.Spec, v.Now())
		}
		return append(over, onlyByProxy(&was.Spec, &is.Spec)...), f.err(is.Name)
	}
	rec, err := v.Record(ctx, was)
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot read the record", "namespace", was.Namespace, "name", was.Name)
		return nil, tryAgain("whether this token was issued cannot be found out")
	}
	var current *record.Token
	if rec != nil {
		current = rec.Current
	}
	again := rotates(current, &is.Spec)
	if current != nil && !again {
		f.forbidden = append(f.forbidden, longer(&was.Spec, &is.Spec, current.IssuedAt)...)
	}
	var warnings, overAYear ctrladmission.Warnings
	if now := v.Now(); again || current == nil && !sameLife(&was.Spec, &is.Spec) {
		f.invalid = append(f.invalid, v.lifetime(&is.Spec, now)...)
		warnings, overAYear = passed(&is.Spec, now), long(&is.Spec, now)
	}
	if again {
		f.invalid = append(f.invalid, v.limited(nil, &is.Spec)...)
	} else {
		f.invalid = append(f.invalid, v.limited(&was.Spec, &is.Spec)...)
	}
	f.invalid = append(f.invalid, v.reissued(was, is, current, req.Namespace)...)
	f.invalid = append(f.invalid, rotation(&was.Spec, &is.Spec)...)
	f.invalid = append(f.invalid, displayName(&was.Spec, &is.Spec)...)
	f.invalid = append(f.invalid, uncovered(rec, is)...)
	f.forbidden = append(f.forbidden, v.foreign(req.Namespace)...)
	token := asked{requester: &req.UserInfo, pat: is, issuedAt: v.Now(), rec: rec}
	if current != nil && !again {
		token.widened, token.issuedAt = widens(was, is), current.IssuedAt
	}
	limits, err := v.limits(ctx, is)
	if err != nil {
		return nil, err
	}
	refused, byPolicies, err := v.byPolicies(ctx, limits, token)
	if err != nil {
		return nil, err
	}
	f.forbidden = append(f.forbidden, refused...)
	if !equal(was.Spec.Token, is.Spec.Token) {
		f.invalid = append(f.invalid, v.room(ctx, is)...)
	}
	if len(f.forbidden) == 0 {
		f.forbidden, f.invalid = f.invalid, nil
	}
	if err := f.err(is.Name); err != nil {
		return warnings, err
	}
	if err := v.accepted(req); err != nil {
		return nil, err
	}
	if current != nil && !again {
		warnings = append(warnings, later(&was.Spec, &is.Spec)...)
	}
	if again {
		warnings = append(warnings, cutShort(&is.Spec, current, limits, v.Now())...)
	}
	warnings = append(append(append(warnings, overAYear...), onlyByProxy(&was.Spec, &is.Spec)...), byPolicies...)
	if !inSecret(&was.Spec) {
		warnings = append(warnings, v.advise(ctx, readers(&is.Spec, req.Namespace))...)
	}
	return warnings, nil
}

// ValidateDelete implements ctrladmission.Validator. RBAC alone decides who may delete, and so revoke.
func (v *validator) ValidateDelete(context.Context, *v1alpha1.PersonalAccessToken) (ctrladmission.Warnings, error) {
	return nil, nil
}

// accepted refuses for now what the controller would not carry out, since it is not certain that every API server has its
// wishes judged. A dry run is judged as usual.
func (v *validator) accepted(req ctrladmission.Request) error {
	if ptr.Deref(req.DryRun, false) {
		return nil
	}
	if err := v.Guards(); err != nil {
		return tryAgain(fmt.Sprintf("pat-operator cannot carry this out yet: %v", err))
	}
	return nil
}

// findings are the errors of a request.
type findings struct {
	// forbidden is what the requester, or the user, may not have.
	forbidden field.ErrorList
	// invalid is what nobody may have.
	invalid field.ErrorList
}

// identity adds what identity.Check finds.
func (f *findings) identity(u *v1alpha1.UserInfo) {
	for _, err := range identity.Check(userPath, u) {
		if err.Type == field.ErrorTypeForbidden {
			f.forbidden = append(f.forbidden, err)
		} else {
			f.invalid = append(f.invalid, err)
		}
	}
}

// any reports whether there are findings.
func (f *findings) any() bool { return len(f.forbidden)+len(f.invalid) > 0 }

// err returns nil where nothing was found.
func (f *findings) err(name string) error {
	switch {
	case len(f.forbidden) > 0:
		return forbidden(name, f.forbidden)
	case len(f.invalid) > 0:
		return apierrors.NewInvalid(kind, name, f.invalid)
	}
	return nil
}

func forbidden(name string, errs field.ErrorList) error {
	var texts []string
	var causes []metav1.StatusCause
	for _, err := range errs {
		texts = append(texts, fmt.Sprintf("%s: %s", err.Field, err.Detail))
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseType(cmp.Or(err.Origin, string(err.Type))), Field: err.Field, Message: err.Detail})
	}
	status := apierrors.NewForbidden(resource, name, errors.New(strings.Join(texts, "; ")))
	status.ErrStatus.Details.Causes = causes
	return status
}
