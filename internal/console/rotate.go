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
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// defaultOverlap leaves time to install the new token.
const defaultOverlap = 24 * time.Hour

// overlaps are the overlaps to choose from.
var overlaps = []time.Duration{0, time.Hour, defaultOverlap, 7 * 24 * time.Hour}

// rotation returns a rotation whose new token lives no longer than policies allow.
func (c *Console) rotation(was *v1alpha1.PersonalAccessToken, options holder.RotateOptions) *holder.Rotation {
	with := func(options holder.RotateOptions) *holder.Rotation {
		return &holder.Rotation{RotateOptions: options, Clock: c.clock, Random: rand.Reader, Was: was}
	}
	if c.policies == nil || was.Spec.User == nil {
		return with(options)
	}
	limits, now := c.policies(was.Namespace, was.Spec.User), c.clock.Now()
	latest, by := limits.End(now)
	rotated := was.DeepCopy()
	if by != nil && with(options).Edit(rotated) == nil && lifecycle.End(&rotated.Spec, now).After(latest) {
		options.ExpiresIn = c.longest(limits)
	}
	return with(options)
}

// nextEnd returns when a new token would end, or why the token cannot be rotated.
func (c *Console) nextEnd(pat *v1alpha1.PersonalAccessToken) (time.Time, error) {
	rotated := pat.DeepCopy()
	if err := c.rotation(pat, holder.RotateOptions{}).Edit(rotated); err != nil {
		return time.Time{}, err
	}
	return lifecycle.End(&rotated.Spec, c.clock.Now()), nil
}

// fixed reports whether spec.expiresAt leaves a new token no time.
func (c *Console) fixed(pat *v1alpha1.PersonalAccessToken) bool {
	_, err := c.nextEnd(pat)
	_, ok := errors.AsType[*holder.EndError](err)
	return ok
}

// mayRotate refuses a rotation whose token would have no time left, or which the visitor could not read.
func (c *Console) mayRotate(r *http.Request, v *visitor, pat *v1alpha1.PersonalAccessToken) error {
	if c.fixed(pat) {
		return &refusal{http.StatusUnprocessableEntity, page.Problem{
			Title: "This token cannot be rotated", Detail: "Its end is fixed, so a new token would have no time left. Nothing was done.",
			Next: "Create another token instead.", Link: "/new", LinkText: "Create a token",
		}}
	}
	if pat.Spec.Token != nil || holder.Sealed(pat) || holder.MayReadSecrets(r.Context(), v.client, pat.Namespace) {
		return nil
	}
	return &refusal{http.StatusForbidden, page.Problem{
		Title: "You could not receive the new token",
		Detail: fmt.Sprintf("The operator puts this token into a Secret. You may not read Secrets in namespace %s, and rotating ends the current token. Nothing was done.",
			pat.Namespace),
		Next: "Create another token, which is shown here, or ask an administrator to rotate this one.", Link: "/new", LinkText: "Create a token",
	}}
}

// offerRotation fills in when the new token expires, and the overlaps to choose from.
func (c *Console) offerRotation(confirm *page.Confirm, pat *v1alpha1.PersonalAccessToken) {
	confirm.NewEnd, _ = c.nextEnd(pat)
	if pat.Status.TokenID == "" || confirm.Ended() {
		return
	}
	offered, chosen := overlaps, defaultOverlap
	if rotation := pat.Spec.Rotation; rotation != nil && rotation.OverlapSeconds > 0 {
		chosen, confirm.FirstUse = time.Duration(rotation.OverlapSeconds)*time.Second, rotation.RetireOnFirstUse
	}
	if !slices.Contains(offered, chosen) {
		offered = slices.Sorted(slices.Values(append(slices.Clone(offered), chosen)))
	}
	confirm.Overlap = secondsOf(chosen)
	for _, overlap := range offered {
		ends := c.clock.Now().Add(overlap)
		if own := timeOf(pat.Status.ExpiresAt); !own.IsZero() && own.Before(ends) {
			ends = own
		}
		confirm.Overlaps = append(confirm.Overlaps, page.Overlap{Seconds: secondsOf(overlap), Word: lengthOf(overlap), Ends: ends})
	}
}

func secondsOf(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// lengthOf formats a duration in the largest unit of which it is a multiple.
func lengthOf(d time.Duration) string {
	if d == 0 {
		return "None"
	}
	for _, unit := range []struct {
		is   time.Duration
		word string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		n := d / unit.is
		switch {
		case d%unit.is != 0 || d == 24*time.Hour && unit.word == "day": // a day is 24 hours
		case n == 1:
			return "1 " + unit.word
		default:
			return fmt.Sprintf("%d %ss", n, unit.word)
		}
	}
	return d.String()
}

// rotate replaces the current token with a new one.
func (c *Console) rotate(w http.ResponseWriter, r *http.Request, v *visitor) error {
	was, err := same(r, v)
	if err != nil {
		return err
	}
	if err := c.mayRotate(r, v, was); err != nil {
		return err
	}
	confirm := c.confirm(actRotate, was)
	typed := strings.TrimSpace(r.PostFormValue("overlap"))
	options, wrong := rotateOptions(was, typed)
	if wrong != "" {
		confirm.Errors["overlap"] = wrong
		c.showConfirm(w, r, v, http.StatusUnprocessableEntity, confirm)
		return nil
	}
	if typed != "" {
		confirm.Overlap = typed
	}
	rotation := c.rotation(was, options)
	pat, err := c.sendRotation(r, v, rotation)
	switch {
	case apierrors.IsUnauthorized(err), apierrors.IsNotFound(err), apierrors.IsConflict(err),
		errors.Is(err, holder.ErrRotated) || errors.Is(err, holder.ErrDeleted): // the form's token has changed
		return err
	case err != nil:
		var status int
		status, confirm.Errors[fieldForm], confirm.Cause = c.inForm(err)
		c.showConfirm(w, r, v, status, confirm)
		return nil
	}
	// A token that was made here may work from here on, so show it whatever happens.
	waiting, cancel := context.WithTimeout(r.Context(), c.activeWithin)
	defer cancel()
	pat, inactive := holder.WaitFor(waiting, v.client, pat, rotation.Over)
	s := shown{plaintext: rotation.Plaintext(), issued: rotation.Issued(pat), inactive: inactive}
	if inactive == nil && was.Status.TokenID != "" {
		s.old = &page.Old{Ends: rotation.PredecessorEnd(pat), FirstUse: pat.Spec.Rotation != nil && pat.Spec.Rotation.RetireOnFirstUse}
	}
	if s.plaintext != "" || holder.Sealed(pat) {
		c.showToken(w, r, v, pat, s)
	} else {
		c.showDelivered(w, r, v, pat, s)
	}
	return nil
}

func (c *Console) sendRotation(r *http.Request, v *visitor, rotation *holder.Rotation) (*v1alpha1.PersonalAccessToken, error) {
	ctx, cancel, err := sending(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return holder.Change{Client: v.client, FieldOwner: userAgent, Edit: rotation.Edit, Made: rotation.Made}.To(ctx, rotation.Was)
}

// rotateOptions returns the options for the chosen overlap in seconds, or what is wrong with it. "" leaves the overlap to spec.
func rotateOptions(was *v1alpha1.PersonalAccessToken, typed string) (options holder.RotateOptions, wrong string) {
	seconds := int64(0)
	if was.Spec.Rotation != nil {
		seconds = int64(was.Spec.Rotation.OverlapSeconds)
	}
	if typed != "" {
		var err error
		if seconds, err = strconv.ParseInt(typed, 10, 32); err != nil || seconds < 0 || seconds > int64(holder.MaxOverlap/time.Second) {
			return options, "Choose how long the old token keeps working."
		}
		options.Overlap = ptr.To(int32(seconds)) // #nosec G115 -- at most 366 days
	}
	if seconds == 0 {
		options.RetireOnFirstUse = ptr.To(false) // it needs an overlap
	}
	return options, ""
}
