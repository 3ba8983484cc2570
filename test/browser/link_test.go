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
	"encoding/base64"
	"html"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/test/long"
)

// What a link in a mail leads to is shown at once to who is signed in, though Strict cookies do not come along with it; and
// who is not signed in is asked to, once.
func TestALinkOfAnotherSiteLeadsToThePageThatItNames(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	pat := hers(t, namespace, "Linked")
	path := "/tokens/" + namespace + "/" + pat.Name
	b := newTab(t)
	b.signIn("alice", namespace)
	b.follow(path)
	b.until("the token is shown", `location.pathname === `+quote(path))
	b.says("main", "Linked")
	b.says(".user", "alice")

	nobody := newTab(t)
	nobody.follow(path)
	nobody.until("the page to sign in is shown", `location.pathname === "/sign-in"`)
	if at := eval[string](nobody, `new URLSearchParams(location.search).get("return")`); at != path {
		t.Errorf("after signing in, one is led to %q", at)
	}
}

// A link on another site never changes the browser's cookies: neither those of a signed-in visitor who chose a namespace,
// nor those of an anonymous one.
func TestCase53_ALinkOfAnotherSiteChangesNoCookieOfABrowser(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	const evil = "/?ns=kube-system&remember=1"
	back := url.Values{"return": {evil}}.Encode()
	alice, nobody := newTab(t), newTab(t)
	alice.signIn("alice", namespace)
	for _, link := range []struct {
		b        *tab
		path, at string
	}{
		{alice, evil, evil},
		{alice, "/namespaces?ns=kube-system", "/namespaces?ns=kube-system"},
		{alice, "/sign-in/oidc?" + back, "/sign-in?" + back},
		{alice, "/callback?state=x", "/callback?state=x"},
		{nobody, evil, "/sign-in"},
		{nobody, "/sign-in/oidc?" + back, "/sign-in?" + back},
	} {
		before := link.b.values()
		link.b.follow(link.path)
		// The page that only asks again, since cookies have not come along, has the same address.
		link.b.until(link.path+" leads to "+link.at, `location.pathname + location.search === `+quote(link.at)+
			` && document.readyState === "complete" && !document.querySelector("meta[http-equiv=refresh]")`)
		if diff := cmp.Diff(before, link.b.values()); diff != "" {
			t.Errorf("following %s: cookies (-before +after):\n%s", link.path, diff)
		}
	}
	if len(alice.values()) < 2 {
		t.Errorf("alice has the cookies %v, want a session and the namespace that she chose", alice.values())
	}
}

// follow clicks a link to the console on a page of another site.
func (b *tab) follow(path string) {
	b.Helper()
	mail := `<a href="` + html.EscapeString(cl.ConsoleURL+path) + `">a link</a>`
	b.do(chromedp.Navigate("data:text/html;base64," + base64.StdEncoding.EncodeToString([]byte(mail))))
	b.click("a")
}

// values are those of the console's cookies.
func (b *tab) values() map[string]string {
	b.Helper()
	values := map[string]string{}
	for _, cookie := range b.cookies() {
		values[cookie.Name] = cookie.Value
	}
	return values
}
