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
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// shown is a token with its secret.
var shown = regexp.MustCompile(token.Prefix + `[a-z2-7]{16}_[0-9A-Za-z]`)

func TestTokenIsCreatedCopiedAndShownOnce(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Monthly report")
	b.says("#dialog", "At most 366 days here.")
	for _, days := range []int{90, 7, 30, 180, 366} { // the first is chosen already
		if days != 90 {
			b.click(fmt.Sprintf(`label[for="f-days-%d"]`, days))
		}
		ends := eval[string](b, fmt.Sprintf(`new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }).format(new Date(document.querySelector("#ends-%d time").dateTime))`, days))
		b.until("it says when it ends", fmt.Sprintf(`document.querySelector("#ends-%d").checkVisibility() && [...document.querySelectorAll("#dialog fieldset:has(#f-date) .then")].filter((e) => e.checkVisibility()).length === 1`, days))
		b.says("#dialog", "Expires "+ends+". It cannot be extended later.")
	}
	b.click(`label[for="f-days-90"]`)
	b.screenshot("create-lives")
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.screenshot("created")
	plaintext := b.text("[data-token]")
	if !shown.MatchString(plaintext) {
		t.Fatal("the dialog shows no token")
	}
	b.says("#dialog", "Copy it now. You won’t be able to see it again.")
	b.press("Copy")
	b.says(".said", "Copied")
	if b.clipboard() != plaintext {
		t.Error("the clipboard has something else than the token")
	}
	b.until("Done is next", `document.querySelector("[data-copy]").innerText === "✓ Copied" &&
		document.querySelector("#dialog .primary").innerText === "Done" && document.querySelectorAll("#dialog .primary").length === 1`)
	b.screenshot("copied")
	eventually(t, "the token works", func() bool { return whoami(t, plaintext) == "alice" })
	b.press("Done")
	b.dialogCloses()
	b.says("#table", "Monthly report")
	b.says("#table", "Active")
	noToken(b, "the page after it is closed")
	b.open("/?ns=" + namespace)
	noToken(b, "the page loaded anew")
	b.do(chromedp.NavigateBack())
	b.until("the page is loaded", `document.readyState === "complete"`)
	noToken(b, "the page before")
	if pats := tokens(t, namespace); len(pats) != 1 || pats[0].Spec.DisplayName != "Monthly report" || pats[0].Spec.User.Username != "alice" {
		t.Errorf("the namespace has %d tokens", len(pats))
	}
}

// Permissions are chosen by keyboard in a narrow window, and without the script, and the token has no others.
func TestPermissionsAreChosenByKeyboardAndWithoutScript(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	for _, how := range []string{"By keyboard", "Without script"} {
		where := "#dialog"
		if how == "Without script" {
			where = "main"
			call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			b.open("/?ns=" + namespace)
		}
		b.fits(320, 640)
		b.click("a.new")
		b.fill("#f-name", how)
		b.says(where, "The token may do everything that you may do.")
		if how == "By keyboard" {
			eval[bool](b, `document.querySelector("#f-may-all").focus() === undefined`)
			b.keys(kb.ArrowRight)
			b.focused("#f-may-read-only")
		} else {
			b.click(`label[for="f-may-read-only"]`)
		}
		b.says(where, "The token may look at what you may look at, except Secrets. It changes nothing.")
		b.fits(320, 640)
		b.screenshot("permissions-narrow")
		b.press("Save")
		b.says(where, "Your new token")
		if how == "By keyboard" {
			b.press("Copy")
			b.says(".said", "Copied")
		}
		b.press("Done")
		b.says("#table", how)
		b.says("#table", "Read only")
		b.fits(320, 640)
	}
	b.click("#table tbody .name a")
	b.says("main", "Read only")
	for _, pat := range tokens(t, namespace) {
		if len(pat.Spec.Scopes) != 1 || pat.Spec.Scopes[0].Preset != "read-only" {
			t.Errorf("%s has the scopes %v", pat.Spec.DisplayName, pat.Spec.Scopes)
		}
	}
}

// The commands shown with a new token work as they are copied, in a shell that has $TOKEN, and in the folder of the downloads.
func TestCommandsBesideANewTokenWork(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Used at once")
	b.press("Save")
	b.says("#dialog", "Your new token")
	plaintext, dir := b.text("[data-token]"), t.TempDir()
	for _, link := range []string{"ca.crt", tokens(t, namespace)[0].Name + ".kubeconfig"} {
		content := eval[string](b, `fetch(document.querySelector('a[download=`+quote(link)+`]').href).then((r) => r.text())`)
		if err := os.WriteFile(filepath.Join(dir, link), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if shown.MatchString(content) {
			t.Errorf("%s has the token", link)
		}
	}
	for use, want := range map[string]string{"curl": `"kind": "APIVersions"`, "kubectl": "alice", "kubeconfig": "alice"} {
		b.click(`label[for="use-` + use + `"]`)
		b.click(`#use-` + use + ` ~ .then [data-copies]`)
		b.until("it is copied", `document.querySelector('#use-`+use+` ~ .then [data-copies]').innerText === "✓ Copied"`)
		b.screenshot("use-" + use)
		command := b.text("#use-" + use + " ~ .then pre") // the clipboard is every test's
		var out []byte
		var err error
		env.Eventually(t, patience, func() bool { // once the verifier knows the token
			shell := cl.Command(t.Context(), "", "sh", "-e", "-c", command)
			shell.Dir, shell.Env = dir, append(shell.Env, "TOKEN="+plaintext)
			out, err = shell.CombinedOutput()
			return err == nil && strings.Contains(string(out), want)
		}, func() string {
			return fmt.Sprintf("%s: %v\n%s", use, err, strings.ReplaceAll(string(out), plaintext, "$TOKEN"))
		})
	}
	if !b.asks() {
		t.Error("copying a command counts as copying the token")
	}
}

func TestTokenGoesWithThePageThatShowsIt(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	for name, leave := range map[string]func(b *tab){
		"reload": func(b *tab) { b.do(chromedp.Reload()) },
		"away and back": func(b *tab) {
			b.open("/sign-in")
			b.do(chromedp.NavigateBack())
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTab(t)
			b.signIn("alice", namespace)
			b.click("a.new")
			b.fill("#f-name", name)
			b.press("Save")
			b.says("#dialog", "Your new token")
			leave(b)
			b.until("the table is there", `document.readyState === "complete" && document.querySelector("#table") !== null`)
			noToken(b, "the page")
		})
	}
}

// A page that a browser keeps for Back keeps no token, and is loaded anew when it comes back.
func TestTokenIsClearedWhenThePageIsHidden(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Hidden")
	b.press("Save")
	b.says("#dialog", "Your new token")
	eval[bool](b, `dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }))`)
	noToken(b, "the hidden page")
	eval[bool](b, `(window.kept = true) && dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))`)
	b.until("the page is loaded anew", `!("kept" in window) && document.querySelector("#table") !== null`)
}

func TestClosingBeforeCopyingWarnsOnce(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Not copied")
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.press("Done")
	b.says("#uncopied", "You have not copied the token")
	if !shown.MatchString(b.text("[data-token]")) {
		t.Error("the token has gone without a warning")
	}
	b.press("Close without copying")
	b.dialogCloses()
	noToken(b, "the page")
}

// A token that is to expire on a day does so there where the day was chosen, in a dialog and on a page.
func TestChosenDayIsTheVisitorsOwn(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	for zone, form := range map[string]string{"Pacific/Kiritimati": "", "America/Los_Angeles": "/new?ns=" + namespace} {
		t.Run(zone, func(t *testing.T) {
			b := newTab(t)
			call(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: zone})
			b.signIn("alice", namespace)
			if form != "" {
				b.open(form)
			} else {
				b.click("a.new")
			}
			b.fill("#f-name", zone)
			b.click(`label[for="f-days-date"]`)
			if label := b.text("label[for=f-date]"); label != "Expires on" {
				t.Errorf("the field is called %q", label)
			}
			last := time.Now().AddDate(0, 0, 30).Format(time.DateOnly)
			eval[bool](b, `(document.querySelector("#f-date").value = `+quote(last)+`) !== ""`)
			b.press("Save")
			b.says("body", "Your new token")
			// The page's script puts the visitor's own day where the server wrote UTC's.
			b.says(".lead time", eval[string](b, `new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }).format(new Date(`+quote(last+"T12:00:00")+`))`))
			want := eval[string](b, `new Date(`+quote(last+"T23:59:59")+`).toISOString().replace(".000", "")`)
			for _, pat := range tokens(t, namespace) {
				if got := pat.Spec.ExpiresAt.UTC().Format(time.RFC3339); pat.Spec.DisplayName == zone && got != want {
					t.Errorf("it ends at %s, want %s", got, want)
				}
			}
		})
	}
}

func TestFormSentTwiceMakesOneToken(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Sent twice")
	statuses := eval[[]int](b, `(async () => {
		const statuses = [];
		for (let i = 0; i < 2; i++) {
			const body = new URLSearchParams(new FormData(document.querySelector("#dialog form")));
			statuses.push((await fetch("/new", { method: "POST", body })).status);
		}
		return statuses;
	})()`)
	if diff := cmp.Diff([]int{http.StatusOK, http.StatusConflict}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	b.press("Save")
	b.says("#dialog", "Already created")
	if n := len(tokens(t, namespace)); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

func TestFormSaysWhatIsWrongAtTheField(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Too long a life")
	b.click(`label[for="f-days-date"]`)
	eval[bool](b, `(document.querySelector("#f-date").value = "2199-12-31") !== ""`)
	b.press("Save")
	b.says("#err-date", "At most 366 days here. Choose an earlier day.")
	if kept := eval[string](b, `document.querySelector("#f-name").value`); kept != "Too long a life" {
		t.Errorf("the name is %q now", kept)
	}
	if len(tokens(t, namespace)) != 0 {
		t.Error("a token was made")
	}
}

// A form that is too long keeps what was typed.
func TestFormThatIsTooLongStays(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	b.click("a.new")
	b.fill("#f-name", "Too many recipients")
	b.click("#dialog summary")
	eval[bool](b, `(document.querySelector("#f-recipients").value = "x".repeat(200 << 10)) !== ""`)
	b.press("Save")
	b.says("#dialog .told", "This is too long to send, and nothing was done.")
	eval[bool](b, `(document.querySelector("#f-recipients").value = "") === ""`)
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.says("#dialog", "Too many recipients")
}

func TestWithoutScriptEverythingButCopyWorks(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open("/?ns=" + namespace)
	b.click("a.new")
	b.until("the form is a page", `location.pathname === "/new"`)
	b.fill("#f-name", "By hand")
	b.press("Save")
	b.says("main", "Your new token")
	plaintext := b.text("[data-token]")
	if !shown.MatchString(plaintext) {
		t.Fatal("the page shows no token")
	}
	b.press("Done")
	b.says("#table", "By hand")
	noToken(b, "the table")

	path := "/tokens/" + namespace + "/" + tokens(t, namespace)[0].Name
	hers(t, namespace, "Another")
	b.open("/?ns=" + namespace)
	b.press("Name")
	b.rowsAre("Another", "By hand")
	b.press("Name")
	b.rowsAre("By hand", "Another")
	b.fill("#q", "HAND")
	b.press("Search")
	b.rowsAre("By hand")
	b.says("#count", "1 of 2 tokens")
	act := func(what string) {
		b.click(`#table a[href="` + path + `"]`)
		b.says("main", "For administrators")
		b.press(what)
		b.says("main", what+" this token?")
		b.press(what)
	}
	act("Suspend")
	b.says("#status", "“By hand” is suspended.")
	act("Resume")
	b.says("#status", "“By hand” works again.")
	act("Rotate")
	b.says("main", "Your new token")
	b.says("main", "The old token works until ")
	former := plaintext
	if plaintext = b.text("[data-token]"); plaintext == former || !shown.MatchString(plaintext) {
		t.Fatal("the page shows no new token")
	}
	for _, works := range []string{plaintext, former} { // for a day, both
		eventually(t, "the token works", func() bool { return whoami(t, works) == "alice" })
	}
	b.press("Done")
	b.click(`#table a[href="` + path + `/revoke"]`)
	b.says("main", "Revoke this token?")
	b.says("main", "By hand")
	b.press("Revoke")
	b.says("#status", "“By hand” is revoked.")
	if pats := tokens(t, namespace); len(pats) != 1 {
		t.Errorf("%d tokens are left, want the other one", len(pats))
	}
	refused(t, plaintext)
}

// noToken looks for a token in all that a page consists of.
func noToken(b *tab, where string) {
	b.Helper()
	if shown.MatchString(b.html()) {
		b.Errorf("%s has the token in it", where)
	}
	if at := eval[string](b, "location.href + JSON.stringify(history.state)"); strings.Contains(at, token.Prefix) {
		b.Errorf("%s has the token in its address or history", where)
	}
}

func tokens(t *testing.T, namespace string) []v1alpha1.PersonalAccessToken {
	t.Helper()
	list := &v1alpha1.PersonalAccessTokenList{}
	if err := admin.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// whoami is whom the API server takes a token for; nobody where it refuses it.
func whoami(t *testing.T, plaintext string) string {
	t.Helper()
	user, err := env.WhoIs(t.Context(), env.Must[client.WithWatch](t)(product.Bearer(plaintext)))
	if err != nil && !apierrors.IsUnauthorized(err) {
		t.Fatal(err)
	}
	return user.Username
}

// refused waits until the API server refuses a token: it may remember a yes for 10 seconds.
func refused(t *testing.T, plaintext string) {
	t.Helper()
	env.Must[time.Duration](t)(product.Refused(t.Context(), plaintext))
}
