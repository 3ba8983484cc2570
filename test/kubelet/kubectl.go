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
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pat-operator/pat-operator/test/env"
)

// Kubectl is a way to a pod: whose, and by which protocols.
type Kubectl struct {
	*Kubelet
	Kubeconfig, Namespace, Pod string
	// Old protocols are used: SPDY in place of WebSocket, HTTP/1.1 in place of HTTP/2.
	Old bool
}

// Command prepares kubectl.
func (k Kubectl) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := k.product.Command(ctx, k.Kubeconfig, filepath.Join(k.product.Assets, "kubectl"), append([]string{"--namespace=" + k.Namespace}, args...)...)
	if k.Old {
		cmd.Env = append(cmd.Env, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false", "DISABLE_HTTP2=true")
	} else {
		cmd.Env = append(cmd.Env, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true", "KUBECTL_PORT_FORWARD_WEBSOCKETS=true")
	}
	return cmd
}

// Result is what kubectl has printed, and how it has ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs kubectl to its end.
func (k Kubectl) Run(t testing.TB, stdin string, args ...string) Result {
	t.Helper()
	s := k.Start(t, args...)
	go func() {
		_, _ = io.WriteString(s, stdin)
		_ = s.Close()
	}()
	return s.Wait(t)
}

// Session is a kubectl that runs. What is written to it is its input.
type Session struct {
	io.WriteCloser
	// Stdout is what it prints.
	Stdout *bufio.Reader
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan struct{}
	err    error // once it has ended
	// discarded is closed when all of what it prints was read by Discard; nil without that.
	discarded chan struct{}
}

// Start starts kubectl. It is killed at the end of the test.
func (k Kubectl) Start(t testing.TB, args ...string) *Session {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout, printed := io.Pipe()
	s := &Session{cmd: k.Command(ctx, args...), Stdout: bufio.NewReader(stdout), ended: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = printed, &s.stderr
	var err error
	if s.WriteCloser, err = s.cmd.StdinPipe(); err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		_ = printed.Close()
		close(s.ended)
	}()
	t.Cleanup(func() {
		cancel()
		_ = stdout.Close()
		<-s.ended
	})
	return s
}

// Line returns the next line that it prints.
func (s *Session) Line(t testing.TB) string {
	t.Helper()
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := s.Stdout.ReadString('\n')
		read <- result{line, err}
	}()
	r := within(t, read, "kubectl prints no line")
	if r.err != nil {
		t.Fatalf("%q, then %v: %+v", r.line, r.err, s.Wait(t))
	}
	return r.line
}

// Discard reads what it prints from now on, and keeps nothing. Nobody else reads Stdout then.
func (s *Session) Discard() {
	s.discarded = make(chan struct{})
	go func() {
		defer close(s.discarded)
		_, _ = io.Copy(io.Discard, s.Stdout)
	}()
}

// Wait waits for its end. Stdout is what has not been read.
func (s *Session) Wait(t testing.TB) Result {
	t.Helper()
	result := make(chan Result, 1)
	go func() {
		if s.discarded != nil {
			<-s.discarded
		}
		rest, _ := io.ReadAll(s.Stdout)
		<-s.ended
		r := Result{Stdout: string(rest), Stderr: s.stderr.String()}
		if exit := (*exec.ExitError)(nil); errors.As(s.err, &exit) {
			r.Code = exit.ExitCode()
		} else if s.err != nil {
			r.Code, r.Stderr = -1, r.Stderr+s.err.Error()
		}
		result <- r
	}()
	return within(t, result, "kubectl does not end")
}

func within[T any](t testing.TB, c <-chan T, otherwise string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), env.Patience)
	defer cancel()
	select {
	case v := <-c:
		return v
	case <-ctx.Done():
		t.Fatalf("%s within %v", otherwise, env.Patience)
		panic("unreachable")
	}
}
