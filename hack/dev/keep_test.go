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
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// screen is what a dev cluster prints.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// until polls what a dev cluster, which must not end, has printed.
func (s *screen) until(t *testing.T, ended <-chan error, what string, ok func(shown string) bool) {
	t.Helper()
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok(s.String()) {
		select {
		case err := <-ended:
			t.Fatalf("%s: the dev cluster has ended: %v\n%s", what, err, s)
		case <-deadline:
			t.Fatalf("%s: not in time\n%s", what, s)
		case <-tick.C:
		}
	}
}

// The API server stands still, or does not serve our kind, while a manager is to start: `make dev` says so, waits, and goes on.
func TestCase66_DevWaitsForAnAPIServerThatStalls(t *testing.T) {
	long.Only(t)
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run `make test`")
	}
	ctrl.SetLogger(logr.Discard())
	manager, err := cluster.BuildManager(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir, out := t.TempDir(), &screen{}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1)
	go func() {
		ended <- runDev(ctx, options{
			manager: manager, config: filepath.Join("testdata", "unguarded"), dir: dir, restartAfter: 100 * time.Millisecond,
		}, out)
	}()
	until := func(what string, ok func(shown string) bool) {
		t.Helper()
		out.until(t, ended, what, ok)
	}
	says := func(text string) func(string) bool {
		return func(shown string) bool { return strings.Contains(shown, text) }
	}
	until("the dev cluster is up", says("Ctrl-C stops everything.\n\n"))

	apiServer, operator := pid(t, dir, "PAT_APISERVER_PID"), pid(t, dir, "PAT_OPERATOR_PID")
	send(t, apiServer, syscall.SIGSTOP)
	defer func() { _ = syscall.Kill(apiServer, syscall.SIGCONT) }()
	send(t, operator, syscall.SIGKILL)
	until("it says what the operator waits for", says(fmt.Sprintf(
		"The operator waits for kube-apiserver (PID %d), which does not answer. Ctrl-C stops everything.\n", apiServer)))
	send(t, apiServer, syscall.SIGCONT)
	until("the operator runs again", says("The operator runs again"))

	kubectl(t, dir, "delete", "crd", "personalaccesstokens.pat-operator.io")
	send(t, pid(t, dir, "PAT_VERIFIER_PID"), syscall.SIGKILL)
	until("it says what the verifier waits for", says("The verifier waits until kube-apiserver serves personalaccesstokens.pat-operator.io; "+
		"if its CustomResourceDefinition was removed, apply config/crd again. Ctrl-C stops everything.\n"))
	kubectl(t, dir, "apply", "-k", filepath.Join("..", "..", "config", "crd"))
	until("the verifier runs again", says("The verifier runs again"))

	face := pid(t, dir, "PAT_API_PID")
	published := func(string) bool { return publishedAPI(t, dir, "url") == value(t, dir, "PAT_API_URL", `\S+`) }
	until("the API face says where it is", published)
	answersAPI(t, dir)
	send(t, face, syscall.SIGKILL)
	until("the API face runs again", says("The API face runs again"))
	if now := pid(t, dir, "PAT_API_PID"); now == face {
		t.Errorf("the file env names the API face that was killed, %d", now)
	}
	until("the next API face says where it is", published)
	answersAPI(t, dir)

	send(t, apiServer, syscall.SIGKILL)
	until("the API server runs again", says("The kube-apiserver runs again"))
	if now := pid(t, dir, "PAT_APISERVER_PID"); now == apiServer {
		t.Errorf("the file env names the API server that was killed, %d", now)
	}
	if got := pid(t, dir, "PAT_OPERATOR_PID"); got == operator {
		t.Errorf("the file env names the operator that was killed, %d", got)
	}
	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

// answersAPI expects the API face to answer at PAT_API_URL, by a certificate of the CA that its ConfigMap has.
func answersAPI(t *testing.T, dir string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(publishedAPI(t, dir, `ca\.crt`)))
	face := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	url := value(t, dir, "PAT_API_URL", `https://127\.0\.0\.1:\d+`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/.well-known/oauth-authorization-server", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := face.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"issuer":"`+url+`"`) {
		t.Errorf("the API face at %s: %v, HTTP %d %s", url, err, response.StatusCode, body)
	}
}

// publishedAPI reads a key of the ConfigMap that says where the API face is.
func publishedAPI(t *testing.T, dir, key string) string {
	t.Helper()
	return kubectl(t, dir, "-n", cluster.OperatorNamespace, "get", "configmap", "pat-operator-api", "-o", "jsonpath={.data."+key+"}")
}

// pid reads one out of the file env.
func pid(t *testing.T, dir, name string) int {
	t.Helper()
	pid, err := strconv.Atoi(value(t, dir, name, `\d+`))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// value reads a variable out of the file env.
func value(t *testing.T, dir, name, form string) string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + `=(` + form + `)$`).FindSubmatch(file)
	if found == nil {
		t.Fatalf("the file env has no %s:\n%s", name, file)
	}
	return string(found[1])
}

func send(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}

// kubectl acts as the administrator of the cluster that a folder is of.
func kubectl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := &cluster.Cluster{Dir: dir, Assets: os.Getenv("KUBEBUILDER_ASSETS")}
	out, _, err := c.Kubectl(t.Context(), filepath.Join(dir, "kubeconfig"), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whatever fails is tried again, and said once: not each time.
func TestWhatFailsIsTriedAgain(t *testing.T) {
	long.Only(t)
	broken := errors.New("the operator ended before it was ready (exit status 1); its log ends:\nline 1\nline 2")
	// missing is asked before an attempt and after one that failed; something is missing where these say so, and nothing later.
	missing := func(answers ...bool) func(context.Context) string {
		asked := 0
		return func(context.Context) string {
			if asked++; asked <= len(answers) && answers[asked-1] {
				return "waits for a while"
			}
			return ""
		}
	}
	for name, tc := range map[string]struct {
		attempts int
		needs    func(context.Context) string
		failures int // of the attempts
		tries    int
		err      error
		said     string
	}{
		"at once": {0, missing(), 0, 1, nil, ""},
		"as often as it takes": {
			0, missing(), 9, 10, nil,
			"The operator cannot be started yet: the operator ended before it was ready (exit status 1). The next attempt follows. Ctrl-C stops everything.\n",
		},
		"a mistake": {
			3, missing(), 9, 3, broken,
			"The operator cannot be started yet: the operator ended before it was ready (exit status 1). The next attempt follows. Ctrl-C stops everything.\n",
		},
		"something is missing":                      {1, missing(true, true, true), 0, 1, nil, "The operator waits for a while. Ctrl-C stops everything.\n"},
		"something is missing again once it failed": {1, missing(false, true, true), 1, 2, nil, "The operator waits for a while. Ctrl-C stops everything.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, tries := &screen{}, 0
			k := &keeper{out: out, every: time.Nanosecond}
			err := k.persist(t.Context(), "The operator", tc.attempts, tc.needs, func() error {
				if tries++; tries <= tc.failures {
					return broken
				}
				return nil
			})
			if !errors.Is(err, tc.err) || tries != tc.tries {
				t.Errorf("%d attempts, %v; want %d, %v", tries, err, tc.tries, tc.err)
			}
			if out.String() != tc.said {
				t.Errorf("it says %q, want %q", out, tc.said)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	k := &keeper{out: &screen{}, every: time.Hour}
	if err := k.persist(ctx, "The operator", 0, nil, func() error { cancel(); return broken }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
