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

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pat-operator/pat-operator/pkg/patauth"
)

func TestLists(t *testing.T) {
	handler := newAPI()
	send := func(identity *patauth.Identity, method, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/lists", strings.NewReader(body))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(patauth.NewContext(context.Background(), identity)))
		return w
	}
	reader := &patauth.Identity{Username: "bob", Scopes: []string{"lists:read"}}
	writer := &patauth.Identity{Username: "alice", Scopes: []string{"lists:write"}}
	owner := &patauth.Identity{Username: "carol", Full: true}
	const tea = `{"name":"tea","items":["green","black"],"owner":"bob"}`
	for _, tc := range []struct {
		identity           *patauth.Identity
		method, body, want string
		status             int
	}{
		{reader, http.MethodGet, "", "[]\n", http.StatusOK},
		{reader, http.MethodPost, tea, `{"error":"insufficient_scope"`, http.StatusForbidden},
		{writer, http.MethodPost, tea, `{"name":"tea","items":["green","black"],"owner":"alice"}`, http.StatusCreated},
		{owner, http.MethodPost, tea, `{"name":"tea","items":["green","black"],"owner":"carol"}`, http.StatusCreated},
		{writer, http.MethodPost, `{"items":[]}`, "want {", http.StatusBadRequest},
		{writer, http.MethodPost, `{"name":"` + strings.Repeat("x", maxBody), "want {", http.StatusBadRequest},
		{reader, http.MethodGet, "", `[{"name":"tea","items":["green","black"],"owner":"alice"},{`, http.StatusOK},
		{owner, http.MethodDelete, "", "Method Not Allowed", http.StatusMethodNotAllowed},
	} {
		if w := send(tc.identity, tc.method, tc.body); w.Code != tc.status || !strings.HasPrefix(w.Body.String(), tc.want) {
			t.Errorf("%s %s: %d %s", tc.method, tc.body, w.Code, w.Body)
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for want, args := range map[string][]string{
		"TokenReview.URL is required outside of a cluster": nil,
		"Introspection.TokenFile is required":              {"--introspection=https://x"},
		"flag provided but not defined":                    {"--nothing"},
	} {
		if err := run(t.Context(), args, t.Output()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}
