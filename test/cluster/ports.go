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
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Below the ranges that Linux and macOS take for outgoing connections, so that no connection sits on a port
// while the server it belongs to is being restarted.
const firstPort, lastPort = 15000, 29999

// reservedPorts are TCP ports on 127.0.0.1 that no other cluster on this machine takes while they are held.
type reservedPorts struct {
	mu      sync.Mutex
	holders map[int]net.PacketConn
}

// take finds a free TCP port. The UDP port of the same number is held as the mark that it is taken: unlike a
// lock file it goes away with the process.
func (r *reservedPorts) take() (int, error) {
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		holder, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.holders == nil {
				r.holders = map[int]net.PacketConn{}
			}
			r.holders[port] = holder
			return port, nil
		}
		_ = holder.Close()
	}
	return 0, errors.New("no free port found on 127.0.0.1")
}

// Address returns HOST:PORT, where no other cluster on this machine and no outgoing connection will be, until Stop.
func (c *Cluster) Address() (address string, port int, err error) {
	port, err = c.reserved.take()
	return fmt.Sprintf("127.0.0.1:%d", port), port, err
}

// give lets others have ports again.
func (r *reservedPorts) give(ports ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, port := range ports {
		if holder, ok := r.holders[port]; ok {
			_ = holder.Close()
			delete(r.holders, port)
		}
	}
}

func (r *reservedPorts) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, holder := range r.holders {
		_ = holder.Close()
	}
	r.holders = nil
}
