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

// Package issuer is an OpenID Connect issuer with a few people, for the dev cluster and the tests of the console: the
// protocol is zitadel/oidc's, and so is the store in memory; people, claims and the page to sign in are ours.
package issuer

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// ClientID is the console's, the only client.
	ClientID = "pat-console"
	// ClientSecret guards nothing but clusters of this machine.
	ClientSecret = "a-secret-of-the-dev-cluster"
	// GroupsScope asks for the claim "groups"; an ID token has it without being asked, too.
	GroupsScope = "groups"

	defaultLifetime = time.Hour
)

// User is a person who can sign in.
type User struct {
	// Name is the claim preferred_username, and the user name in the cluster.
	Name     string
	Password string
	FullName string
	Groups   []string
}

// People are alice and bob, each with the own name as password.
func People() []User {
	return []User{
		{Name: "alice", Password: "alice", FullName: "Alice Adams", Groups: []string{"team-devs", "alice-devs"}},
		{Name: "bob", Password: "bob", FullName: "Bob Brown", Groups: []string{"team-devs", "bob-devs"}},
	}
}

// Issuer serves one OpenID provider.
type Issuer struct {
	http.Handler
	lifetime atomic.Int64
}

// New makes the issuer that is reached at url and sends people back to redirectURI.
func New(url, redirectURI string, users ...User) (*Issuer, error) {
	i := &Issuer{}
	i.SetIDTokenLifetime(defaultLifetime)
	clients := map[string]*storage.Client{ClientID: storage.WebClient(ClientID, ClientSecret, redirectURI)}
	store := &store{Storage: storage.NewStorageWithClients(people(users), clients), issuer: i, users: users}
	config := &op.Config{CodeMethodS256: true, AuthMethodPost: true}
	if _, err := rand.Read(config.CryptoKey[:]); err != nil {
		return nil, err
	}
	provider, err := op.NewProvider(config, store, op.StaticIssuer(url))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.Handle(loginPath, op.NewIssuerInterceptor(provider.IssuerFromRequest).Handler(
		&login{check: store.CheckUsernamePassword, next: op.AuthCallbackURL(provider)}))
	i.Handler = mux
	return i, nil
}

// SetIDTokenLifetime says how long the ID tokens issued from now on are valid; an hour at first.
func (i *Issuer) SetIDTokenLifetime(lifetime time.Duration) { i.lifetime.Store(int64(lifetime)) }

// store adds to the library's store what it has no place for.
type store struct {
	*storage.Storage
	issuer *Issuer
	users  []User
}

// CreateAuthRequest takes none without PKCE: a console that forgot it would not be noticed otherwise.
func (s *store) CreateAuthRequest(ctx context.Context, request *oidc.AuthRequest, userID string) (op.AuthRequest, error) {
	if request.CodeChallenge == "" || request.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("code_challenge with the method S256 is required")
	}
	return s.Storage.CreateAuthRequest(ctx, request, userID)
}

func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{found, time.Duration(s.issuer.lifetime.Load())}, nil
}

func (s *store) SetUserinfoFromRequest(
	ctx context.Context, info *oidc.UserInfo, request op.IDTokenRequest, scopes []string,
) error {
	if err := s.Storage.SetUserinfoFromRequest(ctx, info, request, scopes); err != nil {
		return err
	}
	for _, user := range s.users {
		if user.Name == info.PreferredUsername {
			info.AppendClaims("groups", user.Groups)
		}
	}
	return nil
}

// client is the library's, with what kube-apiserver needs: every claim in the ID token.
type client struct {
	op.Client
	lifetime time.Duration
}

func (c client) IDTokenLifetime() time.Duration     { return c.lifetime }
func (client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (client) IsScopeAllowed(scope string) bool     { return scope == GroupsScope }
func (client) LoginURL(request string) string       { return loginPath + "?request=" + request }
func (client) GrantTypes() []oidc.GrantType         { return []oidc.GrantType{oidc.GrantTypeCode} }
func (client) ResponseTypes() []oidc.ResponseType   { return []oidc.ResponseType{oidc.ResponseTypeCode} }

// people is the library's view of users.
type people []User

func (p people) GetUserByID(id string) *storage.User {
	i := slices.IndexFunc(p, func(u User) bool { return subject(u.Name) == id })
	if i < 0 {
		return nil
	}
	return &storage.User{
		ID: subject(p[i].Name), Username: p[i].Name, Password: p[i].Password, FirstName: p[i].FullName,
		Email: p[i].Name + "@example.com", EmailVerified: true,
	}
}

func (p people) GetUserByUsername(name string) *storage.User { return p.GetUserByID(subject(name)) }

// ExampleClientID names the library's service account, which this issuer does not have.
func (people) ExampleClientID() string { return "" }

// subject is another one than the name, so that nobody takes one for the other.
func subject(name string) string { return "subject-of-" + name }
