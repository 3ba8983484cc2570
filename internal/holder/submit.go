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

// lookTimeout bounds looking for a resource after a request without a response.
const lookTimeout = 5 * time.Second

// ErrUnknown is part of an error if the request may or may not have had an effect.
var ErrUnknown = errors.New("it is unknown whether")

// Submit creates pat and updates it from the response. If the response is lost, it looks for a resource with pat's token, so
// that no token is lost that may be active.
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
	case apierrors.IsAlreadyExists(err): // do not tell users to delete a resource that they cannot read: its token may work
	case client.IgnoreNotFound(missing) != nil:
		return fmt.Errorf("%w; %w %s was created in namespace %s: if it was, its token is lost: delete it",
			err, ErrUnknown, ResourceName(pat.Name), pat.Namespace)
	}
	return Refused(err)
}

// IsRefusal reports whether err means that nothing was changed: the API server refused the request or was not reached. A
// conflict does not count, because an earlier attempt of ours may have caused it; nor does a status of 429 or 5xx.
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

// Refused adds the next step to an error of the API server that lacks one.
func Refused(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%w; choose another name, or first delete the existing one, which revokes its token", err)
	}
	return err
}
