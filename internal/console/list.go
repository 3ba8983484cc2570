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
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

const (
	// maxNamespaces bounds the chosen namespaces: each costs a request.
	maxNamespaces = 20

	// Lists share their memory with the verifier. maxLists bounds the lists that are read at once for all visitors, listPage the
	// resources of a page, maxRows the rows of a table, and maxAnswer the bytes of a page.
	maxLists, listPage, maxRows = 4, 100, 2000
	// namespacesAtOnce is how many namespaces one list reads concurrently.
	namespacesAtOnce = 4
)

// rows collects the rows of a table.
type rows struct {
	*page.Table
	mu  sync.Mutex
	all []page.Row
}

// add adds a page of rows and reports whether the table has room for more.
func (rs *rows) add(found []page.Row) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all = append(rs.all, found...)
	if len(rs.all) > maxRows {
		rs.all, rs.Truncated = rs.all[:maxRows], true
	}
	return !rs.Truncated
}

// list reads all namespaces, the chosen ones, or the configured ones.
func (c *Console) list(ctx context.Context, v *visitor, t *page.Table) ([]page.Row, error) {
	found := &rows{Table: t}
	if len(t.Namespaces) == 0 {
		err := c.readInto(ctx, v, found)
		if !apierrors.IsForbidden(err) {
			return found.all, err
		}
		t.Namespaces, t.Fallback = c.namespaces, true
	}
	t.ChooseNamespaces = true
	if len(t.Namespaces) == 0 {
		t.Problem = &page.Problem{
			Title:  "Which namespaces?",
			Detail: "You may not list tokens in all namespaces of this cluster.",
			Next:   "Name the namespaces that you work in. The person who gave you access to the cluster knows them.",
		}
		return nil, nil
	}
	asked, chosen := t.Namespaces, !t.Fallback
	refused, err := c.readEach(ctx, v, found)
	if err != nil {
		return nil, err
	}
	if len(t.Namespaces) == 0 && chosen { // without a readable one, ignore the choice
		t.Namespaces, t.Fallback = c.namespaces, true
		if _, err := c.readEach(ctx, v, found); err != nil {
			return nil, err
		}
	}
	sayRefused(t, chosen, asked, refused)
	return found.all, nil
}

// readEach adds the tokens of the table's namespaces. It drops the namespaces that the visitor may not list and returns the errors.
func (c *Console) readEach(ctx context.Context, v *visitor, found *rows) (refused map[string]error, err error) {
	var reading errgroup.Group
	reading.SetLimit(namespacesAtOnce)
	errs := make([]error, len(found.Namespaces))
	for i, namespace := range found.Namespaces {
		reading.Go(func() error {
			err := c.readInto(ctx, v, found, client.InNamespace(namespace))
			if apierrors.IsForbidden(err) {
				errs[i], err = err, nil
			}
			return err
		})
	}
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	var readable []string
	refused = map[string]error{}
	for i, namespace := range found.Namespaces {
		if errs[i] != nil {
			refused[namespace] = errs[i]
		} else {
			readable = append(readable, namespace)
		}
	}
	found.Namespaces = readable
	return refused, nil
}

// turn waits until one more list may be read.
func (c *Console) turn(ctx context.Context) (end func(), err error) {
	select {
	case c.lists <- struct{}{}:
		return func() { <-c.lists }, nil
	case <-ctx.Done():
		return nil, &refusal{http.StatusServiceUnavailable, page.Problem{
			Title: "The console is busy", Detail: "Many lists are asked for at once.", Next: "Load the page again in a moment.", Link: "/", LinkText: "Load it again",
		}}
	}
}

// readInto waits for its turn, and adds the tokens of a list.
func (c *Console) readInto(ctx context.Context, v *visitor, found *rows, opts ...client.ListOption) error {
	end, err := c.turn(ctx)
	if err != nil {
		return err
	}
	defer end()
	if !found.All {
		opts = append(opts, holder.OfUser(v.User))
	}
	for pats, err := range holder.Pages(ctx, v.client, listPage, opts...) {
		if err != nil {
			return err
		}
		rows := make([]page.Row, 0, len(pats))
		for i := range pats {
			row := rowOf(&pats[i], found.Now)
			if found.All {
				row.ShowUser, row.User = true, userOf(&pats[i])
			}
			rows = append(rows, row)
		}
		if !found.add(rows) {
			return nil
		}
	}
	return nil
}

// sayRefused names the chosen namespaces that the visitor may not list. It names configured ones only if there is nothing else to
// show, because not every visitor is expected to list all of those.
func sayRefused(t *page.Table, chosen bool, asked []string, refused map[string]error) {
	var names, reasons []string
	for _, name := range asked {
		if err := refused[name]; err != nil {
			names, reasons = append(names, name), append(reasons, holder.Visible(err.Error()))
		}
	}
	if len(names) == 0 {
		return
	}
	what, next := "You may not list tokens in "+strings.Join(names, ", "), "Ask those who run the cluster for the role view or edit there, or name other namespaces."
	switch {
	case len(t.Namespaces) == 0:
		t.Problem = &page.Problem{Title: what, Cause: strings.Join(reasons, "\n"), Next: next}
	case chosen:
		t.Refused, t.Notice = names, strings.TrimSpace(what+". "+next+" "+t.Notice)
	}
}

const (
	namespacesCookie = "__Host-pat-namespaces"
	namespacesLife   = 365 * 24 * time.Hour
)

// chosen returns the namespaces in the request or in the sender's cookie, up to maxNamespaces.
func chosen(r *http.Request) []string {
	names, _ := chosenOf(r)
	return names
}

// chosenOf also returns the namespaces above maxNamespaces: one from the page's own form, any number from a link.
func chosenOf(r *http.Request) (taken, left []string) {
	names, given := r.URL.Query()["ns"]
	if !given {
		if cookie, err := r.Cookie(namespacesCookie); err == nil {
			names = strings.Split(cookie.Value, ".") // namespaces contain no dot
		}
	}
	return namespacesIn(names)
}

// namespacesIn splits at commas and spaces and returns up to maxNamespaces namespaces, and the others.
func namespacesIn(names []string) (taken, left []string) {
	var chosen []string
	for _, name := range names {
		for _, name := range strings.FieldsFunc(name, func(r rune) bool { return r == ',' || r == ' ' }) {
			if len(validation.IsDNS1123Label(name)) == 0 && !slices.Contains(chosen, name) && len(chosen) < 2*maxNamespaces {
				chosen = append(chosen, name)
			}
		}
	}
	n := min(len(chosen), maxNamespaces)
	return chosen[:n], chosen[n:]
}

// chooseNamespaces remembers the chosen namespaces that the visitor may list, or forgets the choice if none is left. It takes a POST:
// a link, which anyone can make, selects namespaces for one page only.
func (c *Console) chooseNamespaces(w http.ResponseWriter, r *http.Request, v *visitor) error {
	without := r.PostForm["without"]
	taken, left := namespacesIn(slices.DeleteFunc(r.PostForm["ns"], func(name string) bool { return slices.Contains(without, name) }))
	readable, err := c.readable(r.Context(), v, taken)
	if err != nil {
		return err
	}
	life := namespacesLife
	if len(readable) == 0 {
		life = -1
	}
	setCookie(w, namespacesCookie, strings.Join(readable, "."), http.SameSiteLaxMode, life)
	view := url.Values{}
	for _, name := range []string{"q", "state", "sort", "all"} {
		if value := r.PostForm.Get(name); value != "" {
			view.Set(name, value)
		}
	}
	if chosen := slices.Concat(taken, left); len(chosen) > 0 { // the page names those that are too many or not allowed
		view["ns"] = chosen
	}
	http.Redirect(w, r, strings.TrimSuffix("/?"+view.Encode(), "?"), http.StatusSeeOther)
	return nil
}

// readable returns the namespaces that the visitor may list. It requests one token of each.
func (c *Console) readable(ctx context.Context, v *visitor, namespaces []string) ([]string, error) {
	var asking errgroup.Group
	asking.SetLimit(namespacesAtOnce)
	may := make([]bool, len(namespaces))
	for i, namespace := range namespaces {
		asking.Go(func() error {
			end, err := c.turn(ctx)
			if err != nil {
				return err
			}
			defer end()
			err = v.client.List(ctx, &v1alpha1.PersonalAccessTokenList{}, client.InNamespace(namespace), holder.OfUser(v.User), client.Limit(1))
			may[i] = err == nil
			if apierrors.IsForbidden(err) {
				return nil
			}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	var readable []string
	for i, namespace := range namespaces {
		if may[i] {
			readable = append(readable, namespace)
		}
	}
	return readable, nil
}
