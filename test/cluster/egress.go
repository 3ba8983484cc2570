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

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const egressConfig = "egress.yaml"

// egress is the proxy through which kube-apiserver reaches Services and kubelets (HTTP CONNECT, an "egress selector"): here is
// no network that would route their addresses. So webhook configurations are installed as they are, and TLS
// verifies the Services' names as in any cluster.
type egress struct {
	server *http.Server

	mu     sync.RWMutex
	routes map[string]string // address of a Service -> address of a local server
	nodes  map[string]bool   // addresses of kubelets
}

// startEgress serves with the API server's own certificate, out of dir, and writes the file for
// --egress-selector-config-file there. (kube-apiserver 1.37 panics on a proxy without TLS.)
func startEgress(dir string) (*egress, error) {
	crt, key := filepath.Join(dir, servingCert), filepath.Join(dir, servingKey)
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, egressConfig), fmt.Appendf(nil, `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      tcp:
        url: "https://%s"
        tlsConfig: {caBundle: %q, clientCert: %q, clientKey: %q}
`, listener.Addr(), filepath.Join(dir, caFile), crt, key), 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	e := &egress{nodes: map[string]bool{}}
	e.server = &http.Server{
		Handler:           http.HandlerFunc(e.connect),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // handshakes that a killed API server broke off
	}
	go func() { _ = e.server.Serve(listener) }()
	return e, nil
}

func (e *egress) stop() {
	if e != nil {
		_ = e.server.Close() // connections end with the processes at their ends
	}
}

func (e *egress) setRoutes(routes map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.routes = maps.Clone(routes)
}

// RouteNode lets kube-apiserver connect to a kubelet at this address, HOST:PORT.
func (c *Cluster) RouteNode(address string) {
	c.egress.mu.Lock()
	defer c.egress.mu.Unlock()
	c.egress.nodes[address] = true
}

func (e *egress) connect(w http.ResponseWriter, r *http.Request) {
	e.mu.RLock()
	target, known := e.routes[r.RequestURI] // kube-apiserver sends 127.0.0.1 as Host
	if e.nodes[r.RequestURI] {
		target, known = r.RequestURI, true
	}
	e.mu.RUnlock()
	if r.Method != http.MethodConnect || !known {
		http.Error(w, "no such Service", http.StatusBadGateway)
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = server.Close()
		return
	}
	defer func() { _ = client.Close() }()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = server.Close()
		return
	}
	join(client, server)
}

// RouteServices sends what kube-apiserver says to our Services to their addresses here. Start does it for what it installs.
func (c *Cluster) RouteServices(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		return err
	}
	services, err := client.CoreV1().Services(OperatorNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	local := map[string]int{
		"pat-operator-admission": c.ports.admission,
		"pat-operator-verifier":  c.ports.verifier,
	}
	routes := map[string]string{}
	for _, service := range services.Items {
		for _, port := range service.Spec.Ports {
			if target, ours := local[service.Name]; ours {
				routes[net.JoinHostPort(service.Spec.ClusterIP, fmt.Sprint(port.Port))] = fmt.Sprintf("127.0.0.1:%d", target)
			}
		}
	}
	c.egress.setRoutes(routes)
	return nil
}
