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

package authz

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authn"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/scope"
)

// fakeIndex knows one read-only token.
type fakeIndex struct{ t testing.TB }

func (x fakeIndex) Limits(id, namespace, name string, _ time.Time) (scope.Limits, bool) {
	switch {
	case id == "panic":
		panic("no text of it gets out: " + namespace)
	case id != "aaaaaaaaaaaaaaaa" || namespace != "team-a" || name != "ci":
		return scope.Limits{}, false
	}
	set, err := scope.Compile([]v1alpha1.Scope{{Preset: "read-only"}}, namespace)
	if err != nil {
		x.t.Fatal(err)
	}
	return scope.Limits{Record: set, Spec: set}, true
}

func newTestHandler(t testing.TB) http.Handler {
	return NewHandler(fakeIndex{t}, Options{Log: logr.Discard(), Installation: func() string { return "uid-1" }})
}

func send(t testing.TB, h http.Handler, body string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, authnconfig.AuthorizePath+"?timeout=3s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	for _, edit := range edits {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// ofToken is the extra of a user who has authenticated with a token.
func ofToken(credential, name string) string {
	return `"extra":{"` + authn.ExtraCredentialID + `":["` + credential + `"],"` + authn.ExtraName + `":["` + name + `"],"` + authn.ExtraScopes + `":["limited"]}`
}

func sar(spec string) string {
	return `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},"spec":{` + spec + `},"status":{"allowed":false}}`
}

func TestCase29_TheAuthorizerDeniesWhatIsOutside(t *testing.T) {
	const (
		get     = `"user":"alice","resourceAttributes":{"verb":"get","resource":"pods","namespace":"team-a","name":"x","version":"v1"},`
		list    = `"user":"alice","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"metadata.name","operator":"In","values":["x"]}]}},`
		remove  = `"user":"alice","resourceAttributes":{"verb":"delete","resource":"pods","namespace":"team-a","name":"x","version":"v1"},`
		path    = `"user":"alice","nonResourceAttributes":{"verb":"get","path":"/metrics"},`
		version = `"user":"alice","nonResourceAttributes":{"verb":"get","path":"/version"},`
		both    = `"user":"alice","resourceAttributes":{"verb":"get","resource":"pods"},"nonResourceAttributes":{"verb":"get","path":"/version"},`
		outside = "outside of the scopes of the personal access token team-a/ci"
		probe   = `"user":"pat-operator.io:probe","nonResourceAttributes":{"verb":"get","path":"/apis/pat-operator.io/probe/NONCE"},"extra":{"pat-operator.io/scopes":["probe"]}`
	)
	ours := ofToken("PAT=aaaaaaaaaaaaaaaa", "team-a/ci")
	for name, tc := range map[string]struct{ spec, denied string }{
		"inside":                   {get + ours, ""},
		"inside, a list":           {list + ours, ""},
		"inside, a path":           {version + ours, ""},
		"outside":                  {remove + ours, outside},
		"outside, a path":          {path + ours, outside},
		"a resource and a path":    {both + ours, outside},
		"neither":                  {`"user":"alice",` + ours, outside},
		"another id":               {get + ofToken("PAT=bbbbbbbbbbbbbbbb", "team-a/ci"), unknownReason},
		"another resource":         {get + ofToken("PAT=aaaaaaaaaaaaaaaa", "team-b/ci"), unknownReason},
		"another kind of id":       {get + ofToken("JTI=aaaaaaaaaaaaaaaa", "team-a/ci"), unknownReason},
		"no resource":              {get + ofToken("PAT=aaaaaaaaaaaaaaaa", "team-a"), unknownReason},
		"no id":                    {get + `"extra":{"pat-operator.io/scopes":["limited"]}`, unknownReason},
		"an empty marker":          {get + `"extra":{"pat-operator.io/scopes":[]}`, unknownReason},
		"two ids":                  {get + `"extra":{"authentication.kubernetes.io/credential-id":["PAT=aaaaaaaaaaaaaaaa","PAT=cccccccccccccccc"],"pat-operator.io/name":["team-a/ci"],"pat-operator.io/scopes":["x"]}`, unknownReason},
		"a token without marker":   {remove + strings.Replace(ours, authn.ExtraScopes, "x", 1), outside},
		"no token":                 {remove + `"groups":["a"]`, ""},
		"another credential":       {remove + `"extra":{"authentication.kubernetes.io/credential-id":["JTI=x"]}`, ""},
		"a probe":                  {probe, "pat-operator denies probe NONCE for installation uid-1"},
		"the probe's user, a read": {strings.Replace(get, "alice", "pat-operator.io:probe", 1) + ours, "pat-operator denies probe  for installation uid-1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := send(t, newTestHandler(t), sar(tc.spec))
			var answer authorizationv1.SubjectAccessReview
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if answer.Kind != "SubjectAccessReview" || answer.APIVersion != "authorization.k8s.io/v1" || answer.Spec.User != "" {
				t.Errorf("%s", w.Body)
			}
			want := authorizationv1.SubjectAccessReviewStatus{Denied: tc.denied != "", Reason: tc.denied}
			if answer.Status != want {
				t.Errorf("%+v, want %+v", answer.Status, want)
			}
		})
	}
}

// Whatever the authorizer does not understand is not answered with 200, and so denied by its failurePolicy.
func TestCase29_TheAuthorizerFailsClosed(t *testing.T) {
	good := sar(`"user":"alice","resourceAttributes":{"verb":"get","resource":"pods"},` + ofToken("PAT=aaaaaaaaaaaaaaaa", "team-a/ci"))
	for name, tc := range map[string]struct {
		body string
		edit func(*http.Request)
		want int
	}{
		"GET":             {good, func(r *http.Request) { r.Method = http.MethodGet }, http.StatusMethodNotAllowed},
		"a form":          {good, func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, http.StatusUnsupportedMediaType},
		"compressed":      {good, func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, http.StatusUnsupportedMediaType},
		"another path":    {good, func(r *http.Request) { r.URL.Path = authnconfig.AuthorizePath + "/x" }, http.StatusBadRequest},
		"another kind":    {strings.Replace(good, "SubjectAccessReview", "TokenReview", 1), nil, http.StatusBadRequest},
		"another version": {strings.Replace(good, "k8s.io/v1", "k8s.io/v1beta1", 1), nil, http.StatusBadRequest},
		"broken":          {good[:len(good)-1], nil, http.StatusBadRequest},
		"empty":           {"", nil, http.StatusBadRequest},
		"too long":        {good + strings.Repeat(" ", maxBody), nil, http.StatusRequestEntityTooLarge},
		"a panic":         {strings.Replace(good, "aaaaaaaaaaaaaaaa", "panic", 1), nil, http.StatusServiceUnavailable},
		"a failing probe": {sar(`"user":"pat-operator.io:probe","nonResourceAttributes":{"verb":"get","path":"/apis/pat-operator.io/probe-failure/NONCE"}`), nil, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			edit := tc.edit
			if edit == nil {
				edit = func(*http.Request) {}
			}
			w := send(t, newTestHandler(t), tc.body, edit)
			if w.Code != tc.want || strings.Contains(w.Body.String(), "team-a") {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tc.want)
			}
		})
	}
}

func FuzzAuthorize(f *testing.F) {
	f.Add(sar(`"user":"alice","resourceAttributes":{"verb":"delete","resource":"pods"},` + ofToken("PAT=aaaaaaaaaaaaaaaa", "team-a/ci")))
	f.Add(sar(`"user":"pat-operator.io:probe"`))
	f.Fuzz(func(t *testing.T, body string) {
		w := send(t, newTestHandler(t), body)
		var answer authorizationv1.SubjectAccessReview
		if w.Code == http.StatusOK && (json.Unmarshal(w.Body.Bytes(), &answer) != nil || answer.Status.Allowed) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// The control planes of the tests run with what administrators are given for their version.
func TestTheTestClustersConfiguration(t *testing.T) {
	for minor, file := range map[int]string{33: "authorization-1.33.yaml", 34: "authorization.yaml", 37: "authorization.yaml"} {
		want, err := os.ReadFile("../../test/cluster/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if got := authnconfig.AuthorizationConfiguration(minor, "KUBECONFIG"); string(got) != string(want) {
			t.Errorf("1.%d: got:\n%s\nwant:\n%s", minor, got, want)
		}
	}
	page, err := os.ReadFile("../../docs/scopes.md")
	if err != nil {
		t.Fatal(err)
	}
	if shown := string(authnconfig.AuthorizationConfiguration(37, "/etc/kubernetes/pat-operator/pat-operator-authorizer.kubeconfig")); !strings.Contains(string(page), "```yaml\n"+shown+"```") {
		t.Errorf("docs/scopes.md does not show:\n%s", shown)
	}
}
