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
	"cmp"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// showSignIn offers the way to sign in that is configured.
func (c *Console) showSignIn(w http.ResponseWriter, r *http.Request) {
	view := c.signInView(r.URL.Query().Get("return"))
	if _, passed := bearerOf(r); passed && c.byProxy { // the proxy has signed the visitor in; the next page reports a bad credential
		http.Redirect(w, r, view.Return, http.StatusSeeOther)
		return
	}
	if r.URL.Query().Has("over") {
		view.Error = "Your session is over. Sign in again to go on."
	}
	shell := page.Shell{Title: "Sign in", Notice: notice(w, r)}
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.ShowSignIn(w, shell, view) })
}

func (c *Console) signInView(back string) page.SignIn {
	view := page.SignIn{OIDC: c.oidc != nil, Proxy: c.byProxy, Token: c.oidc == nil && !c.byProxy, Return: localPath(back)}
	if c.oidc != nil {
		view.Issuer = cmp.Or(c.oidc.Name, c.oidc.Issuer)
		view.Next = "/sign-in/oidc?" + url.Values{"return": {view.Return}}.Encode()
	}
	return view
}

// signInByToken signs in with a bearer token that the API server accepts.
func (c *Console) signInByToken(w http.ResponseWriter, r *http.Request) {
	if c.oidc != nil || c.byProxy {
		c.problem(w, r, http.StatusNotFound, page.Problem{
			Title: "You cannot sign in with a token here", Next: "Sign in as this page says.", Link: "/sign-in", LinkText: "Sign in",
		})
		return
	}
	if err := readForm(w, r, maxSignIn, "Go back, and paste a bearer token alone."); err != nil {
		c.fail(w, r, nil, err)
		return
	}
	view := c.signInView(r.PostFormValue("return"))
	refuse := func(status int, why string) {
		view.Error = why
		c.show(w, status, func(w io.Writer) error { return page.ShowSignIn(w, page.Shell{Title: "Sign in"}, view) })
	}
	bearer := strings.TrimSpace(r.PostFormValue("token"))
	if bearer == "" || strings.ContainsFunc(bearer, func(r rune) bool { return r <= ' ' || r > '~' }) {
		refuse(http.StatusBadRequest, "Paste a bearer token: one line without white space.")
		return
	}
	v, err := c.authenticate(r.Context(), bearer)
	switch {
	case apierrors.IsUnauthorized(err):
		refuse(http.StatusUnauthorized, "The API server does not accept this token: it has ended, or it is not a valid token.")
		return
	case err != nil:
		c.fail(w, r, nil, err)
		return
	}
	if err := c.save(w, r, &v.session); err != nil {
		c.fail(w, r, nil, err)
		return
	}
	http.Redirect(w, r, view.Return, http.StatusSeeOther)
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	c.forget(w, r, 0)
	keepNotice(w, "You are signed out.")
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
}

// retrySameSite answers a visitor without a session who followed a link of another site, such as in a mail, with a page that loads
// the same address again. Browsers do not send Strict cookies with such a link, so the visitor may be signed in. They send them with
// the request of our own page.
func (c *Console) retrySameSite(w http.ResponseWriter, r *http.Request, err error) bool {
	if !errors.Is(err, errNoSession) || c.byProxy || r.Method != http.MethodGet || fragment(r) ||
		r.Header.Get("Sec-Fetch-Site") != "cross-site" || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return false
	}
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.SignedIn(w, localPath(r.URL.RequestURI())) })
	return true
}

const (
	noticeCookie = "__Host-pat-notice"
	noticeLife   = time.Minute
)

// keepNotice makes the next page say what was done. It uses a cookie, because anyone can make a link.
func keepNotice(w http.ResponseWriter, text string) {
	setCookie(w, noticeCookie, base64.RawURLEncoding.EncodeToString([]byte(text)), http.SameSiteStrictMode, noticeLife)
}

// notice returns what was done before a page was loaded, once.
func notice(w http.ResponseWriter, r *http.Request) string {
	cookie, err := r.Cookie(noticeCookie)
	if err != nil || fromElsewhere(r) {
		return ""
	}
	setCookie(w, noticeCookie, "", http.SameSiteStrictMode, -1)
	text, _ := base64.RawURLEncoding.DecodeString(cookie.Value)
	return holder.Visible(string(text))
}
