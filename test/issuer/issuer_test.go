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

package issuer

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
)

// relyingParty is the console's side of the protocol, by the libraries that the console uses.
type relyingParty struct {
	*Issuer
	oauth2.Config
	provider *oidc.Provider
	context  context.Context // has the HTTP client
	client   *http.Client
}

func start(t *testing.T) *relyingParty {
	t.Helper()
	const redirect = "https://console.example.com/callback"
	var handler http.Handler
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	issuer, err := New(server.URL, redirect, People()...)
	if err != nil {
		t.Fatal(err)
	}
	handler = issuer
	client := server.Client()
	rp := &relyingParty{Issuer: issuer, client: client, context: oidc.ClientContext(t.Context(), client)}
	if rp.provider, err = oidc.NewProvider(rp.context, server.URL); err != nil {
		t.Fatal(err)
	}
	rp.Config = oauth2.Config{
		ClientID: ClientID, ClientSecret: ClientSecret, Endpoint: rp.provider.Endpoint(), RedirectURL: redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", GroupsScope},
	}
	return rp
}

// code is what a browser brings back to the redirect URI.
func (rp *relyingParty) code(t *testing.T, verifier, username string) string {
	t.Helper()
	url := rp.AuthCodeURL("the state", oidc.Nonce("the nonce"), oauth2.S256ChallengeOption(verifier))
	back, err := SignIn(t.Context(), rp.client, url, username, username)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(back.String(), rp.RedirectURL+"?") {
		t.Errorf("back at %s", back)
	}
	if got := back.Query().Get("state"); got != "the state" {
		t.Errorf("state %q comes back", got)
	}
	return back.Query().Get("code")
}

func TestSignInGivesAnIDTokenThatNamesTheUserAndTheGroups(t *testing.T) {
	rp := start(t)
	rp.SetIDTokenLifetime(7 * time.Minute)
	verifier := oauth2.GenerateVerifier()
	tokens, err := rp.Exchange(rp.context, rp.code(t, verifier, "alice"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	token, err := rp.provider.Verifier(&oidc.Config{ClientID: ClientID}).Verify(rp.context, raw)
	if err != nil {
		t.Fatal(err)
	}
	if token.Nonce != "the nonce" {
		t.Errorf("nonce %q comes back", token.Nonce)
	}
	if lifetime := token.Expiry.Sub(token.IssuedAt); lifetime != 7*time.Minute {
		t.Errorf("the ID token is valid for %v", lifetime)
	}
	type claims struct {
		Subject  string   `json:"sub"`
		Username string   `json:"preferred_username"`
		Email    string   `json:"email"`
		Groups   []string `json:"groups"`
	}
	var got claims
	if err := token.Claims(&got); err != nil {
		t.Fatal(err)
	}
	want := claims{"subject-of-alice", "alice", "alice@example.com", []string{"team-devs", "alice-devs"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	rp := start(t)
	for name, password := range map[string]string{"alice": "bob", "bob": "", "mallory": "mallory"} {
		url := rp.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
		if back, err := SignIn(t.Context(), rp.client, url, name, password); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("%s with the password %q: %v, %v", name, password, back, err)
		}
	}
}

func TestCodeWithoutItsVerifierOrTheClientsSecretIsRefused(t *testing.T) {
	for name, exchange := range map[string]func(rp *relyingParty, verifier string) []oauth2.AuthCodeOption{
		"no verifier": func(*relyingParty, string) []oauth2.AuthCodeOption { return nil },
		"another verifier": func(*relyingParty, string) []oauth2.AuthCodeOption {
			return []oauth2.AuthCodeOption{oauth2.VerifierOption(oauth2.GenerateVerifier())}
		},
		"another secret": func(rp *relyingParty, verifier string) []oauth2.AuthCodeOption {
			rp.ClientSecret = "another"
			return []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			rp := start(t)
			verifier := oauth2.GenerateVerifier()
			code := rp.code(t, verifier, "alice")
			if _, err := rp.Exchange(rp.context, code, exchange(rp, verifier)...); err == nil {
				t.Error("the code was exchanged")
			}
		})
	}
}

func TestAuthorizationWithoutPKCEOrToAnotherAddressIsRefused(t *testing.T) {
	rp := start(t)
	challenge := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())
	for name, url := range map[string]string{
		"no PKCE":         rp.AuthCodeURL("s"),
		"another address": rp.AuthCodeURL("s", challenge, oauth2.SetAuthURLParam("redirect_uri", "https://mallory.example.com/")),
		"another client":  rp.AuthCodeURL("s", challenge, oauth2.SetAuthURLParam("client_id", "another")),
	} {
		t.Run(name, func(t *testing.T) {
			if back, err := SignIn(t.Context(), rp.client, url, "alice", "alice"); err == nil && back.Query().Get("error") == "" {
				t.Errorf("back at %v", back)
			}
		})
	}
}
