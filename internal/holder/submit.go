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
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// lookTimeout is how long to look for a resource whose creation was not answered.
const lookTimeout = 5 * time.Second

// ErrUnknown is in the error of what may have been done, or not.
var ErrUnknown = errors.New("it is not known whether")

// Submit creates pat, which becomes the resource as it is then. Where the answer was lost it looks for a resource with pat's
// token, so that no token is lost that may be in force.
func Submit(ctx context.Context, c client.Client, pat *v1alpha1.PersonalAccessToken) error {
	mine := pat.Spec.Token
	err := c.Create(ctx, pat)
	if err == nil || mine == nil || IsRefusal(err) {
		return Refused(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout) // we may have been interrupted
	defer cancel()
	there := &v1alpha1.PersonalAccessToken{}
	missing := c.Get(ctx, client.ObjectKeyFromObject(pat), there)
	switch {
	case missing == nil && there.Spec.Token != nil && there.Spec.Token.ID == mine.ID:
		*pat = *there
		return nil
	case apierrors.IsAlreadyExists(err): // one that cannot be read is not to be deleted: its token may work
	case client.IgnoreNotFound(missing) != nil:
		return fmt.Errorf("%w; %w %s was created in namespace %s: if it was, nobody has its token: delete it",
			err, ErrUnknown, ResourceName(pat.Name), pat.Namespace)
	}
	return Refused(err)
}

// IsRefusal tells that nothing was created: the API server has said so, or was not reached. Not so a conflict, which may be
// with what a lost attempt of ours has created, nor an answer of 429 or 5xx.
func IsRefusal(err error) bool {
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		switch code := status.Status().Code; code {
		case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
			return false
		default:
			return code >= 400 && code < 500
		}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	connection, ok := errors.AsType[*net.OpError](err)
	return ok && connection.Op == "dial"
}

// Refused adds the way out where the API server does not name it.
func Refused(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%w; choose another name, or delete that one first, which revokes its token", err)
	}
	return err
}
