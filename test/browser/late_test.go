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
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp/kb"

	"github.com/pat-operator/pat-operator/test/long"
)

// hold keeps back the answers to requests with a URL, in which a * stands for anything.
func (b *tab) hold(url string) {
	b.Helper()
	call(b, fetch.Enable, fetch.EnableParams{
		Patterns: []*fetch.RequestPattern{{URLPattern: url, RequestStage: fetch.RequestStageResponse}},
	})
}

// holds waits until an answer is there and kept back.
func (b *tab) holds() {
	b.Helper()
	eventually(b.T, "an answer is held", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.held) > 0
	})
}

// gateway answers in the console's place what is held, as what stands in front of it does while it starts.
func (b *tab) gateway() {
	b.Helper()
	b.holds()
	b.mu.Lock()
	held := b.held
	b.held = nil
	b.mu.Unlock()
	for _, id := range held {
		call(b, fetch.FulfillRequest, fetch.FulfillRequestParams{
			RequestID: id, ResponseCode: http.StatusBadGateway,
			ResponseHeaders: []*fetch.HeaderEntry{{Name: "Content-Type", Value: "text/html"}},
			Body:            []byte("<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"),
		})
	}
}

// release lets the answers come, late. Who has given one up does not get it.
func (b *tab) release() {
	b.Helper()
	call(b, fetch.Disable, cdp.Empty{})
}

// asks says whether the page would ask before it is left.
func (b *tab) asks() bool {
	b.Helper()
	return eval[bool](b, `!dispatchEvent(new Event("beforeunload", { cancelable: true }))`)
}

func TestDialogStaysOpenUntilTheTokenIsThere(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Slow")
	if b.asks() {
		t.Error("nothing was sent, and the page asks before it is left")
	}
	b.hold("*/new")
	b.press("Save")
	b.holds()
	b.keys(kb.Escape, kb.Escape)
	b.says("#dialog", "the answer is on its way")
	b.press("Cancel")
	if !b.asks() {
		t.Error("the page can be left before the token that it makes is there")
	}
	b.release()
	b.says("#dialog", "Your new token")
	if !b.asks() {
		t.Error("the page can be left before the token is copied")
	}
	b.press("Copy")
	b.says(".said", "Copied")
	b.press("Done")
	b.dialogCloses()
	if n := len(tokens(t, namespace)); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

func TestLateAnswerDoesNotTakeTheTokensPlace(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Asked for before")
	b := newTab(t)
	b.signIn("alice", namespace)
	b.hold("*/tokens/*")
	b.click(`#table tbody .name a`)
	b.holds()
	b.click("a.new")
	b.fill("#f-name", "Made meanwhile")
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.release()
	// Whatever else comes for the dialog is not shown.
	eval[bool](b, `document.querySelector('#table a[href$="/revoke"]').click() === undefined`)
	eval[string](b, `fetch(document.querySelector("#table").dataset.src).then((r) => r.text())`) // as long as an answer takes
	if !shown.MatchString(b.text("[data-token]")) {
		t.Errorf("the token has gone; the dialog says %q", b.text("#dialog"))
	}
	b.press("Copy")
	b.says(".said", "Copied")
	b.press("Done")
	b.dialogCloses()
	b.says("#table", "Made meanwhile")
	b.click(`#table tbody .name a`)
	b.says("#dialog", "For administrators")
}

func TestLateSuspensionClosesItsOwnDialog(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Seasonal job")
	b := newTab(t)
	b.signIn("alice", namespace)
	b.details()
	b.press("Suspend")
	b.says("#dialog", "Suspend this token?")
	b.hold("*/suspend")
	b.press("Suspend")
	b.holds()
	b.keys(kb.Escape)
	b.says("#dialog", "the answer is on its way")
	eval[bool](b, `document.querySelector("a.new").click() === undefined`)
	b.says("#dialog", "Suspend this token?")
	if b.asks() {
		t.Error("the page asks before it is left, with no token in it")
	}
	b.release()
	b.says("#status", "suspended")
	b.dialogCloses()
	b.click("a.new")
	b.says("#dialog", "It cannot be extended later.")
}

// An answer of a gateway in front of the console does not become a dialog.
func TestGatewayThatAnswersForTheConsole(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Behind a gateway")
	b := newTab(t)
	b.signIn("alice", namespace)
	b.hold("*/new*")
	b.click("a.new")
	b.gateway()
	b.says("#trouble", "The console does not answer. Nothing was changed. Try again in a moment.")
	if eval[bool](b, `document.querySelector("dialog").open`) {
		t.Errorf("there is a dialog: %s", b.text("dialog"))
	}
	b.release()
	b.click("a.new")
	b.fill("#f-name", "Made, and not shown")
	b.hold("*/new*")
	b.press("Save")
	b.gateway()
	b.says("#dialog .told", "The console does not answer. It may have created a token anyway: look at the table before you try again.")
	b.release()
	b.press("Save")
	b.says("#dialog", "Already created")
	b.press("Close")
	b.dialogCloses()
	b.click(`#table a[href$="/revoke"]`)
	b.says("#dialog", "Revoke this token?")
	b.hold("*/revoke")
	b.press("Revoke")
	b.gateway()
	b.says("#dialog .told", "The console does not answer. Try again in a moment.")
	b.press("Cancel")
	b.dialogCloses()
}

// Who clicks while a dialog is closing gets what they clicked on.
func TestClickIsQuickerThanADialogsEnd(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Quick")
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.says("#dialog", "It cannot be extended later.")
	const quick = `(() => {
		document.querySelector("#dialog [data-close]").click();
		document.querySelector('#table tbody .name a').click();
	})() === undefined`
	eval[bool](b, quick)
	b.says("#dialog", "For administrators")
	b.press("Close")
	b.dialogCloses()
	b.click("a.new")
	b.fill("#f-name", "Not copied")
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.press("Done")
	b.says("#uncopied", "You have not copied the token")
	eval[bool](b, quick)
	b.says("#dialog", "For administrators")
	b.press("Close")
	b.dialogCloses()
	if !eval[bool](b, `document.activeElement.matches("#table tbody .name a")`) {
		t.Errorf("the focus is on %s", eval[string](b, `document.activeElement.outerHTML`))
	}
}

// A table that has changed meanwhile does not take away what is being clicked on.
func TestTableIsNotReplacedUnderAClick(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	pat := hers(t, namespace, "Clicked on")
	b := newTab(t)
	b.signIn("alice", namespace)
	details := `#table a[href$="` + pat.Name + `"]`
	b.until("the table has it", visible(details))
	at := eval[[]float64](b, `(({ x, y, width, height }) => [x + width / 2, y + height / 2])(document.querySelector('`+details+`').getClientRects()[0])`)
	mouse := func(kind input.DispatchMouseEventType) {
		call(b, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: at[0], Y: at[1], Button: input.MouseButtonLeft, ClickCount: 1})
	}
	mouse(input.DispatchMouseEventTypeMousePressed)
	hers(t, namespace, "Comes meanwhile")
	eval[bool](b, `document.dispatchEvent(new Event("visibilitychange"))`)                       // as if the window were looked at again
	eval[string](b, `fetch(document.querySelector("#table").dataset.src).then((r) => r.text())`) // as long as an answer takes
	mouse(input.DispatchMouseEventTypeMouseReleased)
	b.says("#dialog", "For administrators")
	b.press("Close")
	b.says("#table", "Comes meanwhile")
}

// The browser itself submits a form outside of a dialog.
func TestPageAsksBeforeItIsLeftWhileItMakesAToken(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.open("/new?namespace=" + namespace)
	b.fill("#f-name", "As a page")
	// A page that is on its way to another one does not answer a test: it has to note down what it would ask then.
	eval[bool](b, `addEventListener("beforeunload", () => setTimeout(() => {
		sessionStorage.asks = !dispatchEvent(new Event("beforeunload", { cancelable: true }));
	}), { once: true }) === undefined`)
	b.hold("*/new")
	b.press("Save")
	b.holds()
	b.release()
	b.says("main", "Your new token")
	if !eval[bool](b, `sessionStorage.asks === "true"`) {
		t.Error("the page could be left before the token that it made was there")
	}
	if !b.asks() {
		t.Error("the page can be left before the token is copied")
	}
}
