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
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// hers makes a token of alice's that nobody has the plaintext of.
func hers(t *testing.T, namespace, displayName string, with ...func(*v1alpha1.PersonalAccessTokenSpec)) *v1alpha1.PersonalAccessToken {
	t.Helper()
	pat := &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "token-"},
		Spec: v1alpha1.PersonalAccessTokenSpec{
			DisplayName: displayName, User: &v1alpha1.UserInfo{Username: "alice"}, ExpiresInDays: ptr.To[int32](90),
		},
	}
	for _, f := range with {
		f(&pat.Spec)
	}
	create(t, pat)
	return pat
}

func suspend(s *v1alpha1.PersonalAccessTokenSpec)    { s.Suspend = true }
func nearlyOver(s *v1alpha1.PersonalAccessTokenSpec) { s.ExpiresInDays = ptr.To[int32](2) }

// visibleRows are the names in the table, as they are seen, from the top.
const visibleRows = `[...document.querySelectorAll("#table tbody tr")]
	.filter((r) => r.checkVisibility()).map((r) => r.querySelector(".title").innerText)`

// rowsAre waits until the table shows these.
func (b *tab) rowsAre(want ...string) {
	b.Helper()
	b.rowsBecome(want, func(rows []string) []string { return rows })
}

// namesAre waits until the table shows these, in any order.
func (b *tab) namesAre(want ...string) {
	b.Helper()
	slices.Sort(want)
	b.rowsBecome(want, func(rows []string) []string { slices.Sort(rows); return rows })
}

func (b *tab) rowsBecome(want []string, order func([]string) []string) {
	b.Helper()
	var got []string
	defer func() {
		if b.Failed() {
			b.Logf("rows (-want +got):\n%s", cmp.Diff(want, got))
		}
	}()
	eventually(b.T, "the table shows what it should", func() bool {
		rows, err := tryEval[[]string](b, patience, visibleRows)
		got = order(rows)
		return err == nil && cmp.Equal(want, got, cmpopts.EquateEmpty())
	})
}

func TestSearchNarrowsTheTableAsItIsTyped(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	for _, name := range []string{"Monthly report", "Monthly import", "Build agent"} {
		hers(t, namespace, name)
	}
	b := newTab(t)
	b.signIn("alice", namespace)
	sorted := func(order string) {
		b.press("Name")
		b.until("the table is sorted", fmt.Sprintf(`document.querySelector("th.name").ariaSort === %q`, order))
	}
	sorted("ascending")
	b.rowsAre("Build agent", "Monthly import", "Monthly report")
	sorted("descending")
	b.rowsAre("Monthly report", "Monthly import", "Build agent")
	b.fill("#q", "MONTH rep")
	b.rowsAre("Monthly report")
	b.says("#count", "1 of 3")
	b.until("the search is in the address", `location.search.includes("q=")`)
	b.do(chromedp.Reload())
	b.rowsAre("Monthly report")
	b.fill("#q", "nothing like it")
	b.says("main", "No token matches")
	b.press("Clear the search")
	b.rowsAre("Monthly report", "Monthly import", "Build agent")
}

func TestTableTellsStatesApartAndKeepsUpToDate(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "In use")
	hers(t, namespace, "Nearly over", nearlyOver)
	hers(t, namespace, "Put aside", suspend)
	b := newTab(t)
	b.signIn("alice", namespace)
	hers(t, namespace, "Short", func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.ExpiresInDays, s.ExpiresAt = nil, &metav1.Time{Time: time.Now().Add(4 * time.Second)}
	})
	for name, state := range map[string]string{
		"In use": "Active", "Nearly over": "Expiring soon", "Put aside": "Suspended", "Short": "Expired",
	} {
		b.until(fmt.Sprintf("%s is %s", name, state), fmt.Sprintf(`[...document.querySelectorAll("#table tbody tr")].some((r) =>
			r.querySelector(".title").innerText === %s && r.querySelector(".badge").innerText === %s)`, quote(name), quote(state)))
	}
	b.screenshot("table-light")
	for state, want := range map[string][]string{
		"active": {"Nearly over", "In use"}, "expiring-soon": {"Nearly over"}, "suspended": {"Put aside"}, "expired": {"Short"}, "revoked": nil,
	} {
		choose := fmt.Sprintf(`(({ e = document.querySelector("#state") } = {}) => { e.value = %s; return e.dispatchEvent(new Event("change")); })()`, quote(state))
		eval[bool](b, choose)
		b.namesAre(want...)
		b.until("the state is in the address", `location.search.includes("state=`+state+`")`)
	}
	eval[bool](b, `(({ e = document.querySelector("#state") } = {}) => { e.value = ""; return e.dispatchEvent(new Event("change")); })()`)
	b.says("#count", "4 tokens")
	b.scheme("dark")
	b.screenshot("table-dark")
}

// Dates are in the visitor's locale and zone, with the exact time to be pointed at; without script ISO, UTC.
func TestDatesAreInTheVisitorsWords(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	day := time.Now().UTC().AddDate(0, 0, 30)
	end := time.Date(day.Year(), day.Month(), day.Day(), 22, 30, 5, 0, time.UTC)
	hers(t, namespace, "Ends in the night", func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.ExpiresInDays, s.ExpiresAt = nil, &metav1.Time{Time: end}
	})
	b := newTab(t)
	call(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"})
	call(b, emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: "de-DE"})
	b.signIn("alice", namespace)
	const expires = `td[data-label="Expires"] time`
	title := func() string { return eval[string](b, `document.querySelector('`+expires+`').title`) }
	b.says(expires, end.Add(9*time.Hour).Format("02.01.2006")) // in Germany's way, in Tokyo
	if got := title(); !strings.Contains(got, "07:30:05") || !strings.Contains(got, "tag,") && !strings.Contains(got, "woch,") {
		t.Errorf("exactly it is %q", got)
	}
	b.details()
	const instant = `#dialog time[data-minute][datetime$="22:30:05Z"]`
	b.says(instant, end.Add(9*time.Hour).Format("02.01.2006, 15:04"))

	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open("/?ns=" + namespace)
	if got, want := b.text(expires)+", "+title(), end.Format("2006-01-02, 2006-01-02 15:04:05 UTC"); got != want {
		t.Errorf("without script it is %q, want %q", got, want)
	}
	b.click(`#table tbody .name a`)
	b.says("main", end.Format("2006-01-02 15:04 UTC"))
	b.open("/new?ns=" + namespace)
	if label := eval[string](b, `document.querySelector("label[for=f-date]").textContent`); label != "Expires on (UTC)" {
		t.Errorf("the field of a date is called %q", label)
	}
}

// A table that cannot be brought up to date says so, and does so once it can.
func TestTableSaysThatItIsNotUpToDate(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "There before")
	b := newTab(t)
	b.signIn("alice", namespace)
	const look = `document.dispatchEvent(new Event("visibilitychange"))` // as if the window were looked at again
	busy := `document.querySelector("#table").ariaBusy === "true"`
	b.hold("*/table*")
	hers(t, namespace, "Made meanwhile")
	eval[bool](b, look)
	b.holds()
	b.until("the table waits", busy)
	b.gateway()
	b.says("#trouble", "Not up to date: the console does not answer. Trying again.")
	b.says("#table", "There before")
	b.release()
	b.until("the table waits no more", "!("+busy+")")
	eval[bool](b, look)
	b.says("#table", "Made meanwhile")
	b.until("nothing is wrong any more", `document.querySelector("#trouble").textContent === ""`)
}

func TestHostileNamesStayText(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	const script = `<script>window.hostile=1</script><img src=x onerror="window.hostile=1">`
	names := map[string]string{
		script:                       script,
		`"><svg onload="hostile=1">`: `"><svg onload="hostile=1">`,
		"invoice\u200bfdp.exe":       `invoice\u200bfdp.exe`,
		strings.Repeat("W", 128):     strings.Repeat("W", 128),
		"{{.Data}} ${1+1} </bdi>":    "{{.Data}} ${1+1} </bdi>",
	}
	for name := range names {
		hers(t, namespace, name)
	}
	b := newTab(t)
	b.signIn("alice", namespace)
	b.namesAre(slices.Collect(maps.Values(names))...)
	b.screenshot("hostile")
	b.fill("#q", script)
	b.rowsAre(script)
	b.click(`#table tr:not([hidden]) a[href$="/revoke"]`)
	b.says("#dialog", script)
	b.press("Cancel")
	b.click("a.new")
	b.fill("#f-name", script)
	b.press("Save")
	b.says("#dialog", script)
	b.press("Copy")
	b.says(".said", "Copied")
	b.press("Done")
	b.open("/?q=" + `%3Cscript%3Ewindow.hostile%3D1%3C/script%3Enone`)
	b.says("#no-match", "<script>window.hostile=1</script>none")
	if eval[bool](b, `"hostile" in window`) {
		t.Error("a name was run as a script")
	}
	b.open("/")
	b.fits(1280, 800)
	b.fits(320, 640)
}

// fits resizes the window, in which nothing may be wider than it.
func (b *tab) fits(width, height int64) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, height))
	// A dialog has its own scroll bars, and makes the page no wider.
	if wide := eval[[]string](b, `[document.scrollingElement, ...document.querySelectorAll("dialog[open]")]
		.filter((e) => e.scrollWidth > e.clientWidth).map((e) => `+"`${e.tagName}: ${e.scrollWidth} px in ${e.clientWidth}`"+`)`); len(wide) > 0 {
		b.Errorf("too wide for a window of %d px: %q", width, wide)
		b.screenshot(fmt.Sprintf("too-wide-%d", width))
	}
}

func TestPageFitsNarrowAndWideWindowsAndIsSmall(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "PoliteMail Comparison List API")
	b := newTab(t)
	b.signIn("alice", namespace)
	sizes := func() {
		b.fits(320, 640)
		b.fits(1440, 900)
	}
	sizes()
	b.click("a.new")
	b.says("#dialog", "It cannot be extended later.")
	b.click("#dialog summary")
	sizes()
	b.press("Cancel")
	b.details()
	b.click("#dialog .more summary")
	sizes()
	b.press("Close")
	b.click(`#table a[href$="/revoke"]`)
	b.says("#dialog", "Revoke this token?")
	sizes()
	b.press("Cancel")
	b.click("a.new")
	b.fill("#f-name", "In a narrow window")
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.press("Done")
	b.says("#uncopied", "You have not copied the token")
	sizes()
	b.press("Close without copying")

	fresh := newTab(t)
	fresh.signIn("alice", namespace)
	fresh.mu.Lock()
	defer fresh.mu.Unlock()
	if fresh.received > 60<<10 {
		t.Errorf("signing in and the page took %.0f bytes", fresh.received)
	}
	t.Logf("signing in and the page took %.0f bytes", fresh.received)
}

// In a narrow window the order is chosen by a labelled control, and nothing of a token or its details is cut off.
func TestNarrowWindowShowsEverything(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Beta")
	hers(t, namespace, "Alpha")
	long := hers(t, namespace, strings.TrimSpace(strings.Repeat("Long name ", 12)))
	b := newTab(t)
	b.signIn("alice", namespace)
	if eval[bool](b, `document.querySelector(".sort").checkVisibility()`) {
		t.Error("the order has a control in addition to its headings")
	}
	b.fits(320, 640)
	b.says(".sort", "Sort by")
	eval[bool](b, `(({ e = document.querySelector("#sort") } = {}) => { e.value = "name"; return e.dispatchEvent(new Event("change")); })()`)
	b.rowsAre("Alpha", "Beta", long.Spec.DisplayName)
	b.screenshot("narrow")
	// A name that is too long has at most two lines, and is whole where one points at it.
	if !eval[bool](b, `[...document.querySelectorAll("#table tbody .name a")].every((a) => a.title === a.innerText && a.getClientRects()[0].height < 60)`) {
		t.Error("a long name is not cut, or has no whole one to point at")
	}
	const cut = `[...document.querySelectorAll("#table tbody td, dialog[open] :is(dd, p, h2, li)")]
		.filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML)`
	b.click(`#table a[href$="` + long.Name + `"]`)
	b.says("#dialog", "For administrators")
	b.click("#dialog .more summary")
	b.screenshot("narrow-details")
	if is := eval[[]string](b, cut); len(is) > 0 {
		t.Errorf("cut off: %q", is)
	}
	b.footInSight()
	b.press("Close")
	b.dialogCloses()
	b.do(chromedp.EmulateViewport(1280, 800))
	b.click("a.new")
	b.says("#dialog", "It cannot be extended later.")
	b.click("#dialog summary")
	b.footInSight()
	b.screenshot("create-more")
}

// footInSight expects the buttons at the foot of the dialog to be in sight wherever it is scrolled to.
func (b *tab) footInSight() {
	b.Helper()
	for _, at := range []string{"0", "dialog.scrollHeight"} {
		if !eval[bool](b, `((dialog) => {
			dialog.scrollTop = `+at+`;
			const e = dialog.querySelector(".buttons :last-child"), box = e.getBoundingClientRect();
			const foot = dialog.querySelector(".buttons").getBoundingClientRect(), edge = dialog.getBoundingClientRect();
			return Math.abs(foot.bottom - edge.bottom) < 2 && e.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
		})(document.querySelector("dialog[open]"))`) {
			b.Errorf("scrolled to %s, the buttons are out of sight", at)
		}
	}
}

// Namespaces are added and left out on the page, which keeps the search, and are still chosen when it is opened again.
func TestNamespacesAreChosenOnThePage(t *testing.T) {
	t.Parallel()
	namespace, other := team(t), team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.fill("#q", "report")
	b.until("the search is in the address", `location.search.includes("q=report")`)
	b.openFilter()
	b.fill("#ns", other)
	b.keys(kb.Enter) // adds, and leaves none out
	b.until("both are in the address, and the search", `location.search === `+quote("?ns="+namespace+"&ns="+other+"&q=report&sort=-created"))
	b.openFilter()
	b.screenshot("filter")
	b.click(`button[value=` + quote(other) + `]`)
	b.until("one is left", `location.search === `+quote("?ns="+namespace+"&q=report&sort=-created"))
	b.open("/")
	b.until("it is chosen still", `document.querySelector('#leave-out [name="ns"]')?.value === `+quote(namespace))
}

// A namespace that alice may not list takes nothing off the page, and is not remembered.
func TestAddingANamespaceHidesNoToken(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Her own")
	b := newTab(t)
	b.signIn("alice", namespace)
	b.says("#table", "Her own")
	b.openFilter()
	b.fill("#ns", "kube-system")
	b.press("Add")
	b.says("#table", "You may not list tokens in kube-system")
	b.says("#table", "Her own")
	b.open("/")
	b.says("#table", "Her own")
	if text := b.text("main"); strings.Contains(text, "kube-system") {
		t.Errorf("the page still says %q", text)
	}
}
