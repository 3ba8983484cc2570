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
	"io"
	"net/http"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// shown is a token to show.
type shown struct {
	// plaintext is the token; empty if it is encrypted.
	plaintext string
	// namespace is to be named; empty if the visitor has only one.
	namespace string
	// issued reports that status is about this token, not about its predecessor.
	issued bool
	// inactive is why the token does not work yet.
	inactive error
	// old is the predecessor.
	old *page.Old
}

// showToken shows the page with the token or, if it is encrypted, with the age file. No other page has the token.
func (c *Console) showToken(w http.ResponseWriter, r *http.Request, v *visitor, pat *v1alpha1.PersonalAccessToken, s shown) {
	t := page.Token{
		Title: titleOf(pat), Plaintext: s.plaintext, Expires: endOf(pat), Active: s.inactive == nil,
		User: userOf(pat), Namespace: s.namespace, Old: s.old, Back: "/", Path: pathOf(pat),
	}
	if s.inactive != nil {
		t.Why = sentence(holder.Visible(s.inactive.Error()))
	}
	if holder.Sealed(pat) {
		t.Encrypted = true
		if s.issued {
			file, err := holder.Encrypted(pat)
			if err != nil && s.inactive == nil {
				t.Active, t.Why = false, sentence(holder.Visible(err.Error()))
			}
			t.Plaintext = file
		}
	} else {
		t.Use = c.clusterOf(r.Context(), v).use(pat)
	}
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.ShowToken(w, c.shell(r, v, "Your token"), t) })
}

// showDelivered reads a token that the operator made from its Secret, shows it, and deletes the Secret after the response is sent. If
// it cannot read the token, it says where the token is and why.
func (c *Console) showDelivered(w http.ResponseWriter, r *http.Request, v *visitor, pat *v1alpha1.PersonalAccessToken, s shown) {
	t := page.Token{
		Title: titleOf(pat), Expires: endOf(pat), User: userOf(pat), Old: s.old, Back: "/",
		Path: pathOf(pat), Active: s.inactive == nil,
	}
	if s.inactive != nil && !s.issued {
		t.Secret = "The new token was requested. Once it exists, the token's details name the Secret that holds it."
		t.Why = sentence(holder.Visible(s.inactive.Error()))
	} else if taken, err := holder.FindDelivery(r.Context(), v.client, pat); err != nil {
		t.Secret, t.Why = "The new token exists, but cannot be read from its Secret, which its details name. If the Secret is gone, rotate the token again.", sentence(holder.Visible(err.Error()))
	} else {
		s.plaintext = taken.Plaintext
		c.showToken(w, r, v, pat, s)
		if http.NewResponseController(w).Flush() != nil {
			return // the visitor has left; the operator deletes the Secret later
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), seenWithin)
		defer cancel()
		if err := taken.Remove(ctx, v.client); err != nil {
			c.log.V(1).Info("Cannot delete the delivery Secret of a token that was shown; it stays until its time ends", "namespace", pat.Namespace, "name", pat.Name)
		}
		return
	}
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.ShowToken(w, c.shell(r, v, "Your token"), t) })
}
