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
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const tokenID = "abcdefghijkl2347" // of tokenOf

// reviewOf is kube-apiserver's answer with a status, which is JSON.
func reviewOf(status string) string {
	return `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"` + tokenOf(1) + `"},"status":` + status + `}`
}

const (
	goodUser = `{"username":"alice","uid":"u","groups":["team-a-devs","system:authenticated"],"extra":{` +
		`"authentication.kubernetes.io/credential-id":["PAT=abcdefghijkl2347"],"pat-operator.io/name":["team-a/reports"]}}`
	goodStatus = `{"authenticated":true,"user":` + goodUser + `,"audiences":["other","list-api"]}`
)

// scopedStatus is goodStatus with something more in extra.
func scopedStatus(member string) string {
	return strings.Replace(goodStatus, `"pat-operator.io/name"`, member+`,"pat-operator.io/name"`, 1)
}

// outcome is what a source makes of an answer.
type outcome string

const (
	accepted outcome = "accepted"
	refused  outcome = "refused"
	failed   outcome = "failed"
)

func outcomeOf(identity *Identity, err error) outcome {
	switch {
	case err == nil && identity.check() == nil:
		return accepted
	case errors.Is(err, ErrInvalidToken), err == nil:
		return refused
	}
	return failed
}

func TestTokenReviewAnswers(t *testing.T) {
	replace := func(old, with string) string { return reviewOf(strings.Replace(goodStatus, old, with, 1)) }
	for name, tc := range map[string]struct {
		answer string
		want   outcome
	}{
		"yes":                        {reviewOf(goodStatus), accepted},
		"yes, nobody's groups":       {replace(`["team-a-devs","system:authenticated"]`, `null`), accepted},
		"no":                         {reviewOf(`{"authenticated":false,"user":{},"error":"invalid bearer token"}`), refused},
		"no, nothing else":           {reviewOf(`{"user":{}}`), refused},
		"no status":                  {`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1"}`, refused},
		"yes and an error":           {replace(`"user"`, `"error":"x","user"`), failed},
		"anonymous":                  {replace(`"alice"`, `"system:anonymous"`), refused},
		"unauthenticated":            {replace(`"system:authenticated"`, `"system:unauthenticated"`), refused},
		"no user":                    {replace(`"alice"`, `""`), refused},
		"another authenticator":      {reviewOf(`{"authenticated":true,"user":{"username":"alice"},"audiences":["list-api"]}`), refused},
		"another token":              {replace(`PAT=abcdefghijkl2347`, `PAT=aaaaaaaaaaaaaaaa`), refused},
		"another credential":         {replace(`PAT=abcdefghijkl2347`, `JTI=abcdefghijkl2347`), refused},
		"two credentials":            {replace(`["PAT=abcdefghijkl2347"]`, `["PAT=abcdefghijkl2347","PAT=aaaaaaaaaaaaaaaa"]`), refused},
		"no resource":                {replace(`["team-a/reports"]`, `[]`), refused},
		"an array":                   {`[` + reviewOf(goodStatus) + `]`, failed},
		"two answers":                {reviewOf(goodStatus) + reviewOf(goodStatus), failed},
		"half an answer":             {reviewOf(goodStatus)[:200], failed},
		"nothing":                    {``, failed},
		"null":                       {`null`, failed},
		"HTML":                       {`<html>`, failed},
		"not UTF-8":                  {replace(`"alice"`, "\"alice\xff\""), failed},
		"another kind":               {strings.Replace(reviewOf(goodStatus), `"TokenReview"`, `"Status"`, 1), failed},
		"another version":            {strings.Replace(reviewOf(goodStatus), `k8s.io/v1"`, `k8s.io/v1beta1"`, 1), failed},
		"authenticated as a string":  {replace(`true`, `"true"`), failed},
		"authenticated as a number":  {replace(`true`, `1`), failed},
		"authenticated null":         {replace(`true`, `null`), failed},
		"Authenticated":              {replace(`"authenticated"`, `"Authenticated"`), refused},
		"authenticated twice":        {replace(`{"authenticated":true`, `{"authenticated":false,"authenticated":true`), failed},
		"status twice":               {strings.Replace(reviewOf(goodStatus), `"status"`, `"status":{"authenticated":false},"status"`, 1), failed},
		"user twice":                 {replace(`"user"`, `"user":{"username":"bob"},"user"`), failed},
		"extra twice":                {scopedTwice(), failed},
		"username as a number":       {replace(`"alice"`, `1`), failed},
		"username as an object":      {replace(`"alice"`, `{}`), failed},
		"groups as a string":         {replace(`["team-a-devs","system:authenticated"]`, `"team-a-devs"`), failed},
		"a group that is null":       {replace(`"team-a-devs"`, `null`), failed},
		"groups as numbers":          {replace(`"team-a-devs"`, `1`), failed},
		"extra as a string":          {replace(`["PAT=abcdefghijkl2347"]`, `"PAT=abcdefghijkl2347"`), failed},
		"user as an array":           {replace(goodUser, `[]`), failed},
		"scopes":                     {reviewOf(scopedStatus(`"pat-operator.io/scopes":["limited","lists:read"]`)), accepted},
		"scopes, none known":         {reviewOf(scopedStatus(`"pat-operator.io/scopes":["limited"]`)), accepted},
		"scopes, empty":              {reviewOf(scopedStatus(`"pat-operator.io/scopes":[]`)), failed},
		"scopes, null":               {reviewOf(scopedStatus(`"pat-operator.io/scopes":null`)), failed},
		"scopes, another first word": {reviewOf(scopedStatus(`"pat-operator.io/scopes":["lists:read"]`)), failed},
		"scopes, another spelling":   {reviewOf(scopedStatus(`"Pat-Operator.io/Scopes":["limited","lists:read"]`)), failed},
		"a thousand levels":          {replace(`"user"`, `"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`,"user"`), accepted},
		"a million levels":           {replace(`"user"`, `"x":`+strings.Repeat("[", 500_000)+strings.Repeat("]", 500_000)+`,"user"`), failed},
	} {
		t.Run(name, func(t *testing.T) {
			identity, err := readTokenReview([]byte(tc.answer), tokenID, "list-api")
			if got := outcomeOf(identity, err); got != tc.want {
				t.Errorf("%s (%v), want %s", got, err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "kubepat_") || strings.Contains(err.Error(), "alice")) {
				t.Errorf("%v quotes the answer", err)
			}
		})
	}
}

func scopedTwice() string {
	return reviewOf(strings.Replace(scopedStatus(`"pat-operator.io/scopes":["limited"]`), `"uid"`, `"extra":{},"uid"`, 1))
}

func TestTokenReviewIdentity(t *testing.T) {
	identity, err := readTokenReview([]byte(reviewOf(goodStatus)), tokenID, "list-api")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v", *identity), "{TokenID:abcdefghijkl2347 Name:team-a/reports Username:alice UID:u "+
		"Groups:[team-a-devs system:authenticated] Full:true Scopes:[] ValidUntil:0001-01-01 00:00:00 +0000 UTC}"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// "full" is a name like any other here.
	identity, err = readTokenReview([]byte(reviewOf(scopedStatus(`"pat-operator.io/scopes":["limited","full"]`))), tokenID, "list-api")
	if err != nil || identity.Full || identity.HasScope("lists:read") || !identity.HasScope("full") {
		t.Errorf("%+v, %v", identity, err)
	}
	identity, err = readTokenReview([]byte(reviewOf(scopedStatus(`"pat-operator.io/scopes":["limited"]`))), tokenID, "list-api")
	if err != nil || identity.Full || identity.HasScope("limited") || identity.HasScope("") {
		t.Errorf("%+v, %v", identity, err)
	}
}

// A token counts for the audience that it names, and an answer that names none is that of an authenticator without audiences.
func TestCase26_AnotherAudienceIsRefused(t *testing.T) {
	for _, audiences := range []string{``, `null`, `[]`, `["other"]`, `["List-API"]`, `["list-api "]`, `[""]`} {
		answer := strings.Replace(goodStatus, `,"audiences":["other","list-api"]`, "", 1)
		if audiences != "" {
			answer = strings.Replace(goodStatus, `["other","list-api"]`, audiences, 1)
		}
		if identity, err := readTokenReview([]byte(reviewOf(answer)), tokenID, "list-api"); outcomeOf(identity, err) != refused {
			t.Errorf("TokenReview, %s: %v", audiences, err)
		}
		active := strings.Replace(goodIntrospection, `,"aud":["other","list-api"]`, "", 1)
		if audiences != "" {
			active = strings.Replace(goodIntrospection, `["other","list-api"]`, audiences, 1)
		}
		if identity, err := readIntrospection([]byte(active), tokenID, "list-api", introspected); outcomeOf(identity, err) != refused {
			t.Errorf("introspection, %s: %v", audiences, err)
		}
	}
}

// What is accepted says the same to a decoder that takes anything.
func FuzzTokenReview(f *testing.F) {
	f.Add(reviewOf(goodStatus))
	f.Add(reviewOf(scopedStatus(`"pat-operator.io/scopes":["limited","lists:read"]`)))
	f.Add(scopedTwice())
	f.Fuzz(func(t *testing.T, answer string) {
		identity, err := readTokenReview([]byte(answer), tokenID, "list-api")
		if outcomeOf(identity, err) != accepted {
			return
		}
		var review struct {
			Kind   string
			Status struct {
				Authenticated bool
				Audiences     []string
				User          struct {
					Username string
					Groups   []string
					Extra    map[string][]string
				}
			}
		}
		if err := json.Unmarshal([]byte(answer), &review); err != nil {
			return // Of a member that is not read, or of one in another spelling.
		}
		user := review.Status.User
		if !strings.Contains(answer, "authenticated") || !slices.Contains(user.Extra[extraCredentialID], "PAT="+tokenID) && !strings.Contains(strings.ToLower(answer), `"extra"`) {
			t.Errorf("%s is accepted", answer)
		}
		if identity.Full && len(user.Extra[extraScopes]) > 0 {
			t.Errorf("%s has lost its scopes", answer)
		}
	})
}

// kubeAPIServer answers TokenReviews as kube-apiserver does, and checks what is sent.
func kubeAPIServer(t *testing.T, credential string) *httptest.Server {
	t.Helper()
	return httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			APIVersion, Kind string
			Spec             struct {
				Token     string
				Audiences []string
			}
		}
		err := json.NewDecoder(r.Body).Decode(&review)
		switch {
		case r.Header.Get("Authorization") != "Bearer "+credential:
			http.Error(w, "no", http.StatusUnauthorized)
		case err != nil, r.Method != http.MethodPost, r.URL.Path != "/k8s/apis/authentication.k8s.io/v1/tokenreviews", r.URL.RawQuery != "",
			review.APIVersion != "authentication.k8s.io/v1", review.Kind != "TokenReview", !slices.Equal(review.Spec.Audiences, []string{"list-api"}):
			t.Errorf("%s %s %+v", r.Method, r.URL, review)
		default:
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(http.StatusCreated)
			status := goodStatus
			if review.Spec.Token != tokenOf(1) {
				status = `{"authenticated":false,"user":{},"error":"invalid bearer token"}`
			}
			_, _ = w.Write([]byte(reviewOf(status)))
		}
	}))
}

func TestTokenReviewAsksKubeAPIServer(t *testing.T) {
	server := kubeAPIServer(t, "own")
	defer server.Close()
	tokenFile := writeFile(t, "token", "own\n")
	a := newAuthenticator(t, &TokenReview{URL: server.URL + "/k8s/", CAFile: caFile(t, server), TokenFile: tokenFile}, func(o *Options) { o.CacheFor = -1 })
	if identity, err := a.Verify(t.Context(), tokenOf(1)); err != nil || identity.Username != "alice" {
		t.Errorf("%+v, %v", identity, err)
	}
	if _, err := a.Verify(t.Context(), tokenOf(2)); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("got %v", err)
	}
	// A service that may not ask has not been told that a token is bad.
	rewrite(t, tokenFile, "expired")
	if _, err := a.Verify(t.Context(), tokenOf(1)); outcomeOf(nil, err) != failed || !strings.Contains(err.Error(), "kube-apiserver does not accept the token in "+tokenFile) {
		t.Errorf("got %v", err)
	}
	rewrite(t, tokenFile, "own")
	if _, err := a.Verify(t.Context(), tokenOf(1)); err != nil {
		t.Errorf("with the next token of its own: %v", err)
	}
}

func TestTokenReviewInACluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	source := &TokenReview{CAFile: "/does/not/exist"}
	if _, err := New(Options{Audience: "a", Source: source}); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %v", err)
	}
	server := kubeAPIServer(t, "own")
	defer server.Close()
	source = &TokenReview{CAFile: caFile(t, server), TokenFile: writeFile(t, "token", "own")}
	if err := source.prepare(); err != nil || source.endpoint.url != "https://[fd00::1]:443/apis/authentication.k8s.io/v1/tokenreviews" {
		t.Errorf("%+v, %v", source.endpoint, err)
	}
}
