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
	// issuerRetry is how long an issuer that did not answer is left alone.
	issuerRetry = 5 * time.Second
)

// OIDCOptions are how people sign in by OpenID Connect: the authorization code flow with PKCE (RFC 7636). The API server
// has to take this issuer's ID tokens for this client.
type OIDCOptions struct {
	Issuer, ClientID, ClientSecret string
	// Name is what people call the issuer; "": its URL.
	Name string
	// Scopes beside openid.
	Scopes []string
	// CA verifies the issuer; nil: the system's.
	CA *x509.CertPool
}

// provider is the issuer. It is asked what it can do when first needed, and from time to time again until it has said so.
type provider struct {
	OIDCOptions
	redirect string
	client   *http.Client
	clock    clock.PassiveClock

	asking singleflight.Group // guards the rest
	found  *oidc.Provider     // once there, it stays
	err    error              // why the last asking has failed
	asked  time.Time          // when that was
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

// discover returns what the issuer can do, and the flow with it. Those who need it at once wait for one answer, each as long
// as it cares to.
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

// ask asks the issuer what it can do, unless that is known, or has failed a moment ago.
func (p *provider) ask() error {
	if p.found != nil || p.err != nil && p.clock.Since(p.asked) < issuerRetry {
		return p.err
	}
	// Not a request's context: the provider keeps it.
	p.found, p.err = oidc.NewProvider(oidc.ClientContext(context.Background(), p.client), p.Issuer)
	p.asked = p.clock.Now()
	return p.err
}

// errLoginOver is the error of a sign-in that has to be begun again.
var errLoginOver = errors.New("the sign-in is over")

// login is what a browser keeps while its user is at the issuer.
type login struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Return   string `json:"return"`
	// Expires bounds how long a stolen cookie could be of use.
	Expires time.Time `json:"expires"`
}

// byOIDC lets a browser's GET through to the steps of a login, which each use something up: what scans links sends a HEAD,
// which the patterns of http.ServeMux take for a GET.
func (c *Console) byOIDC(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case c.oidc == nil:
		c.problem(w, r, http.StatusNotFound, page.Problem{Title: "There is no such page", Link: "/sign-in", LinkText: "Sign in"})
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
	if fromElsewhere(r) { // no sign-in begins, and none that was begun is forgotten, unless somebody asks for it on our page
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
	if err == nil && len(sealed) > partSize { // browsers drop such a cookie; better the way in than the way back
		l.Return = "/"
		sealed, err = c.keys.seal(purposeLogin, l)
	}
	if err != nil {
		c.fail(w, r, nil, c.noKey(err))
		return
	}
	// Lax: it has to come back with the redirect that the issuer makes.
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
			c.fail(w, r, nil, c.noKey(err)) // loading the page again goes on from here
			return
		}
	}
	query := r.URL.Query()
	if err != nil || !c.clock.Now().Before(l.Expires) || subtle.ConstantTimeCompare([]byte(l.State), []byte(query.Get("state"))) != 1 {
		c.notSignedIn(w, r, http.StatusBadRequest, "This sign-in was not begun in this browser, or more than ten minutes ago.")
		return
	}
	// Used up only now: a link that anybody can make must not end a login.
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
		c.log.Info("The console's issuer gives no ID token for a sign-in", "issuer", c.oidc.Issuer, "reason", err.Error())
		c.notSignedIn(w, r, http.StatusBadRequest, "This sign-in was used already, or the issuer does not honour it any more.")
		return
	case err != nil:
		c.noIssuer(w, r, err)
		return
	}
	v, err := c.introduce(r.Context(), bearer)
	switch {
	case apierrors.IsUnauthorized(err):
		c.log.Info("The API server does not take ID tokens of the console's issuer", "issuer", c.oidc.Issuer, "clientID", c.oidc.ClientID)
		c.notSignedIn(w, r, http.StatusForbidden, fmt.Sprintf(
			"The issuer knows you, but the API server does not take its ID token. Those who run the cluster have to make it trust %s for the client %q.", c.oidc.Issuer, c.oidc.ClientID))
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

// redeem exchanges a code for an ID token, which is returned with its end; errLoginOver where the code is the matter, and not
// the issuer.
func (p *provider) redeem(ctx context.Context, code string, l *login) (bearer string, expires time.Time, err error) {
	issuer, config, err := p.discover(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	answer, err := config.Exchange(ctx, code, oauth2.VerifierOption(l.Verifier))
	if err != nil {
		if said, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // its text quotes the whole answer
			if said.ErrorCode == "invalid_grant" { // RFC 6749, section 5.2
				return "", time.Time{}, fmt.Errorf("%w: the issuer takes no such code", errLoginOver)
			}
			return "", time.Time{}, fmt.Errorf("the issuer takes no code: HTTP %d %s", said.Response.StatusCode, holder.Visible(said.ErrorCode))
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
		return "", time.Time{}, fmt.Errorf("%w: the ID token is for another one", errLoginOver)
	}
	return raw, verified.Expiry, nil
}

func (c *Console) notSignedIn(w http.ResponseWriter, r *http.Request, status int, why string) {
	c.problem(w, r, status, page.Problem{
		Title: "You are not signed in", Detail: why, Next: "Begin again.", Link: "/sign-in", LinkText: "Sign in",
	})
}

// noIssuer is shown where the issuer cannot be asked, or says what cannot be.
func (c *Console) noIssuer(w http.ResponseWriter, r *http.Request, err error) {
	c.log.Error(err, "The console's issuer does not sign people in", "issuer", c.oidc.Issuer)
	c.problem(w, r, http.StatusBadGateway, page.Problem{
		Title: "The issuer cannot be asked", Detail: c.oidc.Issuer + " does not answer as it should. The log of the verifier says why.",
		Next: "Try again in a moment.", Link: "/sign-in", LinkText: "Sign in",
	})
}
