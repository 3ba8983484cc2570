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
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// BuildManager compiles cmd/manager of the module that the working directory belongs to into dir, with the race detector
// where this program has it, and returns the binary's path.
func BuildManager(ctx context.Context, dir string) (string, error) {
	var flags []string
	if race {
		flags = append(flags, "-race")
	}
	return build(ctx, filepath.Join(dir, "manager"), ".", "./cmd/manager", flags...)
}

// BuildPlugin compiles kubectl-pat into dir, and copies its completion script there.
func BuildPlugin(ctx context.Context, dir string) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	if _, err := build(ctx, filepath.Join(dir, "kubectl-pat"), ".", "./cmd/kubectl-pat"); err != nil {
		return err
	}
	const completion = "kubectl_complete-pat"
	script, err := os.ReadFile(filepath.Join(root, "cmd", "kubectl-pat", completion))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, completion), script, 0o700)
}

// BuildAge compiles age, with which recipients open their tokens, into dir, and returns the binary's path.
func BuildAge(ctx context.Context, dir string) (string, error) {
	return build(ctx, filepath.Join(dir, "age"), ".", "filippo.io/age/cmd/age")
}

// build compiles a program of the module in a folder of ours into the ignored folder bin/test, where go build finds what is up to date
// without linking it again, and links it to binary. Test processes take turns.
func build(ctx context.Context, binary, module, program string, flags ...string) (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	kept := filepath.Join(root, "bin", "test", filepath.Base(binary)+strings.Join(flags, ""))
	for _, file := range []string{kept, binary} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
	}
	turn, err := os.OpenFile(kept+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { _ = turn.Close() }()
	if err := syscall.Flock(int(turn.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", turn.Name(), err)
	}
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", kept}, flags...), program)...)
	cmd.Dir = filepath.Join(root, module)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", program, err, out)
	}
	if err := os.RemoveAll(binary); err != nil { // a dev cluster's folder has that of the former run
		return "", err
	}
	if err := os.Link(kept, binary); err == nil {
		return binary, nil
	}
	return binary, os.Symlink(kept, binary) // on another file system
}

// ModuleRoot is the nearest folder above the working directory that has a go.mod.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in the working directory or above it; set the paths in Options")
		}
		dir = parent
	}
}
