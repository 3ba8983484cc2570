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
	"net/url"
	"strconv"
	"strings"
	"time"
)

// State is the state of a token in the Active column.
type State string

// States of a token.
const (
	StateActive       State = "active"
	StateExpiringSoon State = "expiring-soon"
	StateSuspended    State = "suspended"
	StateStopped      State = "stopped"
	StateExpired      State = "expired"
	StateRevoked      State = "revoked"
	StateDeleting     State = "deleting"
	StateIssuing      State = "issuing"
	StateFailed       State = "failed"
)

var stateWords = map[State]string{
	StateActive:       "Active",
	StateExpiringSoon: "Expiring soon",
	StateSuspended:    "Suspended",
	StateStopped:      "Stopped",
	StateExpired:      "Expired",
	StateRevoked:      "Revoked",
	StateDeleting:     "Deleting",
	StateIssuing:      "Issuing",
	StateFailed:       "Failed",
}

// Word returns the state for people.
func (s State) Word() string {
	if w, ok := stateWords[s]; ok {
		return w
	}
	return "Unknown"
}

// Row is a token in the table.
type Row struct {
	Namespace, Name string
	// Title is the token's display name, or else its name.
	Title string
	// Created, Modified, LastUsed and Expires are zero if unknown or if that never happened.
	Created, Modified, LastUsed, Expires time.Time
	State                                State
	// ShowUser shows User in the row, in a table of all users' tokens.
	ShowUser bool
	// User is the token's user.
	User string
	// Permissions is a word for what limits the token; "": nothing does.
	Permissions string
	// Keywords are searched, but not shown.
	Keywords []string
	// Path is that of the token's page, "/tokens/<namespace>/<name>".
	Path string
	// MayRevoke offers Revoke.
	MayRevoke bool
}

// Ended reports whether the token has ended permanently, so that revoking it only deletes its resource.
func (r Row) Ended() bool { return r.State == StateExpired || r.State == StateRevoked }

// Soon formats the time until the token ends, if it ends soon, else "".
func (r Row) Soon(now time.Time) string {
	if r.State != StateExpiringSoon && (noLonger(r.State) || r.Expires.Sub(now) >= 24*time.Hour) {
		return ""
	}
	return in(now, r.Expires)
}

// noLonger reports whether a token in this state has ended.
func noLonger(s State) bool { return s == StateExpired || s == StateRevoked || s == StateDeleting }

// States are the filters of the table, in their order; "" is every state.
var States = []State{"", StateActive, StateExpiringSoon, StateSuspended, StateStopped, StateExpired, StateRevoked}

// In reports whether a filter shows the row, as the script does too. A token that expires soon is active.
func (r Row) In(s State) bool {
	return s == "" || r.State == s || s == StateActive && r.State == StateExpiringSoon
}

// Words returns the text that a search looks through, as the script does too.
func (r Row) Words() string {
	words := append([]string{r.Title, r.Name, r.Namespace, r.State.Word(), r.Permissions}, r.Keywords...)
	if r.ShowUser {
		words = append(words, r.User)
	}
	return strings.ToLower(strings.Join(words, " "))
}

// Matches reports whether each word of query occurs in the row, in any case. The empty query matches.
func (r Row) Matches(query string) bool {
	words := r.Words()
	for _, q := range strings.Fields(strings.ToLower(query)) {
		if !strings.Contains(words, q) {
			return false
		}
	}
	return true
}

// Table is the table and the controls around it.
type Table struct {
	Rows []Row
	// Total is how many tokens there are before the search.
	Total int
	// Query is the search, and State the filter, one of States.
	Query string
	State State
	// Sort is the column, one of name, created, modified, used, expires and active, after a "-" where it is descending.
	Sort string
	// All shows the tokens of all users; MayShowAll offers the choice.
	All, MayShowAll bool
	// ShowNamespace shows the namespace in each row, if there are several.
	ShowNamespace bool
	// Namespaces are those of the rows; none: all.
	Namespaces []string
	// Refused are chosen namespaces that the visitor may not list. Only the live update repeats them, to show the notice again.
	Refused []string
	// Fallback reports that Namespaces are the console's configured ones, not chosen: links and forms do not repeat them.
	Fallback bool
	// ChooseNamespaces offers a form for namespaces, because the visitor may not list all.
	ChooseNamespaces bool
	// ReadOnly says why the visitor cannot create tokens; "": they can.
	ReadOnly string
	// Truncated reports that there are more tokens than were read.
	Truncated bool
	// Notice is shown above the rows.
	Notice string
	// Problem is shown instead of the rows.
	Problem *Problem
	// Now is the base of "in 5 days".
	Now time.Time
}

// Chosen returns the namespaces that the visitor chose.
func (t Table) Chosen() []string {
	if t.Fallback {
		return nil
	}
	return t.Namespaces
}

// Column is a column that the table can be sorted by.
type Column struct {
	Key, Word string
	// Aria is the value of aria-sort; "" if the table is sorted by another column.
	Aria string
	// Href sorts by the column, or reverses its order.
	Href string
}

// Columns returns the table's columns in their order.
func (t Table) Columns() []Column {
	columns := []Column{
		{Key: "name", Word: "Name"}, {Key: "created", Word: "Created"}, {Key: "modified", Word: "Modified"},
		{Key: "used", Word: "Last used"}, {Key: "expires", Word: "Expires"}, {Key: "active", Word: "Active"},
	}
	for i := range columns {
		c := &columns[i]
		order := c.Key
		switch t.Sort {
		case c.Key:
			c.Aria, order = "ascending", "-"+c.Key
		case "-" + c.Key:
			c.Aria = "descending"
		}
		c.Href = t.href("/", func(v url.Values) { v.Set("sort", order) })
	}
	return columns
}

// Sorting is an order that the table can have.
type Sorting struct{ Key, Word string }

// Sorts returns both orders of all columns, for screens without room for headings.
func (t Table) Sorts() []Sorting {
	return []Sorting{
		{"-created", "Newest first"}, {"created", "Oldest first"}, {"name", "Name, A to Z"}, {"-name", "Name, Z to A"},
		{"-modified", "Modified last"}, {"modified", "Modified first"}, {"-used", "Used last"}, {"used", "Used first"},
		{"expires", "Expires first"}, {"-expires", "Expires last"}, {"active", "Active first"}, {"-active", "Ended first"},
	}
}

// HrefMine shows the visitor's tokens.
func (t Table) HrefMine() string { return t.href("/", func(v url.Values) { v.Del("all") }) }

// HrefAll shows the tokens of all users.
func (t Table) HrefAll() string { return t.href("/", func(v url.Values) { v.Set("all", "1") }) }

// HrefClear clears the search and the filter by state.
func (t Table) HrefClear() string {
	return t.href("/", func(v url.Values) { v.Del("q"); v.Del("state") })
}

// States returns the filters.
func (t Table) States() []State { return States }

// HrefTable returns the address of the fragment, without search and filter: the script filters the rows.
func (t Table) HrefTable() string {
	return t.href("/table", func(v url.Values) {
		v.Del("q")
		v.Del("state")
		for _, n := range t.Refused {
			v.Add("ns", n)
		}
	})
}

// MustChoose reports whether to open the filter, because the table has no rows until the visitor names other namespaces.
func (t Table) MustChoose() bool {
	return t.ChooseNamespaces && len(t.Namespaces) == 0 || t.Problem != nil
}

// HrefNew leads to the form for a new token, which offers the chosen namespaces.
func (t Table) HrefNew() string {
	if chosen := t.Chosen(); len(chosen) > 0 {
		return "/new?" + url.Values{"ns": chosen}.Encode()
	}
	return "/new"
}

func (t Table) href(path string, change func(url.Values)) string {
	v := url.Values{}
	if t.Query != "" {
		v.Set("q", t.Query)
	}
	if t.State != "" {
		v.Set("state", string(t.State))
	}
	if t.Sort != "" {
		v.Set("sort", t.Sort)
	}
	if t.All {
		v.Set("all", "1")
	}
	for _, n := range t.Chosen() {
		v.Add("ns", n)
	}
	change(v)
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// Count says how many tokens are shown, as the script does during typing.
func (t Table) Count() string {
	shown, all := strconv.Itoa(len(t.Rows)), tokens(t.Total)
	switch {
	case t.Problem != nil || t.Total == 0:
		return ""
	case len(t.Rows) < t.Total && t.Truncated:
		return shown + " of the first " + all
	case len(t.Rows) < t.Total:
		return shown + " of " + all
	case t.Truncated:
		return "The first " + all
	}
	return all
}

func tokens(n int) string {
	if n == 1 {
		return "1 token"
	}
	return strconv.Itoa(n) + " tokens"
}
