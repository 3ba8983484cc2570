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
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// restartAfter is how long a dead manager stays down: long enough to see what a cluster without one does, once
	// kube-apiserver's caches (10 s) are empty.
	restartAfter = 15 * time.Second
	// retryEvery is how long the next attempt waits after one that failed.
	retryEvery = time.Second
	// answerWithin is how long the API server may take for an answer before it counts as one that does not answer.
	answerWithin = 3 * time.Second
	// firstAttempts is how often a first start may fail although the API server does what it has to.
	firstAttempts = 3
)

// keeper starts what runs in a dev cluster, and says what that waits for.
type keeper struct {
	cluster *cluster.Cluster
	out     io.Writer
	every   time.Duration
}

// kept is something that is to run at all times.
type kept struct {
	name string
	// pause is how long it stays down after its end.
	pause time.Duration
	// needs says what has to be so before it can start, and is not; "": nothing.
	needs func(context.Context) string
	// exited returns a channel that is closed when what runs now has ended.
	exited func() <-chan struct{}
	// start starts the next one, and says what there is to know of it.
	start func(context.Context) (about string, err error)
}

// keep starts the next of p each time that one has ended, and then calls started, until ctx is done.
func (k *keeper) keep(ctx context.Context, p kept, started func() error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.exited():
		}
		fmt.Fprintf(k.out, "The %s has ended; the next one starts in %v.\n", p.name, p.pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.pause):
		}
		about := ""
		err := k.persist(ctx, "The "+p.name, 0, p.needs, func() (err error) {
			about, err = p.start(ctx)
			return err
		})
		if err == nil {
			err = k.persist(ctx, "The file .dev/env", 0, nil, started)
		}
		if err != nil { // ctx is done
			return
		}
		fmt.Fprintf(k.out, "The %s runs again%s\n", p.name, about)
	}
}

// begin is a first start. It waits for an API server that stalls, and gives up on what fails in spite of one that does not: that
// is a mistake in what was asked for.
func (k *keeper) begin(ctx context.Context, what string, start func() error) error {
	return k.persist(ctx, what, firstAttempts, k.managersNeed, start)
}

// persist does something until it has succeeded, or ctx is done, or it has failed so often although nothing was missing; 0: as
// often as it takes. Whenever what is waited for has changed, it says so.
func (k *keeper) persist(ctx context.Context, what string, attempts int, needs func(context.Context) string, do func() error) error {
	if needs == nil {
		needs = func(context.Context) string { return "" }
	}
	said := ""
	for failed := 0; ; {
		waiting := needs(ctx)
		if waiting == "" {
			err := do()
			if err == nil {
				return nil
			}
			if waiting = needs(ctx); waiting == "" {
				if failed++; failed == attempts {
					return err
				}
				reason, _, _ := strings.Cut(err.Error(), "\n") // what follows are lines of a log
				waiting = fmt.Sprintf("cannot be started yet: %s. The next attempt follows", strings.TrimSuffix(reason, "; its log ends:"))
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if waiting != said {
			fmt.Fprintf(k.out, "%s %s. Ctrl-C stops everything.\n", what, waiting)
			said = waiting
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(k.every):
		}
	}
}

// managersNeed says what the API server does not do that every manager needs.
func (k *keeper) managersNeed(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	switch err := k.cluster.Get(ctx, "/readyz"); {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("waits for kube-apiserver (PID %d), which does not answer", k.cluster.APIServerPID())
	case err != nil:
		return fmt.Sprintf("waits for kube-apiserver (PID %d), which is not ready", k.cluster.APIServerPID())
	}
	if err := k.cluster.Get(ctx, "/apis/"+v1alpha1.GroupVersion.String()+"/personalaccesstokens?limit=1"); err != nil {
		return "waits until kube-apiserver serves personalaccesstokens." + v1alpha1.GroupVersion.Group +
			"; if its CustomResourceDefinition was removed, apply config/crd again"
	}
	return ""
}
