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

package admission_test

import (
	"context"
	"errors"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/utils/ptr"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/record"
)

const noRoom = isForbidden + "spec.token: the limit of ended tokens that are remembered, under this name or in this namespace, is reached; use a token that the operator makes (leave spec.token out, with a new spec.rotation.trigger where there is a token already), or another namespace; to end a token now, delete its PersonalAccessToken"

// A holder's token whose id could not be remembered is refused before anything is written, and a leaked one can be ended.
func TestCase55_AHoldersTokenWithoutRoomIsRefused(t *testing.T) {
	cfg := config
	cfg.HistoryFull = func(context.Context, *object) bool { return true }
	v := admission.NewValidator(cfg)
	_, err := v.ValidateCreate(request(), alicesPAT(holder))
	check(t, err, noRoom)
	_, err = v.ValidateUpdate(request(), alicesPAT(issued, holder), alicesPAT(issued, holder, func(p *object) { p.Spec.Token.ID = "bbbbbbbbbbbbbbbb" }))
	check(t, err, noRoom)
	for name, change := range map[string]modifier{
		"suspend":                           suspended,
		"shorten":                           expires(now.Add(time.Hour)),
		"rotate to a token of the operator": func(p *object) { p.Spec.Token = nil; rotating(p) },
	} {
		if _, err := v.ValidateUpdate(request(), alicesPAT(issued, holder), alicesPAT(issued, holder, change)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.ValidateCreate(request(), alicesPAT()); err != nil {
		t.Errorf("a token of the operator: %v", err)
	}
}

// A resource whose last wish was refused is narrowed, put back, and not widened, by its own user either.
func TestCase51_ARefusedResourceIsNotWidened(t *testing.T) {
	const refused = isForbidden + "spec: an earlier change was refused by the operator, which carries out nothing more of it; "
	with := func(granted *object) func(context.Context, *object) (*record.Record, error) {
		return func(_ context.Context, p *object) (*record.Record, error) {
			rec := record.Empty(p)
			if granted != nil {
				rec.Grant(&granted.Spec)
			}
			rec.Refused = record.RefusedNotJudged
			return rec, nil
		}
	}
	for name, tc := range map[string]struct {
		granted, was, is *object
		want             string
	}{
		"another trigger":         {alicesPAT(), alicesPAT(toKeys(vendorKey)), alicesPAT(toKeys(vendorKey), rotating), refused + "first put back spec.delivery, spec.rotation, as the condition Ready says, or delete this PersonalAccessToken and apply it again"},
		"nothing was granted":     {nil, alicesPAT(), alicesPAT(rotating), refused + "delete this PersonalAccessToken and apply it again"},
		"put back":                {alicesPAT(), alicesPAT(toKeys(vendorKey)), alicesPAT(), ""},
		"suspended":               {alicesPAT(), alicesPAT(toKeys(vendorKey)), alicesPAT(toKeys(vendorKey), suspended), ""},
		"suspended, never judged": {nil, alicesPAT(), alicesPAT(suspended), ""},
	} {
		cfg := config
		cfg.Record = with(tc.granted)
		_, err := admission.NewValidator(cfg).ValidateUpdate(request(), tc.was, tc.is)
		t.Run(name, func(t *testing.T) { check(t, err, tc.want) })
	}
}

// Until the guards are accepted, what creates or widens is answered "try again"; who may not hears that first.
func TestCase51_UntilGuardsAreAccepted(t *testing.T) {
	cfg := config
	cfg.Guards = func() error { return errors.New("the policy is gone") }
	v := admission.NewValidator(cfg)
	const again = "Internal error occurred: pat-operator cannot carry this out yet: the policy is gone; try again"
	_, err := v.ValidateCreate(request(), alicesPAT())
	check(t, err, again)
	_, err = v.ValidateUpdate(request(), alicesPAT(), alicesPAT(rotating))
	check(t, err, again)
	_, err = v.ValidateCreate(request(withPAT), alicesPAT())
	check(t, err, isForbidden+"spec.user: a personal access token may not make another; log in as you did before you had one")
	if _, err := v.ValidateUpdate(request(), alicesPAT(), alicesPAT(suspended)); err != nil {
		t.Errorf("what narrows: %v", err)
	}
	req, err := ctrladmission.RequestFromContext(request())
	if err != nil {
		t.Fatal(err)
	}
	req.DryRun = ptr.To(true)
	if _, err := v.ValidateCreate(ctrladmission.NewContextWithRequest(t.Context(), req), alicesPAT()); err != nil {
		t.Errorf("a dry run: %v", err)
	}
}

// A token for oneself needs no access review, a token for another user one for each right.
func TestAccessReviewsAreOnlyOfOthersRights(t *testing.T) {
	for name, tc := range map[string]struct {
		by   requester
		want int
	}{"one's own": {nil, 0}, "another user's": {bob, 4}} {
		asked := make(chan string, 100)
		cfg := config
		cfg.Client = reviewer(func(_ context.Context, q authorizationv1.SubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
			if q.ResourceAttributes.Verb == "impersonate" {
				asked <- describe(q)
			}
			return authorizationv1.SubjectAccessReviewStatus{Allowed: q.ResourceAttributes.Verb == "impersonate"}, nil
		})
		ctx := request()
		if tc.by != nil {
			ctx = request(tc.by)
		}
		if _, err := admission.NewValidator(cfg).ValidateCreate(ctx, alicesPAT()); err != nil || len(asked) != tc.want {
			t.Errorf("%s: %d reviews, %v; want %d", name, len(asked), err, tc.want)
		}
	}
}
