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

package app

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

// fieldOwner is whose changes are ours. Its name must not begin with kubectl: Flux takes the fields of such owners, where
// Git does not name them, for slips of the hand, and undoes them; it would resume a token that somebody has suspended.
const fieldOwner = client.FieldOwner("pat-cli")

// whileBusy is how often to try again where others write at the same time.
var whileBusy = wait.Backoff{Steps: 8, Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.5}

// change is one that is made to what is there, or not at all.
type change struct {
	client client.WithWatch
	// status: of the status subresource, else of spec.
	status bool
	dryRun bool
	// edit makes the change. Where it refuses, nothing is sent. It is asked again where somebody else was faster.
	edit func(pat *v1alpha1.PersonalAccessToken) error
	// made tells whether the change is there already: the answer to it may have been lost.
	made func(pat *v1alpha1.PersonalAccessToken) bool
}

// to makes the change to a resource that was just read: a merge patch under its revision, so that nothing that was written
// meanwhile is undone. It returns the resource as it is then.
func (ch change) to(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (*v1alpha1.PersonalAccessToken, error) {
	err := retry.RetryOnConflict(whileBusy, func() error {
		edited := pat.DeepCopy()
		if err := ch.edit(edited); err != nil {
			return err
		}
		err := ch.send(ctx, pat, edited)
		if err == nil {
			pat = edited
			return nil
		}
		if isRefusal(err) {
			return err
		}
		looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout) // we may have been interrupted
		defer cancel()
		now := &v1alpha1.PersonalAccessToken{}
		switch missing := ch.client.Get(looking, client.ObjectKeyFromObject(pat), now); {
		case missing != nil && apierrors.IsConflict(err):
			return missing
		case missing != nil:
			return fmt.Errorf("%w; whether it was done is not known, since it could not be read: %w", err, missing)
		case now.UID != pat.UID:
			return errDeleted
		}
		pat = now
		if ch.made(pat) {
			return nil
		}
		return err
	})
	return pat, err
}

func (ch change) send(ctx context.Context, was, is *v1alpha1.PersonalAccessToken) error {
	patch := client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})
	if ch.status {
		opts := []client.SubResourcePatchOption{fieldOwner}
		if ch.dryRun {
			opts = append(opts, client.DryRunAll)
		}
		return ch.client.Status().Patch(ctx, is, patch, opts...)
	}
	opts := []client.PatchOption{fieldOwner}
	if ch.dryRun {
		opts = append(opts, client.DryRunAll)
	}
	return ch.client.Patch(ctx, is, patch, opts...)
}

// read reads the resource with this name in the namespace of the session.
func (s *session) read(ctx context.Context, c client.Client, name string) (*v1alpha1.PersonalAccessToken, error) {
	namespace, err := s.namespace()
	if err != nil {
		return nil, err
	}
	pat := &v1alpha1.PersonalAccessToken{}
	return pat, c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pat)
}
