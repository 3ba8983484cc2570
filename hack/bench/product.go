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
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// product is a site with a verifier and an operator.
type product struct {
	*site
	verifier, operator *cluster.Manager
}

// startProduct starts a control plane with a verifier and an operator, with further flags of the latter.
func startProduct(ctx context.Context, dir string, verifier cluster.ManagerOptions, operator ...string) (p *product, err error) {
	binary, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Options{ManagerBinary: binary})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	p = &product{}
	if p.site, err = newSite(ctx, c); err != nil {
		return nil, err
	}
	// In this order: for the first verifier kube-apiserver restarts, which an operator's lease might not survive.
	if p.verifier, err = c.StartManager(ctx, verifier); err != nil {
		return nil, err
	}
	if p.operator, err = c.StartOperator(ctx, operator...); err != nil {
		return nil, err
	}
	_, err = p.first(ctx, inSecret)
	return p, err
}

// idle is longer than any wait of a restarted operator that has work to do.
const idle = 12 * time.Second

// start is the requests of an operator that starts with nothing to do, and how long after its start the last one came.
type start struct {
	calls calls
	quiet time.Duration
}

// countStart restarts the operator behind the counter and leaves it there.
func (p *product) countStart(ctx context.Context, n *counter) (s start, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := p.operator.Stop(); err != nil {
		return s, err
	}
	before, began := n.now(), time.Now()
	if p.operator, err = p.StartManager(ctx, cluster.ManagerOptions{Command: "operator", Server: n.URL}); err != nil {
		return s, err
	}
	last, err := n.quiet(ctx, idle)
	return start{n.now().since(before, 1), last.Sub(began)}, err
}

// counted is the requests of the operator.
type counted struct {
	// Per token: two kinds that alice makes for herself, and a holder's own that the administrator makes for another user.
	own, secret, others calls
	// Starts without and with existing tokens.
	empty, full start
}

// countRequests counts the requests of a start, and those per token.
func countRequests(ctx context.Context, p *product, n *counter, tokens int, out io.Writer) (c counted, err error) {
	if err := p.clear(ctx); err != nil {
		return c, err
	}
	if c.empty, err = p.countStart(ctx, n); err != nil {
		return c, err
	}
	for _, what := range []struct {
		calls  *calls
		create func(i int, key client.ObjectKey) error
	}{
		{&c.own, func(_ int, key client.ObjectKey) error { return p.create(ctx, key, holders) }},
		{&c.secret, func(_ int, key client.ObjectKey) error { return p.create(ctx, key, inSecret) }},
		{&c.others, func(i int, key client.ObjectKey) error {
			pat, _, err := newToken(key, holders)
			if err != nil {
				return err
			}
			forOther(pat, i)
			return p.admin.Create(ctx, pat)
		}},
	} {
		if _, err := p.first(ctx, inSecret); err != nil {
			return c, err
		}
		if _, err := n.quiet(ctx, 2*settled); err != nil {
			return c, err
		}
		keys, before := newKeys(tokens), n.now()
		if _, err := untilActive(ctx, p.admin, keys, func(i int) error { return what.create(i, keys[i]) }); err != nil {
			return c, err
		}
		if _, err := n.quiet(ctx, 2*settled); err != nil {
			return c, err
		}
		*what.calls = n.now().since(before, tokens)
		if err := p.clear(ctx); err != nil {
			return c, err
		}
	}
	fmt.Fprintf(out, "\nCounted the operator's requests for %d tokens of each kind\n", tokens)
	if err := p.operator.Stop(); err != nil {
		return c, err
	}
	p.operator, err = p.StartOperator(ctx) // without the counter, which takes time
	return c, err
}
