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

package kubelet

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pat-operator/pat-operator/test/env"
)

// Operations are what kubectl does with a pod, byte for byte.
var Operations = []struct {
	Name string
	// Check fails where kubectl does something else.
	Check func(t *testing.T, k Kubectl)
}{
	{Name: "exec", Check: execEnds},
	{Name: "exec -i", Check: execPasses},
	{Name: "cp", Check: cpCopies},
	{Name: "attach", Check: attachTalks},
	{Name: "attach without input", Check: attachReads},
	{Name: "port-forward", Check: portForwards},
	{Name: "logs", Check: logsEnd},
	{Name: "logs -f", Check: logsFollow},
}

// megabyte is what no text would be, and too long for one frame of any protocol.
func megabyte() []byte {
	b := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func execEnds(t *testing.T, k Kubectl) {
	got := k.Run(t, "", "exec", k.Pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
	if got.Code != 7 || got.Stdout != "out\n" || !strings.HasSuffix(got.Stderr, "err\ncommand terminated with exit code 7\n") {
		t.Errorf("%+v", got)
	}
}

func execPasses(t *testing.T, k Kubectl) {
	want := megabyte()
	got := k.Run(t, string(want), "exec", "-i", k.Pod, "--", "cat")
	if got.Code != 0 || got.Stdout != string(want) {
		t.Errorf("exit code %d, %d bytes of %d, %s", got.Code, len(got.Stdout), len(want), got.Stderr)
	}
}

func cpCopies(t *testing.T, k Kubectl) {
	dir, err := os.MkdirTemp(k.Dir, "cp-")
	if err != nil {
		t.Fatal(err)
	}
	here, there := t.TempDir(), filepath.Base(dir)
	if err := os.WriteFile(filepath.Join(here, "file"), megabyte(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{filepath.Join(here, "file"), k.Pod + ":" + there + "/copy"},
		{k.Pod + ":" + there + "/copy", filepath.Join(here, "back")},
	} {
		if got := k.Run(t, "", append([]string{"cp"}, args...)...); got.Code != 0 {
			t.Fatalf("%+v", got)
		}
	}
	for _, file := range []string{filepath.Join(dir, "copy"), filepath.Join(here, "back")} {
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, megabyte()) {
			t.Errorf("%d bytes in %s: %v", len(got), file, err)
		}
	}
}

func attachTalks(t *testing.T, k Kubectl) {
	got := k.Run(t, "hello\n", "attach", "-i", k.Pod)
	if got.Code != 0 || got.Stdout != "attached\nhello\n" {
		t.Errorf("%+v", got)
	}
}

func attachReads(t *testing.T, k Kubectl) { reads(t, k.Start(t, "attach", k.Pod)) }

func logsFollow(t *testing.T, k Kubectl) { reads(t, k.Start(t, "logs", "-f", k.Pod)) }

func reads(t *testing.T, s *Session) {
	for _, want := range []string{"line 0\n", "line 1\n", "line 2\n", "line 3\n"} {
		if got := s.Line(t); got != want {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}

func logsEnd(t *testing.T, k Kubectl) {
	if got := k.Run(t, "", "logs", k.Pod); got.Code != 0 || got.Stdout != "line 0\nline 1\nline 2\n" {
		t.Errorf("%+v", got)
	}
}

var forwarded = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) -> 7\n$`)

// Forward starts kubectl port-forward to the echo service of a pod, and returns where it listens.
func (k Kubectl) Forward(t testing.TB) (s *Session, address string) {
	t.Helper()
	s = k.Start(t, "port-forward", "--address=127.0.0.1", k.Pod, ":7")
	line := s.Line(t)
	match := forwarded.FindStringSubmatch(line)
	if match == nil {
		t.Fatalf("kubectl port-forward says %q", line)
	}
	return s, match[1]
}

func portForwards(t *testing.T, k Kubectl) {
	_, address := k.Forward(t)
	for _, want := range []string{"hello", string(megabyte()), strings.Repeat("x", 70000)} {
		got, err := Echo(address, want)
		if err != nil || got != want {
			t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
		}
	}
}

// Echo sends a text to a forwarded port, and returns what comes back until the other side has ended.
func Echo(address, text string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(env.Patience))
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		_ = conn.(*net.TCPConn).CloseWrite()
		sent <- err
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		return string(got), err
	}
	return string(got), <-sent
}
