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

package page

import (
	"bytes"
	"compress/gzip"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEverythingIsUnderSixtyKilobytes(t *testing.T) {
	table := Table{Total: 20, MayShowAll: true, ShowNamespace: true, Now: noon}
	for range table.Total {
		table.Rows = append(table.Rows, Row{
			Namespace: "team-a", Name: "monthly-report", Title: "Monthly report", Created: noon, Modified: noon, Expires: noon,
			State: StateActive, Path: "/tokens/team-a/monthly-report", MayRevoke: true,
		})
	}
	var out bytes.Buffer
	if err := Tokens(&out, Shell{User: "alice", SignOut: true}, table); err != nil {
		t.Fatal(err)
	}
	total := len(pack(out.Bytes()))
	for _, a := range assets {
		total += len(a.packed)
	}
	t.Logf("%d bytes", total)
	if total > 60_000 {
		t.Errorf("a page and its assets are %d bytes", total)
	}
}

func TestAssetsAreServedForEver(t *testing.T) {
	for _, name := range []string{"console.css", "console.js", "icon.svg", "icons.svg"} {
		plain, packed := getAsset(t, assetURL(name), ""), getAsset(t, assetURL(name), "br, gzip")
		if plain.Code != http.StatusOK || !strings.HasSuffix(plain.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %v", name, plain.Code, plain.Header())
		}
		r, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(unpacked, plain.Body.Bytes()) {
			t.Errorf("%s differs after unpacking", name)
		}
	}
	for _, path := range []string{"/assets/", "/assets/console.css", "/assets/../page.go"} {
		if got := getAsset(t, path, "").Code; got != http.StatusNotFound {
			t.Errorf("%s: %d", path, got)
		}
	}
}

func getAsset(t *testing.T, path, encoding string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	w := httptest.NewRecorder()
	Assets().ServeHTTP(w, r)
	return w
}

func TestLinksKeepTheView(t *testing.T) {
	table := Table{Query: "a b", Sort: "name", All: true, Namespaces: []string{"x", "y"}}
	got := map[string]string{
		"mine": table.HrefMine(), "clear": table.HrefClear(), "table": table.HrefTable(),
		"sorted": table.Columns()[0].Href, "other": table.Columns()[3].Href, "bare": Table{}.HrefMine(),
		"new": table.HrefNew(), "bare new": Table{}.HrefNew(), "new, none chosen": Table{Namespaces: []string{"x"}, Fallback: true}.HrefNew(),
	}
	want := map[string]string{
		"mine": "/?ns=x&ns=y&q=a+b&sort=name", "clear": "/?all=1&ns=x&ns=y&sort=name", "table": "/table?all=1&ns=x&ns=y&sort=name",
		"sorted": "/?all=1&ns=x&ns=y&q=a+b&sort=-name",
		"other":  "/?all=1&ns=x&ns=y&q=a+b&sort=used", "bare": "/",
		"new": "/new?ns=x&ns=y", "bare new": "/new", "new, none chosen": "/new",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSearchTakesEveryWord(t *testing.T) {
	row := Row{Title: "Monthly report", Name: "monthly-x7", Namespace: "team-a", User: "alice", State: StateExpiringSoon}
	for query, want := range map[string]bool{
		"": true, "REPORT month": true, "soon team": true, "report yearly": false, "alice": false,
	} {
		if got := row.Matches(query); got != want {
			t.Errorf("%q: %v", query, got)
		}
	}
}

func TestTimeLeftIsApproximate(t *testing.T) {
	for left, want := range map[time.Duration]string{
		-time.Hour: "", time.Second: "in less than a minute", time.Minute: "in a minute", 59 * time.Minute: "in 59 minutes",
		90 * time.Minute: "in 90 minutes", 47 * time.Hour: "in 47 hours",
		5*24*time.Hour + time.Hour: "in 5 days",
	} {
		if got := in(noon, noon.Add(left)); got != want {
			t.Errorf("%v: %q", left, got)
		}
	}
}

func TestSignedInRedirects(t *testing.T) {
	var out bytes.Buffer
	if err := SignedIn(&out, "/?q=a+b&all=1"); err != nil {
		t.Fatal(err)
	}
	if want := `content="0;url=/?q=a+b&amp;all=1"`; !strings.Contains(html.UnescapeString(out.String()), html.UnescapeString(want)) {
		t.Errorf("%s is missing", want)
	}
}

func TestOnlyKnownActionsAreConfirmed(t *testing.T) {
	for _, kind := range []string{"", "delete", "../revoke"} {
		if err := AskConfirm(io.Discard, nil, Confirm{Kind: kind}); err == nil {
			t.Errorf("%q is asked for", kind)
		}
	}
}

func TestMoreOptionsOpenWhenNeeded(t *testing.T) {
	tests := map[string]struct {
		form Form
		want bool
	}{
		"nothing to say":           {Form{Namespaces: []string{"a"}}, false},
		"asked for":                {Form{Namespaces: []string{"a"}, MoreOpen: true}, true},
		"a namespace is to type":   {Form{}, true},
		"a namespace is typed":     {Form{Namespace: "a"}, false},
		"an error inside":          {Form{Namespaces: []string{"a"}, Errors: map[string]string{"recipients": "no key"}}, true},
		"an error outside of them": {Form{Namespaces: []string{"a"}, Errors: map[string]string{"days": "too many"}}, false},
	}
	for name, tt := range tests {
		if got := tt.form.Open(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
