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

package console

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	loginCookie  = "__Host-pat-login"
	purposeLogin = "pat-login"
	loginLife    = 10 * time.Minute
	issuerWithin = 8 * time.Second
	// issuerRetry is the pause after the issuer did not answer.
	issuerRetry = 5 * time.Second
)

// OIDCOptions configure the sign-in by OpenID Connect, with the authorization code flow and PKCE (RFC 7636). The API server must
// accept this issuer's ID tokens for this client.
type OIDCOptions struct {
	Issuer, ClientID, ClientSecret string
	// Name is the issuer's name for people; "": its URL.
	Name string
	// Scopes in addition to openid.
	Scopes []string
	// CA verifies the issuer; nil: the system's CAs.
	CA *x509.CertPool
}

// provider is the issuer. Its configuration is read when first needed, and again until that succeeds.
type provider struct {
	OIDCOptions
	redirect string
	client   *http.Client
	clock    clock.PassiveClock

	asking singleflight.Group // guards the rest
	found  *oidc.Provider     // set once
	err    error              // of the last attempt
	asked  time.Time          // the time of the last attempt
}

func newProvider(o OIDCOptions, redirect string) (*provider, error) {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("http.DefaultTransport is not one of net/http")
	}
	transport = transport.Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.CA}
	return &provider{
		OIDCOptions: o, redirect: redirect, client: &http.Client{Transport: transport, Timeout: issuerWithin}, clock: clock.RealClock{},
	}, nil
}

// discover returns the issuer's configuration and the flow for it. Concurrent callers share one request, and each waits as long as
// its own context lasts.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	asking := p.asking.DoChan("", func() (any, error) { return nil, p.ask() })
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case answer := <-asking:
		if answer.Err != nil {
			return nil, nil, answer.Err
		}
	}
	return p.found, &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: p.found.Endpoint(), RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}, nil
}

// ask reads the issuer's configuration, unless it is known or the last attempt failed a moment ago.
func (p *provider) ask() error {
	if p.found != nil || p.err != nil && p.clock.Since(p.asked) < issuerRetry {
		return p.err
	}
	// The provider keeps the context, so it must not be a request's.
	p.found, p.err = oidc.NewProvider(oidc.ClientContext(context.Background(), p.client), p.Issuer)
	p.asked = p.clock.Now()
	return p.err
}

// errLoginOver reports that the visitor has to start the sign-in again.
var errLoginOver = errors.New("the sign-in is over")

// login is what the browser keeps during the visit at the issuer.
type login struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Return   string `json:"return"`
	// Expires bounds the use of a stolen cookie.
	Expires time.Time `json:"expires"`
}

// byOIDC reports whether a step of a login may go on, and answers if not. Each step uses something up, so it refuses HEAD, which
// link scanners send and http.ServeMux matches as GET.
func (c *Console) byOIDC(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case c.oidc == nil:
		c.problem(w, r, http.StatusNotFound, page.Problem{Title: "Page not found", Link: "/sign-in", LinkText: "Sign in"})
	case r.Method == http.MethodHead:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
	default:
		return true
	}
	return false
}

// signInByOIDC sends a browser to the issuer.
func (c *Console) signInByOIDC(w http.ResponseWriter, r *http.Request) {
	if !c.byOIDC(w, r) {
		return
	}
	if fromElsewhere(r) { // only our own page starts a sign-in, which replaces another one in progress
		http.Redirect(w, r, "/sign-in?"+url.Values{"return": {localPath(r.URL.Query().Get("return"))}}.Encode(), http.StatusSeeOther)
		return
	}
	_, config, err := c.oidc.discover(r.Context())
	if err != nil {
		c.noIssuer(w, r, err)
		return
	}
	l := login{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Return: localPath(r.URL.Query().Get("return")), Expires: c.clock.Now().Add(loginLife),
	}
	sealed, err := c.keys.seal(purposeLogin, l)
	if err == nil && len(sealed) > partSize { // browsers drop such a cookie; forget the way back
		l.Return = "/"
		sealed, err = c.keys.seal(purposeLogin, l)
	}
	if err != nil {
		c.fail(w, r, nil, c.noKey(err))
		return
	}
	// Lax, because the browser must send it with the issuer's redirect.
	setCookie(w, loginCookie, sealed, http.SameSiteLaxMode, loginLife)
	http.Redirect(w, r, config.AuthCodeURL(l.State, oidc.Nonce(l.Nonce), oauth2.S256ChallengeOption(l.Verifier)), http.StatusSeeOther)
}

// callback is where the issuer sends a browser back.
func (c *Console) callback(w http.ResponseWriter, r *http.Request) {
	if !c.byOIDC(w, r) {
		return
	}
	l := &login{}
	cookie, err := r.Cookie(loginCookie)
	if err == nil {
		err = c.keys.open(r.Context(), purposeLogin, cookie.Value, l)
		if err != nil && !errors.Is(err, errNotOpened) {
			c.fail(w, r, nil, c.noKey(err)) // reloading the page tries again
			return
		}
	}
	query := r.URL.Query()
	if err != nil || !c.clock.Now().Before(l.Expires) || subtle.ConstantTimeCompare([]byte(l.State), []byte(query.Get("state"))) != 1 {
		c.notSignedIn(w, r, http.StatusBadRequest, "This sign-in did not start in this browser, or started more than ten minutes ago.")
		return
	}
	// Remove it only now: another site's link must not end a login.
	setCookie(w, loginCookie, "", http.SameSiteLaxMode, -1)
	if said := query.Get("error"); said != "" {
		if more := query.Get("error_description"); more != "" {
			said += ": " + more
		}
		c.notSignedIn(w, r, http.StatusForbidden, "The issuer says: "+holder.Visible(said))
		return
	}
	bearer, expires, err := c.oidc.redeem(r.Context(), query.Get("code"), l)
	switch {
	case errors.Is(err, errLoginOver):
		c.log.Info("The console's issuer refused an ID token for a sign-in", "issuer", c.oidc.Issuer, "reason", err.Error())
		c.notSignedIn(w, r, http.StatusBadRequest, "This sign-in was already used, or the issuer no longer accepts it.")
		return
	case err != nil:
		c.noIssuer(w, r, err)
		return
	}
	v, err := c.authenticate(r.Context(), bearer)
	switch {
	case apierrors.IsUnauthorized(err):
		c.log.Info("The API server does not accept ID tokens of the console's issuer", "issuer", c.oidc.Issuer, "clientID", c.oidc.ClientID)
		c.notSignedIn(w, r, http.StatusForbidden, fmt.Sprintf(
			"The issuer knows you, but the API server does not accept its ID token. Ask the cluster's administrators to make it trust %s for the client %q.", c.oidc.Issuer, c.oidc.ClientID))
		return
	case err != nil:
		c.fail(w, r, nil, err)
		return
	}
	if expires.Before(v.Expires) {
		v.Expires = expires
	}
	if err := c.save(w, r, &v.session); err != nil {
		c.fail(w, r, nil, err)
		return
	}
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.SignedIn(w, l.Return) })
}

// redeem exchanges a code for an ID token and returns that with its expiry. It returns errLoginOver if the code is wrong, not the
// issuer.
func (p *provider) redeem(ctx context.Context, code string, l *login) (bearer string, expires time.Time, err error) {
	issuer, config, err := p.discover(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	answer, err := config.Exchange(ctx, code, oauth2.VerifierOption(l.Verifier))
	if err != nil {
		if said, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // its text quotes the whole response
			if said.ErrorCode == "invalid_grant" { // RFC 6749, section 5.2
				return "", time.Time{}, fmt.Errorf("%w: the issuer does not accept this code", errLoginOver)
			}
			return "", time.Time{}, fmt.Errorf("the issuer does not accept the code: HTTP %d %s", said.Response.StatusCode, holder.Visible(said.ErrorCode))
		}
		return "", time.Time{}, err
	}
	raw, ok := answer.Extra("id_token").(string)
	if !ok {
		return "", time.Time{}, errors.New("the issuer's answer has no ID token")
	}
	verified, err := issuer.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID}).Verify(ctx, raw)
	if err != nil {
		return "", time.Time{}, err
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(l.Nonce)) != 1 {
		return "", time.Time{}, fmt.Errorf("%w: the ID token belongs to another sign-in", errLoginOver)
	}
	return raw, verified.Expiry, nil
}

func (c *Console) notSignedIn(w http.ResponseWriter, r *http.Request, status int, why string) {
	c.problem(w, r, status, page.Problem{
		Title: "You are not signed in", Detail: why, Next: "Start again.", Link: "/sign-in", LinkText: "Sign in",
	})
}

// noIssuer reports that the issuer did not answer, or not properly.
func (c *Console) noIssuer(w http.ResponseWriter, r *http.Request, err error) {
	c.log.Error(err, "The console's issuer does not sign people in", "issuer", c.oidc.Issuer)
	c.problem(w, r, http.StatusBadGateway, page.Problem{
		Title: "The issuer does not answer", Detail: c.oidc.Issuer + " gave no usable answer. The log of the verifier says why.",
		Next: "Try again in a moment.", Link: "/sign-in", LinkText: "Sign in",
	})
}
