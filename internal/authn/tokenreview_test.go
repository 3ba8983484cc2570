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

package authn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

const (
	goodToken    = "good-8d7f2c"
	scopedToken  = "scoped-8d7f2c"
	unknownToken = "unknown-8d7f2c"
	notReadyNow  = "not-ready-8d7f2c"
	panicToken   = "panic-8d7f2c"
	ownAudience  = "https://kubernetes.default.svc"
)

var now = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// fakeVerifier answers by the bearer, and panics with it where told to.
type fakeVerifier struct{ t testing.TB }

func (v fakeVerifier) Verify(bearer string, audiences []string, at time.Time) verifier.Result {
	if !at.Equal(now) {
		v.t.Errorf("verified at %s, want the injected clock's %s", at, now)
	}
	if len(audiences) == 0 {
		audiences = []string{ownAudience}
	}
	switch bearer {
	case goodToken:
		return verifier.Result{
			Verdict: verifier.Authenticated, ID: "abcdefghijklmnop", Audiences: audiences,
			User: v1alpha1.UserInfo{Username: "alice", UID: "u-1", Groups: []string{"dev"},
				Extra: map[string]v1alpha1.ExtraValue{"example.org/team": {"a", "b"}}},
			Namespace: "team-a", Name: "ci",
		}
	case scopedToken:
		return verifier.Result{Verdict: verifier.Unknown, Reason: verifier.ReasonScoped, ID: "abcdefghijklmnop", Audiences: audiences}
	case unknownToken:
		return verifier.Result{Verdict: verifier.Unknown, Reason: verifier.ReasonSuspended, ID: "abcdefghijklmnop", Audiences: audiences}
	case notReadyNow:
		return verifier.Result{Verdict: verifier.NotReady}
	case panicToken:
		panic("could not verify " + bearer)
	}
	return verifier.Result{Verdict: verifier.Refused, Reason: verifier.ReasonForeign}
}

func (v fakeVerifier) VerifyScoped(bearer string, audiences []string, at time.Time) verifier.Result {
	if bearer != scopedToken {
		return v.Verify(bearer, audiences, at)
	}
	result := v.Verify(goodToken, audiences, at)
	result.Limits.Spec, _ = scope.Compile([]v1alpha1.Scope{{Preset: "read-only"}}, "team-a")
	return result
}

func newHandler(t testing.TB, opts Options) http.Handler {
	t.Helper()
	opts.Now = func() time.Time { return now }
	return NewTokenReviewHandler(fakeVerifier{t}, opts)
}

// review is a TokenReview as kube-apiserver writes it.
func review(version, bearer string, audiences ...string) string {
	list, _ := json.Marshal(audiences)
	return fmt.Sprintf(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/%s","metadata":{"creationTimestamp":null},`+
		`"spec":{"token":%q,"audiences":%s},"status":{"user":{}}}`, version, bearer, list)
}

func post(t testing.TB, h http.Handler, body string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, authnconfig.TokenReviewPath+"?timeout=30s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, edit := range edits {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A token with scopes is accepted only at the path of kube-apiservers that enforce them, and while they do.
func TestCase29_ScopedTokensNeedAnEnforcingAPIServer(t *testing.T) {
	on, off := func() bool { return true }, func() bool { return false }
	for name, tc := range map[string]struct {
		path     string
		enforced func() bool
		want     bool
	}{
		"enforced":                  {authnconfig.ScopedPath, on, true},
		"not proven":                {authnconfig.ScopedPath, off, false},
		"nobody proves it":          {authnconfig.ScopedPath, nil, false},
		"enforced, the plain path":  {authnconfig.TokenReviewPath, on, false},
		"not proven, the same path": {authnconfig.TokenReviewPath, off, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t, Options{Enforced: tc.enforced})
			at := func(r *http.Request) { r.URL.Path = tc.path }
			var scoped, full authenticationv1.TokenReview
			for bearer, into := range map[string]*authenticationv1.TokenReview{scopedToken: &scoped, goodToken: &full} {
				if w := post(t, h, review("v1", bearer), at); json.Unmarshal(w.Body.Bytes(), into) != nil {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
			}
			if !full.Status.Authenticated || full.Status.User.Extra[ExtraScopes] != nil {
				t.Errorf("a token without scopes: %+v", full.Status)
			}
			if scoped.Status.Authenticated != tc.want {
				t.Fatalf("authenticated: %v", scoped.Status.Authenticated)
			}
			if !tc.want {
				want := "the personal access token has scopes, and this API server does not enforce them at the moment"
				if scoped.Status.Error != want || len(scoped.Status.Audiences) == 0 {
					t.Errorf("error %q for %v, want %q", scoped.Status.Error, scoped.Status.Audiences, want)
				}
				return
			}
			want := authenticationv1.ExtraValue{"limited", "kubernetes:read-only"}
			if diff := cmp.Diff(want, scoped.Status.User.Extra[ExtraScopes]); diff != "" {
				t.Errorf("the marker (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCase15_AnswersAsKubeAPIServerReadsThem(t *testing.T) {
	for name, tc := range map[string]struct {
		bearer    string
		audiences []string
		want      map[string]any
	}{
		"yes": {goodToken, nil, map[string]any{
			"authenticated": true,
			"audiences":     []any{ownAudience},
			"user": map[string]any{
				"username": "alice", "uid": "u-1", "groups": []any{"dev"},
				"extra": map[string]any{
					"example.org/team":     []any{"a", "b"},
					ExtraCredentialID:      []any{"PAT=abcdefghijklmnop"},
					"pat-operator.io/name": []any{"team-a/ci"},
				},
			},
		}},
		"plain no": {"foreign", nil, map[string]any{"user": map[string]any{}}},
		"empty":    {"", nil, map[string]any{"user": map[string]any{}}},
		"error": {unknownToken, nil, map[string]any{
			"user": map[string]any{}, "error": authnconfig.UnknownError, "audiences": []any{ownAudience}}},
		"error echoes the audiences": {unknownToken, []string{"vault", "x"}, map[string]any{
			"user": map[string]any{}, "error": authnconfig.UnknownError, "audiences": []any{"vault", "x"}}},
	} {
		for _, version := range []string{"v1", "v1beta1"} {
			t.Run(name+" "+version, func(t *testing.T) {
				w := post(t, newHandler(t, Options{}), review(version, tc.bearer, tc.audiences...))
				if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
					t.Fatalf("%d %s", w.Code, w.Header().Get("Content-Type"))
				}
				var got map[string]any
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
					t.Fatal(err)
				}
				// metadata and spec are empty: nothing of the request comes back.
				want := map[string]any{"apiVersion": "authentication.k8s.io/" + version, "kind": "TokenReview",
					"metadata": map[string]any{}, "spec": map[string]any{}, "status": tc.want}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestNotReadyAndDrainingSendTheCallerElsewhere(t *testing.T) {
	drain := &serving.Drain{}
	drain.Begin()
	for name, tc := range map[string]struct {
		opts   Options
		bearer string
	}{
		"not ready": {Options{}, notReadyNow},
		"draining":  {Options{Drain: drain}, goodToken},
	} {
		t.Run(name, func(t *testing.T) {
			before := reviewed("not_ready")
			w := post(t, newHandler(t, tc.opts), review("v1", tc.bearer))
			got := []string{fmt.Sprint(w.Code), w.Header().Get("Connection"), w.Header().Get("Retry-After")}
			if diff := cmp.Diff([]string{"500", "close", "0"}, got); diff != "" {
				t.Errorf("status, Connection, Retry-After (-want +got):\n%s", diff)
			}
			if counted := reviewed("not_ready") - before; counted != 1 {
				t.Errorf("counted %v times", counted)
			}
		})
	}
}

func TestCase24_UnusableRequestsAreRefused(t *testing.T) {
	header := func(key, value string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(key, value) } }
	good := review("v1", goodToken)
	for name, tc := range map[string]struct {
		body string
		edit func(*http.Request)
		want int
	}{
		"with a charset":       {good, header("Content-Type", "application/json; charset=utf-8"), 200},
		"identity encoding":    {good, header("Content-Encoding", "identity"), 200},
		"no content type":      {good, func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"form":                 {good, header("Content-Type", "application/x-www-form-urlencoded"), 415},
		"protobuf":             {good, header("Content-Type", "application/vnd.kubernetes.protobuf"), 415},
		"broken content type":  {good, header("Content-Type", "application/json; ;"), 415},
		"gzip":                 {good, header("Content-Encoding", "gzip"), 415},
		"GET":                  {"", func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"PUT":                  {good, func(r *http.Request) { r.Method = http.MethodPut }, 405},
		"trailing slash":       {good, func(r *http.Request) { r.URL.Path = "/authenticate/" }, 404},
		"another path":         {good, func(r *http.Request) { r.URL.Path = "//authenticate" }, 404},
		"no body":              {"", nil, 400},
		"not JSON":             {"token=" + goodToken, nil, 400},
		"null":                 {"null", nil, 400},
		"a list":               {"[]", nil, 400},
		"half":                 {good[:len(good)/2], nil, 400},
		"two":                  {good + good, nil, 400},
		"deep lists":           {strings.Repeat("[", 60000), nil, 400},
		"deep, whole":          {strings.Repeat("[", 30000) + strings.Repeat("]", 30000), nil, 400},
		"deep objects":         {strings.Repeat(`{"spec":`, 8000), nil, 400},
		"deep audiences":       {`{"spec":{"audiences":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}}`, nil, 400},
		"token a number":       {strings.Replace(good, `"`+goodToken+`"`, "7", 1), nil, 400},
		"another kind":         {strings.Replace(good, `"TokenReview"`, `"TokenRequest"`, 1), nil, 400},
		"another version":      {review("v2", goodToken), nil, 400},
		"another group":        {strings.Replace(good, "authentication.k8s.io/", "example.org/", 1), nil, 400},
		"no version":           {strings.Replace(good, `"apiVersion"`, `"x"`, 1), nil, 400},
		"spec of another case": {strings.Replace(good, `"kind"`, `"Kind"`, 1), nil, 400},
	} {
		t.Run(name, func(t *testing.T) {
			before := reviewed("malformed_request")
			edit := tc.edit
			if edit == nil {
				edit = func(*http.Request) {}
			}
			w := post(t, newHandler(t, Options{}), tc.body, edit)
			if w.Code != tc.want {
				t.Fatalf("%d, want %d", w.Code, tc.want)
			}
			counted := reviewed("malformed_request") - before
			if tc.want == http.StatusOK {
				if counted != 0 || !strings.Contains(w.Body.String(), `"authenticated":true`) {
					t.Errorf("not authenticated, or counted as malformed: %s", w.Body)
				}
				return
			}
			if counted != 1 || w.Header().Get("Connection") != "close" || w.Body.String() != http.StatusText(tc.want)+"\n" {
				t.Errorf("counted %v, Connection %q, body %q", counted, w.Header().Get("Connection"), w.Body)
			}
		})
	}
}

// reviewed is how many requests were counted with a result, whatever the reason.
func reviewed(result string) float64 {
	sum := testutil.ToFloat64(reviews.WithLabelValues(result, "")) + testutil.ToFloat64(reviews.WithLabelValues(result, string(reasonDraining)))
	for reason := range verifier.Verdicts() {
		sum += testutil.ToFloat64(reviews.WithLabelValues(result, string(reason)))
	}
	return sum
}

// capture is a logger at the highest verbosity and what it wrote.
func capture() (logr.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return funcr.New(func(prefix, args string) { b.WriteString(prefix + " " + args + "\n") }, funcr.Options{Verbosity: 127}), &b
}

func TestCase24_PanicIsContained(t *testing.T) {
	log, logged := capture()
	before := reviewed("panic")
	h := newHandler(t, Options{Log: log})
	w := post(t, h, review("v1", panicToken))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Connection") != "close" || w.Header().Get("Retry-After") != "" {
		t.Errorf("%d %v, want a bare 503 that closes", w.Code, w.Header())
	}
	if counted := reviewed("panic") - before; counted != 1 {
		t.Errorf("counted %v times", counted)
	}
	if !strings.Contains(logged.String(), "Panic") || !strings.Contains(logged.String(), "fakeVerifier") {
		t.Error("the log does not say where the panic was")
	}
	if strings.Contains(logged.String()+w.Body.String(), panicToken) {
		t.Error("the log or the answer holds the token")
	}
	if w = post(t, h, review("v1", goodToken)); w.Code != http.StatusOK {
		t.Errorf("%d after a panic", w.Code)
	}
}

func TestCase25_NeitherLogNorAnswerHoldsTheToken(t *testing.T) {
	log, logged := capture()
	h := newHandler(t, Options{Log: log})
	for _, bearer := range []string{goodToken, unknownToken, notReadyNow, "foreign-8d7f2c"} {
		for _, body := range []string{
			review("v1", bearer), review("v2", bearer), review("v1", bearer) + "x", `{"kind":"` + bearer + `"}`,
			`{"` + bearer + `":`, `{"spec":{"token":["` + bearer + `"]}}`, bearer,
		} {
			for _, contentType := range []string{"application/json", bearer} {
				w := post(t, h, body, func(r *http.Request) { r.Header.Set("Content-Type", contentType) })
				if strings.Contains(w.Body.String(), "8d7f2c") || strings.Contains(fmt.Sprint(w.Header()), "8d7f2c") {
					t.Errorf("the answer to %q holds the token", body)
				}
			}
		}
	}
	if strings.Contains(logged.String(), "8d7f2c") {
		t.Errorf("the log holds the token:\n%s", logged)
	}
	if got := strings.Count(logged.String(), "\n"); got != 2 {
		t.Errorf("%d lines were logged, want one each for the two tokens of ours:\n%s", got, logged)
	}
}

func FuzzCase24_TokenReview(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", review("v1", goodToken), review("v1beta1", unknownToken, "a", "b"), review("v1", "x")[:60],
		`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":null}`, strings.Repeat("[", 20000),
	} {
		f.Add([]byte(seed))
	}
	h := newHandler(f, Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		w := post(t, h, string(body))
		switch w.Code {
		case http.StatusOK:
			if strings.Contains(w.Body.String(), `"authenticated":true`) && !bytes.Contains(body, []byte("8d7f2c")) && !bytes.Contains(body, []byte(`\u`)) {
				t.Error("authenticated without the token")
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusInternalServerError:
		default:
			if !bytes.Contains(body, []byte("panic")) {
				t.Errorf("status %d", w.Code)
			}
		}
	})
}

// A refused token is written down by its id, and one that is not ours not at all. The token itself never is.
func TestRefusedTokensAreWrittenDown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(file, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	h := newHandler(t, Options{Audit: log})
	for _, bearer := range []string{goodToken, unknownToken, "foreign-8d7f2c"} {
		post(t, h, review("v1", bearer), func(r *http.Request) { r.RemoteAddr = "[::ffff:10.0.0.5]:4711" })
	}
	log.Close()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got audit.Event
	if err := json.Unmarshal(data, &got); err != nil { // one line
		t.Fatalf("%s: %v", data, err)
	}
	want := audit.Event{
		Time: got.Time, Event: "TokenRefused", TokenID: "abcdefghijklmnop", Reason: string(verifier.ReasonSuspended), SourceIP: "10.0.0.5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if strings.Contains(string(data), "8d7f2c") {
		t.Errorf("the audit log holds a token: %s", data)
	}
}
