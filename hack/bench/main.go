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

// Command bench measures what docs/operations.md says of size and load. Every figure comes with a baseline of the
// same run, because machines differ. Run it by `make bench`.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pat-operator/pat-operator/test/abuse"
)

type options struct {
	tokens   int
	duration time.Duration
	only     string
	cluster  int
	rounds   int
	perRound int
	console  int
	abuse    time.Duration

	authorizer bool
	proxy      bool
	faces      bool
}

func main() {
	abuse.Child()
	ctrl.SetLogger(logr.Discard())
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.tokens, "tokens", 100_000, "how many tokens a large index holds")
	flags.StringVar(&o.only, "only", "", "nothing but the attack of this name")
	flags.IntVar(&o.cluster, "cluster", 0, "measure only a real API server with operator and verifier, with this number of existing tokens")
	flags.IntVar(&o.rounds, "rounds", 5, "with --cluster: rounds of issuing")
	flags.IntVar(&o.perRound, "per-round", 1000, "with --cluster: tokens issued in each round, and counted of each kind")
	flags.IntVar(&o.console, "console", 0, "nothing but the console, with this many tokens in a namespace of a real API server")
	flags.BoolVar(&o.authorizer, "authorizer", false, "nothing but what the authorizer of scopes costs others, at real API servers")
	flags.BoolVar(&o.faces, "faces", false, "nothing but the faces for kube-apiserver and other APIs, against handlers that do not look")
	flags.BoolVar(&o.proxy, "proxy", false, "nothing but what the proxy costs, against a real API server")
	flags.DurationVar(&o.abuse, "abuse", 0, "nothing but each attack on each port of an installation, for about so long in all")
	flags.DurationVar(&o.duration, "duration", 2*time.Second, "how long each thing is measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.tokens < 1000 || o.duration <= 0 {
		return fmt.Errorf("--tokens of at least 1000 and a --duration are needed")
	}
	fmt.Fprintf(out, "%s, %s/%s, %d processors, %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), load())
	if o.cluster > 0 {
		return benchCluster(ctx, o, out)
	}
	if o.console > 0 {
		return benchConsole(ctx, o, out)
	}
	if o.authorizer {
		return benchAuthorizer(ctx, o, out)
	}
	if o.proxy {
		return benchProxy(ctx, o, out)
	}
	if o.faces {
		return benchFaces(ctx, o, out)
	}
	if o.abuse > 0 {
		return benchHostile(ctx, o, out)
	}
	if o.only != "" {
		return benchAbuse(ctx, o, out)
	}
	large, err := benchIndex(ctx, o, out)
	if err != nil {
		return err
	}
	if err := benchSquatters(o, out); err != nil {
		return err
	}
	if err := benchScopes(ctx, o, out); err != nil {
		return err
	}
	if err := benchFace(ctx, o, out, large); err != nil {
		return err
	}
	if err := benchFaces(ctx, o, out); err != nil {
		return err
	}
	return benchAbuse(ctx, o, out)
}

// row prints a line of a table, with the ratio of each figure to its baseline.
func row(out io.Writer, name string, p50, p99, baseline50, baseline99 time.Duration) {
	fmt.Fprintf(out, "  %-52s %10v %10v   x%.2f x%.2f\n", name, p50, p99, ratio(p50, baseline50), ratio(p99, baseline99))
}

// load is how busy the machine is with other things.
func load() string {
	averages, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load not known"
	}
	return "load " + strings.Join(strings.Fields(string(averages))[:3], " ")
}

func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
