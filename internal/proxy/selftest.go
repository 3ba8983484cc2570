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

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	// SelfTestUser is bound to nothing, and may be impersonated in every form of the impersonator's permissions.
	SelfTestUser = "pat-operator.io:self-test"

	selfTestEvery   = 5 * time.Minute
	selfTestRetry   = 5 * time.Second
	selfTestTimeout = 30 * time.Second

	constrained = "impersonate:user-info"
)

// SelfTest proves that the account that impersonates can do what it must, and no more. It is a Runnable of every replica.
type SelfTest struct {
	own      *kubernetes.Clientset // as the impersonator itself
	as       *kubernetes.Clientset // as the user of the self-test
	unlimit  bool
	log      logr.Logger
	problem  atomic.Pointer[error]
	reported string
}

var errNotTested = errors.New("the account that impersonates has not been tested yet")

// NewSelfTest returns the Runnable. unlimited allows an account that may impersonate everybody.
func NewSelfTest(host string, t *Transport, i *Impersonator, unlimited bool, log logr.Logger) (*SelfTest, error) {
	config := &rest.Config{Host: host, QPS: -1, Timeout: selfTestTimeout}
	own, err := kubernetes.NewForConfigAndClient(config, &http.Client{Transport: &asItself{t, i.Token}, Timeout: selfTestTimeout})
	if err != nil {
		return nil, err
	}
	as, err := kubernetes.NewForConfigAndClient(config, &http.Client{Transport: &asSelfTest{t.As(i.Token, i.Refused)}, Timeout: selfTestTimeout})
	if err != nil {
		return nil, err
	}
	s := &SelfTest{own: own, as: as, unlimit: unlimited, log: log}
	s.problem.Store(&errNotTested)
	return s, nil
}

// asItself sends the requests of the impersonator's own.
type asItself struct {
	base  http.RoundTripper
	token func() (string, bool)
}

// RoundTrip implements http.RoundTripper.
func (a *asItself) RoundTrip(r *http.Request) (*http.Response, error) {
	token, ok := a.token()
	if !ok {
		return nil, errNoToken
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return a.base.RoundTrip(r)
}

// asSelfTest sends requests as those of a token are sent.
type asSelfTest struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a *asSelfTest) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range impersonation(selfTestResult(), nil) {
		r.Header[name] = values
	}
	return a.base.RoundTrip(r)
}

// selfTestResult has no scopes: an API server that enforces them itself knows no such token. Whether the account may say that
// there are some is asked.
func selfTestResult() *verifier.Result {
	return &verifier.Result{
		ID: "selftest", Namespace: "pat-operator.io", Name: "self-test",
		User: v1alpha1.UserInfo{Username: SelfTestUser, UID: "self-test"},
	}
}

// NeedLeaderElection is false: every replica impersonates.
func (*SelfTest) NeedLeaderElection() bool { return false }

// Start tests until ctx ends.
func (s *SelfTest) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.test(ctx)
		pause := selfTestEvery
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			selfTest.Set(1)
			s.problem.Store(new(error))
			s.reported = ""
		default:
			pause = selfTestRetry
			selfTest.Set(0)
			// An API server that does not answer says nothing new.
			if _, conclusive := errors.AsType[*impersonatorError](err); conclusive || s.Ready(nil) != nil {
				s.problem.Store(&err)
			}
			if err.Error() != s.reported {
				s.reported = err.Error()
				s.log.Info("The account that impersonates has not passed its test", "reason", err.Error())
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// Ready says why the account may not be used, or nil.
func (s *SelfTest) Ready(*http.Request) error { return *s.problem.Load() }

// impersonatorError is what is wrong with the account's permissions.
type impersonatorError struct{ what string }

func (e *impersonatorError) Error() string { return e.what }

func (s *SelfTest) test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, selfTestTimeout)
	defer cancel()
	secrets := authorizationv1.ResourceAttributes{Verb: "get", Resource: "secrets"}
	if may, err := s.may(ctx, secrets); err != nil || may {
		return firstError(err, &impersonatorError{"the account that impersonates may read Secrets: take every permission from it but those to impersonate"})
	}
	if unlimited, err := s.unlimited(ctx); err != nil || unlimited && !s.unlimit {
		return firstError(err, &impersonatorError{"the account that impersonates may act as system:masters or system:kube-controller-manager, " +
			"and so do anything: list the users in its role, or set --proxy-allow-unlimited-impersonation"})
	}
	review, err := s.as.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	missing, askErr := s.missing(ctx)
	switch {
	case askErr == nil && missing != "":
		return &impersonatorError{"the account that impersonates lacks permissions; add to its ClusterRole:\n" + missing}
	case err != nil:
		return fmt.Errorf("cannot act as %s: %w", SelfTestUser, err)
	case askErr != nil:
		return askErr
	}
	want, is := selfTestResult(), review.Status.UserInfo
	for key, values := range authn.Extra(want) {
		if fmt.Sprint(is.Extra[key]) != fmt.Sprint(values) {
			return &impersonatorError{"the API server does not see " + key + " of users that are impersonated; look for what changes headers on the way"}
		}
	}
	if is.Username != SelfTestUser || is.UID != want.User.UID {
		return &impersonatorError{"the API server sees another user than the proxy impersonates; look for what changes headers on the way"}
	}
	return nil
}

func firstError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// unlimited reports whether the account may act as the most powerful users, with the plain verb or with the verbs of constrained
// impersonation.
func (s *SelfTest) unlimited(ctx context.Context) (bool, error) {
	const manager = "system:kube-controller-manager"
	for _, a := range []authorizationv1.ResourceAttributes{
		{Verb: "impersonate", Resource: "groups", Name: "system:masters"},
		{Verb: "impersonate", Resource: "users", Name: manager},
	} {
		if may, err := s.may(ctx, a); err != nil || may {
			return may, err
		}
	}
	may, err := s.may(ctx, authorizationv1.ResourceAttributes{Verb: constrained, Group: "authentication.k8s.io", Resource: "users", Name: manager})
	if err != nil || !may {
		return false, err
	}
	return s.may(ctx, authorizationv1.ResourceAttributes{Verb: "impersonate-on:user-info:list", Resource: "secrets"})
}

// missing are the rules that the account lacks to act as the self-test's user, as YAML.
func (s *SelfTest) missing(ctx context.Context) (string, error) {
	var rules strings.Builder
	for _, a := range []authorizationv1.ResourceAttributes{
		{Resource: "users", Name: SelfTestUser},
		{Group: "authentication.k8s.io", Resource: "uids", Name: "self-test"},
		{Group: "authentication.k8s.io", Resource: "userextras", Subresource: authn.ExtraCredentialID, Name: "PAT=selftest"},
		{Group: "authentication.k8s.io", Resource: "userextras", Subresource: authn.ExtraName, Name: "pat-operator.io/self-test"},
		{Group: "authentication.k8s.io", Resource: "userextras", Subresource: authn.ExtraScopes, Name: "limited"},
	} {
		plain, inMode := a, a
		plain.Verb, inMode.Verb, inMode.Group = "impersonate", constrained, "authentication.k8s.io"
		may, err := s.may(ctx, plain)
		if err == nil && !may {
			may, err = s.may(ctx, inMode)
		}
		switch {
		case err != nil:
			return "", err
		case may:
			continue
		}
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		fmt.Fprintf(&rules, "- apiGroups: [%q]\n  resources: [%s]\n  verbs: [impersonate]\n", a.Group, resource)
		if a.Resource == "users" {
			fmt.Fprintf(&rules, "  resourceNames: [%q]\n", a.Name)
		}
	}
	return rules.String(), nil
}

func (s *SelfTest) may(ctx context.Context, a authorizationv1.ResourceAttributes) (bool, error) {
	review, err := s.own.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("cannot ask what the account that impersonates may do: %w", err)
	}
	return review.Status.Allowed, nil
}
