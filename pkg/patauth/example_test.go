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

package patauth_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/pat-operator/pat-operator/pkg/patauth"
)

// An API in the cluster. Its service account is bound to the ClusterRole system:auth-delegator.
func Example() {
	auth, err := patauth.New(patauth.Options{Audience: "list-api", Source: &patauth.TokenReview{}})
	if err != nil {
		log.Print(err)
		return
	}
	http.Handle("/", auth.Middleware(http.FileServer(http.Dir("."))))
}

// An API that asks pat-operator's API face.
func ExampleIntrospection() {
	auth, err := patauth.New(patauth.Options{
		Audience: "list-api",
		Source: &patauth.Introspection{
			URL:       "https://pat-api.example.com/oauth2/introspect",
			TokenFile: "/var/run/secrets/pat-operator/token",
		},
	})
	if err != nil {
		log.Print(err)
		return
	}
	http.Handle("/", auth.Middleware(http.FileServer(http.Dir("."))))
}

// reader is a Source for tests, whose tokens all are alice's, and read lists.
type reader struct{}

func (reader) Verify(context.Context, string, string) (*patauth.Identity, error) {
	return &patauth.Identity{Username: "alice", Name: "team-a/reports", Scopes: []string{"lists:read"}}, nil
}

func ExampleRequireScope() {
	auth, err := patauth.New(patauth.Options{Audience: "list-api", Source: reader{}})
	if err != nil {
		log.Print(err)
		return
	}
	lists := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, _ := patauth.FromContext(r.Context())
		_, _ = fmt.Fprintf(w, "lists for %s, by %s\n", identity.Username, identity.Name)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /lists", patauth.RequireScope("lists:read")(lists))
	mux.Handle("POST /lists", patauth.RequireScope("lists:write")(lists))
	server := httptest.NewServer(auth.Middleware(mux))
	defer server.Close()

	const token = "kubepat_ny2axhh7wn5jrhff_GKzebPseajCINblc48LqXmXf6FD3JB16ZykWrjWnkEo343sI2"
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		request, _ := http.NewRequest(method, server.URL+"/lists", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			log.Print(err)
			return
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		fmt.Printf("%s: %s\n%s", method, response.Status, body)
	}
	// Output:
	// GET: 200 OK
	// lists for alice, by team-a/reports
	// POST: 403 Forbidden
	// {"error":"insufficient_scope","error_description":"The token does not have the scope lists:write. Use a token with this scope, or with none."}
}
