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

package browser

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/pat-operator/pat-operator/test/long"
)

func TestSignInLeadsThroughTheIssuerAndBack(t *testing.T) {
	b := newTab(t)
	b.open("/")
	b.screenshot("sign-in")
	b.click(`a[href^="/sign-in/oidc"]`)
	b.fill("#username", "alice")
	b.fill("#password", "wrong")
	b.click(`button[type="submit"]`)
	b.says(`[role="alert"]`, "wrong")
	b.fill("#username", "alice")
	b.fill("#password", "alice")
	b.click(`button[type="submit"]`)
	b.says(".user", "alice")
	if at := eval[string](b, "location.href"); at != cl.ConsoleURL+"/" {
		t.Errorf("signed in, alice is at %s", at)
	}
	if seen := eval[string](b, "document.cookie"); seen != "" {
		t.Errorf("a script reads the cookies %q", seen)
	}
	for _, cookie := range b.cookies() {
		if !strings.HasPrefix(cookie.Name, "__Host-") || !cookie.HTTPOnly || !cookie.Secure || cookie.SameSite == network.CookieSameSiteNone {
			t.Errorf("cookie %s: HttpOnly %v, Secure %v, SameSite %q", cookie.Name, cookie.HTTPOnly, cookie.Secure, cookie.SameSite)
		}
	}
	b.press("Sign out")
	b.says("main", "You are signed out")
	for _, cookie := range b.cookies() {
		if strings.HasPrefix(cookie.Name, "__Host-pat-session") {
			t.Errorf("signed out, there is still %s", cookie.Name)
		}
	}
	b.open("/")
	b.says("main", "Sign in")
}

// Not in parallel with other tests, which would be signed in for as short a time.
func TestSessionEndsWithTheIDToken(t *testing.T) {
	long.Only(t)
	b := newTab(t)
	defer cl.Issuer.SetIDTokenLifetime(time.Hour)
	life := time.Second
	for shown := false; !shown; { // before it ends, at any speed
		life *= 4
		cl.Issuer.SetIDTokenLifetime(life)
		b.open("/sign-in")
		b.click(`a[href^="/sign-in/oidc"]`)
		b.fill("#username", "alice")
		b.fill("#password", "alice")
		b.click(`button[type="submit"]`)
		ends := time.Now().Add(life)
		b.until("the table is shown, or it is too late", `document.querySelector("#table") !== null || Date.now() > `+fmt.Sprint(ends.UnixMilli()))
		shown, _ = tryEval[bool](b, patience, `document.querySelector("#table") !== null`)
	}
	// The table asks for what is new, and learns that nobody is signed in any more.
	b.untilWithin(life+patience, "the page to sign in is shown", `location.pathname === "/sign-in"`)
	b.says("main", "Sign in")
	b.open("/new")
	cl.Issuer.SetIDTokenLifetime(time.Hour)
	b.click(`a[href^="/sign-in/oidc"]`)
	b.fill("#username", "alice")
	b.fill("#password", "alice")
	b.click(`button[type="submit"]`)
	b.until("the page that was asked for is shown", `location.pathname === "/new"`)
}

// cookies are those of the console.
func (b *tab) cookies() []*network.Cookie {
	b.Helper()
	return call(b, network.GetCookies, network.GetCookiesParams{URLs: []string{cl.ConsoleURL}}).Cookies
}
