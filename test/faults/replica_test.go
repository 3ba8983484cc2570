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

package faults

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/faults/proxy"
)

// maxStaleness is as short as it may be set.
const maxStaleness = 20 * time.Second

// replica is a verifier behind a proxy of its own.
type replica struct {
	*cluster.Manager
	name  string
	proxy *proxy.Proxy
	face  *face
	apart bool // not an endpoint of the Service
}

// startReplica starts a verifier that reaches the API server through a new proxy, and waits until it is ready.
func startReplica(ctx context.Context, name string, apart bool) (*replica, error) {
	certificate, err := cl.ServingCertificate("127.0.0.1")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cl.Anonymous().CAData)
	r := &replica{name: name, apart: apart}
	if r.proxy, err = proxy.New(proxy.Options{Upstream: cl.Server, RootCAs: roots, Certificate: certificate}); err != nil {
		return nil, err
	}
	if err := r.start(ctx); err != nil {
		r.proxy.Close()
		return nil, err
	}
	return r, nil
}

// start starts the verifier, anew where it has ended.
func (r *replica) start(ctx context.Context) (err error) {
	if r.Manager, err = cl.StartManager(ctx, cluster.ManagerOptions{
		Command: "verifier", Server: r.proxy.URL, Args: []string{"--max-staleness=" + maxStaleness.String()}, Apart: r.apart,
	}); err != nil {
		return fmt.Errorf("replica %s: %w", r.name, err)
	}
	r.face, err = newFace(fmt.Sprintf("https://127.0.0.1:%d/authenticate", r.VerifierPort))
	return err
}

func (r *replica) end() {
	r.Kill()
	r.proxy.Close()
}

// startReplicas starts several at once.
func startReplicas(ctx context.Context, apart bool, names ...string) ([]*replica, error) {
	started, errs := make([]*replica, len(names)), make([]error, len(names))
	var starting sync.WaitGroup
	for i, name := range names {
		starting.Go(func() { started[i], errs[i] = startReplica(ctx, name, apart) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, r := range started {
			if r != nil {
				r.end()
			}
		}
		return nil, err
	}
	return started, nil
}
