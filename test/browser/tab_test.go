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
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/pat-operator/pat-operator/test/env"
)

// tab is a page with cookies of its own.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	wrong    []string          // what the page or the browser complains about
	requests []string          // their origins, in order
	received float64           // bytes
	held     []fetch.RequestID // of answers
}

// newTab opens an empty one. The test fails where the page breaks its own policy, throws, or asks anybody for anything but
// the console and the issuer.
func newTab(t *testing.T) *tab {
	t.Helper()
	needBrowser(t)
	b := &tab{T: t}
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.listen))
	b.ctx = ctx
	t.Cleanup(func() {
		if t.Failed() {
			b.screenshot(strings.NewReplacer("/", "-", " ", "_").Replace(t.Name()) + "-failed")
		}
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, text := range b.wrong {
			t.Errorf("the browser complains: %s", text)
		}
		for _, origin := range b.requests {
			if origin != cl.ConsoleURL && origin != cl.IssuerURL {
				t.Errorf("the page asked %s for something", origin)
			}
		}
	})
	b.do(chromedp.EmulateViewport(1280, 800))
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	id := chromedp.FromContext(ctx).BrowserContextID
	for _, permission := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: permission}, Setting: browser.PermissionSettingGranted,
			Origin: cl.ConsoleURL, BrowserContextID: id,
		}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// listen runs where the tab's messages are read: it only writes down.
func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		// An answer like 403 is one, too, and is often wanted.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			b.wrong = append(b.wrong, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		if scheme, rest, ok := strings.Cut(e.Request.URL, "://"); ok {
			host, _, _ := strings.Cut(rest, "/")
			b.requests = append(b.requests, scheme+"://"+host)
		}
	case *network.EventLoadingFinished:
		b.received += e.EncodedDataLength
	case *fetch.EventRequestPaused:
		b.held = append(b.held, e.RequestID)
	case *page.EventJavascriptDialogOpening:
		// Whether to leave a page: leave it.
		go func() {
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	}
}

// do runs actions, and ends the test where they take too long.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if chromedp.FromContext(b.ctx).Target == nil {
		if err := chromedp.Do(b.ctx); err != nil { // its context is the tab's life
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

// open goes to a page of the console and returns its HTTP status.
func (b *tab) open(path string) int64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		response, err := chromedp.RunResponse(ctx, chromedp.Navigate(cl.ConsoleURL+path))
		if err != nil {
			b.Fatalf("open %s: %v", path, err)
		}
		// Without a response no page was loaded: the previous page changed the search in its address meanwhile.
		if response != nil {
			return response.Status
		}
	}
}

// signIn signs a person in and shows the tokens of the namespaces.
func (b *tab) signIn(name string, namespaces ...string) {
	b.Helper()
	b.open("/sign-in")
	b.click(`a[href^="/sign-in/oidc"]`)
	b.fill("#username", name)
	b.fill("#password", name)
	b.click(`button[type="submit"]`)
	b.until("the table of "+name+" is shown", `document.querySelector("#table") !== null`)
	form := quote(url.Values{"ns": namespaces}.Encode())
	if !eval[bool](b, `fetch("/namespaces", {method: "POST", body: new URLSearchParams(`+form+`)}).then((r) => r.ok)`) {
		b.Fatal("the namespaces are not taken")
	}
	b.open("/?" + url.Values{"ns": namespaces}.Encode())
}

// click clicks the first that a CSS selector finds and that can be seen.
func (b *tab) click(selector string) {
	b.Helper()
	b.clickFirst(selector, fmt.Sprintf(`document.querySelectorAll(%s)`, quote(selector)))
}

// press clicks the link or button that has a text on it; in the dialog, where one is open.
func (b *tab) press(text string) {
	b.Helper()
	b.clickFirst(fmt.Sprintf("a button %q", text), fmt.Sprintf(
		`[...(document.querySelector("dialog[open]") ?? document).querySelectorAll("a, button")].filter((e) => e.innerText.trim() === %s)`, quote(text)))
}

// openFilter opens the choice of namespaces. A page that is still being drawn may move the button away from under a click.
func (b *tab) openFilter() {
	b.Helper()
	isOpen := func() bool {
		open, err := tryEval[bool](b, 5*time.Second, `!!document.querySelector("#namespaces:popover-open")`)
		return err == nil && open
	}
	eventually(b.T, "the filter opens", func() bool {
		if isOpen() {
			return true
		}
		b.click(".filter")
		return isOpen()
	})
}

// clickFirst clicks in the middle of an element, once the page has loaded and a click there would reach it: what was drawn may be
// replaced by what is newer at any time.
func (b *tab) clickFirst(what, elements string) {
	b.Helper()
	var at []float64
	eventually(b.T, what+" can be clicked", func() (ok bool) {
		var err error
		at, err = tryEval[[]float64](b, 5*time.Second, fmt.Sprintf(`(() => {
			if (document.readyState !== "complete") return [];
			const e = [...%s].find((e) => e.checkVisibility());
			e?.scrollIntoView({ block: "nearest", behavior: "instant" });
			const box = e?.getClientRects()[0];
			if (!box) return [];
			const at = [box.x + box.width / 2, box.y + box.height / 2];
			return e.contains(document.elementFromPoint(...at)) ? at : [];
		})()`, elements))
		return err == nil && len(at) == 2
	})
	b.do(chromedp.MouseClickXY(at[0], at[1]))
}

// fill replaces what a field has in it.
func (b *tab) fill(selector, text string) {
	b.Helper()
	b.until(selector+" is there", visible(selector))
	b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf(
			`(() => { const e = document.querySelector(%s); e.focus(); e.select(); return true; })()`, quote(selector)))); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}

// visible is a condition in JavaScript.
func visible(selector string) string {
	return fmt.Sprintf(`document.querySelector(%s)?.checkVisibility() === true`, quote(selector))
}

// until polls a condition in JavaScript. It continues while the page navigates away.
func (b *tab) until(what, condition string) {
	b.Helper()
	b.untilWithin(patience, what, condition)
}

func (b *tab) untilWithin(within time.Duration, what, condition string) {
	b.Helper()
	var err error
	env.Eventually(b.T, within, func() (ok bool) {
		ok, err = tryEval[bool](b, 5*time.Second, condition)
		return err == nil && ok
	}, func() string {
		at, _ := tryEval[string](b, 5*time.Second, `location.pathname + ": " + (document.querySelector("dialog[open]") ?? document.body).innerText.slice(0, 300)`)
		return fmt.Sprintf("%s: not so (%v), at %s", what, err, shown.ReplaceAllString(at, "TOKEN"))
	})
}

// text is what people see of what a selector finds; empty where it finds nothing.
func (b *tab) text(selector string) string {
	b.Helper()
	return eval[string](b, fmt.Sprintf(`document.querySelector(%s)?.innerText ?? ""`, quote(selector)))
}

// says waits until what a selector finds has a text in it.
func (b *tab) says(selector, text string) {
	b.Helper()
	b.until(fmt.Sprintf("%s says %q", selector, text),
		fmt.Sprintf(`(document.querySelector(%s)?.innerText ?? "").includes(%s)`, quote(selector), quote(text)))
}

// dialogCloses waits until it has, and nothing of it is left.
func (b *tab) dialogCloses() {
	b.Helper()
	b.until("the dialog is closed and empty", `(({ open, children }) => !open && children.length === 0)(document.querySelector("#dialog"))`)
}

// clipboard is what was copied last.
func (b *tab) clipboard() string {
	b.Helper()
	return eval[string](b, `navigator.clipboard.readText()`)
}

// html is everything that the page consists of, frames and what is typed in aside.
func (b *tab) html() string {
	b.Helper()
	return eval[string](b, `document.documentElement.outerHTML`)
}

// scheme makes the page light or dark, at once: colours on their way to the other scheme are nobody's choice.
func (b *tab) scheme(scheme string) {
	b.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		},
	})
}

// screenshot writes what the tab shows into the ignored folder screenshots.
func (b *tab) screenshot(name string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		if err = os.MkdirAll("screenshots", 0o755); err == nil {
			err = os.WriteFile(filepath.Join("screenshots", name+".png"), png, 0o600)
		}
	}
	if err != nil {
		b.Logf("screenshot %s: %v", name, err)
	}
}

// eval evaluates JavaScript, outside the page's Content-Security-Policy.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	value, err := tryEval[T](b, patience, expression)
	if err != nil {
		b.Fatal(err)
	}
	return value
}

// tryEval is for what is asked again: while a page loads, the error is that something is not there yet.
func tryEval[T any](b *tab, within time.Duration, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, within)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string
	}
	return string(quoted)
}

// call sends the tab a command of the DevTools protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		b.Fatal(err)
	}
	return result
}
