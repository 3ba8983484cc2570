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

// visitor is the signed-in user, with a client of the API server.
type visitor struct {
	session
	client client.WithWatch
	// groups are those that the API server says; nil: it was not asked.
	groups []string
}

// visitor returns the visitor who sent a request.
func (c *Console) visitor(r *http.Request) (*visitor, error) {
	if c.byProxy {
		bearer, ok := bearerOf(r)
		if !ok {
			return nil, errNoSession
		}
		return c.authenticate(r.Context(), bearer)
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

// bearerOf returns the only credential in Authorization. Of two, one server would take the first and another the last.
func bearerOf(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, bearer, ok := strings.Cut(values[0], " ")
	bearer = strings.TrimSpace(bearer)
	return bearer, ok && strings.EqualFold(scheme, "Bearer") && bearer != ""
}

// clientOf returns a client with only this credential.
func (c *Console) clientOf(bearer string) (client.WithWatch, error) {
	config := rest.CopyConfig(c.anonymous)
	config.BearerToken = bearer
	return client.NewWithWatch(config, client.Options{Scheme: holder.Scheme, Mapper: holder.Mapper})
}

// maxAnswer bounds one response of the API server, in bytes: client-go reads all of it, and large resources of other users must
// not exhaust the memory that the console shares with the verifier.
const maxAnswer = 8 << 20

// bounded cuts off a longer response with an http.MaxBytesError. It counts uncompressed bytes.
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

// authenticate asks the API server for the user of a credential. Its session has the longest life.
func (c *Console) authenticate(ctx context.Context, bearer string) (*visitor, error) {
	as, err := c.clientOf(bearer)
	if err != nil {
		return nil, err
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := as.Create(ctx, review); err != nil {
		return nil, err
	}
	user := review.Status.UserInfo
	v := &visitor{client: as, groups: user.Groups, session: session{Bearer: bearer, User: user.Username, Expires: c.clock.Now().Add(sessionLife)}}
	for _, id := range user.Extra[authn.ExtraCredentialID] {
		v.PAT = v.PAT || strings.HasPrefix(id, token.CredentialPrefix)
	}
	return v, nil
}

// sessionLife bounds a session, which also ends with its credential.
const sessionLife = 8 * time.Hour
