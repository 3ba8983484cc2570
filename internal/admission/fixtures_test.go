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
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/admission"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	isForbidden = `personalaccesstokens.pat-operator.io "ci" is forbidden: `
	isInvalid   = `PersonalAccessToken.pat-operator.io "ci" is invalid: `
)

var (
	now    = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	config = admission.Config{
		Config: lifecycle.Config{MaxLifetime: 366 * v1alpha1.Day, SecretDelivery: true}, Now: func() time.Time { return now },
		Client: nothing, ServiceAccounts: accounts{{Namespace: "team-a", Name: "ci"}: "sa-1"},
		Record:               byFixture,
		HistoryFull:          func(context.Context, *v1alpha1.PersonalAccessToken) bool { return false },
		Guards:               func() error { return nil },
		RestrictingExtraKeys: []string{"scopes.example.com/Limit"},
	}
)

// byFixture takes the fixture's spec and status for what the record says.
func byFixture(_ context.Context, p *v1alpha1.PersonalAccessToken) (*record.Record, error) {
	if p.Status.TokenID == "" {
		return nil, nil
	}
	t := &record.Token{ID: "ponmlkjihgfedcba", Source: record.SourceOperator, IssuedAt: p.CreationTimestamp.Time, Trigger: lifecycle.TriggerOf(&p.Spec, nil)}
	if p.Status.IssuedAt != nil {
		t.IssuedAt = p.Status.IssuedAt.Time
	}
	t.ExpiresAt = lifecycle.End(&p.Spec, t.IssuedAt)
	if p.Spec.Token != nil {
		t.ID, t.Digest, t.Source = p.Spec.Token.ID, p.Spec.Token.SHA256, record.SourceHolder
	}
	return &record.Record{Current: t}, nil
}

// holding answers with a record of this token, nil for none.
func holding(t *record.Token) func(context.Context, *object) (*record.Record, error) {
	return func(context.Context, *object) (*record.Record, error) { return &record.Record{Current: t}, nil }
}

type (
	object    = v1alpha1.PersonalAccessToken
	modifier  = func(*object)
	requester = func(*authenticationv1.UserInfo)
)

// alicesPAT is a resource as alice creates it and the defaulter stamps it.
func alicesPAT(modify ...modifier) *object {
	pat := &object{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "ci", CreationTimestamp: metav1.NewTime(now)},
		Spec:       v1alpha1.PersonalAccessTokenSpec{User: &v1alpha1.UserInfo{Username: "alice", UID: "u-1", Groups: []string{"devs", "ops"}}},
	}
	for _, m := range modify {
		m(pat)
	}
	return pat
}

func user(modify func(*v1alpha1.UserInfo)) modifier {
	return func(p *object) { modify(p.Spec.User) }
}

func days(n int32) modifier { return func(p *object) { p.Spec.ExpiresInDays = &n } }

func expires(at time.Time) modifier {
	return func(p *object) { p.Spec.ExpiresAt = new(metav1.NewTime(at)); p.Spec.ExpiresInDays = nil }
}

func issued(p *object) { issuedAt(now)(p) }

func issuedAt(at time.Time) modifier {
	return func(p *object) {
		p.Status.TokenID, p.Status.IssuedAt = "abcdefghijklmnop", new(metav1.NewTime(at))
	}
}

func suspended(p *object) { p.Spec.Suspend = true }

// Public keys of a vendor.
const (
	vendorKey = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	vendorSSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL/6c4r/d20dKQYj0VwfyMhEhdpAmPsukdWsUNWx7gtK vendor@example.com"
)

func toKeys(keys ...string) modifier {
	return func(p *object) { p.Spec.Delivery = &v1alpha1.Delivery{Recipients: keys} }
}

func holder(p *object) {
	p.Spec.Token = &v1alpha1.HolderToken{ID: "abcdefghijklmnop", SHA256: strings.Repeat("5d", 32), BoundTo: "team-a/ci"}
	expires(now.Add(24 * time.Hour))(p)
}

func audiences(a ...string) modifier { return func(p *object) { p.Spec.Audiences = a } }

func bob(r *authenticationv1.UserInfo) {
	*r = authenticationv1.UserInfo{Username: "bob", Groups: []string{"devs", "ops"}}
}

const ci = "system:serviceaccount:team-a:ci"

// account is how a GitOps controller is seen that impersonates an account by name: without a UID.
func account(r *authenticationv1.UserInfo) {
	*r = authenticationv1.UserInfo{Username: ci, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:team-a", "system:authenticated"}}
}

// ofAccount makes a resource the service account's, as the defaulter stamps it.
func ofAccount(p *object) {
	p.Spec.User = &v1alpha1.UserInfo{Username: ci, UID: "sa-1", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:team-a"}}
}

func limited(r *authenticationv1.UserInfo) {
	r.Extra = map[string]authenticationv1.ExtraValue{"scopes.example.com/limit": {"read"}}
}

func withPAT(r *authenticationv1.UserInfo) {
	r.Extra = map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/credential-id": {"PAT=abcdefghijklmnop"}}
}

// request is what alice, or whom modify makes of her, asks in namespace team-a.
func request(modify ...requester) context.Context {
	u := authenticationv1.UserInfo{Username: "alice", UID: "u-1", Groups: []string{"ops", "devs", "system:authenticated"}}
	for _, m := range modify {
		m(&u)
	}
	return ctrladmission.NewContextWithRequest(context.Background(), ctrladmission.Request{
		AdmissionRequest: admissionv1.AdmissionRequest{Namespace: "team-a", UserInfo: u},
	})
}

// check compares the text of an error, and its kind by how the text begins.
func check(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if strings.Contains(strings.ToLower(got), "immutable") || strings.Contains(got, strings.Repeat("5d", 32)) {
		t.Errorf("a text that must not be: %s", got)
	}
	var status apierrors.APIStatus
	if err != nil && (!errors.As(err, &status) || len(status.Status().Details.Causes) == 0) {
		t.Fatalf("no status that names fields: %v", err)
	}
	if err != nil {
		for _, cause := range status.Status().Details.Causes {
			if byPolicy := cause.Type == v1alpha1.ReasonDeniedByPolicy; byPolicy != strings.Contains(cause.Message, "TokenPolicy") {
				t.Errorf("the cause has the type %s: %s", cause.Type, cause.Message)
			}
		}
	}
	if strings.HasPrefix(want, isForbidden) != apierrors.IsForbidden(err) || strings.HasPrefix(want, isInvalid) != apierrors.IsInvalid(err) {
		t.Errorf("neither 403 nor 422 as it should be: %v", err)
	}
}
