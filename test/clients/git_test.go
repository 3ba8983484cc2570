//go:build clients

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

package clients

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// git clones through nginx with a token as the password of Basic, by the commands of the page.
func TestCase28_GitSendsATokenAsPassword(t *testing.T) {
	t.Parallel()
	backend := "/usr/lib/git-core/git-http-backend"
	if _, err := os.Stat(backend); err != nil {
		missing(t, "git-http-backend")
	}
	dir := t.TempDir()
	repositories, home := filepath.Join(dir, "repositories"), filepath.Join(dir, "home")
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", filepath.Join(repositories, "project.git")},
		{"-C", filepath.Join(repositories, "project.git"), "commit-tree", "-m", "first", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"},
	} {
		cmd := product.Command(t.Context(), "", program(t, "git"), args...)
		cmd.Env = append(cmd.Env, "GIT_AUTHOR_NAME=x", "GIT_AUTHOR_EMAIL=x@example.com", "GIT_COMMITTER_NAME=x", "GIT_COMMITTER_EMAIL=x@example.com")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %v: %v", args, err)
		}
		if commit := strings.TrimSpace(string(out)); commit != "" {
			if err := os.WriteFile(filepath.Join(repositories, "project.git", "refs", "heads", "main"), []byte(commit+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	up := &upstream{}
	up.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up.requests.Add(1)
		if got := r.Header.Get("X-Auth-Request-User"); got != "alice" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s at the git server is %q's", r.Method, r.URL.Path, got)
		}
		(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + repositories, "GIT_HTTP_EXPORT_ALL=1"}}).ServeHTTP(w, r)
	}))
	t.Cleanup(up.Close)
	f := runNginx(t, strings.Replace(blockOf(t, "nginx", "nginx"), "challenge=bearer", "challenge=basic", 1), up)

	commands := replaced(t, blockOf(t, "git", "sh"), "https://"+frontName, "https://"+strings.Replace(f.address, "127.0.0.1", "localhost", 1))
	clone := func(token string) (string, error) {
		write(t, home, "lists.token", token)
		work := t.TempDir()
		cmd := product.Command(t.Context(), "", "/bin/bash", "-euo", "pipefail", "-c", commands)
		cmd.Dir = work
		cmd.Env = append(cmd.Env, "HOME="+home, "GIT_SSL_CAINFO="+frontCA, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if _, there := os.Stat(filepath.Join(work, "project", ".git", "refs")); err == nil && there != nil {
			err = there
		}
		return string(out), err
	}
	_, token := issued(t)
	if out, err := clone(token); err != nil {
		t.Fatalf("a valid token: %v\n%s", err, out)
	}
	if a := f.get(t); a.code != http.StatusUnauthorized || len(a.header["Www-Authenticate"]) != 1 || a.header.Get("Www-Authenticate") != basicAsks {
		t.Errorf("no token: HTTP %d %q", a.code, a.header["Www-Authenticate"])
	}
	reached := up.requests.Load()
	for what, refused := range map[string]string{
		"expired": known.expired, "suspended": known.suspended, "for another API": known.otherAudience, "for Kubernetes": known.forKubernetes, "empty": "", "garbage": "x",
	} {
		if out, err := clone(refused); err == nil || !strings.Contains(out, "Authentication failed") {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	if got := up.requests.Load(); got != reached {
		t.Errorf("%d refused requests reached the git server", got-reached)
	}
	measureRevocation(t, "git, behind nginx", "nothing", token, func() error {
		out, err := clone(token)
		if err == nil {
			return fmt.Errorf("git clones: %s", out)
		}
		if !strings.Contains(out, "Authentication failed") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
