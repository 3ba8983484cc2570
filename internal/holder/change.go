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

package holder

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// whileBusy is how often to try again where others write at the same time.
var whileBusy = wait.Backoff{Steps: 8, Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.5}

// Change is one that is made to what is there, or not at all.
type Change struct {
	Client client.Client
	// FieldOwner is whose changes these are. Its name must not begin with kubectl: Flux takes the fields of such owners, where
	// Git does not name them, for slips of the hand, and undoes them; it would resume a token that somebody has suspended.
	FieldOwner client.FieldOwner
	// Status: of the status subresource, else of spec.
	Status bool
	// DryRun: the change is judged, and not made.
	DryRun bool
	// Edit makes the change. Where it refuses, nothing is sent. It is asked again where somebody else was faster.
	Edit func(pat *v1alpha1.PersonalAccessToken) error
	// Made tells whether the change is there already: the answer to it may have been lost.
	Made func(pat *v1alpha1.PersonalAccessToken) bool
}

// To makes the change to a resource that was just read: a merge patch under its revision, so that nothing that was written
// meanwhile is undone. It returns the resource as it is then, or as it was last seen and why it was not changed: ErrDeleted,
// what Edit refuses with, ErrUnknown, or the API server's error.
func (ch Change) To(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (*v1alpha1.PersonalAccessToken, error) {
	err := retry.RetryOnConflict(whileBusy, func() error {
		edited := pat.DeepCopy()
		if err := ch.Edit(edited); err != nil {
			return err
		}
		err := ch.send(ctx, pat, edited)
		if err == nil {
			pat = edited
			return nil
		}
		if IsRefusal(err) {
			return err
		}
		looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout) // we may have been interrupted
		defer cancel()
		now := &v1alpha1.PersonalAccessToken{}
		switch missing := ch.Client.Get(looking, client.ObjectKeyFromObject(pat), now); {
		case missing != nil && apierrors.IsConflict(err):
			return missing
		case missing != nil:
			return fmt.Errorf("%w; %w it was done, since it could not be read: %w", err, ErrUnknown, missing)
		case now.UID != pat.UID:
			return ErrDeleted
		}
		pat = now
		if ch.Made(pat) {
			return nil
		}
		return err
	})
	return pat, err
}

func (ch Change) send(ctx context.Context, was, is *v1alpha1.PersonalAccessToken) error {
	patch := client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})
	if ch.Status {
		opts := []client.SubResourcePatchOption{ch.FieldOwner}
		if ch.DryRun {
			opts = append(opts, client.DryRunAll)
		}
		return ch.Client.Status().Patch(ctx, is, patch, opts...)
	}
	opts := []client.PatchOption{ch.FieldOwner}
	if ch.DryRun {
		opts = append(opts, client.DryRunAll)
	}
	return ch.Client.Patch(ctx, is, patch, opts...)
}
