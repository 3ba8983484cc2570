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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// made is alice's token, made on the page, which still shows the table.
func made(b *tab, name string) (plaintext string) {
	b.Helper()
	b.click("a.new")
	b.fill("#f-name", name)
	b.press("Save")
	b.says("#dialog", "Your new token")
	plaintext = b.text("[data-token]")
	eventually(b.T, "the token works", func() bool { return whoami(b.T, plaintext) == "alice" })
	b.press("Copy")
	b.says(".said", "Copied")
	b.press("Done")
	b.dialogCloses()
	b.says("#table", name)
	return plaintext
}

// details opens those of the only token in the table.
func (b *tab) details() {
	b.Helper()
	b.click(`#table tbody .name a`)
	b.says("#dialog", "For administrators")
}

func TestRevokedTokenIsRefused(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	plaintext := made(b, "Old importer")
	b.click(`#table a[href$="/revoke"]`)
	b.says("#dialog", "Revoke this token?")
	b.says("#dialog", "Old importer")
	b.press("Cancel")
	b.dialogCloses()
	eventually(t, "cancelled, the token works", func() bool { return whoami(t, plaintext) == "alice" })
	b.click(`#table a[href$="/revoke"]`)
	b.says("#dialog", "Old importer")
	b.press("Revoke")
	b.says("#status", "“Old importer” is revoked.")
	b.says("#table", "No tokens yet")
	b.until("the notice goes away", `document.querySelector("#status").textContent === ""`)
	refused(t, plaintext)
}

// What is said twice is announced twice: a live region speaks only when its text changes.
func TestTheSameIsSaidAgain(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Twin")
	hers(t, namespace, "Twin")
	b := newTab(t)
	b.signIn("alice", namespace)
	eval[bool](b, `(window.announced = []) && new MutationObserver(() => {
		const text = document.querySelector("#status").textContent;
		if (text) window.announced.push(text);
	}).observe(document.querySelector("#status"), { childList: true }) === undefined`)
	for i := range 2 {
		b.click(`#table a[href$="/revoke"]`)
		b.says("#dialog", "Revoke this token?")
		b.press("Revoke")
		b.until("it is announced", fmt.Sprintf(`window.announced.filter((said) => said.includes("“Twin” is revoked")).length === %d`, i+1))
		b.dialogCloses()
	}
}

func TestSuspendedTokenIsRefusedUntilItIsResumed(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	plaintext := made(b, "Seasonal job")
	b.details()
	b.press("Suspend")
	b.says("#dialog", "Suspend this token?")
	b.press("Suspend")
	b.says("#status", "suspended")
	b.says("#table", "Suspended")
	refused(t, plaintext)
	b.details()
	b.press("Resume")
	b.says("#dialog", "Resume this token?")
	b.press("Resume")
	b.says("#status", "works again")
	b.says("#table", "Active")
	eventually(t, "the resumed token works", func() bool { return whoami(t, plaintext) == "alice" })
}

func TestRotationShowsAnotherTokenAndEndsTheFormer(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	former := made(b, "Build agent")
	b.details()
	b.press("Rotate")
	b.says("#dialog", "Rotate this token?")
	b.says("#dialog", "It expires on ")
	b.until("a day is chosen", `document.querySelector("#f-overlap-86400").checked`)
	b.says("#dialog", "The old token works until ")
	b.screenshot("rotate")
	b.click(`label[for="f-overlap-0"]`)
	b.says("#dialog", "The old token stops working at once.")
	b.press("Rotate")
	b.says("#dialog", "Your new token")
	b.says("#dialog", "The old token no longer works.")
	b.screenshot("rotated")
	plaintext := b.text("[data-token]")
	if plaintext == former || !shown.MatchString(plaintext) {
		t.Fatal("the dialog shows no new token")
	}
	eventually(t, "the new token works", func() bool { return whoami(t, plaintext) == "alice" })
	refused(t, former)
	b.press("Copy")
	b.says(".said", "Copied")
	b.press("Done")
	b.dialogCloses()
	noToken(b, "the page")
	if pats := tokens(t, namespace); len(pats) != 1 {
		t.Errorf("there are %d tokens", len(pats))
	}
}

func TestDetailsTellWhatTheTableLeavesOut(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	b := newTab(t)
	b.signIn("alice", namespace)
	plaintext := made(b, "Weather station")
	b.says(`td[data-label="Last used"]`, eval[string](b, `new Intl.DateTimeFormat(undefined, { dateStyle: "medium" }).format(new Date())`))
	pat := tokens(t, namespace)[0]
	b.until("its use is seen", fmt.Sprintf(
		`fetch(%s).then((r) => r.text()).then((page) => !page.includes("Not seen yet"))`, quote("/tokens/"+namespace+"/"+pat.Name)))
	b.details()
	b.click("#dialog .more summary")
	for _, want := range []string{
		"Weather station", "alice", "This cluster’s API", namespace + "/" + pat.Name, pat.Status.TokenID, "Active", "Revoke", "Rotate", "Suspend",
	} {
		b.says("#dialog", want)
	}
	if got := b.text("#dialog"); strings.Contains(got, namespace+"/"+namespace) || strings.Contains(got, plaintext) {
		t.Errorf("the details say %q", got)
	}
	b.screenshot("details")
}

func TestTokenIsRenamedInItsDetails(t *testing.T) {
	t.Parallel()
	namespace := team(t)
	hers(t, namespace, "Old name")
	hers(t, namespace, "Another")
	b := newTab(t)
	b.signIn("alice", namespace)
	b.press("Old name")
	b.says("#dialog", "For administrators")
	b.click("#dialog .rename summary")
	b.fill("#f-name", " another ")
	b.until("it warns of the name", visible("#same-name"))
	b.fill("#f-name", "Old name") // its own
	b.until("it warns no more", `!document.querySelector("#same-name").checkVisibility()`)
	b.fill("#f-name", "New name")
	b.screenshot("rename")
	b.press("Save name")
	b.says("#dialog h2", "New name")
	b.press("Close")
	b.dialogCloses()
	b.says("#table", "New name")
	b.click("a.new")
	b.fill("#f-name", "New name")
	b.says("#same-name", "A token of this name exists already.")
	b.press("Save")
	b.says("#dialog", "Your new token")
}

func TestBobSeesAndDoesNothingInAlicesNamespace(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	create(t, &v1alpha1.PersonalAccessToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hers"},
		Spec:       v1alpha1.PersonalAccessTokenSpec{DisplayName: "Her own", User: &v1alpha1.UserInfo{Username: "alice"}},
	})
	b := newTab(t)
	b.signIn("bob", namespace)
	b.says("main", "You may not list tokens in "+namespace)
	b.screenshot("forbidden")
	path := "/tokens/" + namespace + "/hers"
	for _, path := range []string{path, path + "/revoke", path + "/rotate"} {
		if status := b.open(path); status != 403 {
			t.Errorf("%s answers %d", path, status)
		}
		b.says("main", "You may not do this")
		if shows := b.html(); strings.Contains(shows, "Her own") {
			t.Errorf("%s shows the token's name", path)
		}
	}
	if len(tokens(t, namespace)) != 1 {
		t.Error("the token has gone")
	}
}
