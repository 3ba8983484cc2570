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

package patauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// Identity is a token and its user. Requests with the same token share one, so it must not be changed.
type Identity struct {
	// TokenID is the public part of the token, 16 characters. It names the token in logs.
	TokenID string
	// Name is the PersonalAccessToken, as NAMESPACE/NAME.
	Name string
	// Username, UID and Groups are the user of the token, as Kubernetes knows it. UID is empty for users that have none there.
	Username string
	UID      string
	Groups   []string
	// Full reports whether the token has no scopes, which stands for the full authority of its user. Scopes is empty then.
	Full bool
	// Scopes are those of the token, such as reports:read. Kubernetes' own are kubernetes:PRESET and kubernetes:rules.
	Scopes []string
	// ValidUntil is the time after which the source must be asked again; the zero time where the source names none.
	ValidUntil time.Time
}

// HasScope reports whether the token may do what scope stands for: it names that scope, or it has the full authority of its user.
func (i *Identity) HasScope(scope string) bool {
	return i.Full || slices.Contains(i.Scopes, scope)
}

// check refuses an identity that stands for nobody. kube-apiserver answers system:anonymous to some malformed tokens.
func (i *Identity) check() error {
	switch {
	case i == nil:
		return errors.New("the source accepts the token and names nobody")
	case i.Username == "":
		return refuse("the source names no user")
	case i.Username == "system:anonymous", slices.Contains(i.Groups, "system:unauthenticated"):
		return refuse("the user is that of anonymous requests")
	}
	return nil
}

// size is about how much memory an identity takes, in bytes.
func (i *Identity) size() int {
	const header = 16 // of a string
	n := len(i.TokenID) + len(i.Name) + len(i.Username) + len(i.UID)
	for _, texts := range [][]string{i.Groups, i.Scopes} {
		for _, text := range texts {
			n += header + len(text)
		}
	}
	return n
}

// FromContext returns the identity that Middleware has put into the context of a request. ok is false without Middleware.
func FromContext(ctx context.Context) (identity *Identity, ok bool) {
	if c := identityOf(ctx); c != nil {
		return c.identity, true
	}
	return nil, false
}

// NewContext returns a context with an identity, for tests of handlers that call FromContext or are behind RequireScope.
func NewContext(ctx context.Context, identity *Identity) context.Context {
	if identity == nil {
		panic("patauth: NewContext without an identity")
	}
	return &identityContext{Context: ctx, identity: identity}
}

type contextKey struct{}

// identityContext is the context of a request with its identity, and the realm for later refusals.
type identityContext struct {
	context.Context
	identity *Identity
	realm    string
}

// Value implements context.Context.
func (c *identityContext) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func identityOf(ctx context.Context) *identityContext {
	c, _ := ctx.Value(contextKey{}).(*identityContext)
	return c
}

// withIdentity returns a shallow copy of r with an identity in its context, by a single allocation: what WithContext
// returns stays on the stack.
func withIdentity(r *http.Request, identity *Identity, realm string) *http.Request {
	both := &struct {
		identityContext
		request http.Request
	}{identityContext: identityContext{Context: r.Context(), identity: identity, realm: realm}}
	both.request = *r.WithContext(&both.identityContext)
	return &both.request
}
