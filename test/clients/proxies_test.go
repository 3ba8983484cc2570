//go:build clients

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

package clients

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pat-operator/pat-operator/test/env"
)

const (
	forged    = "forged"
	basicAsks = `Basic realm="pat-operator", charset="UTF-8"`
	bearerAsk = `Bearer realm="pat-operator"`
	body      = 1 << 20
)

// identityHeaders are those of the face, in the order of identity's values.
var identityHeaders = []string{"X-Auth-Request-User", "X-Auth-Request-Groups", "X-Auth-Request-Token-Id", "X-Auth-Request-Token-Name", "X-Auth-Request-Scope"}

// proxy is a reverse proxy that asks the face about each request.
type proxy struct {
	name string
	// start runs it by the blocks of the page; options are more options of /auth.
	start func(t *testing.T, options string) *front
	// challenges are those of a refusal.
	challenges []string
	// explains reports that the client gets our text with a refusal.
	explains bool
	// introspects reports that it asks by RFC 7662, so that it takes no token that is bound to networks.
	introspects bool
	// remembers is what it keeps of answers; nothing where it is empty.
	remembers string
	// headers are the identity headers at the API; identityHeaders where it is nil.
	headers []string
	// refuses reports that it refuses a request with forged headers.
	refuses bool
}

var proxies = []proxy{
	{name: "nginx", start: startNginx, challenges: []string{bearerAsk}},
	{name: "Caddy", start: startCaddy, challenges: []string{basicAsks, bearerAsk}, explains: true, headers: remoteIdentity},
	{name: "HAProxy", start: startHAProxy, challenges: []string{basicAsks, bearerAsk}, explains: true},
	{name: "Apache", start: startApache, challenges: []string{"Bearer"}, introspects: true, headers: remoteHeaders, refuses: true, remembers: "until `exp`, 60 s"},
	{name: "nginx with njs", start: startNjs, challenges: []string{"Bearer"}, introspects: true, headers: remoteHeaders},
}

// remoteIdentity are the identity headers by another prefix.
var remoteIdentity = []string{"Remote-User", "Remote-Groups", "Remote-Token-Id", "Remote-Token-Name", "Remote-Scope"}

// remoteHeaders are those of the page's examples of introspection: the user, the token's name and its scope.
var remoteHeaders = []string{"Remote-User", "Remote-Token", "Remote-Scope"}

// Each proxy, by the block of the page: who gets through, and what reaches the API behind it.
func TestCase73_EachProxyTellsTheAPIOurIdentityOnly(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.test(t, p.start(t, ""))
		})
		t.Run(p.name+away, func(t *testing.T) {
			t.Parallel()
			f := p.start(t, "")
			for _, lines := range [][]string{{bearer(known.crowd)}, {bearer("x"), p.identity()[0] + ": " + forged}, nil} {
				if a := f.get(t, lines...); a.code < 400 {
					t.Errorf("%q: HTTP %d", lines, a.code)
				}
			}
			if got := f.up.requests.Load(); got != 0 {
				t.Errorf("%d requests reached the API", got)
			}
		})
		if p.introspects {
			continue
		}
		t.Run(p.name+" with preflights", func(t *testing.T) {
			t.Parallel()
			p.testPreflights(t)
		})
	}
}

func (p *proxy) identity() []string {
	if p.headers == nil {
		return identityHeaders
	}
	return p.headers
}

func (p *proxy) test(t *testing.T, f *front) {
	name, token := issued(t)
	first := f.get(t, bearer(token))
	if first.code != http.StatusOK {
		t.Fatalf("a valid token: HTTP %d %s", first.code, first.text)
	}
	headers, want := p.identity(), []string{"alice", namespace + "/" + name, "full"}
	if !p.introspects {
		id := first.seen.Header.Get(headers[2])
		if id == "" || !strings.Contains(token, id) {
			t.Errorf("the token's ID at the API: %q", id)
		}
		want = []string{"alice", "system:authenticated,team-devs,CN=a%2Cadmins", id, namespace + "/" + name, "full"}
	}
	if first.seen.URI != "/lists?a=b" || first.seen.Method != http.MethodGet {
		t.Errorf("the request at the API: %s %s", first.seen.Method, first.seen.URI)
	}
	checkSeen(t, "a valid token", &first.seen, token, headers, want)
	if !p.introspects {
		basic := f.get(t, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("x:"+token)))
		checkSeen(t, "Basic", &basic.seen, token, headers, want)
	}
	if posted := env.Must[*answer](t)(f.ask(t, http.MethodPost, body, bearer(token))); posted.code != http.StatusOK || posted.seen.Body != body || posted.seen.Method != http.MethodPost {
		t.Errorf("a request with a body of %d bytes: HTTP %d %s, %+v", body, posted.code, posted.text, posted.seen)
	}
	for what, lines := range spellings(headers) {
		a := f.get(t, append(lines, bearer(token))...)
		if p.refuses && (a.code == http.StatusUnauthorized || a.code == http.StatusForbidden) {
			continue
		}
		if a.code != http.StatusOK {
			t.Errorf("%s: HTTP %d %s", what, a.code, a.text)
			continue
		}
		checkSeen(t, what, &a.seen, token, headers, want)
	}

	groups := append([]string{"system:authenticated"}, crowd.Groups...)
	if a := f.get(t, bearer(known.crowd)); a.code != http.StatusOK || !p.introspects && a.seen.Header.Get(headers[1]) != strings.Join(groups, ",") {
		t.Errorf("%d groups: HTTP %d %s %v", len(groups), a.code, a.text, a.seen.Header)
	}
	// Where a token is used from, the face knows by a proxy that it trusts, and never by introspection.
	inNetwork, outside := http.StatusOK, http.StatusForbidden
	if p.introspects {
		inNetwork, outside = http.StatusUnauthorized, http.StatusUnauthorized
	}
	if a := f.get(t, bearer(known.here)); a.code != inNetwork {
		t.Errorf("a token from its network: HTTP %d %s", a.code, a.text)
	}

	reached := f.up.requests.Load()
	for what, tc := range map[string]struct {
		lines []string
		code  int
	}{
		"no token":             {nil, 401},
		"forged and no token":  {[]string{headers[0] + ": " + forged}, 401},
		"garbage":              {[]string{bearer("x")}, 401},
		"expired":              {[]string{bearer(known.expired)}, 401},
		"suspended":            {[]string{bearer(known.suspended)}, 401},
		"for another API":      {[]string{bearer(known.otherAudience)}, 401},
		"for Kubernetes":       {[]string{bearer(known.forKubernetes)}, 401},
		"from another network": {[]string{bearer(known.elsewhere), "X-Forwarded-For: 198.51.100.1"}, outside},
		"two credentials":      {[]string{bearer(token), bearer(token)}, 0},
		"two, one is bad":      {[]string{bearer("x"), bearer(token)}, 0},
		"two in one line":      {[]string{bearer("x") + ", Bearer " + token}, 401},
		"hidden by Connection": {[]string{bearer(known.expired), "Connection: Authorization"}, 401},
	} {
		a := f.get(t, tc.lines...)
		if p.refuses && what == "forged and no token" {
			tc.code = 0 // It refuses for either reason.
		}
		if a.code != tc.code && (tc.code != 0 || a.code < 400 || a.code > 499) {
			t.Errorf("%s: HTTP %d %s", what, a.code, a.text)
		}
		if a.code == http.StatusUnauthorized {
			p.checkChallenges(t, what, a, len(tc.lines) == 0 && !p.introspects)
		}
		if p.explains && a.code == http.StatusForbidden && !strings.Contains(a.text, "may be used only from the networks that its spec.from and TokenPolicies allow") {
			t.Errorf("%s: the client gets %s", what, a.text)
		}
	}
	if got := f.up.requests.Load(); got != reached {
		t.Errorf("%d refused requests reached the API", got-reached)
	}
	remembers := p.remembers
	if remembers == "" {
		remembers = "nothing"
	}
	measureRevocation(t, p.name, remembers, token, f.refuses(t, token))
}

func (p *proxy) checkChallenges(t *testing.T, what string, a *answer, exactly bool) {
	t.Helper()
	got := slices.Sorted(slices.Values(a.header["Www-Authenticate"])) // HAProxy's Lua has them in no order.
	if len(got) != len(p.challenges) {
		t.Errorf("%s: challenges %q; want %q", what, got, p.challenges)
		return
	}
	for i, want := range p.challenges {
		if exactly && got[i] != want || !strings.HasPrefix(got[i], want) {
			t.Errorf("%s: challenge %q; want %q", what, got[i], want)
		}
	}
}

// Where our answer has a dash, a client's value is gone, too.
func (p *proxy) testPreflights(t *testing.T) {
	f := p.start(t, "&preflight=allow")
	for what, lines := range spellings(p.identity()) {
		a := env.Must[*answer](t)(f.ask(t, http.MethodOptions, 0, append(lines, "Origin: https://app.example.com", "Access-Control-Request-Method: PUT")...))
		if a.code != http.StatusOK {
			t.Errorf("a preflight, %s: HTTP %d %s", what, a.code, a.text)
			continue
		}
		checkSeen(t, "a preflight, "+what, &a.seen, forged, p.identity(), []string{"system:anonymous", "system:unauthenticated", "-", "-", "-"})
	}
	if a := f.get(t, "Origin: https://app.example.com", "Access-Control-Request-Method: PUT", "X-Forwarded-Method: OPTIONS", "X-Original-Method: OPTIONS"); a.code != http.StatusUnauthorized {
		t.Errorf("a request that claims to be a preflight: HTTP %d %s", a.code, a.text)
	}
}

// spellings are header lines by which a client forges the identity headers.
func spellings(headers []string) map[string][]string {
	all := map[string]func(name string) []string{
		"exact":       func(name string) []string { return []string{name + ": " + forged} },
		"lower case":  func(name string) []string { return []string{strings.ToLower(name) + ": " + forged} },
		"upper case":  func(name string) []string { return []string{strings.ToUpper(name) + ": " + forged} },
		"underscores": func(name string) []string { return []string{strings.ReplaceAll(name, "-", "_") + ": " + forged} },
		"lower case underscores": func(name string) []string {
			return []string{strings.ToLower(strings.ReplaceAll(name, "-", "_")) + ": " + forged}
		},
		"one underscore": func(name string) []string { return []string{strings.Replace(name, "-", "_", 1) + ": " + forged} },
		"the last": func(name string) []string {
			i := strings.LastIndex(name, "-")
			return []string{name[:i] + "_" + name[i+1:] + ": " + forged}
		},
		"twice": func(name string) []string { return []string{name + ": " + forged, name + ": " + forged + "2"} },
		"twice, differently": func(name string) []string {
			return []string{name + ": " + forged, strings.ToLower(name) + ": " + forged}
		},
		"an empty one": func(name string) []string { return []string{name + ":", name + ": " + forged} },
		"named in Connection": func(name string) []string {
			return []string{"Connection: " + name, name + ": " + forged}
		},
	}
	for _, c := range "!#$%&'*+.^_`|~" { // What else a name may have.
		all["with "+string(c)] = func(name string) []string { return []string{alias(name, string(c)) + ": " + forged} }
	}
	lines := map[string][]string{"all named in Connection": {"Connection: close, " + strings.Join(headers, ", ")}}
	for what, spell := range all {
		for _, name := range headers {
			if what == "named in Connection" {
				lines[what+", "+name] = spell(name)
				continue
			}
			lines[what] = append(lines[what], spell(name)...)
		}
	}
	return lines
}

// alias is a name with another character for its hyphens, in upper case. Frameworks that follow CGI read all of them as one.
func alias(name, instead string) string {
	return regexp.MustCompile(`[^A-Z0-9]`).ReplaceAllLiteralString(strings.ToUpper(name), instead)
}

// checkSeen expects exactly our identity at the API, as an application that reads names like CGI does sees it, and no token.
func checkSeen(t *testing.T, what string, s *seen, token string, headers, want []string) {
	t.Helper()
	got := map[string][]string{}
	for name, values := range s.Header {
		for _, value := range values {
			if strings.Contains(value, forged) || strings.Contains(value, token) {
				t.Errorf("%s: at the API, %s is %q", what, name, value)
			}
		}
		name = alias(name, "_")
		if strings.HasPrefix(name, "X_AUTH_REQUEST_") || strings.HasPrefix(name, "REMOTE_") {
			got[name] = append(got[name], values...)
		}
	}
	expect := map[string][]string{}
	for i, name := range headers {
		expect[alias(name, "_")] = []string{want[i]}
	}
	if diff := cmp.Diff(expect, got); diff != "" {
		t.Errorf("%s: the identity at the API (-want +got):\n%s", what, diff)
	}
}

// withOptions adds options to those of /auth in a block.
func withOptions(t *testing.T, text, options string) string {
	t.Helper()
	const has = "audience=list-api"
	if !strings.Contains(text, "/auth?"+has) {
		t.Errorf("the block asks without %s", has)
	}
	return strings.ReplaceAll(text, has, has+options)
}

func startNginx(t *testing.T, options string) *front {
	if options != "" {
		options += "&method-from=X-Original-Method"
	}
	return runNginx(t, withOptions(t, blockOf(t, "nginx", "nginx"), options), newUpstream(t))
}

// runNginx runs nginx with a file of conf.d, and Debian's files that load modules.
func runNginx(t *testing.T, text string, up *upstream, modules ...string) *front {
	t.Helper()
	path, dir, listens := program(t, "nginx"), t.TempDir(), address(t)
	conf := write(t, dir, "lists.conf", replaced(t, text, "listen 443 ssl;", "listen "+listens+" ssl;", "127.0.0.1:8080", up.address()))
	var load strings.Builder
	for _, module := range modules {
		fmt.Fprintf(&load, "load_module %s;\n", module)
	}
	main := write(t, dir, "nginx.conf", load.String()+`daemon off;
user root;
pid nginx.pid;
worker_processes 1;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path body;
    client_max_body_size 8m;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include `+conf+`;
}
`)
	serve(t, listens, dir, path, "-p", dir, "-c", main, "-e", filepath.Join(dir, "error.log"))
	return &front{listens, up}
}

func startNjs(t *testing.T, _ string) *front {
	const module = "/usr/lib/nginx/modules/ngx_http_js_module.so"
	if _, err := os.Stat(module); err != nil {
		missing(t, "njs")
	}
	script := write(t, t.TempDir(), "introspect.js", blockOf(t, "nginx with njs", "js"))
	text := strings.NewReplacer("/etc/nginx/introspect.js", script, "THE-TOKEN-OF-THE-CALLER", caller).Replace(blockOf(t, "nginx with njs", "nginx"))
	return runNginx(t, text, newUpstream(t), module)
}

func startCaddy(t *testing.T, options string) *front {
	if options != "" {
		options += "&method-from=X-Forwarded-Method"
	}
	path, dir, listens, up := program(t, "caddy"), t.TempDir(), address(t), newUpstream(t)
	_, port, _ := strings.Cut(listens, ":")
	text := replaced(t, withOptions(t, blockOf(t, "Caddy", "caddyfile"), options), frontName, "https://"+frontName+":"+port, "127.0.0.1:8080", up.address())
	file := write(t, dir, "Caddyfile", "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n\tstorage file_system "+dir+"\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n"+text)
	serve(t, listens, dir, path, "run", "--config", file, "--adapter", "caddyfile")
	return &front{listens, up}
}

func startApache(t *testing.T, _ string) *front {
	modules := "/usr/lib/apache2/modules"
	path, dir, listens, up := program(t, "apache2"), t.TempDir(), address(t), newUpstream(t)
	if _, err := os.Stat(modules + "/mod_auth_openidc.so"); err != nil {
		missing(t, "mod_auth_openidc")
	}
	text := replaced(t, blockOf(t, "Apache", "apache"), "*:443", listens, "http://127.0.0.1:8080", up.URL, "THE-TOKEN-OF-THE-CALLER", caller)
	main := "ServerRoot " + dir + "\nServerName localhost\nListen " + listens + "\nPidFile apache.pid\nErrorLog /dev/stderr\nLogLevel warn\nUser www-data\nGroup www-data\nMutex posixsem\n"
	for _, module := range []string{"mpm_event", "authz_core", "authn_core", "authz_user", "ssl", "headers", "setenvif", "proxy", "proxy_http", "auth_openidc"} {
		main += "LoadModule " + module + "_module " + modules + "/mod_" + module + ".so\n"
	}
	serve(t, listens, dir, path, "-DFOREGROUND", "-f", write(t, dir, "apache2.conf", main+text))
	return &front{listens, up}
}

func startHAProxy(t *testing.T, options string) *front {
	if options != "" {
		options += "&method-from=X-Original-Method"
	}
	path, dir, listens, up := program(t, "haproxy"), t.TempDir(), address(t), newUpstream(t)
	// HAProxy asks a name server about names, and knows no /etc/hosts.
	const timeout = "timeout = 5000"
	_, port, _ := strings.Cut(faceOf(t), ":")
	script := write(t, dir, "pat-auth.lua", replaced(t, withOptions(t, blockOf(t, "HAProxy", "lua"), options), timeout, timeout+`, dst = "ipv4@127.0.0.1:`+port+`"`))
	text := replaced(t, blockOf(t, "HAProxy", "haproxy"), "/etc/haproxy/pat-auth.lua", script, "bind :443", "bind "+listens, "127.0.0.1:8080", up.address())
	serve(t, listens, dir, path, "-db", "-f", write(t, dir, "haproxy.cfg", text))
	return &front{listens, up}
}
