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
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
)

// maxOverlapHours is as the API has it: 366 days.
const maxOverlapHours = 366 * 24

func (c *Console) rotation(was *v1alpha1.PersonalAccessToken, options holder.RotateOptions) *holder.Rotation {
	return &holder.Rotation{RotateOptions: options, Clock: c.clock, Random: rand.Reader, Was: was}
}

// rotate makes a new token in the place of the present one.
func (c *Console) rotate(w http.ResponseWriter, r *http.Request, v *visitor) error {
	was, err := same(r, v)
	if err != nil {
		return err
	}
	if err := mayTake(r, v, was); err != nil {
		return err
	}
	confirm := c.confirm(actRotate, was)
	options, wrong := rotateOptions(was, strings.TrimSpace(r.PostFormValue("overlap")))
	if wrong != "" {
		confirm.OverlapHours, confirm.Errors["overlap"] = r.PostFormValue("overlap"), wrong
		c.showConfirm(w, r, v, http.StatusUnprocessableEntity, confirm)
		return nil
	}
	ctx, cancel, err := sending(r)
	if err != nil {
		return err
	}
	defer cancel()
	rotation := c.rotation(was, options)
	pat, err := holder.Change{Client: v.client, FieldOwner: userAgent, Edit: rotation.Edit, Made: rotation.Made}.To(ctx, was)
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
	waiting, cancel := context.WithTimeout(r.Context(), c.activeWithin)
	defer cancel()
	pat, inactive := holder.WaitFor(waiting, v.client, pat, rotation.Over)
	s := shown{plaintext: rotation.Plaintext(), issued: rotation.Issued(pat), inactive: inactive}
	if inactive == nil && was.Status.TokenID != "" {
		s.predecessor = rotation.Predecessor(pat)
	}
	if s.plaintext != "" || holder.Sealed(pat) {
		c.showToken(w, r, v, pat, s)
	} else {
		c.showDelivered(w, r, v, pat, s)
	}
	return nil
}

// rotateOptions are what was typed of the overlap, in hours, or what is wrong with it. What spec has already is left to it.
func rotateOptions(was *v1alpha1.PersonalAccessToken, typed string) (options holder.RotateOptions, wrong string) {
	if typed == "" || typed == overlapHours(was) {
		if was.Spec.Rotation == nil || was.Spec.Rotation.OverlapSeconds == 0 {
			options.RetireOnFirstUse = ptr.To(false) // it has nothing to do without an overlap
		}
		return options, ""
	}
	hours, err := strconv.ParseFloat(typed, 64)
	if err != nil || !(hours >= 0 && hours <= maxOverlapHours) { // not a number is neither
		return options, fmt.Sprintf("Write a number of hours from 0 to %d.", maxOverlapHours)
	}
	options.Overlap = ptr.To(int32(math.Round(hours * 3600)))
	if *options.Overlap == 0 {
		options.RetireOnFirstUse = ptr.To(false)
	}
	return options, ""
}

// showDelivered takes a token that the operator made from its Secret, which goes once the token is on its way; or says
// where it is, and why it was not taken.
func (c *Console) showDelivered(w http.ResponseWriter, r *http.Request, v *visitor, pat *v1alpha1.PersonalAccessToken, s shown) {
	t := page.Token{
		Title: titleOf(pat), Expires: endOf(pat), User: userOf(pat), Predecessor: holder.Visible(s.predecessor), Back: "/",
		Path: pathOf(pat), Active: s.inactive == nil,
	}
	if s.inactive != nil && !s.issued {
		t.Secret = "The new token was asked for. Once it is made it is in a Secret that the token's details name."
		t.Why = sentence(holder.Visible(s.inactive.Error()))
	} else if taken, err := holder.FindDelivery(r.Context(), v.client, pat); err != nil {
		t.Secret = sentence(holder.Visible(err.Error()))
	} else {
		s.plaintext = taken.Plaintext
		c.showToken(w, r, v, pat, s)
		if http.NewResponseController(w).Flush() != nil {
			return // the visitor has gone; the Secret has its own end
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), seenWithin)
		defer cancel()
		if err := taken.Remove(ctx, v.client); err != nil {
			c.log.V(1).Info("A delivery Secret that a token was taken from is left until its time is over", "namespace", pat.Namespace, "name", pat.Name)
		}
		return
	}
	c.show(w, http.StatusOK, func(w io.Writer) error { return page.ShowToken(w, c.shell(r, v, "Your token"), t) })
}
