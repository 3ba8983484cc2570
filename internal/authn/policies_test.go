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

package authn

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/fleet"
	"github.com/pat-operator/pat-operator/test/policies"
)

// What kube-apiserver hears of a token that policies limit. A no has an error and the audiences that were asked for, so that it is
// not remembered: without the policy the next request passes.
func TestPoliciesInTokenReviews(t *testing.T) {
	index := verifier.NewIndex(logr.Discard())
	index.SetAPIAudiences([]string{fleet.Audience})
	index.MarkSynced()
	m, err := fleet.New(0, now)
	if err != nil {
		t.Fatal(err)
	}
	index.SetResource(m.Resource)
	index.SetRecord(m.Record)
	at := now.Add(time.Hour)
	h := NewTokenReviewHandler(index, Options{Now: func() time.Time { return at }, Enforced: func() bool { return true }})
	groups := m.Resource.Spec.User.Groups
	for name, tc := range map[string]struct {
		policy string
		after  time.Duration
		groups []string // nil: refused
	}{
		"for others":     {`{match: {subjects: [{kind: User, name: bob}]}, deny: {reason: x}}`, time.Hour, groups},
		"deny":           {`{match: {subjects: [{kind: User, name: "` + fleet.Username(0) + `"}]}, deny: {reason: x}}`, time.Hour, nil},
		"not understood": {`{allowedWeekdays: [Monday]}`, time.Hour, nil},
		"before its end": {`{maxLifetimeDays: 30}`, 30*24*time.Hour - 1, groups},
		"at its end":     {`{maxLifetimeDays: 30}`, 30 * 24 * time.Hour, nil},
		"networks":       {`{allowedFrom: ["0.0.0.0/0", "::/0"]}`, time.Hour, nil},
		"one group":      {`{allowedGroups: ["` + groups[1] + `"]}`, time.Hour, groups[1:2]},
		"no group":       {`{allowedGroups: [x]}`, time.Hour, []string{}},
		"for new tokens": {`{maxTokensPerUser: 0, requireScopes: true, allowedScopes: [metrics], allowedAudiences: [x], allowedDelivery: [Holder]}`, time.Hour, groups},
	} {
		at = now.Add(tc.after)
		for _, path := range []string{authnconfig.TokenReviewPath, authnconfig.ScopedPath} {
			ask := func() (status authenticationv1.TokenReviewStatus) {
				t.Helper()
				w := post(t, h, review("v1", m.Bearer, fleet.Audience), func(r *http.Request) { r.URL.Path = path })
				var said authenticationv1.TokenReview
				if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != http.StatusOK {
					t.Fatalf("%s: HTTP %d %s", name, w.Code, w.Body)
				}
				return said.Status
			}
			index.SetPolicy(policies.New("p", tc.policy))
			got := ask()
			if got.Authenticated != (tc.groups != nil) || !slices.Equal(got.User.Groups, tc.groups) || !slices.Equal(got.Audiences, []string{fleet.Audience}) {
				t.Errorf("%s, %s: %+v, want the groups %q", name, path, got, tc.groups)
			}
			if wantError := tc.groups == nil; wantError != (got.Error == authnconfig.UnknownError) {
				t.Errorf("%s, %s: error %q", name, path, got.Error)
			}
			index.DeletePolicy("p")
			if got := ask(); !got.Authenticated || !slices.Equal(got.User.Groups, groups) {
				t.Errorf("%s, %s, and is gone: %+v", name, path, got)
			}
		}
	}
}
