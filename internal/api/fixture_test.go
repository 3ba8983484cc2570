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

package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/issued"
)

const (
	kubernetesAudience = "https://kubernetes.default.svc"
	listAPI            = "list-api"
	ownURL             = "https://pat.example.com"
	proxyAddress       = "10.9.9.9:1234"
	reader             = "system:serviceaccount:apps:lists"
)

var alice = v1alpha1.UserInfo{Username: "alice", UID: "u-1", Groups: []string{"dev", "CN=a,admins"}}

// bed is the face with a real index, and stand-ins for the API server.
type bed struct {
	http.Handler
	t     testing.TB
	index *verifier.Index
	// may says which user may ask about which audience, and asked counts the questions to the API server.
	may    map[string][]string
	mu     sync.Mutex
	asked  int
	broken bool
	client client.WithWatch
	writes int
	now    time.Time
}

type edit = func(*v1alpha1.PersonalAccessTokenSpec)

func forAudience(audiences ...string) edit {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.Audiences = audiences }
}

func withScope(scopes ...v1alpha1.Scope) edit {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.Scopes = scopes }
}

func from(networks ...string) edit {
	return func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = networks }
}

func newBed(t testing.TB, mods ...func(*Options)) *bed {
	t.Helper()
	b := &bed{t: t, index: verifier.NewIndex(logr.Discard()), now: time.Now(), may: map[string][]string{reader: {listAPI}}}
	b.index.SetAPIAudiences([]string{kubernetesAudience})
	b.index.MarkSynced()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	b.client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.PersonalAccessToken{}).WithInterceptorFuncs(interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			b.writes++
			if b.broken {
				return errors.New("the API server is away")
			}
			return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
		},
	}).Build()
	o := Options{
		Index: b.index, URL: ownURL, Audience: DefaultAudience, MaxAge: DefaultMaxAge, Tokens: b, Authorizer: b, Client: b.client,
		RevokeRate: DefaultRevokeRate, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, Log: logr.Discard(),
		Now: func() time.Time { return b.now },
	}
	for _, mod := range mods {
		mod(&o)
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Handler = h
	return b
}

// token makes one that the index knows, and its resource in the cluster.
func (b *bed) token(name string, mods ...edit) *issued.Token {
	b.t.Helper()
	made := issued.New(b.t, "team-a", name, *alice.DeepCopy(), mods...)
	made.Resource.Status.TokenID = made.ID()
	if err := b.client.Create(b.t.Context(), made.Resource.DeepCopy()); err != nil {
		b.t.Fatal(err)
	}
	made.Feed(b.t, b.index)
	return made
}

// AuthenticateToken is the API server's TokenReview: it knows tokens that say "valid".
func (b *bed) AuthenticateToken(ctx context.Context, bearer string) (*authenticator.Response, bool, error) {
	b.count()
	if b.broken {
		return nil, false, errors.New("the API server is away")
	}
	parsed, err := jwt.ParseSigned(bearer, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		b.t.Errorf("the API server was asked about %q", bearer)
		return nil, false, nil
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		b.t.Fatal(err)
	}
	audiences, _ := authenticator.AudiencesFrom(ctx)
	if claims.ID != "valid" || !slices.Equal(audiences, []string{DefaultAudience}) {
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: claims.Subject, Groups: []string{"system:serviceaccounts", user.AllAuthenticated}}}, true, nil
}

func (b *bed) count() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
}

// Authorize is the API server's SubjectAccessReview.
func (b *bed) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	b.count()
	if b.broken {
		return authorizer.DecisionNoOpinion, "", errors.New("the API server is away")
	}
	if a.GetVerb() != "introspect" || a.GetAPIGroup() != "pat-operator.io" || a.GetResource() != "audiences" || !a.IsResourceRequest() {
		b.t.Errorf("asked for %s %s.%s", a.GetVerb(), a.GetResource(), a.GetAPIGroup())
	}
	if slices.Contains(b.may[a.GetUser().GetName()], a.GetName()) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// accountToken is the token of a service account. id "valid" is one that the API server knows.
func accountToken(t testing.TB, id, audience string, expires time.Time) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: testKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jwt.Signed(signer).Claims(jwt.Claims{ID: id, Subject: reader, Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(expires)}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// post sends a form.
func (b *bed) post(path string, form url.Values, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = "192.0.2.7:1234"
	for _, edit := range edits {
		edit(r)
	}
	return b.send(r)
}

// get asks as a reverse proxy does.
func (b *bed) get(target string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr = proxyAddress
	for _, edit := range edits {
		edit(r)
	}
	return b.send(r)
}

// send checks what holds for every answer.
func (b *bed) send(r *http.Request) *httptest.ResponseRecorder {
	b.t.Helper()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	h := w.Header()
	if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || !json.Valid(w.Body.Bytes()) {
		b.t.Errorf("HTTP %d with %v: %s", w.Code, h, w.Body)
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			b.t.Errorf("a header for browsers: %s", name)
		}
	}
	if strings.Contains(w.Body.String(), "kubepat_") {
		b.t.Errorf("a token in the answer: %s", w.Body)
	}
	return w
}

func bearer(credential string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+credential) }
}

// basic is what a client of OAuth 2.0 sends: both parts encoded.
func basic(name, secret string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(name)+":"+url.QueryEscape(secret))))
	}
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

// errorOf is the error of an answer, and its text.
func errorOf(t testing.TB, w *httptest.ResponseRecorder) (code, text string) {
	t.Helper()
	var is struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &is); err != nil {
		t.Fatal(err)
	}
	return is.Code, is.Text
}
