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
	"fmt"
	"io"
	"net"
	"sync"
)

// service is the stable address of a Service: each connection goes to the next endpoint, and is closed if none exists.
type service struct {
	listener net.Listener
	// inService returns the ports of the endpoints as they are now.
	inService func() []int

	mu     sync.Mutex
	pinned []int // instead of inService, where not nil
	next   int
	open   map[net.Conn]struct{} // from the clients
}

func startService(port int, inService func() []int) (*service, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	s := &service{listener: listener, inService: inService, open: map[net.Conn]struct{}{}}
	go s.accept()
	return s, nil
}

func (s *service) stop() {
	if s != nil {
		_ = s.listener.Close() // connections end with the processes at their ends
	}
}

// drop ends the connections that are open.
func (s *service) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for client := range s.open {
		_ = client.Close()
	}
}

// pin makes the endpoints be these ports, whether they are ready or not; nil: those that are ready, again.
func (s *service) pin(ports []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pinned = ports
}

// endpoints are the ports to try, the next in turn first.
func (s *service) endpoints() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports := s.pinned
	if ports == nil {
		ports = s.inService()
	}
	if len(ports) == 0 {
		return nil
	}
	s.next++
	first := s.next % len(ports)
	return append(append([]int(nil), ports[first:]...), ports[:first]...)
}

func (s *service) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.forward(client)
	}
}

// forward takes the first endpoint that can be connected to, as connections to one that has just gone are refused.
func (s *service) forward(client net.Conn) {
	s.mu.Lock()
	s.open[client] = struct{}{}
	s.mu.Unlock()
	defer func() {
		_ = client.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, client)
	}()
	for _, port := range s.endpoints() {
		server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		join(client, server)
		return
	}
}

// join copies both ways until either side has ended: TLS on both sides has said so by then.
func join(a, b net.Conn) {
	defer func() { _ = b.Close() }()
	done := make(chan struct{}, 2)
	for to, from := range map[net.Conn]net.Conn{a: b, b: a} {
		go func() {
			_, _ = io.Copy(to, from)
			done <- struct{}{}
		}()
	}
	<-done
}

// DropVerifierConnections ends the connections to the verifier's Service, so that new ones follow what PinVerifiers says.
func (c *Cluster) DropVerifierConnections() { c.verifier.drop() }

// DropAdmissionConnections ends the connections to the admission Service, as the end of a pod that stands still would.
func (c *Cluster) DropAdmissionConnections() { c.admission.drop() }

// WithdrawVerifiers makes connections to the verifier's Service be refused, as those to a Service without endpoints are,
// and ends those that are open, until restore is called.
func (c *Cluster) WithdrawVerifiers() (restore func() error) {
	was := c.verifier
	was.stop()
	was.drop()
	return func() error {
		service, err := startService(c.ports.verifier, was.inService)
		if err == nil {
			c.verifier = service
		}
		return err
	}
}

// startServices gives both Services their addresses.
func (c *Cluster) startServices() error {
	port := func(of func(*Manager) int) func() []int {
		return func() []int {
			var ports []int
			for _, m := range c.running() {
				if p := of(m); p != 0 && !m.apart && m.inService.Load() {
					ports = append(ports, p)
				}
			}
			return ports
		}
	}
	var err error
	if c.admission, err = startService(c.ports.admission, port(func(m *Manager) int { return m.AdmissionPort })); err != nil {
		return err
	}
	c.verifier, err = startService(c.ports.verifier, port(func(m *Manager) int { return m.VerifierPort }))
	return err
}

// PinVerifiers makes the verifier's Service lead to these, whether they are ready or not, as a cluster does until it has
// noticed; without any, to those that are ready, as at first. Connections that are open stay where they are.
func (c *Cluster) PinVerifiers(managers ...*Manager) {
	var ports []int
	for _, m := range managers {
		ports = append(ports, m.VerifierPort)
	}
	c.verifier.pin(ports)
}
