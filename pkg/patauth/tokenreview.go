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
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

const (
	inClusterCA    = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
	inClusterToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

	tokenReviewPath    = "/apis/authentication.k8s.io/v1/tokenreviews"
	tokenReviewVersion = "authentication.k8s.io/v1"

	// What names the token in the extra of a user; see internal/authn.
	extraCredentialID = "authentication.kubernetes.io/credential-id"
	extraName         = "pat-operator.io/name"
	extraScopes       = "pat-operator.io/scopes"
	credentialPrefix  = "PAT="
	// limited is the first of the scopes in extra, so that there always is one.
	limited = "limited"
)

// TokenReview is a Source that asks kube-apiserver, which must be set up to ask pat-operator's verifier. The zero value is for a
// pod, whose service account needs the ClusterRole system:auth-delegator. A pointer to one is a Source; do not copy it.
//
// kube-apiserver gives the same answer for a token that is refused and for a verifier that is out of reach, as it does to its own
// clients: both are refused with 401 here. With Introspection the latter is a 503.
type TokenReview struct {
	// URL is that of kube-apiserver, such as https://10.0.0.1:6443. Default: that of the cluster that the program runs in.
	URL string
	// CAFile has the CA certificates of kube-apiserver, as PEM; it may change. Default: in a cluster, that of the service
	// account; with URL, those of the system.
	CAFile string
	// TokenFile has the token of this service, which may create tokenreviews; it may change. Default, without URL: that of the
	// service account.
	TokenFile string

	once     sync.Once
	endpoint *endpoint
	err      error
}

func (s *TokenReview) prepare() error {
	s.once.Do(func() {
		address, ca, token := s.URL, s.CAFile, s.TokenFile
		if address == "" {
			host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
			if host == "" || port == "" {
				s.err = errors.New("TokenReview.URL is required outside of a cluster: the URL of kube-apiserver")
				return
			}
			address = "https://" + net.JoinHostPort(host, port)
			if ca == "" {
				ca = inClusterCA
			}
			if token == "" {
				token = inClusterToken
			}
		}
		if token == "" {
			s.err = errors.New("TokenReview.TokenFile is required with URL: a file with the token of this service")
			return
		}
		if s.endpoint, s.err = newEndpoint("TokenReview.URL", address, tokenReviewPath, ca, token); s.err != nil {
			s.err = fmt.Errorf("TokenReview: %w", s.err)
		}
	})
	return s.err
}

// Verify implements Source.
func (s *TokenReview) Verify(ctx context.Context, token, audience string) (*Identity, error) {
	if err := s.prepare(); err != nil {
		return nil, err
	}
	id, ok := parse(token)
	if !ok {
		return nil, errMalformed
	}
	type spec struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences"`
	}
	body, err := json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       spec   `json:"spec"`
	}{tokenReviewVersion, "TokenReview", spec{token, []string{audience}}})
	if err != nil {
		return nil, errors.New("cannot encode a TokenReview")
	}
	answer, err := s.endpoint.post(ctx, "application/json", body, http.StatusCreated)
	switch {
	case errors.Is(err, statusError(http.StatusUnauthorized)):
		return nil, fmt.Errorf("kube-apiserver does not accept the token in %s: %w", s.endpoint.tokenFile, err)
	case errors.Is(err, statusError(http.StatusForbidden)):
		return nil, fmt.Errorf("this service may not create tokenreviews; bind its service account to the ClusterRole system:auth-delegator: %w", err)
	case err != nil:
		return nil, fmt.Errorf("cannot ask kube-apiserver: %w", err)
	}
	return readTokenReview(answer, id, audience)
}

// readTokenReview returns the identity in an answer about the token with an id.
func readTokenReview(answer []byte, id, audience string) (*Identity, error) {
	review, err := newObject(answer)
	if err != nil {
		return nil, badReview(err)
	}
	version, err1 := value[string](review, "apiVersion")
	kind, err2 := value[string](review, "kind")
	status, err3 := review.member("status")
	authenticated, err4 := value[bool](status, "authenticated")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, badReview(err)
	}
	if version != tokenReviewVersion || kind != "TokenReview" {
		return nil, badReview(errors.New("another kind of object"))
	}
	if !authenticated {
		// status.error is set in any case, and a text for people.
		return nil, refuse("kube-apiserver refuses it")
	}
	problem, err1 := value[string](status, "error")
	audiences, err2 := value[[]string](status, "audiences")
	user, err3 := status.member("user")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, badReview(err)
	}
	if problem != "" {
		return nil, badReview(errors.New("both a user and an error"))
	}
	if !contains(audiences, audience) {
		return nil, refuse("what authenticated it does not know the audience " + audience)
	}
	return readUser(user, id)
}

// readUser returns the identity of a user in a TokenReview.
func readUser(user object, id string) (*Identity, error) {
	identity := &Identity{TokenID: id}
	var errs [5]error
	var scopes []string
	identity.Username, errs[0] = value[string](user, "username")
	identity.UID, errs[1] = value[string](user, "uid")
	identity.Groups, errs[2] = value[[]string](user, "groups")
	extra, err := user.member("extra")
	errs[3] = err
	identity.Full = true
	for name := range extra {
		// A key in another spelling is not what the verifier sends, and without it the token would be wider.
		if strings.EqualFold(name, extraScopes) {
			identity.Full = false
		}
	}
	scopes, errs[4] = value[[]string](extra, extraScopes)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, badReview(err)
	}
	if !identity.Full {
		if len(scopes) == 0 || scopes[0] != limited {
			return nil, badReview(fmt.Errorf("%s does not begin with %q", extraScopes, limited))
		}
		identity.Scopes = scopes[1:]
	}
	credentials, err1 := value[[]string](extra, extraCredentialID)
	names, err2 := value[[]string](extra, extraName)
	if err := errors.Join(err1, err2); err != nil {
		return nil, badReview(err)
	}
	if len(credentials) != 1 || credentials[0] != credentialPrefix+id || len(names) != 1 || names[0] == "" {
		return nil, refuse("another authenticator than pat-operator accepted it")
	}
	identity.Name = names[0]
	return identity, nil
}

func badReview(err error) error {
	return fmt.Errorf("kube-apiserver's answer is not a TokenReview as it should be: %w", err)
}
