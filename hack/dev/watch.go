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

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// probe reports whether a token is valid at this moment.
type probe func(ctx context.Context, token string) (bool, error)

// atAPIServer asks kube-apiserver for something that every authenticated user may read.
func atAPIServer(c *cluster.Cluster) probe {
	return func(ctx context.Context, token string) (bool, error) {
		config := c.Anonymous()
		config.BearerToken = token
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return false, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+"/api", nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, err
		}
		_ = response.Body.Close()
		switch response.StatusCode {
		case http.StatusOK:
			return true, nil
		case http.StatusUnauthorized:
			return false, nil
		}
		return false, fmt.Errorf("kube-apiserver answered %s", response.Status)
	}
}

// atVerifier asks the TokenReview webhook itself, as kube-apiserver does.
func atVerifier(c *cluster.Cluster) (probe, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.AuthnKubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, token string) (bool, error) {
		body, err := json.Marshal(authenticationv1.TokenReview{
			TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "TokenReview"},
			Spec:     authenticationv1.TokenReviewSpec{Token: token},
		})
		if err != nil {
			return false, err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, config.Host, bytes.NewReader(body))
		if err != nil {
			return false, err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			return false, err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return false, fmt.Errorf("the verifier answered %s", response.Status)
		}
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(response.Body).Decode(&review); err != nil {
			return false, err
		}
		return review.Status.Authenticated, nil
	}, nil
}

// until polls until the token is valid, or invalid, and returns when it first saw that.
func (ask probe) until(ctx context.Context, token string, valid bool, limit time.Duration) (time.Time, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for {
		got, err := ask(ctx, token)
		if err != nil {
			return time.Time{}, err
		}
		if now := time.Now(); got == valid {
			return now, nil
		} else if now.After(deadline) {
			return time.Time{}, fmt.Errorf("expected the token to be %s within %v", word(valid), limit)
		}
		select {
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-tick.C:
		}
	}
}

func word(valid bool) string {
	if valid {
		return "valid"
	}
	return "refused"
}
