//go:build clients

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

package clients

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/client-go/kubernetes"

	"github.com/pat-operator/pat-operator/test/env"
)

// kubernetesClient asks kube-apiserver who a token's user is.
type kubernetesClient struct {
	name, remembers string
	ask             func(ctx context.Context, token string) (user string, groups []string, err error)
}

// errRefused is a plain no, or that of a token that the cluster cannot vouch for.
var errRefused = errors.New("refused")

// What runs in the cluster asks by TokenReview, for its own audience.
func TestCase73_KubernetesClientsAskByTokenReview(t *testing.T) {
	clientset := env.Must[*kubernetes.Clientset](t)(kubernetes.NewForConfig(product.Cluster.Admin()))
	delegating, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient: clientset.AuthenticationV1(), TokenAccessReviewTimeout: 10 * time.Second, CacheTTL: 10 * time.Second,
		WebhookRetryBackoff: &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 1.5, Steps: 5}, APIAudiences: authenticator.Audiences{listAPI},
	}.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []kubernetesClient{
		{"client-go, TokenReview", "nothing; kube-apiserver 10 s", func(ctx context.Context, token string) (string, []string, error) {
			review, err := clientset.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
				Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{listAPI}},
			}, metav1.CreateOptions{})
			if err == nil && (!review.Status.Authenticated || !slices.Equal(review.Status.Audiences, []string{listAPI}) ||
				review.Status.User.Username == "system:anonymous") { // kube-apiserver's answer to a token that begins with a space.
				err = errRefused
			}
			if err != nil {
				return "", nil, err
			}
			return review.Status.User.Username, review.Status.User.Groups, nil
		}},
		{"k8s.io/apiserver, delegating authenticator", "10 s; kube-apiserver 10 s", func(ctx context.Context, token string) (string, []string, error) {
			// As the filter WithAuthentication of that package does.
			ctx = authenticator.WithAudiences(ctx, authenticator.Audiences{listAPI})
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+frontName, nil)
			if err != nil {
				return "", nil, err
			}
			r.Header.Set("Authorization", "Bearer "+token)
			response, ok, err := delegating.AuthenticateRequest(r)
			if err != nil || !ok {
				return "", nil, errRefused // An invalid token is an error to it.
			}
			return response.User.GetName(), response.User.GetGroups(), nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, token := issued(t)
			var user string
			var groups []string
			if err := env.Poll(t.Context(), env.Patience, func() (err error) { // The verifier learns of it apart from the API face.
				user, groups, err = c.ask(t.Context(), token)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if user != "alice" || !slices.Contains(groups, "CN=a,admins") || !slices.Contains(groups, "system:authenticated") {
				t.Errorf("a valid token is %s, %v", user, groups)
			}
			if _, groups, err := c.ask(t.Context(), known.crowd); err != nil || len(groups) != mostGroups+1 {
				t.Errorf("%d groups: %v", len(groups), err)
			}
			for what, refused := range map[string]string{
				"expired": known.expired, "suspended": known.suspended, "for another API": known.otherAudience, "for Kubernetes": known.forKubernetes,
				"bound to networks": known.here, "garbage": "x", "a part": token[:len(token)-1], "two": token + ", Bearer " + token, "with a space": " " + token,
			} {
				if user, _, err := c.ask(t.Context(), refused); !errors.Is(err, errRefused) {
					t.Errorf("%s: %s, %v", what, user, err)
				}
			}
			measureRevocation(t, c.name, c.remembers, token, func() error {
				_, _, err := c.ask(t.Context(), token)
				if errors.Is(err, errRefused) {
					return nil
				}
				return errors.Join(err, errors.New("it still takes the token"))
			})
		})
	}
}
