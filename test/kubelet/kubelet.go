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

// Package kubelet gives a test's cluster a Node whose kubelet this program is: kube-apiserver sends it what kubectl exec, cp,
// attach, port-forward and logs say, in the protocols of a real one (k8s.io/cri-streaming). Commands run on this machine.
package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/env"
)

// Container is the name of the container of each pod.
const Container = "main"

// Kubelet is a Node of a cluster.
type Kubelet struct {
	// Node is its name.
	Node string
	// Dir is where its pods run their commands.
	Dir string

	product *env.Product
	address string
	server  *http.Server
	running context.Context // of the commands
	kill    context.CancelFunc

	mu    sync.Mutex
	seen  []Request
	open  map[string]int // by pod
	sizes []remotecommand.TerminalSize
}

// Request is one that the kubelet has received.
type Request struct {
	Method string
	URL    *url.URL
	Header http.Header
}

// Start serves a kubelet and makes its Node. Dir is removed with the cluster's.
func Start(ctx context.Context, p *env.Product) (*Kubelet, error) {
	ca, err := os.ReadFile(p.CAFile)
	if err != nil {
		return nil, err
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate of the cluster's CA")
	}
	certificate, err := p.ServingCertificate("127.0.0.1")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(p.Dir, "node-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &Kubelet{open: map[string]int{}, Dir: dir, product: p, address: listener.Addr().String()}
	k.running, k.kill = context.WithCancel(context.Background())
	k.server = &http.Server{
		Handler:           k,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // handshakes without kube-apiserver's certificate
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13,
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		},
	}
	go func() { _ = k.server.ServeTLS(listener, "", "") }() // ends with Stop
	p.RouteNode(k.address)
	if err := k.register(ctx, listener.Addr().(*net.TCPAddr)); err != nil {
		k.Stop()
		return nil, err
	}
	return k, nil
}

func (k *Kubelet) register(ctx context.Context, address *net.TCPAddr) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "node-"}}
	if err := k.product.Admin.Create(ctx, node); err != nil {
		return err
	}
	k.Node = node.Name
	patch := client.MergeFrom(node.DeepCopy())
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address.IP.String()}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(address.Port)
	return k.product.Admin.Status().Patch(ctx, node, patch)
}

// Pod makes a running pod.
func (k *Kubelet) Pod(ctx context.Context, namespace, name string) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			NodeName:   k.Node,
			Containers: []corev1.Container{{Name: Container, Image: "none", Stdin: true}},
			// The Node sends no heartbeats, and nothing here ends a pod gracefully.
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			TerminationGracePeriodSeconds: ptr.To[int64](0),
			AutomountServiceAccountToken:  ptr.To(false),
		},
	}
	// It is forbidden until its namespace has a service account.
	err := env.Poll(ctx, env.Patience, func() error {
		err := k.product.Admin.Create(ctx, pod)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	patch := client.MergeFrom(pod.DeepCopy())
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: Container, Image: "none", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}}
	return k.product.Admin.Status().Patch(ctx, pod, patch)
}

// Stop ends the commands and serves nobody any more.
func (k *Kubelet) Stop() {
	k.kill()
	_ = k.server.Close()
}

// Seen are the requests so far.
func (k *Kubelet) Seen() []Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}

// Open is how many requests of a pod's name have not ended: commands, attachments, forwarded ports and logs.
func (k *Kubelet) Open(pod string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open[pod]
}

// Sizes are those that terminals have had so far.
func (k *Kubelet) Sizes() []remotecommand.TerminalSize {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.sizes)
}
