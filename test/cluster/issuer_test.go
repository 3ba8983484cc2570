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

package cluster

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"golang.org/x/oauth2"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/test/issuer"
	"github.com/pat-operator/pat-operator/test/long"
)

func TestIDTokensOfTheIssuerAreTakenBesideTokensOfTheWebhook(t *testing.T) {
	long.Only(t)
	ctx := t.Context()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(ctx, Options{
		ConfigDir: kustomization(t, standIn), ManagerBinary: self, Issuer: issuer.People(), Logf: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	alice := authenticationv1.UserInfo{Username: "alice", Groups: []string{"team-devs", "alice-devs", "system:authenticated"}}
	expectUser(ctx, t, c, idToken(ctx, t, c, "alice"), alice)
	if _, err := c.StartVerifier(ctx); err != nil {
		t.Fatal(err)
	}
	expectUser(ctx, t, c, idToken(ctx, t, c, "alice"), alice)
	if name := whoami(ctx, t, c, goodToken).Username; name == "" {
		t.Error("a token of the webhook is refused")
	}
}

// idToken signs a person in as the console does.
func idToken(ctx context.Context, t *testing.T, c *Cluster, name string) string {
	t.Helper()
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	ctx = oidc.ClientContext(ctx, client)
	provider, err := oidc.NewProvider(ctx, c.IssuerURL)
	if err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{
		ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret, Endpoint: provider.Endpoint(),
		RedirectURL: c.ConsoleURL + "/callback", Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}
	verifier := oauth2.GenerateVerifier()
	back, err := issuer.SignIn(ctx, client, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), name, name)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := config.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	return raw
}

// expectUser waits until kube-apiserver knows whom a token stands for: it may still be fetching the issuer's keys.
func expectUser(ctx context.Context, t *testing.T, c *Cluster, token string, want authenticationv1.UserInfo) {
	t.Helper()
	NewWithT(t).Eventually(func() string { return cmp.Diff(want, whoami(ctx, t, c, token)) }).WithTimeout(2*time.Minute).
		Should(BeEmpty(), "the user of the ID token (-want +got)")
}

// whoami is whom kube-apiserver takes a token for, and nobody where it refuses it.
func whoami(ctx context.Context, t *testing.T, c *Cluster, token string) authenticationv1.UserInfo {
	t.Helper()
	config := c.Anonymous()
	config.BearerToken = token
	review, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().
		Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if apierrors.IsUnauthorized(err) {
		return authenticationv1.UserInfo{}
	}
	if err != nil {
		t.Fatal(err)
	}
	user := review.Status.UserInfo
	user.Extra = nil // has the ID of the credential
	return user
}
