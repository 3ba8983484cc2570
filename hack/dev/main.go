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

// Command dev runs the operator against a real control plane on this machine: `demo` shows the life of a token
// step by step, `dev` keeps the cluster until Ctrl-C. Run it by `make demo` and `make dev`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/issuer"
)

const usage = `usage: dev demo [--manager FILE] [--config DIR] [-- FLAGS OF manager operator]
       dev dev [--manager FILE] [--config DIR] [--dir DIR] [-- FLAGS OF manager operator]`

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), signals...)
	defer cancel()
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends us at once
	ctx, orphaned := context.WithCancel(ctx)
	go func() {
		waitForOrphaning(ctx)
		orphaned()
	}()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted") // whatever broke off because of it is not worth a log's tail
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\n%v\n", err)
		os.Exit(1)
	}
}

// waitForOrphaning returns when our parent has gone: a `go run` that gets SIGTERM ends without telling us.
func waitForOrphaning(ctx context.Context) {
	parent := os.Getppid()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil && os.Getppid() == parent {
		<-tick.C
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	commands := map[string]func(context.Context, options, io.Writer) error{"demo": runDemo, "dev": runDev}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New(usage)
	}
	opts := options{restartAfter: restartAfter}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.manager, "manager", "", "the manager `binary` to run; default: build it")
	flags.StringVar(&opts.config, "config", "", "the `kustomization` to install; default: config/default")
	if args[0] == "dev" {
		flags.StringVar(&opts.dir, "dir", "", "`folder` for kubeconfig and env; default: .dev in the checkout")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	opts.operatorArgs = flags.Args()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return fmt.Errorf("KUBEBUILDER_ASSETS is not set: run make %s", args[0])
	}
	return commands[args[0]](ctx, opts, stdout)
}

type options struct {
	manager, config, dir string
	operatorArgs         []string
	console              bool // and who can sign in to it
	patient              bool // with an API server that stalls while the managers start
	restartAfter         time.Duration
}

func (o options) startVerifier(ctx context.Context, c *cluster.Cluster) (*cluster.Manager, error) {
	verifier := cluster.ManagerOptions{Command: "verifier"}
	if o.console {
		verifier.Console, verifier.Args = true, []string{consoleNamespaces()}
	}
	return c.StartManager(ctx, verifier)
}

// managers are the two processes, as the Deployments of config/default run them.
type managers struct{ operator, verifier *cluster.Manager }

// withCluster calls use with a running cluster and its managers, and takes all down again.
func withCluster(ctx context.Context, opts options, out io.Writer, use func(*cluster.Cluster, managers) error) (err error) {
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%5.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	manager := opts.manager
	if manager == "" {
		say("building the manager (the first time, some minutes)")
		dir, err := os.MkdirTemp("", "pat-manager-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if manager, err = cluster.BuildManager(ctx, dir); err != nil {
			return err
		}
	}
	clusterOptions := cluster.Options{ManagerBinary: manager, ConfigDir: opts.config, Logf: say}
	if opts.console {
		clusterOptions.Issuer = issuer.People()
	}
	c, err := cluster.Start(ctx, clusterOptions)
	if err != nil {
		return err
	}
	defer func() {
		say("stopping everything")
		err = errors.Join(err, c.Stop())
	}()
	var m managers
	begin := func(_ context.Context, _ string, start func() error) error { return start() }
	if opts.patient {
		begin = (&keeper{cluster: c, out: out, every: retryEvery}).begin
	}
	// In this order: for the first verifier kube-apiserver restarts, which on a busy machine takes longer than a lease.
	if err := begin(ctx, "The verifier", func() (err error) {
		m.verifier, err = opts.startVerifier(ctx, c)
		return err
	}); err != nil {
		return err
	}
	if err := begin(ctx, "The operator", func() (err error) {
		m.operator, err = c.StartOperator(ctx, opts.operatorArgs...)
		return err
	}); err != nil {
		return err
	}
	say("ready")
	return use(c, m)
}
