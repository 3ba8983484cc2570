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
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// person types commands: each has a kubeconfig.
type person struct{ name, kubeconfig string }

// shell runs what it prints: what a person types at a prompt, and what it shows.
type shell struct {
	cluster *cluster.Cluster
	out     io.Writer
	env     []string
}

// run lets who type script, which has to succeed, and returns what it prints on standard output.
func (s *shell) run(ctx context.Context, who person, script string) (string, error) {
	s.prompt(who, script)
	stdout, stderr, err := s.exec(ctx, who, script)
	s.show(stdout + stderr)
	if err != nil {
		return "", fmt.Errorf("expected the command to succeed: %w", err)
	}
	return stdout, nil
}

// refused lets who type script, which has to fail with a message that contains want.
func (s *shell) refused(ctx context.Context, who person, script, want string) error {
	s.prompt(who, script)
	stdout, stderr, err := s.exec(ctx, who, script)
	s.show(stdout + stderr)
	if err == nil || !strings.Contains(stderr, want) {
		return fmt.Errorf("expected a refusal that says %q; got: %w", want, err)
	}
	return nil
}

// remember lets who type script, which sets the shell variable name, and keeps its value for later scripts.
func (s *shell) remember(ctx context.Context, who person, name, script string) (string, error) {
	s.prompt(who, script)
	value, stderr, err := s.exec(ctx, who, script+"\nprintf %s \"$"+name+"\"")
	if value == "" && err == nil {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("expected a value for %s: %w: %s", name, err, strings.TrimSpace(stderr))
	}
	s.show(stderr)
	s.env = append(s.env, name+"="+value)
	return value, nil
}

func (s *shell) exec(ctx context.Context, who person, script string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd := s.cluster.Command(ctx, who.kubeconfig, "/bin/sh", "-c", script)
	cmd.Env = append(cmd.Env, s.env...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), errOut.String(), err
}

func (s *shell) prompt(who person, script string) {
	fmt.Fprintf(s.out, "%s$ %s\n", who.name, script)
}

func (s *shell) show(output string) {
	for line := range strings.Lines(output) {
		fmt.Fprintf(s.out, "    %s\n", strings.TrimRight(line, "\n"))
	}
}

// say explains what has just been shown.
func (s *shell) say(format string, args ...any) {
	fmt.Fprintf(s.out, "  > %s\n", fmt.Sprintf(format, args...))
}
