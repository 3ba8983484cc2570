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
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// full is the scope of a token without scopes.
const full = "full"

// Introspection is a Source that asks the API face of pat-operator, by RFC 7662. A pointer to one is a Source; do not copy it.
type Introspection struct {
	// URL is that of the introspection endpoint, such as https://HOST/oauth2/introspect.
	URL string
	// CAFile has the CA certificates of the API face, as PEM; it may change. Default: those of the system.
	CAFile string
	// TokenFile has the token of this service: a projected service account token for the audience of the API face, or a
	// personal access token. It may change.
	TokenFile string

	once     sync.Once
	endpoint *endpoint
	err      error
}

func (s *Introspection) prepare() error {
	s.once.Do(func() {
		switch {
		case s.URL == "":
			s.err = errors.New("Introspection.URL is required: the introspection endpoint of pat-operator, https://HOST/oauth2/introspect")
			return
		case s.TokenFile == "":
			s.err = errors.New("Introspection.TokenFile is required: a file with the token of this service")
			return
		}
		if s.endpoint, s.err = newEndpoint("Introspection.URL", s.URL, "", s.CAFile, s.TokenFile); s.err != nil {
			s.err = fmt.Errorf("Introspection: %w", s.err)
		}
	})
	return s.err
}

// Verify implements Source.
func (s *Introspection) Verify(ctx context.Context, token, audience string) (*Identity, error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	id, ok := parse(token)
	if !ok {
		return nil, errMalformed
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	answer, err := s.endpoint.post(ctx, "application/x-www-form-urlencoded", []byte(form), http.StatusOK)
	switch {
	case errors.Is(err, statusError(http.StatusUnauthorized)), errors.Is(err, statusError(http.StatusForbidden)):
		return nil, fmt.Errorf("the introspection endpoint does not accept the token in %s: %w", s.endpoint.tokenFile, err)
	case err != nil:
		return nil, fmt.Errorf("cannot ask the introspection endpoint: %w", err)
	}
	return readIntrospection(answer, id, audience, time.Now())
}

// readIntrospection returns the identity in an answer about the token with an id.
func readIntrospection(answer []byte, id, audience string, now time.Time) (*Identity, error) {
	o, err := newObject(answer)
	if err != nil {
		return nil, badIntrospection(err)
	}
	active, err := value[bool](o, "active")
	if err != nil {
		return nil, badIntrospection(err)
	}
	if _, ok := o["active"]; !ok {
		return nil, badIntrospection(errors.New("active is missing"))
	}
	if !active {
		return nil, refuse("it is not active")
	}
	identity := &Identity{TokenID: id}
	var errs [9]error
	var tokenType, jti, scope string
	var expires int64
	var audiences []string
	identity.Username, errs[0] = value[string](o, "username")
	identity.UID, errs[1] = value[string](o, "uid")
	identity.Groups, errs[2] = value[[]string](o, "groups")
	identity.Name, errs[3] = value[string](o, "client_id")
	tokenType, errs[4] = value[string](o, "token_type")
	jti, errs[5] = value[string](o, "jti")
	scope, errs[6] = value[string](o, "scope")
	expires, errs[7] = value[int64](o, "exp")
	if audiences, errs[8] = value[[]string](o, "aud"); errs[8] != nil { // RFC 7662 allows a single string.
		var one string
		one, errs[8] = value[string](o, "aud")
		audiences = []string{one}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, badIntrospection(err)
	}
	identity.ValidUntil = time.Unix(expires, 0)
	switch {
	case !strings.EqualFold(tokenType, "Bearer"):
		return nil, badIntrospection(errors.New("token_type is not Bearer"))
	case jti != id:
		return nil, badIntrospection(errors.New("jti is not the id of the token"))
	case identity.Name == "":
		return nil, badIntrospection(errors.New("client_id is missing"))
	case !identity.ValidUntil.After(now):
		return nil, badIntrospection(errors.New("exp has passed; compare the clocks of both machines"))
	case !contains(audiences, audience):
		return nil, refuse("it is not for the audience " + audience)
	}
	if scope == full {
		identity.Full = true
	} else {
		identity.Scopes = strings.Fields(scope)
	}
	return identity, nil
}

func badIntrospection(err error) error {
	return fmt.Errorf("the answer of the introspection endpoint is not as it should be: %w", err)
}

// contains reports whether audience is one of audiences.
func contains(audiences []string, audience string) bool {
	return audience != "" && slices.Contains(audiences, audience)
}
