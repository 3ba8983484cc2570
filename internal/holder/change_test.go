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
	"errors"
	"fmt"
	"io"
	"net/url"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// A change applies to the current resource once, or not at all.
func TestChange(t *testing.T) {
	lost := &url.Error{Op: "Patch", URL: "https://host", Err: io.EOF}
	type patch = func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error
	send := func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts []client.PatchOption) error {
		return c.Patch(ctx, o, p, opts...)
	}
	// meanwhile is a concurrent change by another user.
	meanwhile := func(t *testing.T, c client.Client, modify func(*v1alpha1.PersonalAccessToken)) {
		t.Helper()
		pat := &v1alpha1.PersonalAccessToken{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "ci"}, pat); err != nil {
			t.Fatal(err)
		}
		modify(pat)
		if err := c.Update(t.Context(), pat); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		patch patch
		read  error
		edits int
		err   error
	}{
		"others write at the same time": {
			patch: func() patch {
				first := true
				return func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
					if first {
						first = false
						meanwhile(t, c, func(pat *v1alpha1.PersonalAccessToken) { pat.Spec.DisplayName = "CI" })
					}
					return send(ctx, c, o, p, opts)
				}
			}(),
			edits: 2,
		},
		"the answer is lost": {
			patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				return errors.Join(send(ctx, c, o.DeepCopyObject().(client.Object), p, opts), lost)
			},
			edits: 1,
		},
		"the request is lost": {
			patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				return lost
			},
			edits: 1, err: lost,
		},
		"the API server fails, and cannot be asked": {
			patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				return apierrors.NewInternalError(errors.New("etcd"))
			},
			read: lost, edits: 1,
			err: fmt.Errorf("Internal error occurred: etcd; %w the change was made, because the resource cannot be read: %w", ErrUnknown, lost),
		},
		"refused": {
			patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
				return apierrors.NewForbidden(patResource, "ci", nil)
			},
			edits: 1, err: apierrors.NewForbidden(patResource, "ci", nil),
		},
		"deleted and made again": {
			patch: func(ctx context.Context, c client.WithWatch, o client.Object, _ client.Patch, _ ...client.PatchOption) error {
				again := withConditions(1)
				again.UID = "another's"
				if err := errors.Join(c.Delete(ctx, o), c.Create(ctx, again)); err != nil {
					t.Error(err)
				}
				return apierrors.NewConflict(patResource, "ci", nil)
			},
			edits: 1, err: ErrDeleted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			get := func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
				if reads++; reads > 1 && tc.read != nil {
					return tc.read
				}
				return c.Get(ctx, key, o, opts...)
			}
			c := cluster(t, interceptor.Funcs{Patch: tc.patch, Get: get}, withConditions(1))
			pat := &v1alpha1.PersonalAccessToken{}
			if err := c.Get(t.Context(), client.ObjectKey{Namespace: "team-a", Name: "ci"}, pat); err != nil {
				t.Fatal(err)
			}
			edits := 0
			pat, err := Change{
				Client: c, FieldOwner: "a-test",
				Edit: func(pat *v1alpha1.PersonalAccessToken) error { edits++; pat.Spec.Suspend = true; return nil },
				Made: func(pat *v1alpha1.PersonalAccessToken) bool { return pat.Spec.Suspend },
			}.To(t.Context(), pat)
			if edits != tc.edits || (err == nil) != (tc.err == nil) || err != nil && (err.Error() != tc.err.Error() || errors.Is(err, ErrUnknown) != errors.Is(tc.err, ErrUnknown)) {
				t.Errorf("edited %d times: %v", edits, err)
			}
			if err == nil && !pat.Spec.Suspend {
				t.Error("it was not changed")
			}
			if name == "others write at the same time" && pat.Spec.DisplayName != "CI" {
				t.Error("a concurrent change is undone")
			}
		})
	}
}
