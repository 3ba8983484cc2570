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
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	// maxNamespaces is how many namespaces may be chosen: each is a request.
	maxNamespaces = 20
	// byUser is the selectable field of whose token it is.
	byUser = "spec.user.username"

	sortByName, sortByCreated, sortByModified, sortByExpires, sortByActive = "name", "created", "modified", "expires", "active"
)

// showTokens is the page with the table.
func (c *Console) showTokens(w http.ResponseWriter, r *http.Request, v *visitor) error {
	c.remember(w, r)
	table, err := c.table(r, v)
	if err != nil {
		return err
	}
	shell := c.shell(r, v, "Personal Access Tokens")
	if shell == nil { // asked for as a fragment, which it is not
		shell = &page.Shell{}
	}
	shell.Notice = did(r)
	c.rendered(page.Tokens(html(w), *shell, table))
	return nil
}

// showTable is the table alone, for who has the page and wants to know what has changed.
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
	_, err = html(w).Write(body.Bytes())
	c.rendered(err)
	return nil
}

// table reads what a request asks for.
func (c *Console) table(r *http.Request, v *visitor) (page.Table, error) {
	query := r.URL.Query()
	t := page.Table{
		Query: query.Get("q"), Sort: cmp.Or(query.Get("sort"), "-"+sortByCreated), All: query.Get("all") == "1", MayShowAll: true,
		Now: c.clock.Now(), ReadOnly: readOnly(v),
	}
	order, ok := orders[strings.TrimPrefix(t.Sort, "-")]
	if !ok {
		t.Sort, order = "-"+sortByCreated, orders[sortByCreated]
	}
	var opts []client.ListOption
	if !t.All {
		opts = append(opts, client.MatchingFields{byUser: v.User})
	}
	t.Namespaces = c.chosen(r)
	pats, err := c.list(r.Context(), v, &t, opts)
	if err != nil {
		return t, err
	}
	t.Total = len(pats)
	namespaces := map[string]bool{}
	for i := range pats {
		namespaces[pats[i].Namespace] = true
		row := rowOf(&pats[i], t.Now)
		if t.All {
			row.ShowUser, row.User = true, userOf(&pats[i])
		}
		if row.Matches(t.Query) {
			t.Rows = append(t.Rows, row)
		}
	}
	t.ShowNamespace = len(namespaces) > 1
	slices.SortStableFunc(t.Rows, func(a, b page.Row) int {
		by := order(&a, &b)
		if strings.HasPrefix(t.Sort, "-") {
			by = -by
		}
		return cmp.Or(by, strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return t, nil
}

var orders = map[string]func(a, b *page.Row) int{
	sortByName: func(a, b *page.Row) int {
		return strings.Compare(strings.ToLower(a.Title), strings.ToLower(b.Title))
	},
	sortByCreated:  func(a, b *page.Row) int { return a.Created.Compare(b.Created) },
	sortByModified: func(a, b *page.Row) int { return a.Modified.Compare(b.Modified) },
	sortByExpires:  func(a, b *page.Row) int { return a.Expires.Compare(b.Expires) },
	sortByActive:   func(a, b *page.Row) int { return cmp.Compare(urgency[a.State], urgency[b.State]) },
}

// urgency orders the Active column: first what works, and what has ended last.
var urgency = map[page.State]int{
	page.StateActive: 0, page.StateExpiringSoon: 1, page.StateIssuing: 2, page.StateFailed: 3,
	page.StateSuspended: 4, page.StateExpired: 5, page.StateRevoked: 6,
}

// list reads everywhere, or in the namespaces that were chosen, or that the console was started with.
func (c *Console) list(ctx context.Context, v *visitor, t *page.Table, opts []client.ListOption) ([]v1alpha1.PersonalAccessToken, error) {
	if len(t.Namespaces) == 0 {
		pats, err := holder.ReadAll(ctx, v.client, opts...)
		if !apierrors.IsForbidden(err) {
			return pats, err
		}
		t.Namespaces = c.namespaces
		t.ChooseNamespaces = true
	} else {
		t.ChooseNamespaces = true
	}
	if len(t.Namespaces) == 0 {
		t.Problem = &page.Problem{
			Title:  "Which namespaces?",
			Detail: "You may not list tokens in all namespaces of this cluster.",
			Next:   "Name those that you work in. Whoever gave you access to the cluster knows them.",
		}
		return nil, nil
	}
	var (
		reading sync.WaitGroup
		found   = make([][]v1alpha1.PersonalAccessToken, len(t.Namespaces))
		errs    = make([]error, len(t.Namespaces))
	)
	for i, namespace := range t.Namespaces {
		reading.Go(func() {
			found[i], errs[i] = holder.ReadAll(ctx, v.client, append(slices.Clone(opts), client.InNamespace(namespace))...)
		})
	}
	reading.Wait()
	var refused []string
	for i, err := range errs {
		switch {
		case apierrors.IsForbidden(err):
			refused = append(refused, t.Namespaces[i])
		case err != nil:
			return nil, err
		}
	}
	if len(refused) > 0 {
		t.Problem = &page.Problem{
			Title:  "You may not list tokens in " + strings.Join(refused, ", "),
			Detail: holder.Visible(errors.Join(errs...).Error()),
			Next:   "Choose other namespaces, or ask those who run the cluster for the role view or edit there.",
		}
	}
	return slices.Concat(found...), nil
}

const namespacesCookie = "__Host-pat-namespaces"

// chosen are the namespaces that the request names, or that its sender has chosen before.
func (c *Console) chosen(r *http.Request) []string {
	names, given := r.URL.Query()["ns"]
	if !given {
		if cookie, err := r.Cookie(namespacesCookie); err == nil {
			names = strings.Split(cookie.Value, ".") // no namespace has one
		}
	}
	var chosen []string
	for _, name := range names {
		for _, name := range strings.FieldsFunc(name, func(r rune) bool { return r == ',' || r == ' ' }) {
			if len(validation.IsDNS1123Label(name)) == 0 && !slices.Contains(chosen, name) && len(chosen) < maxNamespaces {
				chosen = append(chosen, name)
			}
		}
	}
	return chosen
}

// remember keeps the namespaces that were chosen, and forgets them where none was.
func (c *Console) remember(w http.ResponseWriter, r *http.Request) {
	if _, given := r.URL.Query()["ns"]; !given {
		return
	}
	life := 365 * 24 * sessionLife / 8
	names := c.chosen(r)
	if len(names) == 0 {
		life = -1
	}
	setCookie(w, namespacesCookie, strings.Join(names, "."), http.SameSiteLaxMode, life)
}

// readOnly says why a visitor may make no token.
func readOnly(v *visitor) string {
	if !v.PAT {
		return ""
	}
	return "You are signed in with a personal access token. It may look at tokens and revoke them, but make none: sign in as yourself for that."
}
