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
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/internal/console/page"
)

const (
	sessionCookie = "__Host-pat-session-" // followed by the number of the part
	// A cookie has at most 4096 bytes with its name and attributes. Proxies and our server refuse a header with more than maxParts
	// of them.
	partSize, maxParts = 3800, 8

	purposeSession = "pat-session"
)

// session is the content of a visitor's cookies.
type session struct {
	// Bearer is the credential for the API server.
	Bearer string `json:"bearer"`
	// User is the credential's user, for display and to find their tokens.
	User string `json:"user"`
	// PAT reports that the credential is a personal access token.
	PAT     bool      `json:"pat,omitempty"`
	Expires time.Time `json:"expires"`
}

var (
	errNoSession   = errors.New("nobody is signed in")
	errSessionOver = errors.New("the session is over")
)

// save writes a session into cookies. Its errors are for the visitor.
func (c *Console) save(w http.ResponseWriter, r *http.Request, s *session) error {
	sealed, err := c.keys.seal(purposeSession, s)
	if err != nil {
		return c.noKey(err)
	}
	if len(sealed) > partSize*maxParts {
		return &refusal{http.StatusBadRequest, page.Problem{
			Title:  "You cannot be signed in",
			Detail: fmt.Sprintf("Your credential is too long for cookies: sealed, it has %d bytes, and may have %d.", len(sealed), partSize*maxParts),
			Next:   "Have the issuer put fewer groups into it.", Link: "/sign-in", LinkText: "Sign in",
		}}
	}
	part := 0
	for ; sealed != ""; part++ {
		n := min(partSize, len(sealed))
		setCookie(w, fmt.Sprint(sessionCookie, part), sealed[:n], http.SameSiteStrictMode, s.Expires.Sub(c.clock.Now()))
		sealed = sealed[n:]
	}
	c.forget(w, r, part)
	return nil
}

// forget removes the parts of a session from this number on.
func (c *Console) forget(w http.ResponseWriter, r *http.Request, from int) {
	for part := from; part < maxParts; part++ {
		if _, err := r.Cookie(fmt.Sprint(sessionCookie, part)); err == nil {
			setCookie(w, fmt.Sprint(sessionCookie, part), "", http.SameSiteStrictMode, -1)
		}
	}
}

// load returns the session in a request's cookies, errNoSession, errSessionOver, or a refusal if the keys cannot be read.
func (c *Console) load(ctx context.Context, r *http.Request) (*session, error) {
	var sealed strings.Builder
	for part := range maxParts {
		cookie, err := r.Cookie(fmt.Sprint(sessionCookie, part))
		if err != nil {
			break
		}
		sealed.WriteString(cookie.Value)
		if len(cookie.Value) < partSize {
			break
		}
	}
	if sealed.Len() == 0 {
		return nil, errNoSession
	}
	s := &session{}
	switch err := c.keys.open(ctx, purposeSession, sealed.String(), s); {
	case errors.Is(err, errNotOpened):
		return nil, errSessionOver // its key may be too old
	case err != nil:
		return nil, c.noKey(err)
	case !c.clock.Now().Before(s.Expires):
		return nil, errSessionOver
	}
	return s, nil
}

// noKey logs why the session keys cannot be read and returns an error without the cause, which is about the verifier's own
// request and not about what the visitor may do.
func (c *Console) noKey(err error) error {
	c.log.Error(err, "Cannot open or save a session", "secret", c.keys.namespace+"/"+KeySecretName)
	return &refusal{http.StatusServiceUnavailable, page.Problem{
		Title: "You cannot be signed in now", Detail: "The console cannot read the key of its sessions. The log of the verifier says why.",
		Next: "Try again in a moment.", Link: "/", LinkText: "To my tokens",
	}}
}

// setCookie sets a cookie that scripts and other hosts and schemes cannot read. It removes the cookie if life is not positive.
func setCookie(w http.ResponseWriter, name, value string, sameSite http.SameSite, life time.Duration) {
	seconds := int(life / time.Second)
	if seconds <= 0 {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // G124 does not follow sameSite, which is Strict or Lax
		Name: name, Value: value, Path: "/", MaxAge: seconds, Secure: true, HttpOnly: true, SameSite: sameSite,
	})
}
