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

package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/verifier"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/issued"
)

func readOnly() v1alpha1.Scope { return v1alpha1.Scope{Preset: "read-only"} }

func TestTheAnswerIsTheAPIServersByteForByte(t *testing.T) {
	body := bytes.Repeat([]byte{0, 1, 2, 255}, 1<<16)
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Warning", `299 - "old"`)
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write(got)
	})
	resp, text := b.do(http.MethodPut, "/api/v1/namespaces/team-a/configmaps/a?fieldValidation=Strict", string(body), "Accept-Encoding", "gzip", "User-Agent", "me/1")
	if resp.StatusCode != http.StatusConflict || text != string(body) || resp.Header.Get("Content-Encoding") != "gzip" || resp.Header.Get("Warning") == "" {
		t.Errorf("HTTP %d, %d bytes, %v", resp.StatusCode, len(text), resp.Header)
	}
	r := b.last()
	if r.UserAgent() != "me/1" || r.Header.Get("Accept-Encoding") != "gzip" || r.Method != http.MethodPut || r.RequestURI != "/api/v1/namespaces/team-a/configmaps/a?fieldValidation=Strict" {
		t.Errorf("the API server sees %s %s %v", r.Method, r.RequestURI, r.Header)
	}
	if r.ProtoMajor != 1 {
		t.Errorf("the API server is spoken to by %s", r.Proto)
	}
}

func TestRefusals(t *testing.T) {
	b := newBed(t, nil)
	limited := b.issue("limited", alice, scopes(readOnly()))
	bound := b.issue("bound", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = []string{"10.0.0.0/8"} })
	here := b.issue("here", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = []string{"127.0.0.0/8"} })
	suspended := b.issue("suspended", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.Suspend = true })
	elsewhere := b.issue("elsewhere", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.Audiences = []string{"vault"} })
	ended := b.issue("ended", alice)
	ended.Revoke(t, b.index)
	for _, tc := range []struct {
		name, bearer, method, path string
		header                     []string
		code                       int
		text                       string
	}{
		{"a valid token", b.token.Bearer, "GET", "/version", nil, 200, ""},
		{"from its networks", here.Bearer, "GET", "/version", nil, 200, ""},
		{"--as", b.token.Bearer, "GET", "/version", []string{"Impersonate-User", "bob"}, 403, "impersonation (--as) does not work with a personal access token; use a token of that user, or leave --as out"},
		{"not a token of ours", "x", "GET", "/version", nil, 401, "no valid personal access token was sent; look at the token with kubectl pat describe, or make another one"},
		{"unknown", issued.New(t, "n", "m", alice).Bearer, "GET", "/version", nil, 401, "no valid personal access token"},
		{"suspended", suspended.Bearer, "GET", "/version", nil, 401, "no valid personal access token"},
		{"for another API", elsewhere.Bearer, "GET", "/version", nil, 401, "no valid personal access token"},
		{"ended", ended.Bearer, "GET", "/version", nil, 401, "no valid personal access token"},
		{"from elsewhere", bound.Bearer, "GET", "/version", nil, 403, "personal access token team-a/bound may not be used from 127.0.0.1; use it from one of the networks that its spec.from and TokenPolicies allow"},
		{"X-Forwarded-For does not help", bound.Bearer, "GET", "/version", []string{"X-Forwarded-For", "10.1.1.1"}, 403, "may not be used from 127.0.0.1"},
		{"inside of scopes", limited.Bearer, "GET", "/api/v1/pods", nil, 200, ""},
		{"a watch inside of scopes", limited.Bearer, "GET", "/api/v1/pods?watch=1", nil, 200, ""},
		{"outside of scopes", limited.Bearer, "DELETE", "/api/v1/namespaces/team-a/pods/p", nil, 403, "the scopes of personal access token team-a/limited do not allow to delete pods in namespace team-a; use a token with scopes that do"},
		{"a subresource outside of scopes", limited.Bearer, "GET", "/api/v1/namespaces/team-a/pods/p/exec?command=id", nil, 403, "do not allow to get pods/exec in namespace team-a"},
		{"a group outside of scopes", limited.Bearer, "PATCH", "/apis/apps/v1/namespaces/team-a/deployments/d", nil, 403, "do not allow to patch deployments of apps in namespace team-a"},
		{"a path outside of scopes", limited.Bearer, "GET", "/metrics", nil, 403, "do not allow to get /metrics"},
		{"Secrets are not read-only", limited.Bearer, "GET", "/api/v1/secrets", nil, 403, "do not allow to list secrets"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := b.doAs(tc.bearer, tc.method, tc.path, "", tc.header...)
			if tc.code == 200 {
				if resp.StatusCode != 200 {
					t.Errorf("HTTP %d %s", resp.StatusCode, body)
				}
				return
			}
			wantStatus(t, resp, body, tc.code, tc.text)
			if tc.code == 401 && resp.Header.Get("WWW-Authenticate") == "" {
				t.Error("no challenge")
			}
			if strings.Contains(body, tc.bearer[1:]) && len(tc.bearer) > 20 {
				t.Error("the answer quotes the token")
			}
		})
	}
}

func TestEachRefusalNamesAWayOut(t *testing.T) {
	r := &verifier.Result{Namespace: "team-a", Name: "ci"}
	for _, f := range []*refusal{
		refuseMethod, refusePath, refuseImpersonation, refuseCredentials, refuseUnauthorized, refuseNotReady, refuseIdentity, refuseUpgrade,
		refuseLoad, refuseUpstream, refuseLost, refuseNoToken, refuseGuard, refuseRedirect, refusePanic, refuseReviewType, refuseReviewAccept, refuseReview,
		refuseAddress(r, "192.0.2.1"), refuseScope(r, "delete pods"), refuseCrowd(r, 1000), refuseGroups(4000),
		refuseEnded(cutStale), refuseEnded(cutSession), refuseEnded(cutDrain), refuseEnded(cutLoad),
		refuseEnded(cutFor(verifier.ReasonExpired)), refuseEnded(cutFor(verifier.ReasonEnded)), refuseEnded(cutFor(verifier.ReasonSuspended)),
		refuseEnded(cutFor(verifier.ReasonChanged)), refuseEnded(cutFor(verifier.ReasonUserChanged)),
		refuseEnded(cutFor(verifier.ReasonDeniedByPolicy)), refuseEnded(cutFor(verifier.ReasonPolicyNotUnderstood)),
	} {
		if f.why == "" && f != refuseUnauthorized && f != refuseNotReady || f.code < 400 || f.reason == "" {
			t.Errorf("%+v", f)
		}
		wayOut := []string{"; use", "; send", "; look", "; try", "; make", "; report", "; an administrator", "; accept", "; ask", "; close", "; a path", "; connect"}
		if !slices.ContainsFunc(wayOut, func(w string) bool { return strings.Contains(f.text, w) }) {
			t.Errorf("no way out: %s", f.text)
		}
	}
}

func TestScopesOfWhatCreates(t *testing.T) {
	b := newBed(t, nil)
	rule := func(verbs []string, group, resource string) v1alpha1.Scope {
		return v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{Verbs: verbs, APIGroups: []string{group}, Resources: []string{resource}}}
	}
	patcher := b.issue("patcher", alice, scopes(
		rule([]string{"patch", "update"}, "", "configmaps"), rule([]string{"patch", "update"}, "", "services"),
		rule([]string{"get"}, "", "services/proxy"), rule([]string{"update"}, "rbac.authorization.k8s.io", "roles")))
	for _, tc := range []struct {
		name, method, path, contentType string
		code                            int
	}{
		{"a merge patch", "PATCH", "/api/v1/namespaces/a/configmaps/c", "application/merge-patch+json", 200},
		{"an apply", "PATCH", "/api/v1/namespaces/a/configmaps/c", "application/apply-patch+yaml", 403},
		{"an apply with parameters", "PATCH", "/api/v1/namespaces/a/configmaps/c", "Application/Apply-Patch+YAML; charset=utf-8", 403},
		{"an apply in CBOR", "PATCH", "/api/v1/namespaces/a/configmaps/c", "application/apply-patch+cbor", 403},
		{"a patch of no known type", "PATCH", "/api/v1/namespaces/a/configmaps/c", "///", 403},
		{"an update", "PUT", "/api/v1/namespaces/a/configmaps/c", "application/json", 200},
		{"an update that may create", "PUT", "/api/v1/namespaces/a/services/s", "application/json", 403},
		{"a patch that may create", "PATCH", "/api/v1/namespaces/a/services/s", "application/merge-patch+json", 403},
		{"an update of a role", "PUT", "/apis/rbac.authorization.k8s.io/v1/namespaces/a/roles/r", "application/json", 403},
		{"through a service", "GET", "/api/v1/namespaces/a/services/s/proxy/x", "", 200},
	} {
		resp, body := b.doAs(patcher.Bearer, tc.method, tc.path, "{}", "Content-Type", tc.contentType)
		if resp.StatusCode != tc.code {
			t.Errorf("%s: HTTP %d %s; want %d", tc.name, resp.StatusCode, body, tc.code)
		}
	}
	// A connection that becomes a WebSocket through a service is more than a get.
	code, text := b.raw("GET /api/v1/namespaces/a/services/s/proxy/x HTTP/1.1\nHost: x\nAuthorization: Bearer " + patcher.Bearer +
		"\nConnection: Upgrade\nUpgrade: websocket\n\n")
	if code != 403 || !strings.Contains(text, "create services/proxy") {
		t.Errorf("HTTP %d %s", code, text)
	}
}

func TestWhatIsCheckedIsWhatIsSent(t *testing.T) {
	b := newBed(t, nil)
	named := b.issue("named", alice, scopes(v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{
		Verbs: []string{"list", "get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"mine"},
	}}))
	for _, tc := range []struct {
		query, sent string
		code        int
	}{
		{"?fieldSelector=metadata.name%3Dmine", "?fieldSelector=metadata.name%3Dmine", 200},
		{"", "", 403},
		{"?fieldSelector=metadata.name%3Dmine;x=y", "", 403}, // A server that splits at the semicolon would see another selector.
		{"?a=%zz&fieldSelector=metadata.name%3Dmine", "?fieldSelector=metadata.name%3Dmine", 200},
		{"?fieldSelector=metadata.name%3Dmine&watch=1", "", 403},
		{"?fieldSelector=metadata.name%3Dmine&limit=x", "", 403}, // kube-apiserver reads no selector of a query with a mistake.
		{"?fieldSelector=metadata.name%3Dother&fieldSelector=metadata.name%3Dmine", "", 403},
	} {
		resp, body := b.doAs(named.Bearer, "GET", "/api/v1/namespaces/a/secrets"+tc.query, "")
		if resp.StatusCode != tc.code {
			t.Errorf("%s: HTTP %d %s", tc.query, resp.StatusCode, body)
		} else if tc.code == 200 && b.last().RequestURI != "/api/v1/namespaces/a/secrets"+tc.sent {
			t.Errorf("%s: the API server sees %s", tc.query, b.last().RequestURI)
		}
	}
}

// kube-apiserver's code, which reads requests here, logs a query that it cannot read.
func TestCase25_NoQueryIsLogged(t *testing.T) {
	var out bytes.Buffer
	klog.LogToStderr(false)
	klog.SetOutput(&out)
	defer func() {
		klog.SetOutput(os.Stderr)
		klog.LogToStderr(true)
	}()
	b := newBed(t, nil)
	watcher := b.issue("watcher", alice, scopes(v1alpha1.Scope{Rule: &v1alpha1.ScopeRule{Verbs: []string{"watch"}, APIGroups: []string{""}, Resources: []string{"pods"}}}))
	for query, code := range map[string]int{"": 403, "&watch=1": 200, "&watch=false": 403, "&watch": 200} {
		resp, body := b.doAs(watcher.Bearer, "GET", "/api/v1/namespaces/a/pods?limit=x&access_token="+watcher.Bearer+query, "")
		if resp.StatusCode != code {
			t.Errorf("%s: HTTP %d %s; want %d", query, resp.StatusCode, body, code)
		}
	}
	klog.Flush()
	if out.Len() > 0 {
		t.Errorf("the log has %s", &out)
	}
}

func TestSelfReviewsOfScopedTokens(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		if strings.HasSuffix(r.URL.Path, "rulesreviews") {
			_ = json.NewEncoder(w).Encode(&authorizationv1.SelfSubjectRulesReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectRulesReview"},
				Status:   authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}}}},
			})
			return
		}
		review := &authorizationv1.SelfSubjectAccessReview{}
		_ = json.Unmarshal(body, review)
		review.Status.Allowed = true
		_ = json.NewEncoder(w).Encode(review)
	})
	limited := b.issue("limited", alice, scopes(readOnly()))
	const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	ask := func(attributes string) string {
		return `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{` + attributes + `}}`
	}
	for _, tc := range []struct {
		name, bearer, body, contentType string
		code                            int
		allowed, denied                 bool
	}{
		{"inside", limited.Bearer, ask(`"resourceAttributes":{"verb":"list","resource":"pods"}`), "application/json", 201, true, false},
		{"outside", limited.Bearer, ask(`"resourceAttributes":{"verb":"delete","resource":"pods","namespace":"a"}`), "application/json", 201, false, true},
		{"everything", limited.Bearer, ask(`"resourceAttributes":{"verb":"*","resource":"*","group":"*"}`), "application/json", 201, false, true},
		{"a path outside", limited.Bearer, ask(`"nonResourceAttributes":{"verb":"get","path":"/metrics"}`), "application/json", 201, false, true},
		{"a path inside", limited.Bearer, ask(`"nonResourceAttributes":{"verb":"get","path":"/version"}`), "", 201, true, false},
		{"both", limited.Bearer, ask(`"resourceAttributes":{"verb":"list","resource":"pods"},"nonResourceAttributes":{"verb":"get","path":"/version"}`), "application/json", 201, false, true},
		{"nothing", limited.Bearer, ask(""), "application/json", 201, false, true},
		{"outside, without scopes", b.token.Bearer, ask(`"resourceAttributes":{"verb":"delete","resource":"pods"}`), "application/json", 201, true, false},
		{"YAML", limited.Bearer, "kind: SelfSubjectAccessReview", "application/yaml", 415, false, false},
		{"CBOR", limited.Bearer, "x", "application/cbor", 415, false, false},
		{"another kind", limited.Bearer, `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`, "application/json", 415, false, false},
		{"no JSON", limited.Bearer, "{", "application/json", 415, false, false},
		{"too long", limited.Bearer, ask(`"x":"` + strings.Repeat("a", 64<<10) + `"`), "application/json", 415, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := b.doAs(tc.bearer, "POST", path, tc.body, "Content-Type", tc.contentType)
			if tc.code != 201 {
				wantStatus(t, resp, body, tc.code, "SelfSubjectAccessReview of authorization.k8s.io/v1")
				return
			}
			var review authorizationv1.SelfSubjectAccessReview
			if err := json.Unmarshal([]byte(body), &review); err != nil || resp.StatusCode != 201 || review.Status.Allowed != tc.allowed || review.Status.Denied != tc.denied {
				t.Errorf("HTTP %d %s %v", resp.StatusCode, body, err)
			}
			if tc.denied && !strings.Contains(review.Status.Reason, "team-a/limited") {
				t.Errorf("the reason is %q", review.Status.Reason)
			}
		})
	}
	const rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
	for accept, code := range map[string]int{"application/json": 201, "": 201, "application/yaml": 406, "application/json;as=Table, */*": 201} {
		resp, body := b.doAs(limited.Bearer, "POST", rules, `{"kind":"SelfSubjectRulesReview","apiVersion":"authorization.k8s.io/v1","spec":{"namespace":"a"}}`,
			"Accept", accept, "Accept-Encoding", "gzip")
		if code != 201 {
			wantStatus(t, resp, body, code, "in JSON or protobuf")
			continue
		}
		var review authorizationv1.SelfSubjectRulesReview
		if err := json.Unmarshal([]byte(body), &review); err != nil || !review.Status.Incomplete || len(review.Status.ResourceRules) != 1 || !strings.Contains(review.Status.EvaluationError, "scopes") {
			t.Errorf("%q: HTTP %d %s %v", accept, resp.StatusCode, body, err)
		}
		if got := b.last().Header; got.Get("Accept-Encoding") != "" || got.Get("Accept") != "application/json" {
			t.Errorf("the API server is asked for %v", got)
		}
	}
	if _, body := b.do("POST", rules, "{}"); strings.Contains(body, `"incomplete":true`) {
		t.Errorf("without scopes: %s", body)
	}
}

func TestRedirectsElsewhereDoNotArrive(t *testing.T) {
	for location, code := range map[string]int{
		"https://evil.example/steal": 502, "//evil.example": 502, "/\\evil.example": 502, "evil": 502, "/api/v1": 302, "": 302,
	} {
		b := newBed(t, func(w http.ResponseWriter, _ *http.Request) {
			if location != "" {
				w.Header().Set("Location", location)
			}
			w.WriteHeader(http.StatusFound)
		})
		resp, body := b.do("GET", "/apis/agg.example.com/v1/things", "")
		if resp.StatusCode != code {
			t.Errorf("%q: HTTP %d %s", location, resp.StatusCode, body)
		}
		if code == 502 {
			wantStatus(t, resp, body, code, "the answer led to another server, where this credential must not go; ask who runs the API behind this path")
			if resp.Header.Get("Location") != "" {
				t.Errorf("%q arrives", location)
			}
		}
	}
}

func TestAnAPIServerThatDoesNotAnswer(t *testing.T) {
	gone := errors.New("gone")
	dies := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	for _, tc := range []struct {
		name, method string
		mod          func(*Options)
		code         int
		text, retry  string
	}{
		{"not reached", "POST", func(o *Options) {
			o.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, gone })
		}, 503, "cannot be reached", "1"},
		{"died of a get", "GET", func(*Options) {}, 503, "cannot be reached", "1"},
		{"died of a create", "POST", func(*Options) {}, 502, "may have carried out the request; look before you send it again", ""},
		{"no credential", "GET", func(o *Options) {
			o.Transport = &guard{base: o.Transport, token: func() (string, bool) { return "", false }}
		}, 503, "no credential that the API server takes", "1"},
	} {
		b := newBed(t, dies, tc.mod)
		resp, body := b.do(tc.method, "/api/v1/namespaces/a/configmaps", "{}")
		wantStatus(t, resp, body, tc.code, tc.text)
		if got := resp.Header.Get("Retry-After"); got != tc.retry {
			t.Errorf("%s: Retry-After %q", tc.name, got)
		}
	}
}

// A 401 would tell the client that the token, which is valid, is not.
func TestTheAPIServerRefusesTheImpersonator(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	for path, code := range map[string]int{
		"/api/v1/namespaces/a/configmaps": 503, "/version": 503, "/apis/agg.example.com/v1/things": 503,
		"/api/v1/namespaces/a/pods/web/proxy/login": 401, "/api/v1/namespaces/a/services/web/proxy": 401,
	} {
		resp, body := b.do("GET", path, "")
		if resp.StatusCode != code {
			t.Errorf("%s: HTTP %d %s; want %d", path, resp.StatusCode, body, code)
		}
		if code == 503 {
			wantStatus(t, resp, body, code, "the proxy has no credential that the API server takes; an administrator finds the cause in its log")
		}
	}
}

func TestTheHeaderOfAnAnswerHasALimit(t *testing.T) {
	for size, code := range map[int]int{maxAnswerHeader / 2: 200, 2 * maxAnswerHeader: 503} {
		b := newBed(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", size)) })
		if resp, body := b.do("GET", "/api/v1/namespaces/a/pods/web/proxy/", ""); resp.StatusCode != code {
			t.Errorf("%d bytes: HTTP %d %.200s; want %d", size, resp.StatusCode, body, code)
		}
	}
}

func TestTooManyGroupsAreCounted(t *testing.T) {
	b := newBed(t, nil)
	user := v1alpha1.UserInfo{Username: "bob"}
	for i := range 700 {
		user.Groups = append(user.Groups, fmt.Sprintf("%0900d", i))
	}
	// Identity refuses this many bytes today; the guard stays for what it would let through.
	err := checkOutgoing(impersonation(&verifier.Result{ID: "i", Namespace: "n", Name: "m", User: user}, nil))
	if _, ok := errors.AsType[*groupsError](err); !ok {
		t.Fatal(err)
	}
	x := &exchange{proxy: b.proxy}
	if f := x.whyNot(&http.Request{}, err); f.code != 403 || !strings.Contains(f.text, "700 groups") {
		t.Error(f)
	}
}

func TestStaleProxiesAnswer503(t *testing.T) {
	b := newBed(t, nil)
	b.proxy.Index = stale{b.index}
	resp, body := b.do("GET", "/version", "")
	wantStatus(t, resp, body, 503, "cannot verify tokens at the moment")
	if resp.Header.Get("Retry-After") != "1" {
		t.Error(resp.Header)
	}
}

type stale struct{ *verifier.Index }

func (stale) VerifyProxied(string, time.Time) verifier.Result {
	return verifier.Result{Verdict: verifier.NotReady, Reason: verifier.ReasonNotReady}
}

func (stale) Stands(*verifier.Result, time.Time) (verifier.Reason, bool) {
	return verifier.ReasonNotReady, false
}

func TestInvalidCredentialsAreThrottledAndValidOnesAreNot(t *testing.T) {
	b := newBed(t, nil)
	wrong := "GET /version HTTP/1.1\nHost: x\nAuthorization: Bearer nothing\nConnection: close\n\n"
	if code, text := b.raw(wrong); code != http.StatusUnauthorized {
		t.Errorf("the first one gets HTTP %d %s", code, text)
	}
	// A slow machine sends no more than a source may. So nothing is left for it.
	source := b.proxy.failures.sources.Of(netip.MustParsePrefix("127.0.0.1/32"))
	env.Eventually(t, env.Patience, func() bool {
		source.ReserveN(time.Now(), failuresBurst)
		code, _ := b.raw(wrong)
		return code == 0
	}, func() string { return "no connection was closed" })
	for range 20 {
		if resp, body := b.do("GET", "/version", ""); resp.StatusCode != 200 {
			t.Fatalf("a valid token gets HTTP %d %s", resp.StatusCode, body)
		}
	}
}

func TestATokenHasAShareOfRequests(t *testing.T) {
	release := make(chan struct{})
	var crowded int
	b := newBed(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-release
	}, func(o *Options) {
		o.MaxRequestsPerToken = 3
		o.Crowded = func(*verifier.Result) { crowded++ }
	})
	client := b.client(true)
	for range 3 {
		_ = b.open(client, b.token, "/api/v1/pods?watch=1")
	}
	for range 2 {
		resp, body := b.do("GET", "/version", "")
		wantStatus(t, resp, body, 429, "personal access token team-a/ci has 3 open requests, which is the limit (--proxy-max-requests-per-token); close some, or use several tokens")
		if resp.Header.Get("Retry-After") != "1" {
			t.Error(resp.Header)
		}
	}
	if crowded != 1 {
		t.Errorf("reported %d times", crowded)
	}
	other := b.issue("other", alice)
	_ = b.open(client, other, "/api/v1/pods?watch=1")
	close(release)
	env.Eventually(t, patience, func() bool { return b.proxy.Open() == 0 }, func() string { return fmt.Sprint(b.proxy.Open(), " are open") })
	if resp, _ := b.do("GET", "/version", ""); resp.StatusCode != 200 {
		t.Errorf("afterwards HTTP %d", resp.StatusCode)
	}
}

// open opens a request, and returns its answer once the header is there.
func (b *bed) open(client *http.Client, token *issued.Token, path string) *reply {
	b.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "https://"+b.address+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token.Bearer)
	resp, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != 200 {
		b.t.Fatalf("HTTP %d", resp.StatusCode)
	}
	return &reply{resp.StatusCode, resp.Header, resp.Body}
}

func TestANewcomerIsServedWhereNothingIsLeft(t *testing.T) {
	l := newLive(10, 100)
	session := func(source, id string) *session {
		return &session{result: &verifier.Result{ID: id}, source: networks(source)[0], cut: func(error) {}}
	}
	for _, source := range []string{"10.0.0.1/32", "10.0.0.2/32"} {
		for range 5 {
			if l.enter(session(source, "a")) != entered {
				t.Fatal("refused")
			}
		}
		if l.enter(session(source, "a")) != proxyIsFull {
			t.Error("more than half")
		}
	}
	for i := range 3 {
		if l.enter(session(fmt.Sprintf("10.0.1.%d/32", i), "b")) != entered {
			t.Errorf("newcomer %d is refused", i)
		}
	}
	if l.count != 10 || len(l.all()) != 10 {
		t.Errorf("%d, %d", l.count, len(l.all()))
	}
}

// A body that never ends keeps no connection.
func TestABodyThatNeverEnds(t *testing.T) {
	b := newBed(t, func(http.ResponseWriter, *http.Request) {})
	for name, headers := range map[string]string{
		"no token":    "Content-Length: 1000\n",
		"chunks":      "Transfer-Encoding: chunked\n",
		"an identity": "Content-Length: 1000\nImpersonate-User: a\n",
		"a question":  "Content-Length: 1000\nExpect: 100-continue\n",
	} {
		conn := b.dial()
		_, _ = io.WriteString(conn, strings.ReplaceAll("POST /api/v1/namespaces HTTP/1.1\nHost: x\n"+headers+"\n", "\n", "\r\n"))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: the connection is still open after %v", name, patience)
		}
	}
	// With a valid token it may take as long as the API server waits for it, and not longer than the token.
	conn := b.dial()
	_, _ = fmt.Fprintf(conn, "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer %s\r\n\r\n", b.token.Bearer)
	env.Eventually(t, patience, func() bool { return b.proxy.Open() == 1 }, func() string { return "the request has not arrived" })
	b.token.Revoke(t, b.index)
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a token that has ended: the connection is still open after %v", patience)
	}
	env.Eventually(t, patience, func() bool { return b.proxy.Open() == 0 }, func() string { return "a request is still open" })
}

func TestAConnectionOfAStrangerIsNotKeptForever(t *testing.T) {
	b := newBed(t, nil)
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("no handshake: %v", err)
	}
}
