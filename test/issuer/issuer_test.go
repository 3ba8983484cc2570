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
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
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
	browser  *http.Client    // stops at the redirect URI
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
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	rp := &relyingParty{Issuer: issuer, context: oidc.ClientContext(t.Context(), server.Client())}
	rp.browser = &http.Client{
		Transport: server.Client().Transport,
		Jar:       jar,
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), redirect) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	if rp.provider, err = oidc.NewProvider(rp.context, server.URL); err != nil {
		t.Fatal(err)
	}
	rp.Config = oauth2.Config{
		ClientID: ClientID, ClientSecret: ClientSecret, Endpoint: rp.provider.Endpoint(), RedirectURL: redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", GroupsScope},
	}
	return rp
}

// signIn fills in the page that the issuer sends a browser to, and returns the answer.
func (rp *relyingParty) signIn(t *testing.T, authURL, username, password string) *http.Response {
	t.Helper()
	page, err := rp.browser.Get(authURL)
	if err != nil {
		t.Fatal(err)
	}
	_ = page.Body.Close()
	if page.StatusCode != http.StatusOK {
		t.Fatalf("the page to sign in: %s", page.Status)
	}
	form := page.Request.URL
	answer, err := rp.browser.PostForm(form.Scheme+"://"+form.Host+form.Path, url.Values{
		"request": {form.Query().Get("request")}, "username": {username}, "password": {password},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer
}

// code is what a browser brings back to the redirect URI.
func (rp *relyingParty) code(t *testing.T, verifier, username string) string {
	t.Helper()
	answer := rp.signIn(t, rp.AuthCodeURL("the state", oidc.Nonce("the nonce"), oauth2.S256ChallengeOption(verifier)), username, username)
	back, err := answer.Location()
	if err != nil {
		t.Fatalf("%s: %v", answer.Status, err)
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
		if got := rp.signIn(t, url, name, password).StatusCode; got != http.StatusUnauthorized {
			t.Errorf("%s with the password %q: HTTP %d", name, password, got)
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
			answer, err := rp.browser.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			back, err := answer.Location()
			if refused := err == nil && back.Query().Get("error") != ""; !refused && answer.StatusCode != http.StatusBadRequest {
				t.Errorf("HTTP %d, %v", answer.StatusCode, back)
			}
		})
	}
}
