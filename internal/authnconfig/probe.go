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

package authnconfig

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// ExtraScopes is the extra key that names the scopes of a token that has any. kube-apiserver asks the authorizer about requests
// with it, and about no other.
const ExtraScopes = "pat-operator.io/scopes"

const (
	// probeUser does not exist.
	probeUser = "pat-operator.io:probe"
	// probePath and failurePath are below one that RBAC allows to everyone who is authenticated: an authorizer that is asked
	// before ours allows what ours would deny.
	probePath   = "/apis/pat-operator.io/probe/"
	failurePath = "/apis/pat-operator.io/probe-failure/"
)

// Enforcement is what a kube-apiserver does with the scopes of tokens.
type Enforcement string

// What Probe finds, as people read it.
const (
	Enforced  Enforcement = "kube-apiserver enforces the scopes of tokens"
	NotAsked  Enforcement = "kube-apiserver does not ask the verifier about tokens with scopes"
	Overruled Enforcement = "kube-apiserver has an authorizer before that of pat-operator, which allows requests of tokens with scopes"
	Elsewhere Enforcement = "kube-apiserver asks the verifier of another installation about tokens with scopes"
	Failing   Enforcement = "kube-apiserver gets no answer from the verifier about tokens with scopes, so they may do nothing"
	FailsOpen Enforcement = "kube-apiserver lets tokens with scopes do everything while the verifier does not answer"
)

// Ask posts a SubjectAccessReview to a kube-apiserver and returns its answer.
type Ask func(context.Context, *authorizationv1.SubjectAccessReview) (authorizationv1.SubjectAccessReviewStatus, error)

// Probe asks a kube-apiserver for a user that does not exist: one review that the authorizer denies by a reason that only it can
// know, and one that it fails. RBAC would allow both. installation is what the authorizer of this installation answers with; empty
// takes any. cause is what kube-apiserver says of an authorizer that fails.
func Probe(ctx context.Context, installation string, ask Ask) (found Enforcement, cause string, err error) {
	nonce := rand.Text()
	status, err := ask(ctx, probeReview(probePath+nonce, user.AllAuthenticated))
	if err == nil && !status.Denied {
		// Is our authorizer behind another one?
		status, err = ask(ctx, probeReview(probePath+nonce))
		if err == nil && status.Denied && strings.Contains(status.Reason, ProbeReason(nonce, "")) {
			return Overruled, "", nil
		}
		return NotAsked, "", err
	}
	switch {
	case err != nil:
		return "", "", err
	case !strings.Contains(status.Reason, ProbeReason(nonce, "")):
		return Failing, status.EvaluationError, nil
	case !strings.Contains(status.Reason, ProbeReason(nonce, installation)):
		return Elsewhere, "", nil
	}
	status, err = ask(ctx, probeReview(failurePath+nonce, user.AllAuthenticated))
	switch {
	case err != nil:
		return "", "", err
	case !status.Denied || status.EvaluationError == "":
		return FailsOpen, "", nil
	}
	return Enforced, "", nil
}

// AskedForEveryone reports whether a kube-apiserver asks the verifier about requests without ExtraScopes, too.
func AskedForEveryone(ctx context.Context, ask Ask) (bool, error) {
	review := probeReview(probePath + rand.Text())
	review.Spec.Extra = nil
	status, err := ask(ctx, review)
	return status.Denied, err
}

func probeReview(path string, groups ...string) *authorizationv1.SubjectAccessReview {
	return &authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authorizationv1.SchemeGroupVersion.String(), Kind: "SubjectAccessReview"},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: probeUser, Groups: groups, Extra: map[string]authorizationv1.ExtraValue{ExtraScopes: {"probe"}},
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: path},
		},
	}
}

// IsProbe reports whether a review is one of Probe's, and whether it is to fail. nonce goes into the answer, ProbeReason.
func IsProbe(s *authorizationv1.SubjectAccessReviewSpec) (nonce string, fails, is bool) {
	if s.NonResourceAttributes != nil {
		path := s.NonResourceAttributes.Path
		nonce, fails = path[strings.LastIndex(path, "/")+1:], strings.HasPrefix(path, failurePath)
	}
	return nonce, fails, s.User == probeUser
}

// ProbeReason is the reason by which the authorizer of an installation denies a probe.
func ProbeReason(nonce, installation string) string {
	return fmt.Sprintf("pat-operator denies probe %s for installation %s", nonce, installation)
}
