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

package api

import (
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	webhooktoken "k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// remembered is how long what the API server says of a caller counts: a minute with knownFor. refusedFor is how long a caller may
	// not ask about an audience after it was refused.
	remembered = time.Minute - knownFor
	refusedFor = 10 * time.Second
)

// Delegate returns how to ask the API server who a caller is, by TokenReview, and what it may ask about, by SubjectAccessReview. What
// it says is remembered, but for tokens that it does not know.
func Delegate(config *rest.Config, client *http.Client) (authenticator.Token, Authorizer, error) {
	reviews, err := authenticationv1.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, nil, err
	}
	accesses, err := authorizationv1.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, nil, err
	}
	authenticatorfactory.RegisterMetrics()
	backoff := wait.Backoff{Duration: 200 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 3}
	tokens, err := webhooktoken.NewFromInterface(reviews, nil, backoff, questionTimeout, webhooktoken.AuthenticatorMetrics{
		RecordRequestTotal: authenticatorfactory.RecordRequestTotal, RecordRequestLatency: authenticatorfactory.RecordRequestLatency,
	})
	if err != nil {
		return nil, nil, err
	}
	access, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: accesses, AllowCacheTTL: remembered, DenyCacheTTL: refusedFor, WebhookRetryBackoff: &backoff,
	}.New()
	if err != nil {
		return nil, nil, err
	}
	return cache.New(tokens, false, remembered, 0), access, nil
}
