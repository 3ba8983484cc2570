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
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// RunTests is the TestMain of a package that needs a cluster; it returns the exit code. run prepares, in a folder that is
// removed afterwards, calls tests, and tidies up; its error fails the package. ctx ends with an interrupt. parallel tests
// run concurrently, on any number of cores: they wait for processes much longer than they compute.
func RunTests(m interface{ Run() int }, parallel int, run func(ctx context.Context, dir string, tests func()) error) int {
	flag.Parse()
	code := 1
	err := errors.Join(flag.Set("test.parallel", strconv.Itoa(parallel)), inFolder(func(ctx context.Context, dir string) error {
		return run(ctx, dir, func() { code = m.Run() })
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func inFolder(run func(ctx context.Context, dir string) error) (err error) {
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "pat-tests-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return run(ctx, dir)
}
