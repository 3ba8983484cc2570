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
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/token"
)

// visitor is who is signed in, and their way to the API server.
type visitor struct {
	session
	client client.WithWatch
}

// visitor returns who sends a request.
func (c *Console) visitor(r *http.Request) (*visitor, error) {
	if c.byProxy {
		bearer, ok := bearerOf(r)
		if !ok {
			return nil, errNoSession
		}
		return c.introduce(r.Context(), bearer)
	}
	s, err := c.load(r.Context(), r)
	if err != nil {
		return nil, err
	}
	as, err := c.clientOf(s.Bearer)
	if err != nil {
		return nil, err
	}
	return &visitor{session: *s, client: as}, nil
}

// bearerOf is the one credential in Authorization: two would be read by one server as the first, and by another as the last.
func bearerOf(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, bearer, ok := strings.Cut(values[0], " ")
	bearer = strings.TrimSpace(bearer)
	return bearer, ok && strings.EqualFold(scheme, "Bearer") && bearer != ""
}

// clientOf acts with a credential, and nothing else.
func (c *Console) clientOf(bearer string) (client.WithWatch, error) {
	config := rest.CopyConfig(c.anonymous)
	config.BearerToken = bearer
	return client.NewWithWatch(config, client.Options{Scheme: holder.Scheme, Mapper: holder.Mapper})
}

// maxAnswer is how many bytes of one answer of the API server are read: client-go reads all that it gets, and what others put
// into the resources of a list must not take the memory of what verifies tokens.
const maxAnswer = 8 << 20

// bounded ends an answer that is longer, with an http.MaxBytesError. It counts what was unpacked.
func bounded(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		answer, err := next.RoundTrip(r)
		if err == nil {
			answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
		}
		return answer, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// introduce asks the API server who a credential is. It has no end of its own.
func (c *Console) introduce(ctx context.Context, bearer string) (*visitor, error) {
	as, err := c.clientOf(bearer)
	if err != nil {
		return nil, err
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := as.Create(ctx, review); err != nil {
		return nil, err
	}
	user := review.Status.UserInfo
	v := &visitor{client: as, session: session{Bearer: bearer, User: user.Username, Expires: c.clock.Now().Add(sessionLife)}}
	for _, id := range user.Extra[authn.ExtraCredentialID] {
		v.PAT = v.PAT || strings.HasPrefix(id, token.CredentialPrefix)
	}
	return v, nil
}

// sessionLife is how long a session lasts at the most. A credential that ends sooner ends it.
const sessionLife = 8 * time.Hour
