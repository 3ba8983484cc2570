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

// whileBusy is the backoff while others write to the resource.
var whileBusy = wait.Backoff{Steps: 8, Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.5}

// Change is a change to one resource.
type Change struct {
	Client client.Client
	// FieldOwner must not begin with kubectl: Flux reverts fields of such owners that Git does not set, as manual mistakes. It
	// would resume a token that a user has suspended.
	FieldOwner client.FieldOwner
	// Status changes the status subresource instead of spec.
	Status bool
	// DryRun validates the change and does not save it.
	DryRun bool
	// Edit changes the resource. If it fails, nothing is sent. It runs again after a conflict.
	Edit func(pat *v1alpha1.PersonalAccessToken) error
	// Made reports whether the resource already has the change: the response to it may have been lost.
	Made func(pat *v1alpha1.PersonalAccessToken) bool
}

// To changes a resource that was just read, by a merge patch with its revision, so it never overwrites a concurrent change. It
// returns the changed resource, or the resource as last seen and an error: ErrDeleted, the error of Edit, ErrUnknown, or the
// API server's.
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
			return fmt.Errorf("%w; %w the change was made, because the resource cannot be read: %w", err, ErrUnknown, missing)
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
