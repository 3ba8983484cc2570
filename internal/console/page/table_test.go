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
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/google/go-cmp/cmp"
)

func TestCount(t *testing.T) {
	two := []Row{{Title: "a"}, {Title: "b"}}
	for want, table := range map[string]Table{
		"":                        {},
		"2 tokens":                {Rows: two, Total: 2},
		"1 token":                 {Rows: two[:1], Total: 1},
		"2 of 9 tokens":           {Rows: two, Total: 9},
		"The first 2 tokens":      {Rows: two, Total: 2, Truncated: true},
		"2 of the first 9 tokens": {Rows: two, Total: 9, Truncated: true},
	} {
		if got := table.Count(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTableSaysWhenTokensEndSoon(t *testing.T) {
	for name, tt := range map[string]struct {
		state State
		left  time.Duration
		want  string
	}{
		"less than an hour":   {StateActive, 59*time.Minute + 30*time.Second, "in 59 minutes"},
		"less than a day":     {StateSuspended, 23 * time.Hour, "in 23 hours"},
		"more than a day":     {StateActive, 24 * time.Hour, ""},
		"warned of":           {StateExpiringSoon, 5 * 24 * time.Hour, "in 5 days"},
		"expired":             {StateExpired, -time.Hour, ""},
		"revoked before":      {StateRevoked, time.Hour, ""},
		"an end is not known": {StateIssuing, -time.Since(time.Time{}), ""},
	} {
		row := Row{State: tt.state, Expires: noon.Add(tt.left)}
		if got := row.Soon(noon); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		nodes := parsed(t, func(w io.Writer) error { return TableOnly(w, Table{Rows: []Row{row}, Total: 1, Now: noon}) })
		if has(nodes, "span", "class", "sub") != (tt.want != "") || !strings.Contains(textOf(nodes), tt.want) {
			t.Errorf("%s: the table says %q", name, textOf(nodes))
		}
	}
}

func TestTableIsFilteredByState(t *testing.T) {
	all := []State{StateActive, StateExpiringSoon, StateSuspended, StateExpired, StateRevoked, StateIssuing, StateFailed, StateDeleting}
	for chosen, want := range map[State][]State{
		"": all, StateActive: {StateActive, StateExpiringSoon}, StateExpiringSoon: {StateExpiringSoon}, StateSuspended: {StateSuspended},
		StateExpired: {StateExpired}, StateRevoked: {StateRevoked},
	} {
		var shown []State
		for _, state := range all {
			if (Row{State: state}).In(chosen) {
				shown = append(shown, state)
			}
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("%q (-want +got):\n%s", chosen, diff)
		}
		table := Table{State: chosen, Query: "x", Sort: "name"}
		for _, n := range parsed(t, func(w io.Writer) error { return Tokens(w, Shell{}, table) }) {
			if n.Data != "option" {
				continue
			}
			value, _ := attr(n, "value")
			field, _ := attr(n.Parent, "name")
			if _, selected := attr(n, "selected"); selected && field == "state" && value != string(chosen) {
				t.Errorf("%q is selected, want %q", value, chosen)
			}
		}
		if kept := strings.Contains(table.HrefAll(), "state="); kept != (chosen != "") {
			t.Errorf("%q: %s", chosen, table.HrefAll())
		}
		if strings.Contains(table.HrefTable()+table.HrefClear(), "state=") {
			t.Errorf("%q: %s, %s", chosen, table.HrefTable(), table.HrefClear())
		}
	}
}

func TestEveryOrderCanBeChosenWithoutHeadings(t *testing.T) {
	var orders []string
	for _, column := range (Table{}).Columns() {
		orders = append(orders, column.Key, "-"+column.Key)
	}
	var offered []string
	for _, sorting := range (Table{}).Sorts() {
		offered = append(offered, sorting.Key)
		nodes := parsed(t, func(w io.Writer) error { return Tokens(w, Shell{}, Table{Sort: sorting.Key}) })
		var chosen []string
		for _, n := range nodes {
			if _, selected := attr(n, "selected"); selected && n.FirstChild.Data == sorting.Word {
				chosen = append(chosen, sorting.Word)
			}
		}
		if len(chosen) != 1 {
			t.Errorf("%s: %q is selected", sorting.Key, chosen)
		}
	}
	slices.Sort(orders)
	slices.Sort(offered)
	if diff := cmp.Diff(orders, offered); diff != "" {
		t.Errorf("orders (-of the headings +offered):\n%s", diff)
	}
}

func TestOnlyChosenNamespacesAreRepeated(t *testing.T) {
	for _, fallback := range []bool{false, true} {
		var sent, links []string
		nodes := parsed(t, func(w io.Writer) error {
			return Tokens(w, Shell{}, Table{
				Rows: []Row{{Title: "a"}}, Total: 1, Query: "x", MayShowAll: true, ChooseNamespaces: true,
				Namespaces: []string{"alpha", "beta"}, Fallback: fallback,
			})
		})
		for _, n := range nodes {
			name, _ := attr(n, "name")
			value, typed := attr(n, "value")
			if name == "ns" && typed {
				sent = append(sent, value)
			}
			for _, key := range []string{"href", "data-src"} {
				if link, _ := attr(n, key); strings.Contains(link, "ns=") {
					links = append(links, link)
				}
			}
		}
		// In the forms for searching and sorting, and in those for removing and adding a namespace.
		want := []string{"alpha", "beta", "alpha", "beta", "alpha", "beta", "alpha", "beta"}
		if fallback { // in the form that adds one to them
			want = []string{"alpha", "beta"}
		}
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Errorf("fallback %v: sent (-want +got):\n%s", fallback, diff)
		}
		if (len(links) == 0) != fallback {
			t.Errorf("fallback %v: links with namespaces are %q", fallback, links)
		}
		if text := textOf(nodes); !strings.Contains(text, "alpha") || !strings.Contains(text, "beta") {
			t.Errorf("fallback %v: the namespaces are not named", fallback)
		}
	}
}

// The choice that is remembered is sent by POST, which a link cannot do. Enter in the field adds a namespace and removes none.
func TestChoosingNamespacesIsAPost(t *testing.T) {
	nodes := parsed(t, func(w io.Writer) error {
		return Tokens(w, Shell{}, Table{ChooseNamespaces: true, Namespaces: []string{"a", "b"}})
	})
	posts := 0
	var leaving []string
	for _, n := range nodes {
		if action, _ := attr(n, "action"); action == "/namespaces" {
			if method, _ := attr(n, "method"); method != "post" {
				t.Errorf("a form of namespaces is sent by %q", method)
			}
			posts++
		}
		if name, _ := attr(n, "name"); name == "without" {
			value, _ := attr(n, "value")
			leaving = append(leaving, value)
			if form, _ := attr(n, "form"); form != "leave-out" {
				t.Errorf("the button that leaves out %s belongs to the form %q", value, form)
			}
		}
	}
	if diff := cmp.Diff([]string{"a", "b"}, leaving); diff != "" || posts != 2 {
		t.Errorf("%d forms; buttons that leave out (-want +got):\n%s", posts, diff)
	}
}

func TestNoticeAndTruncationAppearWithRows(t *testing.T) {
	table := Table{Rows: []Row{{Title: "a row"}}, Total: 1, Truncated: true, Notice: "Not in team-b."}
	nodes := parsed(t, func(w io.Writer) error { return TableOnly(w, table) })
	text := textOf(nodes)
	notice, row, cut := strings.Index(text, table.Notice), strings.Index(text, "a row"), strings.Index(text, "These are the first 1.")
	if notice < 0 || row < notice || cut < row {
		t.Errorf("the notice, the row and that there are more are at %d, %d and %d", notice, row, cut)
	}
	table.Problem = &Problem{Title: "It went wrong"}
	text = textOf(parsed(t, func(w io.Writer) error { return TableOnly(w, table) }))
	if !strings.Contains(text, "It went wrong") || strings.Contains(text, "a row") {
		t.Errorf("with a problem it says %q", text)
	}
}

// textOf returns all text of a document, in order.
func textOf(nodes []*html.Node) string {
	texts := slices.DeleteFunc(slices.Clone(nodes), func(n *html.Node) bool { return n.Type != html.TextNode })
	var all strings.Builder
	for _, n := range texts {
		all.WriteString(n.Data)
	}
	return all.String()
}
