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
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// What may be done to a token: the last part of the path.
const actRevoke, actRotate, actSuspend, actResume = "revoke", "rotate", "suspend", "resume"

// seenWithin is how long an answer waits until the operator has seen a change, which counts without that.
const seenWithin = 3 * time.Second

// read returns the resource that a path names.
func read(r *http.Request, v *visitor) (*v1alpha1.PersonalAccessToken, error) {
	pat := &v1alpha1.PersonalAccessToken{}
	return pat, v.client.Get(r.Context(), client.ObjectKey{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}, pat)
}

func (c *Console) showDetails(w http.ResponseWriter, r *http.Request, v *visitor) error {
	pat, err := read(r, v)
	if err != nil {
		return err
	}
	c.rendered(page.ShowDetails(html(w), c.shell(r, v, titleOf(pat)), detailsOf(pat, v, c.clock.Now())))
	return nil
}

// ask is the dialog that shows which token it is about, before anything is done.
func (c *Console) ask(what string) func(http.ResponseWriter, *http.Request, *visitor) error {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		pat, err := read(r, v)
		if err != nil {
			return err
		}
		if why := readOnly(v); why != "" && (what == actRotate || what == actResume) {
			return &refusal{http.StatusForbidden, page.Problem{Title: "You may not do this here", Detail: why, Link: "/", LinkText: "To my tokens"}}
		}
		c.showConfirm(w, r, v, http.StatusOK, c.confirm(what, pat))
		return nil
	}
}

func (c *Console) confirm(what string, pat *v1alpha1.PersonalAccessToken) page.Confirm {
	confirm := page.Confirm{
		Kind: what, Row: rowOf(pat, c.clock.Now()), UID: seen(pat), OverlapHours: "0", Errors: map[string]string{},
	}
	if rotation := pat.Spec.Rotation; rotation != nil {
		confirm.OverlapHours = strconv.FormatFloat(float64(rotation.OverlapSeconds)/3600, 'f', -1, 64)
	}
	if tool := holder.GitOps(pat); tool != "" {
		tool = holder.Visible(tool)
		confirm.Warning = fmt.Sprintf("%s keeps this token as Git has it, and may undo what is done here. Do it in Git as well.", tool)
		if what == actRevoke && pat.Spec.Token == nil {
			confirm.Warning = fmt.Sprintf("%s keeps this token as Git has it: unless it is removed there too, another token is made under this name.", tool)
		}
	}
	return confirm
}

func (c *Console) showConfirm(w http.ResponseWriter, r *http.Request, v *visitor, status int, confirm page.Confirm) {
	html(w).WriteHeader(status)
	c.rendered(page.AskConfirm(w, c.shell(r, v, confirm.Title), confirm))
}

// seen says which resource a page was about, as it was then.
func seen(pat *v1alpha1.PersonalAccessToken) string {
	return fmt.Sprintf("%s.%d", pat.UID, pat.Generation)
}

// same returns the resource that a path names if it is still the one that the form was about.
func same(r *http.Request, v *visitor) (*v1alpha1.PersonalAccessToken, error) {
	pat, err := read(r, v)
	if err != nil {
		return nil, err
	}
	if seen(pat) != r.PostFormValue("uid") {
		return nil, &refusal{http.StatusConflict, page.Problem{
			Title:  "It was changed meanwhile",
			Detail: "The token is not as it was when this page was loaded: somebody, or this form before, has changed it. Nothing was done now.",
			Next:   "Look at it, then decide.", Link: pathOf(pat), LinkText: "To its details",
		}}
	}
	return pat, nil
}

// done answers where something was done that needs no page.
func done(w http.ResponseWriter, r *http.Request, code, text string) {
	if fragment(r) {
		w.Header().Set(didHeader, text)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, "/?did="+code, http.StatusSeeOther)
}

// revoke deletes the resource, which ends its token for good. A change since the page was loaded is no reason against it;
// that it is another resource is.
func (c *Console) revoke(w http.ResponseWriter, r *http.Request, v *visitor) error {
	pat := &v1alpha1.PersonalAccessToken{}
	pat.Namespace, pat.Name = r.PathValue("namespace"), r.PathValue("name")
	uid, _, _ := strings.Cut(r.PostFormValue("uid"), ".")
	if uid == "" {
		return &refusal{http.StatusBadRequest, page.Problem{
			Title: "Which token?", Detail: "The form does not say which token it was about. Nothing was done.", Link: pathOf(pat) + "/" + actRevoke, LinkText: "Ask again",
		}}
	}
	err := v.client.Delete(r.Context(), pat, client.Preconditions{UID: ptr.To(types.UID(uid))})
	switch {
	case apierrors.IsConflict(err):
		return &refusal{http.StatusConflict, page.Problem{
			Title:  "This is another token",
			Detail: "The token that this page showed is revoked already, and another one has its name. Nothing was done to that.",
			Link:   "/", LinkText: "To my tokens",
		}}
	case client.IgnoreNotFound(err) != nil:
		return err
	}
	done(w, r, "revoked", textRevoked)
	return nil
}

// suspend stops a token, or lets it work again.
func (c *Console) suspend(on bool) func(http.ResponseWriter, *http.Request, *visitor) error {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		pat, err := read(r, v)
		if err != nil {
			return err
		}
		uid, _, _ := strings.Cut(r.PostFormValue("uid"), ".")
		if string(pat.UID) != uid {
			_, err := same(r, v)
			return err
		}
		if pat.Spec.Suspend != on {
			sending, cancel := context.WithTimeout(r.Context(), sentWithin)
			defer cancel()
			pat, err = holder.Change{
				Client: v.client, FieldOwner: userAgent,
				Edit: func(pat *v1alpha1.PersonalAccessToken) error { pat.Spec.Suspend = on; return nil },
				Made: func(pat *v1alpha1.PersonalAccessToken) bool { return pat.Spec.Suspend == on },
			}.To(sending, pat)
			if err != nil {
				return err
			}
		}
		// So that the table shows it. It counts already, so what becomes of the waiting does not matter.
		ctx, cancel := context.WithTimeout(r.Context(), seenWithin)
		defer cancel()
		_, _ = holder.WaitFor(ctx, v.client, pat, func(pat *v1alpha1.PersonalAccessToken) (bool, error) {
			return holder.Condition(pat, v1alpha1.ConditionActive) != nil, nil
		})
		if on {
			done(w, r, "suspended", textSuspended)
		} else {
			done(w, r, "resumed", textResumed)
		}
		return nil
	}
}

// rotate makes a new token in the place of the present one.
func (c *Console) rotate(w http.ResponseWriter, r *http.Request, v *visitor) error {
	was, err := same(r, v)
	if err != nil {
		return err
	}
	confirm := c.confirm(actRotate, was)
	if typed := strings.TrimSpace(r.PostFormValue("overlap")); typed != "" {
		confirm.OverlapHours = typed
	}
	hours, err := strconv.ParseFloat(confirm.OverlapHours, 64)
	if err != nil || hours < 0 || hours > maxOverlapHours {
		confirm.Errors["overlap"] = fmt.Sprintf("Write a number of hours from 0 to %d.", maxOverlapHours)
		c.showConfirm(w, r, v, http.StatusUnprocessableEntity, confirm)
		return nil
	}
	options := holder.RotateOptions{Overlap: ptr.To(int32(hours * 3600))} // #nosec G115 -- at most maxOverlapHours
	if *options.Overlap == 0 {
		options.RetireOnFirstUse = ptr.To(false) // it has nothing to do then
	}
	rotation := &holder.Rotation{RotateOptions: options, Clock: c.clock, Random: rand.Reader, Was: was}
	sending, cancel := context.WithTimeout(r.Context(), sentWithin)
	defer cancel()
	pat, err := holder.Change{
		Client: v.client, FieldOwner: userAgent, Edit: rotation.Edit, Made: rotation.Made,
	}.To(sending, was)
	if end, ok := errors.AsType[*holder.EndError](err); ok {
		return &refusal{http.StatusUnprocessableEntity, page.Problem{
			Title: "It ends too soon for a new token", Detail: sentence(holder.Visible(end.Error())),
			Next: "Create another token instead.", Link: "/new", LinkText: "Create a token",
		}}
	}
	if err != nil {
		return err
	}
	// From here on a token that was made here is shown, whatever happens.
	ctx, cancel := context.WithTimeout(r.Context(), c.activeWithin)
	defer cancel()
	pat, inactive := holder.WaitFor(ctx, v.client, pat, rotation.Over)
	predecessor := ""
	if inactive == nil && was.Status.TokenID != "" {
		predecessor = rotation.Predecessor(pat)
	}
	plaintext := rotation.Plaintext()
	if plaintext == "" && !holder.Sealed(pat) { // it is in a Secret
		taken, err := (*holder.Delivery)(nil), inactive
		if err == nil {
			taken, err = holder.FindDelivery(ctx, v.client, pat)
		}
		if err != nil {
			c.showSecret(w, r, v, pat, inactive, err, predecessor)
			return nil
		}
		plaintext = taken.Plaintext
		if err := taken.Remove(ctx, v.client); err != nil {
			c.log.V(1).Info("A delivery Secret that a token was taken from is left until its time is over", "namespace", pat.Namespace, "name", pat.Name)
		}
	}
	c.showToken(w, r, v, pat, plaintext, inactive, predecessor)
	return nil
}

// showSecret says where a new token is that was not taken, and why.
func (c *Console) showSecret(w http.ResponseWriter, r *http.Request, v *visitor, pat *v1alpha1.PersonalAccessToken, inactive, why error, predecessor string) {
	t := page.Token{
		Title: titleOf(pat), Expires: endOf(pat), User: userOf(pat), Predecessor: holder.Visible(predecessor), Back: "/",
		Active: inactive == nil, Secret: sentence(holder.Visible(why.Error())),
	}
	if inactive != nil {
		t.Why, t.Secret = t.Secret, "The new token was asked for. Once it is made it is in a Secret that the token's details name."
	}
	c.rendered(page.ShowToken(html(w), c.shell(r, v, "Your token"), t))
}

// maxOverlapHours is as the API has it: 366 days.
const maxOverlapHours = 366 * 24
