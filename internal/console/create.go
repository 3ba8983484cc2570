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
	"net/http"
	"slices"
	"strconv"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// maxOffered is how many namespaces a form asks about and offers.
const maxOffered = 50

// askNew is the dialog in which a token is described.
func (c *Console) askNew(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if why := readOnly(v); why != "" {
		return &refusal{http.StatusForbidden, page.Problem{Title: "You may make no token here", Detail: why, Link: "/", LinkText: "To my tokens"}}
	}
	f := page.Form{
		ResourceName: newResourceName(), Days: strconv.Itoa(v1alpha1.DefaultExpiresInDays),
		Namespace: r.URL.Query().Get("namespace"), Errors: map[string]string{},
	}
	c.offer(r, v, &f)
	c.showForm(w, r, v, http.StatusOK, f)
	return nil
}

func (c *Console) showForm(w http.ResponseWriter, r *http.Request, v *visitor, status int, f page.Form) {
	html(w).WriteHeader(status)
	c.rendered(page.Create(w, c.shell(r, v, "Create Personal Access Token"), f))
}

// create makes a token in memory, for this one answer.
func (c *Console) create(w http.ResponseWriter, r *http.Request, v *visitor) error {
	f := formOf(r)
	pat, life, expires := resourceOf(&f, c.clock.Now())
	if len(f.Errors) > 0 {
		c.offer(r, v, &f)
		c.showForm(w, r, v, http.StatusUnprocessableEntity, f)
		return nil
	}
	plaintext := ""
	if pat.Spec.Delivery != nil {
		holder.DeliverTo(pat, pat.Spec.Delivery.Recipients, c.clock.Now(), life)
	} else {
		var err error
		if plaintext, err = holder.MakeToken(pat, rand.Reader, *expires); err != nil {
			return err
		}
	}
	sending, cancel := context.WithTimeout(r.Context(), sentWithin)
	defer cancel()
	switch err := holder.Submit(sending, v.client, pat); {
	case apierrors.IsAlreadyExists(err):
		return c.alreadyCreated(r.Context(), v, pat)
	case err != nil:
		if refusedFields(&f, err) {
			status, _ := c.explain(err)
			c.offer(r, v, &f)
			c.showForm(w, r, v, status, f)
			return nil
		}
		return err
	}
	// From here on the token is shown, whatever happens.
	ctx, cancel := context.WithTimeout(r.Context(), c.activeWithin)
	defer cancel()
	pat, inactive := holder.WaitActive(ctx, v.client, pat)
	c.showToken(w, r, v, pat, plaintext, inactive, "")
	return nil
}

// alreadyCreated answers a form that was sent before.
func (c *Console) alreadyCreated(ctx context.Context, v *visitor, pat *v1alpha1.PersonalAccessToken) error {
	p := page.Problem{
		Title:  "Already created",
		Detail: "This form was sent before, and made a token then. It was shown that once, and cannot be shown again; no second one was made.",
		Next:   "If you did not copy it, rotate it: that makes another token in its place.",
		Link:   pathOf(pat), LinkText: "To its details",
	}
	there := &v1alpha1.PersonalAccessToken{}
	if err := v.client.Get(ctx, client.ObjectKeyFromObject(pat), there); err != nil {
		p.Link, p.LinkText = "/", "To my tokens"
	}
	return &refusal{http.StatusConflict, p}
}

// showToken is the one page that a token is on. Where it is encrypted the age file is shown instead.
func (c *Console) showToken(w http.ResponseWriter, r *http.Request, v *visitor, pat *v1alpha1.PersonalAccessToken, plaintext string, inactive error, predecessor string) {
	t := page.Token{
		Title: titleOf(pat), Plaintext: plaintext, Expires: endOf(pat), Active: inactive == nil,
		User: userOf(pat), Predecessor: holder.Visible(predecessor), Back: "/",
	}
	if inactive != nil {
		t.Why = sentence(holder.Visible(inactive.Error()))
	}
	if t.Plaintext == "" {
		file, err := holder.Encrypted(pat)
		if err != nil && inactive == nil {
			t.Active, t.Why = false, sentence(holder.Visible(err.Error()))
		}
		t.Plaintext, t.Encrypted = file, true
	}
	c.rendered(page.ShowToken(html(w), c.shell(r, v, "Your token"), t))
}

// offer fills in the namespaces in which a visitor may make a token, as far as they can be known.
func (c *Console) offer(r *http.Request, v *visitor, f *page.Form) {
	candidates := slices.Clone(c.chosen(r))
	candidates = append(candidates, c.namespaces...)
	all := &corev1.NamespaceList{}
	switch err := v.client.List(r.Context(), all, client.Limit(maxOffered)); {
	case err == nil:
		for i := range all.Items {
			candidates = append(candidates, all.Items[i].Name)
		}
	case len(candidates) == 0:
		// Where there are tokens already.
		if pats, err := holder.ReadAll(r.Context(), v.client, client.MatchingFields{byUser: v.User}); err == nil {
			for i := range pats {
				candidates = append(candidates, pats[i].Namespace)
			}
		}
	}
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	candidates = candidates[:min(len(candidates), maxOffered)]
	may := make([]bool, len(candidates))
	var asking sync.WaitGroup
	for i, namespace := range candidates {
		asking.Go(func() { may[i] = mayCreate(r.Context(), v, namespace) })
	}
	asking.Wait()
	for i, namespace := range candidates {
		if may[i] {
			f.Namespaces = append(f.Namespaces, namespace)
		}
	}
	if f.Namespace == "" && len(f.Namespaces) > 0 {
		f.Namespace = f.Namespaces[0]
	}
	if len(f.Namespaces) == 0 {
		f.MoreOpen = true // it has to be typed
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
