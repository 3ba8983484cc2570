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
	"testing"

	"github.com/chromedp/chromedp"
)

// What a link in a mail leads to is shown at once to who is signed in, though Strict cookies do not come along with it; and
// who is not signed in is asked to, once.
func TestALinkOfAnotherSiteLeadsToThePageThatItNames(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	pat := hers(t, namespace, "Linked")
	path := "/tokens/" + namespace + "/" + pat.Name
	follow := func(b *tab) {
		b.Helper()
		mail := `<a href="` + cl.ConsoleURL + path + `">a link</a>`
		b.do(chromedp.Navigate("data:text/html;base64," + base64.StdEncoding.EncodeToString([]byte(mail))))
		b.click("a")
	}
	b := newTab(t)
	b.signIn("alice", namespace)
	follow(b)
	b.until("the token is shown", `location.pathname === `+quote(path))
	b.says("main", "Linked")
	b.says(".user", "alice")

	nobody := newTab(t)
	follow(nobody)
	nobody.until("the page to sign in is shown", `location.pathname === "/sign-in"`)
	if at := eval[string](nobody, `new URLSearchParams(location.search).get("return")`); at != path {
		t.Errorf("after signing in, one is led to %q", at)
	}
}
