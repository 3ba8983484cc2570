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

// Package api is the face for every HTTP API that is not kube-apiserver's: introspection (RFC 7662), revocation (RFC 7009), the
// metadata of both (RFC 8414), and the questions that reverse proxies ask about a request (forward-auth).
//
// It answers from the verifier's index. A replica that cannot prove that it is up to date answers 503 and never that a token is
// inactive. The only thing it writes is an entry in status.revoked, for who proves to hold the token.
package api

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// Limits are those of the API face's server.
var Limits = serving.Limits{Slots: 2048, Body: maxBody}

const (
	// DefaultAudience is the audience that the credentials of callers are for.
	DefaultAudience = "pat-operator-api"
	// DefaultMaxAge is how long a caller may remember an introspection: many do until "exp".
	DefaultMaxAge = time.Minute
	// MinMaxAge is the least MaxAge that leaves room for clocks that differ.
	MinMaxAge = 5 * time.Second

	pathIntrospect = "/oauth2/introspect"
	pathRevoke     = "/oauth2/revoke"
	pathRevokeMany = "/v1/revoke"
	pathMetadata   = "/.well-known/oauth-authorization-server"
	pathOpenAPI    = "/openapi.json"
	pathAuth       = "/auth"

	maxBody = 64 << 10
	realm   = "pat-operator"
)

// Index is what the face asks about tokens.
type Index interface {
	VerifyAll(bearer string, now time.Time) verifier.Result
	VerifyFrom(bearer string, audiences []string, now time.Time) verifier.Result
	IsAPIAudience(audience string) bool
}

// Authorizer decides which audiences a caller may ask about.
type Authorizer interface {
	Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error)
}

// Options of the face. All are required but Now and Audit.
type Options struct {
	Index Index
	// URL is where callers reach the face, https://HOST[:PORT].
	URL string
	// Audience is the one that the credentials of callers are for.
	Audience string
	// MaxAge bounds how far away "exp" is, which is rounded up to a second.
	MaxAge time.Duration
	// Tokens authenticates callers by the tokens of service accounts.
	Tokens     authenticator.Token
	Authorizer Authorizer
	// ClientCertificates reports that the server takes them.
	ClientCertificates bool
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Client reads resources and adds to status.revoked, at most RevokeRate times a second.
	Client     client.WithWatch
	RevokeRate int

	Log logr.Logger
	// Audit takes refusals of well-formed tokens, and revocations; nil is allowed.
	Audit *audit.Log
	Now   func() time.Time
}

type handler struct {
	Options
	callers  *callers
	revoker  *revoker
	metadata []byte
	openAPI  []byte
}

//go:embed openapi.yaml
var openAPI []byte

// New returns the face.
func New(o Options) (http.Handler, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	document, err := yaml.YAMLToJSON(openAPI)
	if err != nil {
		return nil, err
	}
	h := &handler{Options: o, callers: newCallers(&o), revoker: newRevoker(&o), openAPI: document}
	if h.metadata, err = metadataOf(&o); err != nil {
		return nil, err
	}
	return h, nil
}

// ServeHTTP implements http.Handler. It does not use http.ServeMux, which redirects paths that are not clean: a proxy may put the
// path of its own client behind ours.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answered := &answer{ResponseWriter: w}
	endpoint := ""
	defer func() {
		if p := recover(); p != nil {
			// The value may quote the request; the stack holds addresses only.
			h.Log.Error(nil, "Panic while serving a request", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			refusePanic.write(answered)
		}
		answered.count(endpoint)
	}()
	switch path := r.URL.EscapedPath(); {
	case path == pathIntrospect:
		endpoint = "introspect"
		h.introspect(answered, r)
	case path == pathRevoke:
		endpoint = "revoke"
		h.revoke(answered, r)
	case path == pathRevokeMany:
		endpoint = "revoke"
		h.revokeMany(answered, r)
	case path == pathAuth || strings.HasPrefix(path, pathAuth+"/"):
		endpoint = "auth"
		h.auth(answered, r)
	case path == pathMetadata:
		endpoint = "metadata"
		document(answered, r, h.metadata)
	case path == pathOpenAPI:
		endpoint = "metadata"
		document(answered, r, h.openAPI)
	default:
		refuseNotFound.write(answered)
	}
}

func document(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuseNotGET.write(w)
		return
	}
	write(w, http.StatusOK, body)
}

// refused writes down that a token was refused.
func (h *handler) refused(result *verifier.Result, origin serving.Origin) {
	if result.ID == "" || result.Verdict == verifier.NotReady {
		return
	}
	h.Audit.Refused(audit.Event{
		Event: "TokenRefused", Namespace: result.Namespace, Name: result.Name, TokenID: result.ID, Reason: string(result.Reason),
		SourceIP: addressOf(origin),
	})
}

func addressOf(o serving.Origin) string {
	if o.Address.IsValid() {
		return o.Address.String()
	}
	return ""
}
