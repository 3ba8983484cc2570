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
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/pat-operator/pat-operator/test/long"
)

// focused waits until the keyboard's focus is on what a selector finds.
func (b *tab) focused(selector string) {
	b.Helper()
	b.until(selector+" has the focus", fmt.Sprintf(`document.activeElement?.matches(%s) === true`, quote(selector)))
}

// keys presses keys, one after the other.
func (b *tab) keys(keys ...string) {
	b.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

func TestKeyboardAloneMakesAndRevokesAToken(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	eval[bool](b, `document.querySelector("a.new").focus() === undefined`)
	b.keys(kb.Enter)
	b.focused("#f-name")
	b.keys(kb.Escape)
	b.dialogCloses()
	b.focused("a.new")
	b.keys(kb.Enter)
	b.focused("#f-name")
	b.keys("N", "i", "g", "h", "t", kb.Enter)
	b.says("#dialog", "Your new token")
	b.focused("[data-copy]")
	b.keys(kb.Enter)
	b.says(".said", "Copied")
	if !shown.MatchString(b.clipboard()) {
		t.Error("the token was not copied")
	}
	b.keys(kb.Escape)
	b.dialogCloses()
	b.focused("a.new")
	b.says("#table", "Night")
	eval[bool](b, `document.querySelector('#table a[href$="/revoke"]').focus() === undefined`)
	b.keys(kb.Enter)
	b.says("#dialog", "Revoke this token?")
	// Revoking is the last thing in the dialog, not the first: Enter alone does nothing to a token.
	if eval[bool](b, `document.activeElement.matches("button.danger")`) {
		t.Error("the focus is on Revoke at once")
	}
	for range 5 {
		if eval[bool](b, `document.activeElement.matches("button.danger")`) {
			break
		}
		b.keys(kb.Tab)
	}
	b.keys(kb.Enter)
	b.says("#status", "“Night” is revoked.")
	if n := len(tokens(t, namespace)); n != 0 {
		t.Errorf("%d tokens are left", n)
	}
}
