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

// Command kubectl-pat is the kubectl plugin for personal access tokens, `kubectl pat`.
package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/atotto/clipboard"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // the ways to log in that kubectl knows
	"k8s.io/utils/clock"

	"github.com/pat-operator/pat-operator/cmd/kubectl-pat/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C kills the process
	os.Exit(run(ctx, os.Args[1:], genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}

// run returns the exit code.
func run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	env := app.Environment{
		IOStreams: streams,
		Clock:     clock.RealClock{},
		Random:    rand.Reader,
		Width:     app.TerminalWidth,
		Connect:   app.Connect,
		Resources: genericclioptions.RESTClientGetter.ToRESTMapper,
		Version:   app.Version(version),
	}
	if !clipboard.Unsupported && hasScreen() {
		env.Copy = clipboard.WriteAll
	}
	return app.Run(ctx, env, args)
}

// hasScreen reports whether there may be a clipboard. On Linux, its tools can be installed on a machine without one.
func hasScreen() bool {
	if runtime.GOOS != "linux" {
		return true
	}
	return slices.ContainsFunc([]string{"DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "TERMUX_VERSION"}, func(name string) bool { return os.Getenv(name) != "" })
}

// version is set by the linker; a plain go build leaves it empty.
var version = ""
