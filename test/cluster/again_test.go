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

package cluster

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/test/long"
)

func TestARequestIsSentAgainWhereTheWebhookHadNoTime(t *testing.T) {
	long.Only(t)
	const late = `Internal error occurred: failed calling webhook "validate.example.com": failed to call webhook: Post "https://x": context deadline exceeded`
	for name, c := range map[string]struct {
		answers []string
		asked   int
	}{
		"it stood still once":   {[]string{late, "stored"}, 2},
		"it never answers":      {[]string{late, late, late, late, "stored"}, 4},
		"it refuses":            {[]string{`failed calling webhook "w": connection refused`, "stored"}, 1},
		"another deadline ends": {[]string{"etcdserver: context deadline exceeded", "stored"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != "the object" {
					t.Errorf("the server read %q, %v", body, err)
				}
				answer := c.answers[asked]
				asked++
				if answer != "stored" {
					w.WriteHeader(http.StatusInternalServerError)
				}
				_, _ = io.WriteString(w, answer)
			}))
			t.Cleanup(server.Close)
			config := &rest.Config{Host: server.URL}
			config.Wrap(askAgain)
			client, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Post(server.URL, "text/plain", strings.NewReader("the object"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || string(body) != c.answers[asked-1] || asked != c.asked {
				t.Errorf("after %d requests it is %q, %v; want %d requests", asked, body, err, c.asked)
			}
		})
	}
}
