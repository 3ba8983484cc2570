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
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

const (
	protectPage = "../../docs/protect-an-api.md"
	// pageURL is where the face is on the page.
	pageURL = "https://pat-api.example.com"
)

// notRun are the sections of the page whose blocks no test runs, each with its blocks.
func notRun(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(protectPage)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, section := range strings.Split(string(text), "\n### ")[1:] {
		title, rest, _ := strings.Cut(section, "\n")
		for _, m := range regexp.MustCompile("(?ms)^<!-- not run: [^\n]+ -->\n```\\w+\n(.*?)^```$").FindAllStringSubmatch(rest, -1) {
			found[title] += m[1]
		}
		if found[title] != "" && !strings.HasPrefix(strings.TrimSpace(rest), "From the vendor's documentation, not run here.") {
			t.Errorf("the section %s does not say that it is not run", title)
		}
	}
	return found
}

// A reverse proxy that is not run here asks with these requests. The URL is that of its block in the page.
var recordedQuestions = map[string]struct {
	method string
	// behind is what the proxy puts behind the URL: the path and the query of its client.
	behind string
	header http.Header
}{
	"Traefik": {http.MethodGet, "", http.Header{
		"Accept-Encoding": {"gzip"}, "X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Host": {"lists.example.com"}, "X-Forwarded-Method": {"POST"},
		"X-Forwarded-Port": {"443"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Server": {"traefik"}, "X-Forwarded-Uri": {"/lists?audience=other"},
		"X-Real-Ip": {"198.51.100.7"}, "X-Auth-Request-User": {"root"}, "X_auth_request_user": {"root"}, "Connection": {"X-Auth-Request-User"},
	}},
	"Envoy": {http.MethodPost, "/lists?audience=other&audience=another", http.Header{
		"Content-Length": {"0"}, "X-Envoy-Internal": {"true"}, "X-Forwarded-For": {"198.51.100.7"}, "X-Envoy-Expected-Rq-Timeout-Ms": {"2000"},
	}},
	"Istio": {http.MethodDelete, "/lists/1/../2//3?scope=a%zz", http.Header{
		"Content-Length": {"0"}, "X-Forwarded-For": {"198.51.100.7,10.9.0.3"}, "X-Forwarded-Proto": {"https"}, "X-Request-Id": {"e6d8b6a4"},
		"X-B3-Traceid": {"80f198ee56343ba8"}, "X-Envoy-Attempt-Count": {"1"},
	}},
	"Gateway API": {http.MethodPut, "/", http.Header{"X-Forwarded-For": {"198.51.100.7"}}},
}

// What introspects and is not run here posts these forms. credential proves the caller.
var recordedIntrospections = map[string]func(token, credential string) (form url.Values, edits []func(*http.Request)){
	"Spring": func(token, credential string) (url.Values, []func(*http.Request)) {
		return url.Values{"token": {token}}, []func(*http.Request){
			basic("lists", credential), header("Accept", "application/json"), header("Content-Type", "application/x-www-form-urlencoded;charset=UTF-8"),
		}
	},
	"lua-resty-openidc, APISIX": func(token, credential string) (url.Values, []func(*http.Request)) {
		return url.Values{"token": {token}, "client_id": {"lists"}, "client_secret": {credential}}, []func(*http.Request){
			header("User-Agent", "lua-resty-http/0.17.2 (Lua) ngx_lua/10028"),
		}
	},
	"Kong": func(token, credential string) (url.Values, []func(*http.Request)) {
		return url.Values{"token": {token}, "token_type_hint": {"access_token"}}, []func(*http.Request){bearer(credential), header("Accept", "application/json")}
	},
}

// Each client that the page shows and no test runs has its requests here.
func TestThePageShowsWhatIsRecorded(t *testing.T) {
	var recorded, shown []string
	for name := range recordedQuestions {
		recorded = append(recorded, name)
	}
	for name := range recordedIntrospections {
		recorded = append(recorded, name)
	}
	for name, block := range notRun(t) {
		shown = append(shown, name)
		if _, asks := recordedQuestions[name]; !asks {
			if !strings.Contains(block, pageURL+pathIntrospect) {
				t.Errorf("the blocks of %s do not ask %s", name, pageURL+pathIntrospect)
			}
			continue
		}
		for _, part := range []string{"User", "Groups", "Token-Id", "Token-Name", "Scope"} {
			if !regexp.MustCompile("(?mi)- (?:exact: )?" + defaultPrefix + part + "$").MatchString(block) {
				t.Errorf("the blocks of %s do not copy %s%s", name, defaultPrefix, part)
			}
		}
	}
	slices.Sort(recorded)
	slices.Sort(shown)
	if diff := cmp.Diff(recorded, shown); diff != "" {
		t.Errorf("clients (- recorded, + in the page):\n%s", diff)
	}
}

func TestRecordedRequestsAreAnswered(t *testing.T) {
	b := newBed(t)
	pat := b.token("lists", forAudience(listAPI), withScope(v1alpha1.Scope{API: "lists:read"}))
	own, ended := b.token("own"), b.token("ended", forAudience(listAPI))
	ended.Revoke(t, b.index)
	network := b.token("network", forAudience(listAPI), from("198.51.100.0/24"))
	pages := notRun(t)
	for name, r := range recordedQuestions {
		path := regexp.MustCompile(`/auth(?:\?|/with/)[^\s"]+`).FindString(pages[name])
		if path == "" {
			t.Errorf("the blocks of %s do not ask /auth", name)
			continue
		}
		ask := func(edits ...func(*http.Request)) (int, map[string]string) {
			all := []func(*http.Request){func(q *http.Request) { q.Method, q.Header = r.method, r.header.Clone() }}
			w := b.get(path, append(append(all, edits...), func(q *http.Request) {
				u, err := url.ParseRequestURI(path + r.behind)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				q.URL = u
			})...)
			return w.Code, identityOf(w, defaultPrefix)
		}
		want := map[string]string{
			"User": "alice", "Groups": "system:authenticated,dev,CN=a%2Cadmins", "Token-Id": pat.ID(), "Token-Name": "team-a/lists", "Scope": "lists:read",
		}
		code, got := ask(bearer(pat.Bearer))
		if diff := cmp.Diff(want, got); diff != "" || code != http.StatusOK {
			t.Errorf("%s, a valid token: HTTP %d (-want +got):\n%s", name, code, diff)
		}
		if code, _ := ask(bearer(network.Bearer)); code != http.StatusOK {
			t.Errorf("%s, from a network: HTTP %d", name, code)
		}
		for what, edit := range map[string]func(*http.Request){
			"no token": func(*http.Request) {}, "revoked": bearer(ended.Bearer), "for another API": bearer(own.Bearer),
			"two that are joined": bearer(pat.Bearer + ", Bearer " + pat.Bearer), "two": header("Authorization", "Bearer "+pat.Bearer, "Bearer "+pat.Bearer),
		} {
			if code, got := ask(edit); code != http.StatusUnauthorized || len(got) > 0 {
				t.Errorf("%s, %s: HTTP %d %v", name, what, code, got)
			}
		}
	}

	b.may["alice"] = []string{listAPI}
	caller := b.token("caller", forAudience(DefaultAudience))
	for name, record := range recordedIntrospections {
		ask := func(token, credential string) (int, map[string]any) {
			form, edits := record(token, credential)
			w := b.post(pathIntrospect, form, edits...)
			got := map[string]any{}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			return w.Code, got
		}
		code, got := ask(pat.Bearer, caller.Bearer)
		_, exp := got["exp"].(float64)
		_, iat := got["iat"].(float64)
		if code != http.StatusOK || got["active"] != true || got["username"] != "alice" || got["scope"] != "lists:read" || !exp || !iat {
			t.Errorf("%s, a valid token: HTTP %d %v", name, code, got)
		}
		for what, token := range map[string]string{"revoked": ended.Bearer, "for another API": own.Bearer, "not a token": "x", "bound to networks": network.Bearer} {
			if code, got := ask(token, caller.Bearer); code != http.StatusOK || len(got) != 1 || got["active"] != false {
				t.Errorf("%s, %s: HTTP %d %v", name, what, code, got)
			}
		}
		if code, got := ask(pat.Bearer, own.Bearer); code != http.StatusUnauthorized || got["active"] != nil {
			t.Errorf("%s, with a credential for another API: HTTP %d %v", name, code, got)
		}
	}
}
