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
	"path/filepath"
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
	opts := options{restartAfter: restartAfter, standard: samplesProxy}
	if args[0] == "dev" {
		opts.standard = devConfig
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.manager, "manager", "", "the manager `binary` to run; default: build it")
	flags.StringVar(&opts.config, "config", "", "the `kustomization` to install; default: "+opts.standard)
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
	// standard is what is installed without config.
	standard string
	// api is set where the API face is installed.
	api bool
	// proxied is set where the proxy of config/proxy/managed is installed.
	proxied bool
	// unwired is what happens before there is a verifier, with an operator and a proxy; nil: nothing.
	unwired func(*cluster.Cluster) error
}

// startOperator starts one that keeps the list of those whom the proxy may act for, where there is a proxy.
func (o options) startOperator(ctx context.Context, c *cluster.Cluster) (*cluster.Manager, error) {
	args := o.operatorArgs
	if o.proxied {
		args = append([]string{managedImpersonation}, args...)
	}
	return c.StartOperator(ctx, args...)
}

func startProxy(ctx context.Context, c *cluster.Cluster) (*cluster.Manager, error) {
	return c.StartManager(ctx, proxyOptions())
}

// withoutVerifier lets an operator and a proxy run for what happens before there is a verifier. They end before kube-apiserver
// restarts for the first verifier.
func (o options) withoutVerifier(ctx context.Context, c *cluster.Cluster) (err error) {
	operator, err := o.startOperator(ctx, c)
	if err != nil {
		return err
	}
	proxy, err := startProxy(ctx, c)
	if err != nil {
		return err
	}
	if err := o.unwired(c); err != nil {
		return err
	}
	return errors.Join(proxy.Stop(), operator.Stop())
}

func (o options) startVerifier(ctx context.Context, c *cluster.Cluster) (*cluster.Manager, error) {
	verifier := cluster.ManagerOptions{Command: "verifier"}
	if o.console {
		verifier.Console, verifier.Args = true, []string{consoleNamespaces()}
	}
	return c.StartManager(ctx, verifier)
}

// managers are the processes, as the Deployments run them. proxy is nil in the demo, once there is a verifier, and without a proxy;
// api is nil where it is not installed.
type managers struct{ operator, verifier, proxy, api *cluster.Manager }

// withCluster calls use with a running cluster and its managers, and takes all down again.
func withCluster(ctx context.Context, opts options, out io.Writer, use func(options, *cluster.Cluster, managers) error) (err error) {
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
	if opts.config == "" {
		root, err := cluster.ModuleRoot()
		if err != nil {
			return err
		}
		opts.config = filepath.Join(root, filepath.FromSlash(opts.standard))
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
	if opts.proxied, err = hasProxy(ctx, c); err != nil {
		return err
	}
	if opts.api, err = hasAPI(ctx, c); err != nil {
		return err
	}
	if opts.unwired != nil {
		if !opts.proxied {
			return errors.New("the demo shows the proxy: leave --config out, or name a kustomization that has config/proxy/managed")
		}
		if err := opts.withoutVerifier(ctx, c); err != nil {
			return err
		}
	}
	// In this order: for the first verifier kube-apiserver restarts, which on a busy machine takes longer than a lease.
	if err := begin(ctx, "The verifier", func() (err error) {
		m.verifier, err = opts.startVerifier(ctx, c)
		return err
	}); err != nil {
		return err
	}
	if err := begin(ctx, "The operator", func() (err error) {
		m.operator, err = opts.startOperator(ctx, c)
		return err
	}); err != nil {
		return err
	}
	if opts.proxied && opts.unwired == nil {
		if err := begin(ctx, "The proxy", func() (err error) {
			m.proxy, err = startProxy(ctx, c)
			return err
		}); err != nil {
			return err
		}
	}
	if opts.api {
		if err := begin(ctx, "The API face", func() (err error) {
			m.api, err = startAPI(ctx, c)
			return err
		}); err != nil {
			return err
		}
	}
	say("ready")
	return use(opts, c, m)
}

// hasProxy reports whether the proxy is installed, with the list that the operator keeps.
func hasProxy(ctx context.Context, c *cluster.Cluster) (bool, error) {
	found, _, err := c.Kubectl(ctx, c.AdminKubeconfig, "", "get", "clusterrole", "pat-operator-impersonator-users", "--ignore-not-found", "-o", "name")
	return found != "", err
}
