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
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

// identityOf is the identity headers of an answer by the names behind the prefix.
func identityOf(w *httptest.ResponseRecorder, prefix string) map[string]string {
	got := map[string]string{}
	for name, values := range w.Header() {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			got[rest] = strings.Join(values, "\n")
		}
	}
	return got
}

func TestCase28_WhatAProxyIsTold(t *testing.T) {
	b := newBed(t)
	pat := b.token("lists", forAudience(listAPI), withScope(v1alpha1.Scope{API: "lists:read"}))
	want := map[string]string{
		"User": "alice", "Groups": "system:authenticated,dev,CN=a%2Cadmins", "Token-Id": pat.ID(), "Token-Name": "team-a/lists", "Scope": "lists:read",
	}
	asBasic := func(name string) func(*http.Request) {
		return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(name+":"+pat.Bearer)))
	}
	for name, tc := range map[string]struct {
		target string
		edit   func(*http.Request)
		prefix string
		change map[string]string
	}{
		"Bearer":                {"/auth?audience=list-api", bearer(pat.Bearer), "X-Auth-Request-", nil},
		"Basic":                 {"/auth?audience=list-api", asBasic("anything"), "X-Auth-Request-", nil},
		"Basic without a name":  {"/auth?audience=list-api", asBasic(""), "X-Auth-Request-", nil},
		"its scope":             {"/auth?audience=list-api&scope=lists:read", bearer(pat.Bearer), "X-Auth-Request-", nil},
		"groups":                {"/auth?audience=list-api&groups=" + url.QueryEscape("CN=a%2Cadmins,x"), bearer(pat.Bearer), "X-Auth-Request-", map[string]string{"Groups": "system:authenticated,CN=a%2Cadmins"}},
		"no group that it has":  {"/auth?audience=list-api&groups=x", bearer(pat.Bearer), "X-Auth-Request-", map[string]string{"Groups": "system:authenticated"}},
		"another prefix":        {"/auth?audience=list-api&prefix=Remote-", bearer(pat.Bearer), "Remote-", nil},
		"in the path":           {"/auth/with/audience=list-api&prefix=Remote-", bearer(pat.Bearer), "Remote-", nil},
		"and the client's path": {"/auth/with/audience=list-api/x/../../auth/with/audience=y?audience=z&audience=z", bearer(pat.Bearer), "X-Auth-Request-", nil},
	} {
		w := b.get(tc.target, tc.edit)
		expect := map[string]string{}
		for k, v := range want {
			expect[k] = v
		}
		for k, v := range tc.change {
			expect[k] = v
		}
		if diff := cmp.Diff(expect, identityOf(w, tc.prefix)); diff != "" || w.Code != http.StatusOK {
			t.Errorf("%s: HTTP %d %s (-want +got):\n%s", name, w.Code, w.Body, diff)
		}
	}
	own := b.token("own")
	if w := b.get("/auth", bearer(own.Bearer)); w.Code != http.StatusOK || w.Header().Get("X-Auth-Request-Scope") != "full" {
		t.Errorf("a token for the API server: HTTP %d, %v", w.Code, w.Header())
	}
}

func TestCase28_WhomAProxyRefuses(t *testing.T) {
	const (
		notValid = "the token is not valid here: it has ended, is suspended, is denied by a TokenPolicy, or is for another API"
		send     = "send a personal access token as Authorization: Bearer, or as the password of Basic"
	)
	b := newBed(t)
	pat, own := b.token("lists", forAudience(listAPI), withScope(v1alpha1.Scope{API: "lists:read"})), b.token("own")
	bound := b.token("bound", from("198.51.100.0/24"))
	crowd := b.token("crowd", func(s *v1alpha1.PersonalAccessTokenSpec) {
		for i := range 200 {
			s.User.Groups = append(s.User.Groups, fmt.Sprintf("CN=group-%03d,OU=department", i))
		}
	})
	ended := b.token("ended")
	ended.Revoke(t, b.index)
	for name, tc := range map[string]struct {
		target string
		edits  []func(*http.Request)
		code   int
		want   string
	}{
		"no credential":             {"/auth", nil, 401, send},
		"two credentials":           {"/auth", []func(*http.Request){header("Authorization", "Bearer "+own.Bearer, "Bearer "+own.Bearer)}, 401, "the request has two credentials; send one"},
		"two, joined by Envoy":      {"/auth", []func(*http.Request){bearer(own.Bearer + ", Bearer " + own.Bearer)}, 401, notValid},
		"another scheme":            {"/auth", []func(*http.Request){header("Authorization", "Negotiate x")}, 401, send},
		"an empty header":           {"/auth", []func(*http.Request){header("Authorization", "")}, 401, send},
		"an empty Bearer":           {"/auth", []func(*http.Request){header("Authorization", "Bearer ")}, 401, notValid},
		"Basic without base64":      {"/auth", []func(*http.Request){header("Authorization", "Basic ?")}, 401, "the Basic credential is not base64 of NAME:TOKEN"},
		"the token as name":         {"/auth", []func(*http.Request){header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(own.Bearer+":")))}, 401, notValid},
		"ended":                     {"/auth", []func(*http.Request){bearer(ended.Bearer)}, 401, notValid},
		"for another API":           {"/auth?audience=list-api", []func(*http.Request){bearer(own.Bearer)}, 401, notValid},
		"for another than ours":     {"/auth", []func(*http.Request){bearer(pat.Bearer)}, 401, notValid},
		"scopes of Kubernetes":      {"/auth", []func(*http.Request){bearer(b.token("scoped", withScope(v1alpha1.Scope{Preset: "read-only"})).Bearer)}, 401, notValid},
		"without the scope":         {"/auth?audience=list-api&scope=lists:read%20lists:write", []func(*http.Request){bearer(pat.Bearer)}, 403, "personal access token team-a/lists does not have the scope lists:write; make a token with it"},
		"from an unknown address":   {"/auth", []func(*http.Request){bearer(bound.Bearer)}, 403, "personal access token team-a/bound may be used only from the networks that its spec.from and TokenPolicies allow, and this request comes from another, or from a proxy that is not in --api-trusted-proxies"},
		"from another address":      {"/auth", []func(*http.Request){bearer(bound.Bearer), header("X-Forwarded-For", "192.0.2.1")}, 403, "personal access token team-a/bound may be used only"},
		"from a proxy of strangers": {"/auth", []func(*http.Request){bearer(bound.Bearer), header("X-Forwarded-For", "198.51.100.1"), func(r *http.Request) { r.RemoteAddr = "198.51.100.9:1" }}, 403, "personal access token team-a/bound may be used only"},
		"200 groups":                {"/auth", []func(*http.Request){bearer(crowd.Bearer)}, 403, "the groups of personal access token team-a/crowd take 5838 bytes, and at most 4096 fit into a header; make a token whose spec.user.groups has only those that it needs, or name the groups that count in the URL of the proxy, as ?groups=a,b"},
		"a token in the URL":        {"/auth?access_token=x", nil, 400, "there is an unknown option in the URL; the options are audience, scope, groups, prefix, challenge, preflight and method-from"},
		"a typo":                    {"/auth?audiance=x", []func(*http.Request){bearer(own.Bearer)}, 400, "there is an unknown option in the URL"},
		"too many options":          {"/auth?" + strings.Repeat("&", 100), []func(*http.Request){bearer(own.Bearer)}, 400, "there are more than 100 parameters; send only those that the documentation names"},
		"an option twice":           {"/auth?audience=a&audience=b", []func(*http.Request){bearer(own.Bearer)}, 400, "an option in the URL is there twice; where the path or the query of clients is put behind it, use /auth/with/OPTIONS"},
		"an empty audience":         {"/auth?audience=", []func(*http.Request){bearer(own.Bearer)}, 400, "audience is empty; name the audience of the API, or leave it out for that of the Kubernetes API"},
		"an empty scope":            {"/auth?scope=", []func(*http.Request){bearer(own.Bearer)}, 400, "scope is not a list of scopes with spaces between them, as in scope=lists:read"},
		"an empty group":            {"/auth?groups=a,,b", []func(*http.Request){bearer(own.Bearer)}, 400, "groups is not a list of groups with commas between them; write %, and commas in a name, percent-encoded as in the header"},
		"impersonation":             {"/auth?prefix=IMPERSONATE-", []func(*http.Request){bearer(own.Bearer)}, 400, "prefix does not begin the name of a header for identities; write it as prefix=Remote-"},
		"a prefix of two lines":     {"/auth?prefix=a%0d%0ab-", []func(*http.Request){bearer(own.Bearer)}, 400, "prefix does not begin the name of a header for identities"},
		"another challenge":         {"/auth?challenge=digest", []func(*http.Request){bearer(own.Bearer)}, 400, "challenge is not bearer, basic or both"},
		"another preflight":         {"/auth?preflight=yes", []func(*http.Request){bearer(own.Bearer)}, 400, "preflight can only be allow; leave it out to ask preflights for a token"},
		"another method header":     {"/auth?method-from=X-Method", []func(*http.Request){bearer(own.Bearer)}, 400, "method-from is neither X-Forwarded-Method nor X-Original-Method; name the one that your proxy always sets itself"},
		"options without encoding":  {"/auth?a=%zz", []func(*http.Request){bearer(own.Bearer)}, 400, "the options in the URL are not NAME=VALUE with & between them and everything else percent-encoded"},
		"a path of the client":      {"/auth/x", []func(*http.Request){bearer(own.Bearer)}, 404, "there is nothing at this path"},
	} {
		w := b.get(tc.target, tc.edits...)
		if _, text := errorOf(t, w); w.Code != tc.code || !strings.HasPrefix(text, tc.want) {
			t.Errorf("%s: HTTP %d %s", name, w.Code, text)
		}
		if got := identityOf(w, "X-Auth-Request-"); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
		wanted := map[int]int{http.StatusUnauthorized: 2, http.StatusForbidden: strings.Count(tc.target, "scope=")}[tc.code]
		if got := w.Header()["Www-Authenticate"]; len(got) != wanted {
			t.Errorf("%s: HTTP %d with challenges %q", name, tc.code, got)
		}
	}
	if w := b.get("/auth", bearer(bound.Bearer), header("X-Forwarded-For", "198.51.100.1")); w.Code != http.StatusOK {
		t.Errorf("from its network: HTTP %d %s", w.Code, w.Body)
	}
	if w := b.get("/auth?groups=x", bearer(crowd.Bearer)); w.Code != http.StatusOK {
		t.Errorf("200 groups, of which none counts: HTTP %d %s", w.Code, w.Body)
	}
}

func TestChallenges(t *testing.T) {
	b := newBed(t)
	pat := b.token("lists", forAudience(listAPI), withScope(v1alpha1.Scope{API: "lists:read"}))
	const basic = `Basic realm="pat-operator", charset="UTF-8"`
	for _, tc := range []struct {
		target, credential string
		want               []string
	}{
		{"/auth", "", []string{basic, `Bearer realm="pat-operator"`}},
		{"/auth?challenge=both", "", []string{basic, `Bearer realm="pat-operator"`}},
		{"/auth?challenge=basic", "", []string{basic}},
		{"/auth?challenge=bearer", "", []string{`Bearer realm="pat-operator"`}},
		{"/auth?challenge=bearer", "x", []string{`Bearer realm="pat-operator", error="invalid_token"`}},
		{"/auth?challenge=bearer&audience=list-api&scope=a%20b", pat.Bearer, []string{`Bearer realm="pat-operator", error="insufficient_scope", scope="a b"`}},
	} {
		edit := func(*http.Request) {}
		if tc.credential != "" {
			edit = bearer(tc.credential)
		}
		if w := b.get(tc.target, edit); !cmp.Equal(w.Header()["Www-Authenticate"], tc.want) {
			t.Errorf("%s: %q", tc.target, w.Header()["Www-Authenticate"])
		}
	}
}

func TestPreflights(t *testing.T) {
	b := newBed(t)
	preflight := []func(*http.Request){header("Origin", "https://app.example.com"), header("Access-Control-Request-Method", "PUT")}
	options := func(r *http.Request) { r.Method = http.MethodOptions }
	says := func(method ...string) func(*http.Request) { return header("X-Forwarded-Method", method...) }
	for name, tc := range map[string]struct {
		target string
		edits  []func(*http.Request)
		code   int
	}{
		"not allowed":                      {"/auth", append(preflight, options), 401},
		"allowed":                          {"/auth?preflight=allow", append(preflight, options), 200},
		"no preflight":                     {"/auth?preflight=allow", []func(*http.Request){options}, 401},
		"another method":                   {"/auth?preflight=allow", preflight, 401},
		"another method that claims to be": {"/auth?preflight=allow", append(preflight, says("OPTIONS")), 401},
		"a proxy that says the method":     {"/auth?preflight=allow&method-from=X-Forwarded-Method", append(preflight, says("OPTIONS")), 200},
		"a proxy that says another":        {"/auth?preflight=allow&method-from=X-Forwarded-Method", append(preflight, says("GET"), options), 401},
		"a proxy that says two":            {"/auth?preflight=allow&method-from=X-Forwarded-Method", append(preflight, says("OPTIONS", "GET")), 401},
		"with a credential":                {"/auth?preflight=allow", append(preflight, options, bearer("x")), 401},
	} {
		w := b.get(tc.target, tc.edits...)
		if w.Code != tc.code {
			t.Errorf("%s: HTTP %d", name, w.Code)
		}
		want := map[string]string{}
		if tc.code == http.StatusOK {
			want = map[string]string{"User": "system:anonymous", "Groups": "system:unauthenticated", "Token-Id": "-", "Token-Name": "-", "Scope": "-"}
		}
		if diff := cmp.Diff(want, identityOf(w, "X-Auth-Request-")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCase73_NamesInHeaders(t *testing.T) {
	for name, want := range map[string]string{
		"alice": "alice", "CN=a,admins": "CN=a%2Cadmins", "a|b%c": "a%7Cb%25c", "zoë": "zo%C3%AB", "a\r\nX: y": "a%0D%0AX: y",
		" alice ": "%20alice%20", "Domain Admins": "Domain Admins", "\x7f": "%7F", "": "",
	} {
		if got := encode(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzEncode(f *testing.F) {
	for _, seed := range []string{"alice", "CN=a,admins", " a ", "\x00", "%2C", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		encoded := encode(name)
		if again, err := url.PathUnescape(encoded); err != nil || again != name {
			t.Errorf("%q became %q, and %q again, %v", name, encoded, again, err)
		}
		if strings.ContainsAny(encoded, ",|\r\n") || strings.TrimSpace(encoded) != encoded {
			t.Errorf("%q became %q", name, encoded)
		}
	})
}

func FuzzAuthOptions(f *testing.F) {
	for _, seed := range []string{"/auth?audience=a", "/auth/with/scope=a/b?scope=c", "/auth?groups=a%252Cb", "/auth?prefix=Remote-&challenge=basic"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		o, refused := authOptionsOf(u)
		if (o == nil) == (refused == nil) {
			t.Fatalf("%v, %v", o, refused)
		}
		if o != nil && (!headerPrefix.MatchString(strings.TrimSuffix(o.names[0], "User")) || o.groups != nil && len(o.groups) == 0 || len(o.audiences) > 1) {
			t.Errorf("%+v", o)
		}
	})
}
