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
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/issued"
	"github.com/pat-operator/pat-operator/test/long"
)

func TestCase68_AWatchOfARealAPIServerIsCut(t *testing.T) {
	for name, end := range map[string]func(*issued.Token){
		"revoked": func(token *issued.Token) { revoke(t, token) },
		"suspended": func(token *issued.Token) {
			change(t, token, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Suspend = true })
		},
		"expired": func(token *issued.Token) {
			change(t, token, func(p *v1alpha1.PersonalAccessToken) {
				p.Spec.ExpiresInDays, p.Spec.ExpiresAt = nil, &metav1.Time{Time: time.Now().Add(2 * time.Second)}
			})
		},
		"narrowed": func(token *issued.Token) {
			change(t, token, func(p *v1alpha1.PersonalAccessToken) { p.Spec.Scopes = []v1alpha1.Scope{{Preset: "read-only"}} })
		},
		"bound": func(token *issued.Token) {
			change(t, token, func(p *v1alpha1.PersonalAccessToken) { p.Spec.From = []string{"192.0.2.0/24"} })
		},
		"deleted": func(token *issued.Token) {
			if err := admin.Delete(t.Context(), token.Resource.DeepCopy()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			token, other := issue(t, "cut-"+name, alice), issue(t, "kept-"+name, alice)
			victim, control := watch(t, token), watch(t, other)
			cmd := kubectlCommand(t.Context(), t, token.Bearer, "get", "configmaps", "--watch")
			out := &lockedBuffer{}
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			begun(t, token, 2)
			end(token)
			if rest, err := io.ReadAll(victim); err == nil {
				t.Errorf("the watch ends in order: %q", rest)
			}
			// kubectl prints why, and succeeds whatever ends a watch.
			if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "the personal access token is not honored any more: ") {
				t.Errorf("kubectl says %q, %v", out, err)
			}
			env.Eventually(t, env.Patience, func() bool {
				response, _, err := get(t, token.Bearer, "/api/v1/namespaces/team-a/configmaps/none")
				return err == nil && (response.StatusCode == http.StatusUnauthorized || name == "narrowed" || name == "bound" && response.StatusCode == http.StatusForbidden)
			}, func() string { return "the token is still honored" })
			// The other token's watch goes on.
			create(t, admin, configMap("still-"+name))
			if line, err := bufio.NewReader(control).ReadString('\n'); err != nil || !strings.Contains(line, "ConfigMap") {
				t.Errorf("the other watch: %q %v", line, err)
			}
		})
	}
	for _, line := range lines(t, front.auditFile("main")) {
		if reason := fmt.Sprint(line["reason"]); strings.HasPrefix(reason, "Cut:") && fmt.Sprint(line["name"])[:4] == "kept" {
			t.Errorf("%v was cut: %s", line["name"], reason)
		}
	}
}

// begun waits until as many streams of a token are open.
func begun(t *testing.T, token *issued.Token, want int) {
	t.Helper()
	count := 0
	env.Eventually(t, env.Patience, func() bool {
		count = 0
		for _, line := range lines(t, front.auditFile("main")) {
			if line["event"] == "RequestStarted" && line["tokenID"] == token.ID() {
				count++
			}
		}
		return count == want
	}, func() string { return fmt.Sprintf("%d streams are open; want %d", count, want) })
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: name}}
}

// watch opens a watch and returns it once it has begun. A body that the proxy aborts returns an error.
func watch(t *testing.T, token *issued.Token) io.Reader {
	t.Helper()
	const configMaps = "/api/v1/namespaces/team-a/configmaps"
	_, text, err := get(t, token.Bearer, configMaps)
	if err != nil {
		t.Fatal(err)
	}
	var now metav1.PartialObjectMetadataList
	if err := json.Unmarshal([]byte(text), &now); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	request := env.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet,
		front.url+configMaps+"?watch=1&resourceVersion="+now.ResourceVersion, nil))
	request.Header.Set("Authorization", "Bearer "+token.Bearer)
	response, err := httpClient(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d", response.StatusCode)
	}
	return response.Body
}

func TestAnAPIServerThatGoesAndComesBack(t *testing.T) {
	long.Only(t)
	token := issue(t, "gone", alice)
	victim := watch(t, token)
	front.relay.interrupt(true)
	if _, err := io.ReadAll(victim); err == nil {
		t.Error("the watch ends in order")
	}
	response, text, err := get(t, token.Bearer, "/api/v1/namespaces/team-a/configmaps")
	if err != nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "1" || !strings.Contains(text, "the API server cannot be reached from the proxy; try again") {
		t.Errorf("%v %s %v", response, text, err)
	}
	if err := front.ready(); err != nil {
		t.Errorf("another replica would be no better: %v", err)
	}
	front.relay.interrupt(false)
	if err := env.Poll(t.Context(), env.Patience, func() error {
		response, text, err := get(t, token.Bearer, "/api/v1/namespaces/team-a/configmaps")
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("HTTP %d %s", response.StatusCode, text)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
