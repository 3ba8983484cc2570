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
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/issued"
	"github.com/pat-operator/pat-operator/test/policies"
)

var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func about(t *issued.Token) url.Values { return url.Values{"token": {t.Bearer}} }

func TestIntrospectionSaysWhoseTheTokenIs(t *testing.T) {
	b := newBed(t)
	pat := b.token("lists", forAudience("other", listAPI), withScope(v1alpha1.Scope{API: "lists:read"}, v1alpha1.Scope{Preset: "read-only"}))
	asking := bearer(accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour)))
	w := b.post("/oauth2/introspect", about(pat), asking)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("HTTP %d, %v", w.Code, err)
	}
	issuedAt := float64(pat.Record.Current.IssuedAt.Unix())
	if diff := cmp.Diff(map[string]any{
		"active": true, "username": "alice", "sub": "alice", "uid": "u-1", "groups": []any{"dev", "CN=a,admins", "system:authenticated"},
		"scope": "lists:read kubernetes:read-only", "client_id": "team-a/lists", "token_type": "Bearer", "iat": issuedAt, "nbf": issuedAt,
		"exp": float64(b.now.Add(time.Minute + time.Second - 1).Unix()), "pat_expires_at": float64(pat.Record.Current.ExpiresAt.Unix()),
		"aud": []any{listAPI}, "iss": ownURL, "jti": pat.ID(),
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	b.now = pat.Record.Current.ExpiresAt.Add(-10 * time.Second)
	asking = bearer(accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour)))
	w = b.post("/oauth2/introspect", about(pat), asking)
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got["exp"] != got["pat_expires_at"] {
		t.Errorf("just before the token's end, exp is %v, and it ends at %v", got["exp"], got["pat_expires_at"])
	}
	full := b.token("full", forAudience(listAPI))
	if w := b.post("/oauth2/introspect", about(full), asking); !strings.Contains(w.Body.String(), `"scope":"full"`) {
		t.Errorf("without scopes: %s", w.Body)
	}
}

func TestExpIsAlwaysAhead(t *testing.T) {
	second := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		now, ends time.Time
		maxAge    time.Duration
		want      int64
	}{
		"a whole second":                {second, second.Add(time.Hour), 5 * time.Second, 5},
		"rounded up":                    {second.Add(time.Nanosecond), second.Add(time.Hour), 5 * time.Second, 6},
		"nearly the next second":        {second.Add(time.Second - 1), second.Add(time.Hour), 5 * time.Second, 6},
		"a part of a second":            {second.Add(time.Second / 2), second.Add(time.Hour), time.Second / 4, 1},
		"the token ends sooner":         {second.Add(time.Second / 2), second.Add(3 * time.Second), 5 * time.Second, 3},
		"the token ends in this second": {second.Add(time.Second / 2), second.Add(5*time.Second + time.Second*3/4), 5 * time.Second, 5},
	} {
		h := &handler{Options: Options{MaxAge: tc.maxAge}}
		var got struct {
			Exp int64 `json:"exp"`
		}
		if err := json.Unmarshal(h.introspection(&verifier.Result{ExpiresAt: tc.ends}, []string{listAPI}, tc.now), &got); err != nil || got.Exp-second.Unix() != tc.want {
			t.Errorf("%s: exp is %d s ahead, want %d (%v)", name, got.Exp-second.Unix(), tc.want, err)
		}
	}
}

func TestCase27_InactiveSaysNothingElse(t *testing.T) {
	b := newBed(t)
	asking := bearer(accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour)))
	revoked, deleting, suspended := b.token("revoked", forAudience(listAPI)), b.token("deleting", forAudience(listAPI)), b.token("suspended", forAudience(listAPI))
	revoked.Revoke(t, b.index)
	deleting.Resource.DeletionTimestamp = &metav1.Time{Time: b.now}
	deleting.Feed(t, b.index)
	suspended.Resource.Spec.Suspend = true
	suspended.Feed(t, b.index)
	for name, bearer := range map[string]string{
		"revoked":                              revoked.Bearer,
		"marked deleted":                       deleting.Bearer,
		"suspended":                            suspended.Bearer,
		"of an audience that is not permitted": b.token("other", forAudience("other")).Bearer,
		"of the API server":                    b.token("own").Bearer,
		"bound to networks":                    b.token("bound", forAudience(listAPI), from("192.0.2.0/24")).Bearer,
		"of another cluster":                   issued.New(t, "team-a", "foreign", alice, forAudience(listAPI)).Bearer,
		"not ours":                             "eyJhbGciOiJub25lIn0.e30.",
		"garbage":                              "kubepat_",
		"with a space":                         " " + b.token("space", forAudience(listAPI)).Bearer,
	} {
		if w := b.post("/oauth2/introspect", url.Values{"token": {bearer}}, asking); w.Code != http.StatusOK || w.Body.String() != `{"active":false}` {
			t.Errorf("%s: HTTP %d %s", name, w.Code, w.Body)
		}
	}
}

// A TokenPolicy counts at each endpoint, for the token that is asked about and for that of who asks.
func TestAPolicyAtEachEndpoint(t *testing.T) {
	const inactive = `{"active":false}`
	b := newBed(t)
	pat, asker := b.token("lists", forAudience(listAPI)), b.token("asker", forAudience(DefaultAudience))
	b.may["alice"] = []string{listAPI}
	b.now = pat.Record.Current.IssuedAt.Add(time.Minute)
	account := accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour))
	introspect := func() (map[string]any, string) {
		w := b.post("/oauth2/introspect", about(pat), bearer(account))
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
			t.Fatalf("HTTP %d %s", w.Code, w.Body)
		}
		return got, w.Body.String()
	}
	auth := func() *httptest.ResponseRecorder { return b.get("/auth?audience="+listAPI, bearer(pat.Bearer)) }
	for _, tc := range []struct {
		name, policy string
		active       bool
		caller, auth int
		text         string
	}{
		{"it denies", `{deny: {reason: Left}}`, false, 401, 401, "the token is not valid here: it has ended, is suspended, is denied by a TokenPolicy, or is for another API"},
		{"is not understood", `{allowedWeekdays: [Monday]}`, false, 401, 401, "the token is not valid here"},
		{"it has ended the token", `{maxLifetimeDays: 0}`, false, 401, 401, "the token is not valid here"},
		{"is of other networks", `{allowedFrom: [10.0.0.0/8]}`, false, 401, 403,
			"personal access token team-a/lists may be used only from the networks that its spec.from and TokenPolicies allow"},
		{"takes groups", `{allowedGroups: [dev]}`, true, 200, 200, ""},
		{"is for new tokens", `{maxTokensPerUser: 0, allowedAudiences: [x]}`, true, 200, 200, ""},
	} {
		b.index.SetPolicy(policies.New("p", tc.policy))
		if got, text := introspect(); got["active"] != tc.active || !tc.active && text != inactive {
			t.Errorf("%s: introspection says %s", tc.name, text)
		}
		if w := b.post("/oauth2/introspect", about(pat), bearer(asker.Bearer)); w.Code != tc.caller {
			t.Errorf("%s: a caller with such a token gets HTTP %d", tc.name, w.Code)
		}
		w := auth()
		if w.Code != tc.auth {
			t.Errorf("%s: a reverse proxy gets HTTP %d %s", tc.name, w.Code, w.Body)
		}
		if tc.text != "" {
			if _, text := errorOf(t, w); !strings.HasPrefix(text, tc.text) {
				t.Errorf("%s: a reverse proxy gets %q", tc.name, text)
			}
		}
		b.index.DeletePolicy("p")
		if _, text := introspect(); text == inactive || auth().Code != http.StatusOK {
			t.Errorf("%s, and is gone: %s", tc.name, text)
		}
	}

	b.index.SetPolicy(policies.New("p", `{allowedGroups: [dev], maxLifetimeDays: 30}`))
	end := pat.Record.Current.IssuedAt.Add(30 * v1alpha1.Day)
	b.now = end.Add(-10 * time.Second)
	account = accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour))
	got, text := introspect()
	if got["exp"] != float64(end.Unix()) || got["pat_expires_at"] != got["exp"] || !cmp.Equal(got["groups"], []any{"dev", "system:authenticated"}) {
		t.Errorf("just before the policy's end of the token: %s", text)
	}
	if groups := auth().Header().Get("X-Auth-Request-Groups"); groups != "system:authenticated,dev" {
		t.Errorf("a reverse proxy gets the groups %q", groups)
	}
	b.now = end
	if _, text := introspect(); text != inactive {
		t.Errorf("at the policy's end of the token: %s", text)
	}
	// Its holder can end it for good all the same.
	if w := b.post("/oauth2/revoke", about(pat)); w.Code != http.StatusOK || b.writes != 1 {
		t.Errorf("its holder revokes it: HTTP %d, %d writes", w.Code, b.writes)
	}
}

func TestCase27_CallersOfIntrospection(t *testing.T) {
	const (
		known   = `"active":true`
		nothing = `{"active":false}`
	)
	b := newBed(t)
	pat := b.token("lists", forAudience(listAPI))
	b.may["alice"] = []string{listAPI}
	account := accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour))
	asker := b.token("asker", forAudience(DefaultAudience))
	certificate := func(name string) func(*http.Request) {
		return func(r *http.Request) {
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name, Organization: []string{"x"}}}}}}
		}
	}
	secret := func(secret string) func(url.Values) {
		return func(f url.Values) { f.Set("client_id", "lists"); f.Set("client_secret", secret) }
	}
	for name, tc := range map[string]struct {
		edit func(*http.Request)
		form func(url.Values)
		code int
		want string
	}{
		"a service account":                       {bearer(account), nil, 200, known},
		"a service account by Basic":              {basic(reader, account), nil, 200, known},
		"a service account by the form":           {nil, secret(account), 200, known},
		"a token of ours":                         {bearer(asker.Bearer), nil, 200, known},
		"a token of ours by Basic":                {basic("any:name", asker.Bearer), nil, 200, known},
		"a token of ours by the form":             {nil, secret(asker.Bearer), 200, known},
		"the token itself":                        {bearer(pat.Bearer), nil, 200, known},
		"a certificate":                           {certificate("alice"), nil, 200, known},
		"lower case":                              {header("Authorization", "bearer "+account), nil, 200, known},
		"a certificate of another user":           {certificate("mallory"), nil, 200, nothing},
		"nobody":                                  {nil, nil, 401, ""},
		"a certificate without a name":            {certificate(""), nil, 401, ""},
		"an unknown service account":              {bearer(accountToken(t, "x", DefaultAudience, b.now.Add(time.Hour))), nil, 401, ""},
		"a service account for the API server":    {bearer(accountToken(t, "valid", kubernetesAudience, b.now.Add(time.Hour))), nil, 401, ""},
		"an expired service account":              {bearer(accountToken(t, "valid", DefaultAudience, b.now.Add(-time.Second))), nil, 401, ""},
		"a token of ours for the API server":      {bearer(b.token("own").Bearer), nil, 401, ""},
		"a token of ours for another API":         {bearer(b.token("other", forAudience(listAPI)).Bearer), nil, 401, ""},
		"a token of ours with scopes":             {bearer(b.token("scoped", forAudience(DefaultAudience), withScope(v1alpha1.Scope{Preset: "read-only"})).Bearer), nil, 200, nothing},
		"a token of ours with the right scope":    {bearer(b.token("right", forAudience(DefaultAudience), withScope(introspectOnly(listAPI))).Bearer), nil, 200, known},
		"a token of ours with another such scope": {bearer(b.token("wrong", forAudience(DefaultAudience), withScope(introspectOnly("x"))).Bearer), nil, 200, nothing},
		"a token of ours from its network":        {bearer(b.token("near", forAudience(DefaultAudience), from("192.0.2.0/24")).Bearer), nil, 200, known},
		"a token of ours from elsewhere":          {bearer(b.token("far", forAudience(DefaultAudience), from("198.51.100.0/24")).Bearer), nil, 401, ""},
		"a broken token of ours":                  {bearer(asker.Bearer + "x"), nil, 401, ""},
		"a password without encoding":             {header("Authorization", "Basic "+"!!"), nil, 401, ""},
		"another scheme":                          {header("Authorization", "Digest x"), nil, 401, ""},
		"an empty Bearer":                         {header("Authorization", "Bearer"), nil, 401, ""},
		"an empty secret":                         {nil, secret(""), 401, ""},
		"two headers":                             {header("Authorization", "Bearer "+account, "Bearer "+account), nil, 400, ""},
		"a header and a secret":                   {bearer(account), secret(account), 400, ""},
	} {
		form := about(pat)
		if tc.form != nil {
			tc.form(form)
		}
		edit := tc.edit
		if edit == nil {
			edit = func(*http.Request) {}
		}
		w := b.post("/oauth2/introspect", form, edit)
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: HTTP %d %s, want %d %s", name, w.Code, w.Body, tc.code, tc.want)
		}
		code, text := "", ""
		if tc.code != http.StatusOK {
			code, text = errorOf(t, w)
		}
		switch challenges := w.Header()["Www-Authenticate"]; tc.code {
		case http.StatusUnauthorized:
			if code != "invalid_client" || !strings.Contains(text, "send a personal access token or the token of a service account") ||
				!cmp.Equal(challenges, []string{`Basic realm="pat-operator", charset="UTF-8"`, `Bearer realm="pat-operator"`}) {
				t.Errorf("%s: %s: %s, challenges %q", name, code, text, challenges)
			}
		case http.StatusBadRequest:
			if code != "invalid_request" || text != "the caller has two credentials; send one" {
				t.Errorf("%s: %s: %s", name, code, text)
			}
		}
	}
}

// introspectOnly is a scope for asking about tokens for an audience.
func introspectOnly(audience string) v1alpha1.Scope {
	return v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{
		Verbs: []string{"introspect"}, APIGroups: []string{"pat-operator.io"}, Resources: []string{"audiences"}, ResourceNames: []string{audience},
	}}
}

func TestStaleIsNeverInactive(t *testing.T) {
	b := newBed(t, func(o *Options) { o.Index = verifier.NewIndex(logr.Discard()) })
	pat := b.token("lists", forAudience(listAPI))
	account := accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour))
	for name, w := range map[string]func() int{
		"introspection": func() int { return b.unavailable(b.post("/oauth2/introspect", about(pat), bearer(account))) },
		"by a token of ours": func() int {
			return b.unavailable(b.post("/oauth2/introspect", about(pat), bearer(b.token("x", forAudience(DefaultAudience)).Bearer)))
		},
		"about itself":       func() int { return b.unavailable(b.post("/oauth2/introspect", about(pat), bearer(pat.Bearer))) },
		"revocation":         func() int { return b.unavailable(b.post("/oauth2/revoke", about(pat))) },
		"revocation of many": func() int { return b.post("/v1/revoke", url.Values{"tokens": {pat.Bearer}}).Code },
		"a reverse proxy's":  func() int { return b.unavailable(b.get("/auth?audience="+listAPI, bearer(pat.Bearer))) },
	} {
		if code := w(); code != http.StatusServiceUnavailable {
			t.Errorf("%s: HTTP %d", name, code)
		}
	}
}

// unavailable checks an answer that has the caller try again.
func (b *bed) unavailable(w *httptest.ResponseRecorder) int {
	b.t.Helper()
	if w.Header().Get("Retry-After") == "" {
		b.t.Errorf("HTTP %d without Retry-After", w.Code)
	}
	return w.Code
}

func TestTheAudienceOfCallersIsNotTheAPIServers(t *testing.T) {
	b := newBed(t, func(o *Options) { o.Audience = kubernetesAudience })
	b.may["alice"] = []string{listAPI}
	w := b.post("/oauth2/introspect", about(b.token("lists", forAudience(listAPI))), bearer(b.token("own").Bearer))
	if _, text := errorOf(t, w); w.Code != http.StatusServiceUnavailable || !strings.HasSuffix(text, "because --api-audience is an audience of the Kubernetes API; an administrator must set another") {
		t.Errorf("HTTP %d %s", w.Code, text)
	}
}

func TestTheAPIServerIsAway(t *testing.T) {
	b := newBed(t)
	pat := b.token("lists", forAudience(listAPI))
	b.broken = true
	w := b.post("/oauth2/introspect", about(pat), bearer(accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour))))
	if code, text := errorOf(t, w); w.Code != http.StatusServiceUnavailable || code != "temporarily_unavailable" || text != "the API server could not be asked about the caller; try again" {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
	w = b.post("/oauth2/introspect", about(pat), bearer(b.token("asker", forAudience(DefaultAudience)).Bearer))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("by a token of ours: HTTP %d %s", w.Code, w.Body)
	}
	if w = b.post("/oauth2/introspect", about(pat), bearer(pat.Bearer)); w.Code != http.StatusOK {
		t.Errorf("about itself: HTTP %d %s", w.Code, w.Body)
	}
}

func TestTheAPIServerIsNotAskedAboutGarbage(t *testing.T) {
	b := newBed(t)
	pat := b.token("lists", forAudience(listAPI))
	for _, garbage := range []string{"x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", pat.Bearer + "x", "kubepat_" + strings.Repeat("a", 66), strings.Repeat("a", 60<<10)} {
		if w := b.post("/oauth2/introspect", about(pat), bearer(garbage)); w.Code != http.StatusUnauthorized {
			t.Errorf("%.20q: HTTP %d", garbage, w.Code)
		}
	}
	if b.asked > 0 {
		t.Errorf("garbage: %d questions", b.asked)
	}
	for range failuresBurst {
		b.post("/oauth2/introspect", about(pat), bearer(accountToken(t, "forged", DefaultAudience, b.now.Add(time.Hour))))
	}
	account := bearer(accountToken(t, "valid", DefaultAudience, b.now.Add(time.Hour)))
	w := b.post("/oauth2/introspect", about(pat), account)
	if code, text := errorOf(t, w); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "10" || code != "temporarily_unavailable" ||
		text != "your network sent too many credentials that are not valid; try again later" {
		t.Errorf("after %d forged tokens of service accounts: HTTP %d %s", failuresBurst, w.Code, w.Body)
	}
	elsewhere := func(r *http.Request) { r.RemoteAddr = "198.51.100.1:1" }
	if w := b.post("/oauth2/introspect", about(pat), account, elsewhere); w.Code != http.StatusOK {
		t.Errorf("from another network: HTTP %d %s", w.Code, w.Body)
	}
}

func FuzzMayBeFor(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	for _, seed := range []string{"", "a.b.c", "a.b.c.d", accountToken(f, "x", listAPI, now.Add(time.Hour)), accountToken(f, "x", "other", now.Add(time.Hour)), "a.e30.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, credential string) {
		if expires, ok := mayBeFor(credential, listAPI, now); ok && (strings.Count(credential, ".") != 2 || !expires.After(now)) {
			t.Errorf("%q until %v", credential, expires)
		}
	})
}
