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

package proxy

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/serving"
)

const (
	nodesEvery   = 5 * time.Minute
	nodesTimeout = time.Minute
	// nodesAtOnce is how many nodes are in one answer: each may have 50 KiB of images.
	nodesAtOnce = 100
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=list

// Nodes knows the addresses of the cluster's nodes. A request that comes from one has mostly lost its client's address on the way:
// a Service with externalTrafficPolicy: Cluster puts a node's address there. It is a Runnable of every replica.
type Nodes struct {
	client client.Client
	log    logr.Logger
	known  atomic.Pointer[map[netip.Addr]struct{}]
}

// NewNodes returns the Runnable; c needs to list nodes.
func NewNodes(c client.Client, log logr.Logger) *Nodes { return &Nodes{client: c, log: log} }

// NeedLeaderElection is false: every replica serves.
func (*Nodes) NeedLeaderElection() bool { return false }

// Start asks for the nodes every five minutes, until ctx ends. While they cannot be listed, those that are known count.
func (n *Nodes) Start(ctx context.Context) error {
	tick := time.NewTicker(nodesEvery)
	defer tick.Stop()
	for {
		if err := n.list(ctx); err != nil && ctx.Err() == nil {
			n.log.Info("Cannot list the nodes; requests that come from a node are not counted", "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (n *Nodes) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	known := map[netip.Addr]struct{}{}
	for from := ""; ; {
		var nodes corev1.NodeList
		if err := n.client.List(ctx, &nodes, client.Limit(nodesAtOnce), client.Continue(from)); err != nil {
			return err
		}
		for i := range nodes.Items {
			for _, a := range nodes.Items[i].Status.Addresses {
				// A host name does not parse.
				if address, err := netip.ParseAddr(a.Address); err == nil {
					known[serving.Canonical(address)] = struct{}{}
				}
			}
		}
		if from = nodes.Continue; from == "" {
			n.known.Store(&known)
			return nil
		}
	}
}

// has reports whether an address is a node's. A nil Nodes knows none.
func (n *Nodes) has(address netip.Addr) bool {
	if n == nil {
		return false
	}
	known := n.known.Load()
	if known == nil {
		return false
	}
	_, ok := (*known)[address]
	return ok
}
