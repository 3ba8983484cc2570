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
	"io"
	"net"
	"net/url"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// Submit keeps a token that may be active, and reports an error for one that cannot be.
func TestSubmit(t *testing.T) {
	lost := &url.Error{Op: "Post", URL: "https://host", Err: io.EOF}
	dial := &url.Error{Op: "Post", URL: "https://host", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	exists := apierrors.NewAlreadyExists(patResource, "ci")
	for name, tc := range map[string]struct {
		there  string // the id of the token that is there
		answer error
		read   error
		err    string // "": submitted
	}{
		"created":                               {},
		"created, and the response lost":        {there: "mine", answer: lost},
		"not created":                           {answer: lost, err: `Post "https://host": EOF`},
		"not created, another exists":           {there: "another", answer: lost, err: `Post "https://host": EOF`},
		"unknown whether it was created":        {answer: lost, read: lost, err: `Post "https://host": EOF; it is unknown whether personalaccesstoken.pat-operator.io/ci was created in namespace team-a: if it was, its token is lost: delete it`},
		"not sent":                              {there: "mine", answer: dial, err: `Post "https://host": dial tcp: connection refused`},
		"a lost attempt was ours":               {there: "mine", answer: exists},
		"the name is another's":                 {there: "another", answer: exists, err: exists.Error() + "; choose another name, or first delete the existing one, which revokes its token"},
		"the name is taken, and not to be read": {there: "another", answer: exists, read: apierrors.NewForbidden(patResource, "ci", errors.New("no")), err: exists.Error() + "; choose another name, or first delete the existing one, which revokes its token"},
		"the name is taken, and the way lost":   {there: "another", answer: exists, read: lost, err: exists.Error() + "; choose another name, or first delete the existing one, which revokes its token"},
		"refused":                               {answer: apierrors.NewForbidden(patResource, "ci", errors.New("no")), err: `personalaccesstokens.pat-operator.io "ci" is forbidden: no`},
		"the API server fails, and it is":       {there: "mine", answer: apierrors.NewInternalError(errors.New("etcd"))},
	} {
		t.Run(name, func(t *testing.T) {
			of := func(id string) *v1alpha1.PersonalAccessToken {
				pat := withConditions(0)
				pat.Spec.Token = &v1alpha1.HolderToken{ID: id}
				return pat
			}
			hooks := interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					if tc.read != nil {
						return tc.read
					}
					return c.Get(ctx, key, o, opts...)
				},
			}
			if tc.answer != nil {
				hooks.Create = func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return tc.answer }
			}
			var there []*v1alpha1.PersonalAccessToken
			if tc.there != "" {
				there = append(there, of(tc.there))
			}
			pat := of("mine")
			switch err := Submit(t.Context(), cluster(t, hooks, there...), pat); {
			case tc.err == "" && (err != nil || pat.ResourceVersion == ""):
				t.Errorf("got %v, revision %q", err, pat.ResourceVersion)
			case tc.err != "" && (err == nil || err.Error() != tc.err):
				t.Errorf("got %v; want %s", err, tc.err)
			}
		})
	}
}
