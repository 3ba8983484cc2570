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
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/abuse"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

// authorizerRounds is how often a kube-apiserver that asks the authorizer is compared with one that does not.
const authorizerRounds = 5

// benchAuthorizer measures what the authorizer costs those whose tokens have no scopes: the requests of a user with a client
// certificate at a kube-apiserver that asks it about tokens with scopes, against one that never does, while the authorizer
// runs, stands still, and is gone.
func benchAuthorizer(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "pat-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p, err := env.Start(ctx, dir, env.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	namespace, err := p.Team(ctx, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "alice"}, "configmaps")
	if err != nil {
		return err
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "read"}}
	if err := p.Admin.Create(ctx, object); err != nil {
		return err
	}
	var readers [2]client.Client // without the authorizer, and with it
	for i, config := range []string{"", p.AuthorizationConfig} {
		replica, err := p.NewReplica()
		if err != nil {
			return err
		}
		defer replica.Kill()
		if err := replica.Start(ctx, config); err != nil {
			return err
		}
		if readers[i], err = reader(p, replica); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\nA user whose credentials have no scopes reads a ConfigMap; medians of %d rounds, by turns in each\n", authorizerRounds)
	fmt.Fprintf(out, "\n  %-52s %10s %10s   ratio\n", "the authorizer", "without it", "with it")
	for _, state := range []struct {
		name  string
		enter func() error
	}{
		{"runs", func() error { return nil }},
		{"stands still", p.Verifier.Pause},
		{"is gone", func() error { return errors.Join(p.Verifier.Resume(), p.Verifier.Stop()) }},
	} {
		if err := state.enter(); err != nil {
			return err
		}
		var medians [2][]time.Duration
		var ratios []float64
		for range authorizerRounds {
			m, err := medianReads(ctx, readers, client.ObjectKeyFromObject(object), o.duration)
			if err != nil {
				return fmt.Errorf("the authorizer %s: %w", state.name, err)
			}
			for i := range m {
				medians[i] = append(medians[i], m[i])
			}
			ratios = append(ratios, ratio(m[1], m[0]))
		}
		for i := range medians {
			slices.Sort(medians[i])
		}
		slices.Sort(ratios)
		fmt.Fprintf(out, "  %-52s %10v %10v   x%.3f (x%.3f to x%.3f)\n", state.name, medians[0][authorizerRounds/2], medians[1][authorizerRounds/2],
			ratios[authorizerRounds/2], ratios[0], ratios[authorizerRounds-1])
	}
	return nil
}

// reader is alice at a kube-apiserver, with a limit of requests that she does not meet.
func reader(p *env.Product, replica *cluster.Replica) (client.Client, error) {
	config, _, err := p.Cluster.User("alice")
	if err != nil {
		return nil, err
	}
	config.Host, config.QPS = "https://"+replica.Address, -1
	return client.New(config, client.Options{Scheme: env.Scheme, Mapper: p.Admin.RESTMapper()})
}

// medianReads reads one object again and again for some time, by turns, since other work on the machine is to meet both.
func medianReads(ctx context.Context, readers [2]client.Client, key client.ObjectKey, d time.Duration) (medians [2]time.Duration, err error) {
	var took [2]abuse.Latencies
	for begun := time.Now(); time.Since(begun) < d; {
		for i, c := range readers {
			asked := time.Now()
			if err := c.Get(ctx, key, &corev1.ConfigMap{}); err != nil {
				return medians, err
			}
			took[i] = append(took[i], time.Since(asked))
		}
	}
	for i := range took {
		slices.Sort(took[i])
		medians[i] = took[i].Quantile(.5)
	}
	return medians, nil
}
