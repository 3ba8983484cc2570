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
	"encoding/json"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// finding is what axe-core says of a page.
type finding struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// accessible expects axe-core to find nothing serious, in a light and in a dark page.
func (b *tab) accessible(state string) {
	b.Helper()
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		if !eval[bool](b, `"axe" in window`) {
			eval[bool](b, axeScript+"; true")
		}
		// A table that waits for an answer is dimmed for that moment, which comes at any time.
		eval[bool](b, `document.querySelector("#table")?.style.setProperty("opacity", "1", "important") ?? true`)
		// As a string: what it returns by value has a limit of depth.
		answer := eval[string](b, `axe.run(document, { resultTypes: ["violations"] }).then((r) => JSON.stringify(r.violations))`)
		var findings []finding
		if err := json.Unmarshal([]byte(answer), &findings); err != nil {
			b.Fatal(err)
		}
		for _, f := range findings {
			say := b.Logf
			if f.Impact == "serious" || f.Impact == "critical" {
				say = b.Errorf
			}
			for _, node := range f.Nodes {
				say("%s, %s: %s %s: %s: %s: %s", state, scheme, f.Impact, f.ID, f.Help, node.HTML, node.Summary)
			}
		}
	}
	b.scheme("light")
}

func TestPagesKeepNobodyOut(t *testing.T) {
	long.Only(t)
	t.Parallel()
	namespace := team(t)
	if axeScript == "" {
		t.Skip("PAT_AXE names no axe-core: run make test, or set it to what hack/tools/axe.sh prints")
	}
	b := newTab(t)
	b.open("/sign-in")
	b.accessible("sign in")
	b.signIn("alice", namespace)
	b.accessible("no tokens")
	hers(t, namespace, "In use")
	suspended := hers(t, namespace, "Put aside", suspend)
	hers(t, namespace, "Nearly over", nearlyOver)
	b.open("/")
	b.accessible("table")
	b.fill("#q", "nothing like it")
	b.accessible("no match")
	b.open("/")
	b.click("a.new")
	b.says("#dialog", "It cannot be extended later.")
	b.accessible("dialog New")
	b.click("#dialog summary")
	b.fill("#f-name", "Seen by all")
	b.fill("#f-recipients", "no key")
	b.click(`label[for="f-for-api"]`)
	b.press("Save")
	b.until("the form says what is wrong", visible("#err-recipients"))
	b.says("#err-audiences", "Name the API that takes the token")
	b.accessible("dialog New with errors")
	b.fill("#f-recipients", "")
	b.fill("#f-audiences", "https://mail.example.com")
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.says("#dialog", "https://YOUR-API")
	b.accessible("dialog with the token of another API")
	b.press("Copy")
	b.says(".said", "Copied")
	b.press("Done")
	b.dialogCloses()
	b.click("a.new")
	b.fill("#f-name", "Seen by all, too")
	b.press("Save")
	b.says("#dialog", "Your new token")
	b.accessible("dialog with the token")
	b.press("Done")
	b.accessible("dialog with the warning")
	b.press("Close without copying")
	b.click(`a[href$="` + suspended.Name + `"]`)
	b.says("#dialog", "For administrators")
	b.click("#dialog .more summary")
	b.click("#dialog .rename summary")
	b.accessible("dialog Details")
	b.press("Close")
	b.dialogCloses()
	b.click(`#table a[href$="/revoke"]`)
	b.says("#dialog", "Revoke this token?")
	b.accessible("dialog Revoke")
	b.open("/tokens/" + namespace + "/none")
	b.accessible("no such token")
	b.open("/?ns=kube-system")
	b.accessible("forbidden")
	b.open("/?ns=kube-system&ns=" + namespace)
	b.says("#table", "You may not list tokens in kube-system")
	b.accessible("table with a notice")
	sealed := hers(t, namespace, "For the vendor", func(s *v1alpha1.PersonalAccessTokenSpec) {
		s.Delivery = &v1alpha1.Delivery{Recipients: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}}
	})
	eventually(t, "the token is encrypted", func() bool {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(sealed), sealed); err != nil {
			t.Fatal(err)
		}
		return sealed.Status.EncryptedToken != ""
	})
	b.open("/?ns=" + namespace)
	b.click(`#table a[href$="` + sealed.Name + `"]`)
	b.says("#dialog", "Only its recipients can open it")
	b.click("#dialog .more summary")
	b.accessible("dialog Details with an encrypted token")
}
