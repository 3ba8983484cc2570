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
	"errors"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nodesOf plays an API server with nodes, two in an answer.
type nodesOf struct {
	client.Client
	addresses [][]string
	err       error
	lists     int
}

func (n *nodesOf) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	n.lists++
	if n.err != nil {
		return n.err
	}
	o := (&client.ListOptions{}).ApplyOptions(opts)
	from, _ := strconv.Atoi(o.Continue)
	to := min(from+2, len(n.addresses))
	all := list.(*corev1.NodeList)
	for _, addresses := range n.addresses[from:to] {
		var node corev1.Node
		for _, a := range addresses {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
		all.Items = append(all.Items, node)
	}
	if to < len(n.addresses) {
		all.Continue = strconv.Itoa(to)
	}
	return nil
}

func TestTheAddressesOfAllNodesAreKnown(t *testing.T) {
	var none *Nodes
	api := &nodesOf{addresses: [][]string{{"10.0.0.1", "node-1"}, {"10.0.0.2", "2001:db8::2"}, {}, {"::ffff:10.0.0.4"}, {"10.0.0.5"}}}
	n := NewNodes(api, logr.Discard())
	if a := netip.MustParseAddr("10.0.0.1"); none.has(a) || n.has(a) {
		t.Error("a node is known before any is listed")
	}
	if err := n.list(t.Context()); err != nil || api.lists != 3 {
		t.Fatalf("%v after %d lists", err, api.lists)
	}
	for address, want := range map[string]bool{
		"10.0.0.1": true, "10.0.0.2": true, "2001:db8::2": true, "10.0.0.4": true, "10.0.0.5": true, "10.0.0.3": false, "2001:db8::1": false,
	} {
		if n.has(netip.MustParseAddr(address)) != want {
			t.Errorf("%s is a node's: want %t", address, want)
		}
	}
	api.err = errors.New("the API server is away")
	if err := n.list(t.Context()); err == nil || !n.has(netip.MustParseAddr("10.0.0.5")) {
		t.Error("what is known is forgotten")
	}
	api.err, api.addresses = nil, api.addresses[:1]
	if err := n.list(t.Context()); err != nil || n.has(netip.MustParseAddr("10.0.0.5")) || !n.has(netip.MustParseAddr("10.0.0.1")) {
		t.Error("a node that is gone is still known")
	}
}

// A request that comes from a node is counted, unless a trusted proxy runs there: then its client's address is known.
func TestRequestsFromNodesAreCounted(t *testing.T) {
	n := NewNodes(&nodesOf{addresses: [][]string{{"192.0.2.1"}}}, logr.Discard())
	if err := n.list(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, peer, forwarded string
		trusted               []netip.Prefix
		want                  float64
	}{
		{"a node", "192.0.2.1:1", "", nil, 1},
		{"a node, in IPv6 form", "[::ffff:192.0.2.1]:1", "", nil, 1},
		{"a client", "192.0.2.2:1", "", nil, 0},
		{"a client that says it is a node", "192.0.2.2:1", "192.0.2.1", nil, 0},
		{"a trusted proxy on a node", "192.0.2.1:1", "192.0.2.9", networks("192.0.2.1/32"), 0},
		{"a node behind a trusted proxy", "192.0.2.3:1", "192.0.2.1", networks("192.0.2.3/32"), 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t, nil, func(o *Options) { o.Nodes, o.TrustedProxies = n, tc.trusted })
			r := httptest.NewRequest("GET", "/version", nil)
			r.RemoteAddr = tc.peer
			if tc.forwarded != "" {
				r.Header.Set("X-Forwarded-For", tc.forwarded)
			}
			before := testutil.ToFloat64(fromNodes)
			b.proxy.ServeHTTP(httptest.NewRecorder(), r)
			if got := testutil.ToFloat64(fromNodes) - before; got != tc.want {
				t.Errorf("%v requests are counted; want %v", got, tc.want)
			}
		})
	}
}
