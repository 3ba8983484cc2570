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
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A kubeconfig that tokens may not be sent to is refused at startup, by a text that names the flag.
func TestAnUpstreamKubeconfigIsRefusedAtStartup(t *testing.T) {
	dir := t.TempDir()
	file := func(name, server string) string {
		path := filepath.Join(dir, name)
		text := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: " + server + "}}]\n" +
			"contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct{ file, want string }{
		{file("http", "http://webhook.example.com"), `--upstream-token-webhook-kubeconfig "` + filepath.Join(dir, "http") +
			`": the server of the file's cluster is an http URL, by which anybody on the way could read tokens: serve the webhook by https`},
		{filepath.Join(dir, "none"), `--upstream-token-webhook-kubeconfig "` + filepath.Join(dir, "none") +
			`": the file does not exist: mount the Secret that has it into the pod`},
		{file("https", "https://webhook.example.com"), started},
	} {
		for _, command := range []string{"verifier", "run"} {
			err := run(t.Context(), []string{command, "--kubeconfig=/no/such", "--upstream-token-webhook-kubeconfig=" + tc.file}, &bytes.Buffer{}, &bytes.Buffer{})
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("manager %s: %v\nwant %s", command, err, tc.want)
			}
		}
	}
}

// With an upstream, a verifier waits until it is ready once, and takes questions about other tokens from then on.
func TestOnceReady(t *testing.T) {
	var answer error
	check := onceReady(func(*http.Request) error { return answer })
	stale := errors.New("stale")
	for i, tc := range []struct{ is, want error }{{stale, stale}, {nil, nil}, {stale, nil}, {nil, nil}} {
		answer = tc.is
		if err := check(nil); !errors.Is(err, tc.want) {
			t.Errorf("%d: %v, want %v", i, err, tc.want)
		}
	}
}
