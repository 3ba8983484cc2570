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
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// Actions on a token: the last part of the path.
const actRevoke, actRotate, actSuspend, actResume = "revoke", "rotate", "suspend", "resume"

// seenWithin is how long a response waits for the operator to process a change. The change has an effect before that.
const seenWithin = 3 * time.Second

// named returns the namespace and name in a path, if they are valid.
func named(r *http.Request) (client.ObjectKey, error) {
	key := client.ObjectKey{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	if len(validation.IsDNS1123Label(key.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(key.Name)) > 0 {
		return key, &refusal{http.StatusNotFound, page.Problem{
			Title: "Token not found", Detail: "No token can be named like this.", Link: "/", LinkText: "To my tokens",
		}}
	}
	return key, nil
}

// read returns the resource of a path.
func read(r *http.Request, v *visitor) (*v1alpha1.PersonalAccessToken, error) {
	key, err := named(r)
	if err != nil {
		return nil, err
	}
	pat := &v1alpha1.PersonalAccessToken{}
	return pat, v.client.Get(r.Context(), key, pat)
}

func (c *Console) showDetails(w http.ResponseWriter, r *http.Request, v *visitor) error {
	pat, err := read(r, v)
	if err != nil {
		return err
	}
	shell := c.shell(r, v, titleOf(pat))
	if shell != nil {
		shell.Notice = notice(w, r)
	}
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.ShowDetails(w, shell, c.detailsOf(r.Context(), pat, v)) })
	return nil
}

// rename changes the display name of a token.
func (c *Console) rename(w http.ResponseWriter, r *http.Request, v *visitor) error {
	pat, err := read(r, v)
	if err != nil {
		return err
	}
	if uid, _, _ := strings.Cut(r.PostFormValue("uid"), "."); string(pat.UID) != uid {
		return changed(pat)
	}
	name, status := strings.TrimSpace(r.PostFormValue(fieldName)), http.StatusUnprocessableEntity
	wrong, cause := checkName(name), ""
	if wrong == "" && name != pat.Spec.DisplayName {
		ctx, cancel, err := sending(r)
		if err != nil {
			return err
		}
		defer cancel()
		renamed, err := holder.Change{
			Client: v.client, FieldOwner: userAgent,
			Edit: func(pat *v1alpha1.PersonalAccessToken) error { pat.Spec.DisplayName = name; return nil },
			Made: func(pat *v1alpha1.PersonalAccessToken) bool { return pat.Spec.DisplayName == name },
		}.To(ctx, pat)
		switch {
		case apierrors.IsUnauthorized(err), apierrors.IsNotFound(err), errors.Is(err, holder.ErrDeleted):
			return err
		case err != nil:
			status, wrong, cause = c.inForm(err)
			if apierrors.IsInvalid(err) {
				wrong = fieldTexts[fieldName]
			}
		default:
			pat = renamed
		}
	}
	if wrong == "" && !fragment(r) {
		keepNotice(w, "The token is called “"+titleOf(pat)+"” now.")
		http.Redirect(w, r, pathOf(pat), http.StatusSeeOther) //nolint:gosec // G710: a path of ours, of a namespace and a name
		return nil
	}
	d := c.detailsOf(r.Context(), pat, v)
	if d.Changed = wrong == ""; d.Changed {
		status = http.StatusOK
	} else {
		d.NewName, d.NameError, d.NameCause = name, wrong, cause
	}
	c.show(w, status, func(w io.Writer) error { return page.ShowDetails(w, c.shell(r, v, titleOf(pat)), d) })
	return nil
}

// ask shows the dialog to confirm an action on a token.
func (c *Console) ask(what string) func(http.ResponseWriter, *http.Request, *visitor) error {
	return func(w http.ResponseWriter, r *http.Request, v *visitor) error {
		pat, err := read(r, v)
		if err != nil {
			return err
		}
		if why := readOnly(v); why != "" && (what == actRotate || what == actResume) {
			return &refusal{http.StatusForbidden, page.Problem{Title: "You may not do this here", Detail: why, Link: "/", LinkText: "To my tokens"}}
		}
		if what == actRotate {
			if err := c.mayRotate(r, v, pat); err != nil {
				return err
			}
		}
		confirm := c.confirm(what, pat)
		if what == actResume && pat.Spec.Suspend && confirm.State != page.StateSuspended {
			return &refusal{http.StatusConflict, page.Problem{
				Title: "Resuming would not make it work", Detail: "The token is suspended, and it has also ended or has another problem.",
				Next: "Look at its details, or create another token.", Link: pathOf(pat), LinkText: "To its details",
			}}
		}
		c.showConfirm(w, r, v, http.StatusOK, confirm)
		return nil
	}
}

func (c *Console) confirm(what string, pat *v1alpha1.PersonalAccessToken) page.Confirm {
	confirm := page.Confirm{
		Kind: what, Row: rowOf(pat, c.clock.Now()), UID: seen(pat), Warning: c.warning(what, pat), Errors: map[string]string{},
	}
	if what == actRotate {
		c.offerRotation(&confirm, pat)
	}
	return confirm
}

// warning says how a GitOps tool would react, if one manages the resource.
func (c *Console) warning(what string, pat *v1alpha1.PersonalAccessToken) string {
	tool := holder.Visible(holder.GitOps(pat))
	switch {
	case tool == "":
		return ""
	case what == actRevoke && pat.Spec.Token == nil:
		return tool + " manages this token from Git: unless you remove it there too, a new token is created under this name."
	case what == actRotate && pat.Spec.Token != nil:
		return tool + " manages this token from Git and would restore the old one, which has ended: then neither works. " +
			"Create a new token in Git instead."
	case what == actRotate:
		rotation := c.rotation(pat, holder.RotateOptions{})
		if rotation.Edit(pat.DeepCopy()) == nil && !rotation.Undone() {
			return ""
		}
		return tool + " manages this token from Git and would restore the old rotation, which may end the new token early or request yet another. " +
			"Rotate it in Git instead."
	}
	return tool + " manages this token from Git and may undo this change. Make it in Git too."
}

func (c *Console) showConfirm(w http.ResponseWriter, r *http.Request, v *visitor, status int, confirm page.Confirm) {
	c.show(w, status, func(w io.Writer) error { return page.AskConfirm(w, c.shell(r, v, confirm.Title), confirm) })
}

// seen identifies the resource and its generation that a page shows.
func seen(pat *v1alpha1.PersonalAccessToken) string {
	return fmt.Sprintf("%s.%d", pat.UID, pat.Generation)
}

// same returns the resource of a path if it is unchanged since the form was loaded.
func same(r *http.Request, v *visitor) (*v1alpha1.PersonalAccessToken, error) {
	pat, err := read(r, v)
	if err != nil {
		return nil, err
	}
	if seen(pat) != r.PostFormValue("uid") {
		return nil, changed(pat)
	}
	return pat, nil
}

// changed refuses a form because its resource has changed.
func changed(pat *v1alpha1.PersonalAccessToken) error {
	return &refusal{http.StatusConflict, page.Problem{
		Title:  "The token was changed in the meantime",
		Detail: "After this page was loaded, another user or an earlier submission of this form changed the token. Nothing was done now.",
		Next:   "Look at it, then decide.", Link: pathOf(pat), LinkText: "To its details",
	}}
}

// did answers after an action that has no page of its own: the table's page says once what was done.
func (c *Console) did(w http.ResponseWriter, r *http.Request, text string) {
	if fragment(r) {
		w.Header().Set(didHeader, url.PathEscape(text)) // a header is ASCII
		w.WriteHeader(http.StatusNoContent)
		return
	}
	keepNotice(w, text)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// revoke deletes the resource, which ends its token permanently. It does so even if the resource has changed since the page was
// loaded, but not if it is a new one of the same name.
func (c *Console) revoke(w http.ResponseWriter, r *http.Request, v *visitor) error {
	key, err := named(r)
	if err != nil {
		return err
	}
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	uid, _, _ := strings.Cut(r.PostFormValue("uid"), ".")
	if uid == "" {
		return &refusal{http.StatusBadRequest, page.Problem{
			Title: "Which token?", Detail: "The form does not say which token it was about. Nothing was done.", Link: pathOf(pat) + "/" + actRevoke, LinkText: "Ask again",
		}}
	}
	text := "The token is revoked."
	if is, err := read(r, v); err == nil { // only for its name
		text = titled(is, "is revoked. Anything that uses it is refused within seconds.")
		if rowOf(is, c.clock.Now()).Ended() {
			text = titled(is, "is deleted.")
		}
	}
	err = v.client.Delete(r.Context(), pat, client.Preconditions{UID: ptr.To(types.UID(uid))})
	switch {
	case apierrors.IsConflict(err):
		return &refusal{http.StatusConflict, page.Problem{
			Title:  "This is another token",
			Detail: "The token that this page showed is already revoked, and a new one has its name. Nothing was done to the new one.",
			Link:   "/", LinkText: "To my tokens",
		}}
	case client.IgnoreNotFound(err) != nil:
		return err
	}
	c.did(w, r, text)
	return nil
}

// titled returns a sentence about a token.
func titled(pat *v1alpha1.PersonalAccessToken, text string) string {
	return "“" + titleOf(pat) + "” " + text
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
			return changed(pat)
		}
		if pat.Spec.Suspend != on {
			sending, cancel, err := sending(r)
			if err != nil {
				return err
			}
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
		ctx, cancel := context.WithTimeout(r.Context(), seenWithin)
		defer cancel()
		if on { // it already has an effect; wait until the table shows it
			_, _ = holder.WaitFor(ctx, v.client, pat, func(pat *v1alpha1.PersonalAccessToken) (bool, error) {
				return holder.Condition(pat, v1alpha1.ConditionActive) != nil, nil
			})
			c.did(w, r, titled(pat, "is suspended. It does not work until you resume it."))
			return nil
		}
		switch _, err := holder.WaitFor(ctx, v.client, pat, holder.Resumed); {
		case err == nil:
			c.did(w, r, titled(pat, "works again."))
		case ctx.Err() != nil:
			c.showInVain(w, r, v, pat, "It is resumed, but not confirmed to work yet", err)
		default:
			c.showInVain(w, r, v, pat, "It is resumed, but does not work", err)
		}
		return nil
	}
}

// showInVain says why a resumed token does not work.
func (c *Console) showInVain(w http.ResponseWriter, r *http.Request, v *visitor, pat *v1alpha1.PersonalAccessToken, title string, why error) {
	c.problemTo(w, r, v, http.StatusOK, page.Problem{
		Title: title, Cause: sentence(holder.Visible(why.Error())),
		Next: "Look at its details, or create another token.", Link: pathOf(pat), LinkText: "To its details",
	})
}
