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
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// An API server that asks clients to reconnect now and then, as those of EKS do, loses writes of proxies that speak HTTP/2 to it.
func TestNoWriteIsLostToAnAPIServerThatSendsGoaway(t *testing.T) {
	long.Only(t)
	start(t)
	formerAdmin, formerFront := admin, front
	server := &env.APIServer{CRDs: true, Namespaces: []string{system, records, "team-a"}, Flags: map[string]string{"goaway-chance": "0.02"}}
	t.Cleanup(server.Stop)
	admin = server.Client(t)
	install(t, admin)
	front = startManager(t, server.Config(t), filepath.Join(dir, "manager"), "goaway")
	t.Cleanup(func() {
		front.stop()
		admin, front = formerAdmin, formerFront
	})
	token, client := issue(t, "writer", alice), httpClient(t)
	var writers sync.WaitGroup
	failed := make(chan string, 2400)
	for w := range 16 {
		writers.Go(func() {
			for i := range 150 {
				body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"g-%d-%d"},"data":{"a":"%s"}}`, w, i, strings.Repeat("x", 2000))
				request, err := http.NewRequest(http.MethodPost, front.url+"/api/v1/namespaces/team-a/configmaps?dryRun=All", strings.NewReader(body))
				if err != nil {
					failed <- err.Error()
					continue
				}
				request.Header.Set("Authorization", "Bearer "+token.Bearer)
				request.Header.Set("Content-Type", "application/json")
				response, err := client.Do(request)
				if err != nil {
					failed <- err.Error()
					continue
				}
				text, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if response.StatusCode != http.StatusCreated {
					failed <- fmt.Sprintf("HTTP %d %s", response.StatusCode, text)
				}
			}
		})
	}
	writers.Wait()
	close(failed)
	n := len(failed)
	for text := range failed {
		t.Errorf("%d of 2400 writes failed, first: %s", n, text)
		break
	}
}
