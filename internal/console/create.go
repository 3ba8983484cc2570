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
	"crypto/rand"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// maxOffered bounds the namespaces that a form checks and offers.
const maxOffered = 50

// askNew shows the form for a new token.
func (c *Console) askNew(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if why := readOnly(v); why != "" {
		return &refusal{http.StatusForbidden, page.Problem{Title: "You cannot create a token here", Detail: why, Link: "/", LinkText: "To my tokens"}}
	}
	c.showForm(w, r, v, http.StatusOK, page.Form{
		ResourceName: newResourceName(), Days: strconv.Itoa(min(v1alpha1.DefaultExpiresInDays, c.maxDays())), Errors: map[string]string{},
	})
	return nil
}

func (c *Console) showForm(w http.ResponseWriter, r *http.Request, v *visitor, status int, f page.Form) {
	c.offer(r, v, &f)
	limits := c.limits(r.Context(), v, f.Namespace)
	c.offerLives(&f, limits)
	sayLimits(&f, limits)
	c.show(w, status, func(w io.Writer) error {
		return page.Create(w, c.shell(r, v, "Create Personal Access Token"), f)
	})
}

// create makes a token, which exists only in memory and in this response.
func (c *Console) create(w http.ResponseWriter, r *http.Request, v *visitor) error {
	f := formOf(r)
	pat, life, expires := resourceOf(&f, c.clock.Now(), c.longest(c.limits(r.Context(), v, f.Namespace)))
	if len(f.Errors) > 0 {
		c.showForm(w, r, v, http.StatusUnprocessableEntity, f)
		return nil
	}
	ctx, cancel, err := sending(r)
	if err != nil {
		var status int
		status, f.Errors[fieldForm], f.Cause = c.inForm(err)
		c.showForm(w, r, v, status, f)
		return nil
	}
	defer cancel()
	plaintext := ""
	if holder.Sealed(pat) {
		holder.DeliverTo(pat, pat.Spec.Delivery.Recipients, c.clock.Now(), life)
	} else if plaintext, err = holder.MakeToken(pat, rand.Reader, *expires); err != nil {
		return err
	}
	switch err := holder.Submit(ctx, v.client, pat); {
	case apierrors.IsAlreadyExists(err):
		return alreadyCreated(pat)
	case apierrors.IsUnauthorized(err):
		return err
	case err != nil: // the form keeps its input and resource name: sent again, it cannot create a second token
		status, text, cause := c.inForm(err)
		if !refusedFields(&f, err) {
			f.Errors[fieldForm] = text
		}
		f.Cause = cause
		c.showForm(w, r, v, status, f)
		return nil
	}
	// The token may work from here on, so show it whatever happens.
	waiting, cancel := context.WithTimeout(r.Context(), c.activeWithin)
	defer cancel()
	pat, inactive := holder.WaitActive(waiting, v.client, pat)
	s := shown{plaintext: plaintext, issued: pat.Status.TokenID != "", inactive: inactive}
	if r.PostFormValue("sole") == "" {
		s.namespace = pat.Namespace
	}
	c.showToken(w, r, v, pat, s)
	return nil
}

// maxDays returns the longest lifetime in whole days.
func (c *Console) maxDays() int { return int(c.maxLife / (24 * time.Hour)) }

// offerLives fills in the lifetimes to choose from, with their ends.
func (c *Console) offerLives(f *page.Form, limits policy.Limits) {
	f.MaxDays = int(c.longest(limits) / (24 * time.Hour))
	if days, err := strconv.Atoi(f.Days); err == nil && days > f.MaxDays && f.Errors[fieldDays] == "" {
		f.Days = strconv.Itoa(f.MaxDays)
	}
	for _, days := range []int{7, 30, 90, 180, f.MaxDays} {
		if days < f.MaxDays || days == f.MaxDays && !slices.ContainsFunc(f.Lives, func(l page.Life) bool { return l.Days == days }) {
			f.Lives = append(f.Lives, page.Life{Days: days, Ends: c.clock.Now().Add(time.Duration(days) * 24 * time.Hour)})
		}
	}
}

// alreadyCreated refuses a form that was already sent.
func alreadyCreated(pat *v1alpha1.PersonalAccessToken) error {
	p := page.Problem{
		Title:  "Already created",
		Detail: "This form was already sent and created a token. That token was shown then and cannot be shown again; no second one was created.",
		Next:   "If you did not copy it, or did not see it, rotate it to get a new token.",
		Link:   pathOf(pat), LinkText: "To its details",
	}
	if holder.Sealed(pat) {
		p.Detail = "This form was already sent and created a token; no second one was created."
		p.Next = "The encrypted token is in its details."
	}
	return &refusal{http.StatusConflict, p}
}

// offer fills in the known namespaces in which the visitor may create a token: first the typed or chosen ones, then the
// configured ones, then those of the cluster.
func (c *Console) offer(r *http.Request, v *visitor, f *page.Form) {
	var candidates []string
	add := func(names ...string) {
		for _, name := range names {
			if name != "" && !slices.Contains(candidates, name) {
				candidates = append(candidates, name)
			}
		}
	}
	add(f.Namespace)
	add(chosen(r)...)
	add(c.namespaces...)
	all := &corev1.NamespaceList{}
	switch err := v.client.List(r.Context(), all, client.Limit(maxOffered)); {
	case err == nil:
		for i := range all.Items {
			add(all.Items[i].Name)
		}
		f.MoreNamespaces = all.Continue != ""
	case len(candidates) == 0: // namespaces with tokens of the visitor
		for pats, err := range holder.Pages(r.Context(), v.client, maxOffered, holder.OfUser(v.User)) {
			if err == nil {
				for i := range pats {
					add(pats[i].Namespace)
				}
			}
			break
		}
	}
	may := make([]bool, len(candidates))
	var asking errgroup.Group
	asking.SetLimit(namespacesAtOnce)
	for i, namespace := range candidates {
		asking.Go(func() error {
			may[i] = namespace == f.Namespace || mayCreate(r.Context(), v, namespace)
			return nil
		})
	}
	_ = asking.Wait()
	for i, namespace := range candidates {
		if may[i] {
			f.Namespaces = append(f.Namespaces, namespace)
		}
	}
	if f.Namespace == "" && len(f.Namespaces) > 0 {
		f.Namespace = f.Namespaces[0]
	}
	// Show the choice, unless the table is of this namespace only.
	if !f.Sole() && !slices.Equal(chosen(r), []string{f.Namespace}) {
		f.MoreOpen = true
	}
}

func mayCreate(ctx context.Context, v *visitor, namespace string) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: v1alpha1.GroupVersion.Group, Resource: "personalaccesstokens", Verb: "create", Namespace: namespace,
		},
	}}
	return v.client.Create(ctx, review) == nil && review.Status.Allowed
}
