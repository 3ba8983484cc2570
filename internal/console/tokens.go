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

package console

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/pat-operator/pat-operator/internal/console/page"
)

const sortByName, sortByCreated, sortByModified, sortByUsed, sortByExpires, sortByActive = "name", "created", "modified", "used", "expires", "active"

// showTokens shows the page with the table.
func (c *Console) showTokens(w http.ResponseWriter, r *http.Request, v *visitor) error {
	table, err := c.table(r, v)
	if err != nil {
		return err
	}
	shell := c.shell(r, v, "") // every page has its heading
	if shell == nil {          // there is only the whole page
		shell = &page.Shell{}
	}
	shell.Notice = notice(w, r)
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.Tokens(w, *shell, table) })
	return nil
}

// showTable sends only the table, for the live update of the page.
func (c *Console) showTable(w http.ResponseWriter, r *http.Request, v *visitor) error {
	table, err := c.table(r, v)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if err := page.TableOnly(&body, table); err != nil {
		return err
	}
	sum := sha256.Sum256(body.Bytes())
	tag := `W/"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	c.show(w, http.StatusOK, func(w io.Writer) error {
		_, err := body.WriteTo(w)
		return err
	})
	return nil
}

// table returns the table that a request asks for.
func (c *Console) table(r *http.Request, v *visitor) (page.Table, error) {
	query := r.URL.Query()
	namespaces, left := chosenOf(r)
	t := page.Table{
		Query: query.Get("q"), Sort: cmp.Or(query.Get("sort"), "-"+sortByCreated), All: query.Get("all") == "1", MayShowAll: true,
		Namespaces: namespaces, Now: c.clock.Now(), ReadOnly: readOnly(v),
	}
	if len(left) > 0 {
		t.Notice = fmt.Sprintf("At most %d namespaces can be chosen: %s is not shown. Leave out another one first.", maxNamespaces, strings.Join(left, ", "))
	}
	if state := page.State(query.Get("state")); slices.Contains(page.States, state) {
		t.State = state
	}
	if _, ok := orders[strings.TrimPrefix(t.Sort, "-")]; !ok {
		t.Sort = "-" + sortByCreated
	}
	rows, err := c.list(r.Context(), v, &t)
	if _, tooBig := errors.AsType[*http.MaxBytesError](err); tooBig {
		t.Truncated, t.Problem = true, &page.Problem{ // so that the page offers namespaces
			Title:  "The list is too long to show",
			Detail: fmt.Sprintf("Some of these tokens hold so much data that %d of them take more than %d MiB.", listPage, maxAnswer>>20),
			Next:   "Choose other namespaces, look at yours only, or use kubectl pat list.",
		}
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t.Total = len(rows)
	in := map[string]bool{}
	for i := range rows {
		in[rows[i].Namespace] = true
		if rows[i].Matches(t.Query) && rows[i].In(t.State) {
			t.Rows = append(t.Rows, rows[i])
		}
	}
	t.ShowNamespace = len(in) > 1
	slices.SortFunc(t.Rows, order(t.Sort))
	return t, nil
}

var orders = map[string]func(a, b *page.Row) int{
	sortByName: func(a, b *page.Row) int {
		return strings.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title))
	},
	sortByCreated:  func(a, b *page.Row) int { return a.Created.Compare(b.Created) },
	sortByModified: func(a, b *page.Row) int { return a.Modified.Compare(b.Modified) },
	sortByUsed:     func(a, b *page.Row) int { return a.LastUsed.Compare(b.LastUsed) },
	sortByExpires:  func(a, b *page.Row) int { return a.Expires.Compare(b.Expires) },
	sortByActive:   func(a, b *page.Row) int { return cmp.Compare(urgency[a.State], urgency[b.State]) },
}

// order compares by a column, descending after a "-". An unknown end comes last in both directions.
func order(sort string) func(a, b page.Row) int {
	column, descending := strings.CutPrefix(sort, "-")
	return func(a, b page.Row) int {
		by := orders[column](&a, &b)
		if descending {
			by = -by
		}
		if column == sortByExpires && a.Expires.IsZero() != b.Expires.IsZero() {
			by = 1
			if b.Expires.IsZero() {
				by = -1
			}
		}
		return cmp.Or(by, strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	}
}

// urgency orders the Active column: working tokens first, ended ones last.
var urgency = map[page.State]int{
	page.StateActive: 0, page.StateExpiringSoon: 1, page.StateIssuing: 2, page.StateFailed: 3,
	page.StateStopped: 4, page.StateSuspended: 5, page.StateExpired: 6, page.StateRevoked: 7, page.StateDeleting: 8,
}

// readOnly returns why a visitor may not create tokens, or "".
func readOnly(v *visitor) string {
	if !v.PAT {
		return ""
	}
	return "You are signed in with a personal access token. It can show and revoke tokens, but not create any: sign in as yourself for that."
}
