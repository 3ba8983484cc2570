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

package verifier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	audienceRefresh = 10 * time.Minute
	reviewTimeout   = 10 * time.Second
)

// TokenReviewer is what discovery needs of a client.Client.
type TokenReviewer interface {
	Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error
}

// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create

// Discovery learns the API server's own audiences from a TokenReview of the operator's own token. It is a Runnable of
// every replica.
type Discovery struct {
	learned  func(audiences []string)
	reviewer TokenReviewer
	ownToken func() (string, error)
	log      logr.Logger

	refresh time.Duration
	backoff wait.Backoff
}

// NewDiscovery returns the Runnable, which calls learned with the audiences; ownToken is called for every review, since tokens are
// replaced.
func NewDiscovery(learned func(audiences []string), reviewer TokenReviewer, ownToken func() (string, error), log logr.Logger) *Discovery {
	return &Discovery{
		learned:  learned,
		reviewer: reviewer,
		ownToken: ownToken,
		log:      log,
		refresh:  audienceRefresh,
		backoff:  wait.Backoff{Duration: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 1 << 30, Cap: 30 * time.Second},
	}
}

// OwnToken returns how to read the bearer token of a client configuration. It fails if the configuration has none, as with a
// client certificate.
func OwnToken(config *rest.Config) (func() (string, error), error) {
	switch {
	case config.BearerTokenFile != "":
		return func() (string, error) {
			b, err := os.ReadFile(config.BearerTokenFile)
			if err != nil {
				return "", fmt.Errorf("reading the operator's own token: %w", err)
			}
			return strings.TrimSpace(string(b)), nil
		}, nil
	case config.BearerToken != "":
		return func() (string, error) { return config.BearerToken, nil }, nil
	}
	return nil, errors.New("the operator does not authenticate with a token, so the API server's audiences cannot be " +
		"discovered: set --api-audiences to kube-apiserver's --api-audiences (by default its --service-account-issuer)")
}

// NeedLeaderElection is false: every replica verifies.
func (*Discovery) NeedLeaderElection() bool { return false }

// Start discovers until it works, and again every ten minutes, until ctx ends. A failure keeps the known ones.
func (d *Discovery) Start(ctx context.Context) error {
	var known []string
	backoff := d.backoff
	for ctx.Err() == nil {
		pause := d.refresh
		audiences, err := d.discover(ctx)
		if err != nil {
			pause = backoff.Step()
			d.log.Info("Cannot discover the API server's audiences; trying again", "reason", err.Error(), "after", pause.String())
		} else {
			backoff = d.backoff
			if !slices.Equal(audiences, known) {
				d.log.Info("Discovered the API server's audiences", "audiences", audiences)
			}
			known = audiences
			d.learned(audiences)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// discover asks once. Its errors do not hold what the API server wrote about the token.
func (d *Discovery) discover(ctx context.Context) ([]string, error) {
	own, err := d.ownToken()
	if err != nil {
		return nil, err
	}
	if own == "" {
		return nil, errors.New("the operator's own token is empty")
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: own}}
	if err := d.reviewer.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("creating a TokenReview of the operator's own token: %w", err)
	}
	if !review.Status.Authenticated {
		return nil, errors.New("the API server does not accept the operator's own token")
	}
	audiences := slices.DeleteFunc(slices.Clone(review.Status.Audiences), func(a string) bool { return a == "" })
	if len(audiences) == 0 {
		return nil, errors.New("the API server names no audiences for the operator's own token; set --api-audiences")
	}
	slices.Sort(audiences)
	return audiences, nil
}
