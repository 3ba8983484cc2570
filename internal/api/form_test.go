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
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestCase24_WhatIsNoForm(t *testing.T) {
	b := newBed(t)
	form := func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	}
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke", "/v1/revoke"} {
		for name, tc := range map[string]struct {
			method, query, body string
			edit                func(*http.Request)
			code                int
			want                string
		}{
			"GET":           {method: "GET", code: 405, want: "send this with POST"},
			"PUT":           {method: "PUT", body: "token=x&tokens=x", code: 405, want: "send this with POST"},
			"in the URL":    {query: "?token=x", code: 400, want: "parameters are taken from the body alone, because URLs get into logs; a token that was sent in a URL should be revoked"},
			"JSON":          {body: `{"token":"x"}`, edit: header("Content-Type", "application/json"), code: 415, want: "send the parameters as application/x-www-form-urlencoded, and not compressed"},
			"no type":       {body: "token=x&tokens=x", edit: func(r *http.Request) { r.Header.Del("Content-Type") }, code: 415, want: "send the parameters as application/x-www-form-urlencoded, and not compressed"},
			"compressed":    {body: "token=x&tokens=x", edit: header("Content-Encoding", "gzip"), code: 415, want: "send the parameters as application/x-www-form-urlencoded, and not compressed"},
			"twice":         {body: "token=x&tokens=x&token=x&tokens=x", code: 400, want: "a parameter is there twice; send each once"},
			"another twice": {body: "token=x&tokens=x&a=1&a=2", code: 400, want: "a parameter is there twice; send each once"},
			"not encoded":   {body: "token=%zz", code: 400, want: "the body is not application/x-www-form-urlencoded: encode %, & and ; in values"},
			"a semicolon":   {body: "a;b", code: 400, want: "the body is not application/x-www-form-urlencoded: encode %, & and ; in values"},
			"too long":      {body: "token=" + strings.Repeat("a", 64<<10), code: 413, want: "the body is longer than 64 KiB"},
			"too many":      {body: "token=x&tokens=x" + strings.Repeat("&", 99), code: 400, want: "there are more than 100 parameters; send only those that the documentation names"},
			"nothing":       {code: 400, want: "the parameter token"},
			"an empty one":  {body: "token=&tokens=", code: 400, want: "the parameter token"},
		} {
			method := tc.method
			if method == "" {
				method = http.MethodPost
			}
			r := httptest.NewRequest(method, path+tc.query, strings.NewReader(tc.body))
			form(r)
			if tc.edit != nil {
				tc.edit(r)
			}
			w := b.send(r)
			if _, text := errorOf(t, w); w.Code != tc.code || !strings.HasPrefix(text, tc.want) {
				t.Errorf("%s, %s: HTTP %d %s", path, name, w.Code, text)
			}
			if allow := w.Header().Get("Allow"); tc.code == http.StatusMethodNotAllowed && allow != http.MethodPost {
				t.Errorf("%s, %s: Allow %q", path, name, allow)
			}
		}
	}
}

func FuzzReadForm(f *testing.F) {
	for _, seed := range []string{"token=x", "a=1&a=2", "%zz", "token=x&token_type_hint=access_token", ";"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "/oauth2/introspect", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		form, refused := readForm(r)
		if (form == nil) == (refused == nil) {
			t.Fatalf("%v, %v", form, refused)
		}
		if refused == nil {
			if again, err := url.ParseQuery(form.Encode()); err != nil || again.Encode() != form.Encode() {
				t.Errorf("%q: %v", body, err)
			}
		}
	})
}

func TestPathsAndMetadata(t *testing.T) {
	b := newBed(t)
	if w := b.get("/.well-known/oauth-authorization-server"); w.Code != http.StatusOK || w.Body.String() != `{"issuer":"https://pat.example.com",`+
		`"introspection_endpoint":"https://pat.example.com/oauth2/introspect","introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","Bearer"],`+
		`"revocation_endpoint":"https://pat.example.com/oauth2/revoke","revocation_endpoint_auth_methods_supported":["none"],`+
		`"response_types_supported":[],"grant_types_supported":[],"service_documentation":"https://pat.example.com/openapi.json"}` {
		t.Errorf("HTTP %d %s", w.Code, w.Body)
	}
	with := newBed(t, func(o *Options) { o.ClientCertificates = true })
	if w := with.get("/.well-known/oauth-authorization-server"); !strings.Contains(w.Body.String(), `"Bearer","tls_client_auth"]`) {
		t.Errorf("with client certificates: %s", w.Body)
	}
	for _, path := range []string{pathIntrospect, pathRevoke, pathRevokeMany, pathAuth, pathMetadata} {
		if w := b.get("/openapi.json"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"`+path+`":{`) {
			t.Errorf("the OpenAPI document does not have %s", path)
		}
	}
	for _, path := range []string{"/", "/oauth2", "/oauth2/token", "/oauth2/introspect/", "//oauth2/introspect", "/oauth2/%69ntrospect", "/authenticate", "/auth2", "/metrics"} {
		if w := b.get(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: HTTP %d", path, w.Code)
		}
	}
	for _, path := range []string{"/openapi.json", "/.well-known/oauth-authorization-server"} {
		if w := b.post(path, nil); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: HTTP %d", path, w.Code)
		}
	}
}
