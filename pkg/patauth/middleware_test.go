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
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// people accepts three tokens: 1 is alice's without scopes, 2 reads lists only, 3 has Kubernetes' scopes only. It fails for 4.
func people(ctx context.Context, token, audience string) (*Identity, error) {
	identity, err := yes(ctx, token, audience)
	switch token {
	case tokenOf(1):
	case tokenOf(2):
		identity.Full, identity.Scopes = false, []string{"lists:read"}
	case tokenOf(3):
		identity.Full, identity.Scopes = false, []string{"kubernetes:read-only", full}
	case tokenOf(4):
		return nil, errors.New("out of reach")
	default:
		return nil, refuse("unknown")
	}
	return identity, err
}

const realm = `Bearer realm="list-api"`

func basic(password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("git:"+password))
}

func TestRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		authorization []string
		query         string
		basic         bool
		want          int
		code          string // of the error
		challenge     string // begins so
	}{
		"a token":                   {authorization: []string{"Bearer " + tokenOf(1)}, want: 200},
		"bearer in small letters":   {authorization: []string{"bearer " + tokenOf(1)}, want: 200},
		"two spaces":                {authorization: []string{"Bearer  " + tokenOf(1)}, want: 200},
		"nothing":                   {want: 401, challenge: realm},
		"an empty header":           {authorization: []string{""}, want: 401, challenge: realm},
		"no scheme":                 {authorization: []string{tokenOf(1)}, want: 401, challenge: realm},
		"a tab":                     {authorization: []string{"Bearer\t" + tokenOf(1)}, want: 401, challenge: realm},
		"another scheme":            {authorization: []string{"Negotiate " + tokenOf(1)}, want: 401, challenge: realm},
		"an empty token":            {authorization: []string{"Bearer"}, want: 400, code: "invalid_request", challenge: realm},
		"a space for a token":       {authorization: []string{"Bearer "}, want: 400, code: "invalid_request", challenge: realm},
		"two headers":               {authorization: []string{"Bearer " + tokenOf(1), "Bearer " + tokenOf(1)}, want: 400, code: "invalid_request", challenge: realm},
		"two headers, one empty":    {authorization: []string{"Bearer " + tokenOf(1), ""}, want: 400, code: "invalid_request", challenge: realm},
		"two headers in one":        {authorization: []string{"Bearer " + tokenOf(1) + ", Bearer " + tokenOf(1)}, want: 401, code: "invalid_token", challenge: realm},
		"a word after it":           {authorization: []string{"Bearer " + tokenOf(1) + " x"}, want: 401, code: "invalid_token", challenge: realm},
		"garbage":                   {authorization: []string{"Bearer garbage"}, want: 401, code: "invalid_token", challenge: realm},
		"a huge one":                {authorization: []string{"Bearer " + strings.Repeat("x", 1<<20)}, want: 401, code: "invalid_token", challenge: realm},
		"unknown":                   {authorization: []string{"Bearer " + tokenOf(99)}, want: 401, code: "invalid_token", challenge: realm},
		"a source that fails":       {authorization: []string{"Bearer " + tokenOf(4)}, want: 503, code: "temporarily_unavailable"},
		"in the query":              {query: "access_token=" + tokenOf(1), want: 400, code: "invalid_request", challenge: realm},
		"in both":                   {authorization: []string{"Bearer " + tokenOf(1)}, query: "access_token=x", want: 400, code: "invalid_request", challenge: realm},
		"another name in the query": {authorization: []string{"Bearer " + tokenOf(1)}, query: "a=b&key=" + tokenOf(1), want: 400, code: "invalid_request", challenge: realm},
		"another query":             {authorization: []string{"Bearer " + tokenOf(1)}, query: "name=my_access_token&%zz", want: 200},
		"basic, not offered":        {authorization: []string{basic(tokenOf(1))}, want: 401, challenge: realm},
		"basic":                     {basic: true, authorization: []string{basic(tokenOf(1))}, want: 200},
		"basic, bearer":             {basic: true, authorization: []string{"Bearer " + tokenOf(1)}, want: 200},
		"basic, unknown":            {basic: true, authorization: []string{basic(tokenOf(99))}, want: 401, code: "invalid_token", challenge: realm},
		"basic, garbage":            {basic: true, authorization: []string{"Basic !"}, want: 400, code: "invalid_request", challenge: realm},
		"basic, no password":        {basic: true, authorization: []string{basic("")}, want: 400, code: "invalid_request", challenge: realm},
		"basic, token as username":  {basic: true, authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(tokenOf(1)+":"))}, want: 400, code: "invalid_request", challenge: realm},
		"basic, huge":               {basic: true, authorization: []string{basic(strings.Repeat("x", 1<<20))}, want: 400, code: "invalid_request", challenge: realm},
		"basic, nothing":            {basic: true, want: 401, challenge: realm},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, "PROPFIND"} {
			t.Run(name+", "+method, func(t *testing.T) {
				a := newAuthenticator(t, &fake{answer: people}, func(o *Options) { o.Basic = tc.basic })
				passed := false
				handler := a.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					identity, ok := FromContext(r.Context())
					passed = ok && identity.Username == "alice" && r.Method == method && r.URL.RawQuery == tc.query
				}))
				r := httptest.NewRequest(method, "/lists?"+tc.query, nil)
				r.Header["Authorization"] = tc.authorization
				if len(tc.authorization) == 0 {
					r.Header.Del("Authorization")
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if w.Code != tc.want || passed != (tc.want == 200) {
					t.Fatalf("status %d, passed %v; want %d", w.Code, passed, tc.want)
				}
				if tc.want == 200 {
					return
				}
				if strings.Contains(w.Body.String(), tokenPrefix) || strings.Contains(strings.Join(w.Header()["Www-Authenticate"], ""), tokenPrefix) {
					t.Error("the answer quotes the token")
				}
				checkRefusal(t, w, tc.code)
				challenges := w.Header()["Www-Authenticate"]
				if tc.challenge == "" {
					if len(challenges) != 0 {
						t.Errorf("challenges %q", challenges)
					}
					return
				}
				if len(challenges) == 0 || !strings.HasPrefix(challenges[0], tc.challenge) || (tc.code == "") != (challenges[0] == realm) {
					t.Errorf("challenges %q", challenges)
				}
				if tc.code != "" && !strings.HasPrefix(challenges[0], tc.challenge+`, error="`+tc.code+`", error_description="`) {
					t.Errorf("challenges %q", challenges)
				}
				if got := slices.Contains(challenges, `Basic realm="list-api", charset="UTF-8"`); got != (tc.basic && tc.want == 401) {
					t.Errorf("challenges %q", challenges)
				}
			})
		}
	}
}

// checkRefusal checks what all refusals have.
func checkRefusal(t *testing.T, w *httptest.ResponseRecorder, code string) {
	t.Helper()
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error != code || body.Description == "" || w.Body.Len() > 300 {
		t.Errorf("body %q: %v", w.Body, err)
	}
	h := w.Header()
	if h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("header %v", h)
	}
	if (w.Code == http.StatusServiceUnavailable) != (h.Get("Retry-After") == "1") {
		t.Errorf("status %d with Retry-After %q", w.Code, h.Get("Retry-After"))
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	a := newAuthenticator(t, &fake{answer: people})
	for _, f := range []*refusal{a.refusals.noCredentials, a.refusals.twoHeaders, a.refusals.noToken, a.refusals.inURL, a.refusals.invalid, a.refusals.unavailable, unprotected} {
		for _, challenge := range f.challenges {
			if !quotable(strings.ReplaceAll(challenge, `"`, "")) || strings.Count(challenge, `"`)%2 != 0 {
				t.Errorf("%s cannot be a header", challenge)
			}
		}
	}
	if got, want := a.refusals.invalid.challenges[0], realm+`, error="invalid_token", error_description="The token is malformed, expired, suspended, revoked, or not for this API. Check it, or use another token."`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := string(a.refusals.noCredentials.body), `{"error_description":"A personal access token is required. Send it as Authorization: Bearer TOKEN."}`+"\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestScopesAreRequired(t *testing.T) {
	a := newAuthenticator(t, &fake{answer: people})
	for scope, tc := range map[string]struct{ full, reader, kubernetes int }{
		"lists:read":           {200, 200, 403},
		"lists:write":          {200, 403, 403},
		"lists":                {200, 403, 403},
		"LISTS:READ":           {200, 403, 403},
		"kubernetes:read-only": {200, 403, 200},
	} {
		handler := a.Middleware(RequireScope(scope)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		for n, want := range []int{tc.full, tc.reader, tc.kubernetes} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+tokenOf(n+1))
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s, token %d: status %d, want %d", scope, n+1, w.Code, want)
			}
			if want != 403 {
				continue
			}
			checkRefusal(t, w, "insufficient_scope")
			if got, want := w.Header().Get("WWW-Authenticate"), realm+`, error="insufficient_scope", error_description="The token does not have the scope `+
				scope+`. Use a token with this scope, or with none.", scope="`+scope+`"`; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
	}
	for _, scope := range []string{"", "a b", `a"`, `a\`, "ä", "a\n"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is a scope", scope)
				}
			}()
			RequireScope(scope)
		}()
	}
}

func TestAScopeWithoutMiddlewareFailsClosed(t *testing.T) {
	handler := RequireScope("lists:read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("passed") }))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+tokenOf(1))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d", w.Code)
	}
	checkRefusal(t, w, "server_error")

	if _, ok := FromContext(r.Context()); ok {
		t.Error("an identity without Middleware")
	}
	// The zero Identity may do nothing.
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, r.WithContext(NewContext(r.Context(), &Identity{})))
	if w.Code != http.StatusForbidden || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer error="insufficient_scope"`) {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
}

// The context is the request's own in all but the identity, and the request that came in stays as it was.
func TestTheContextOfARequest(t *testing.T) {
	type key struct{}
	a := newAuthenticator(t, &fake{answer: people})
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Hour)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body")).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+tokenOf(1))
	r.SetPathValue("name", "x")
	passed := false
	a.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, inner *http.Request) {
		passed = true
		derived, end := context.WithCancel(inner.Context())
		defer end()
		_, hasDeadline := derived.Deadline()
		if derived.Value(key{}) != "value" || !hasDeadline || inner.PathValue("name") != "x" || inner.Body != r.Body || inner == r {
			t.Error("the request is another one")
		}
		if _, ok := FromContext(derived); !ok {
			t.Error("no identity in a derived context")
		}
		cancel()
		<-derived.Done()
		if !errors.Is(derived.Err(), context.Canceled) {
			t.Error(derived.Err())
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
	if _, ok := FromContext(r.Context()); ok || !passed {
		t.Errorf("passed: %v; the request that came in has an identity: %v", passed, ok)
	}
}

func FuzzCredentials(f *testing.F) {
	token := tokenOf(1)
	f.Add("Bearer "+token, "", true)
	f.Add("bearer  "+token, "a=b", false)
	f.Add(basic(token), "access_token="+token, true)
	f.Add("Basic Og==", "%", true)
	f.Fuzz(func(t *testing.T, authorization, query string, withBasic bool) {
		a := newAuthenticator(t, &fake{answer: people}, func(o *Options) { o.Basic = withBasic })
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"], r.URL.RawQuery = []string{authorization}, query
		w := httptest.NewRecorder()
		passed := false
		a.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(w, r)
		if !passed && w.Code != 400 && w.Code != 401 && w.Code != 503 {
			t.Errorf("status %d", w.Code)
		}
		if !passed {
			return
		}
		scheme, credentials, _ := strings.Cut(authorization, " ")
		credentials = strings.Trim(credentials, " ")
		switch strings.ToLower(scheme) {
		case "bearer":
		case "basic":
			decoded, err := base64.StdEncoding.DecodeString(credentials)
			if err != nil || !withBasic {
				t.Errorf("%q passes", authorization)
			}
			_, credentials, _ = strings.Cut(string(decoded), ":")
		default:
			t.Errorf("%q passes", authorization)
		}
		if !slices.Contains([]string{tokenOf(1), tokenOf(2), tokenOf(3)}, credentials) || strings.Contains(query, tokenPrefix) {
			t.Errorf("%q passes", authorization)
		}
	})
}
