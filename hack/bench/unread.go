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
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// silentReaders ask for a list of 10 MiB and read nothing; moreHeap is what that may cost the proxy, givenBack when it has gone.
	silentReaders, moreHeap, givenBack = 40, 32 << 20, 30 * time.Second
	// heapNoise is how much the heap differs between two looks at a proxy that does nothing.
	heapNoise = 2 << 20
	// goawayWrites go to an API server that ends one connection of HTTP/2 in fifty requests, the most that it can be told to.
	goawayWrites, goawayFlag = 2400, "--goaway-chance=0.02"
)

// readNothing has clients ask for much and read nothing, and then go.
func (b *proxied) readNothing(ctx context.Context, o options, w *way) error {
	before, err := b.footprint(ctx)
	if err != nil {
		return err
	}
	conns := make([]*tls.Conn, silentReaders)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	for i := range conns {
		if conns[i], err = b.ask(w); err != nil {
			return err
		}
	}
	most := before
	for begun := time.Now(); time.Since(begun) < 5*o.duration; {
		now, err := b.footprint(ctx)
		if err != nil {
			return err
		}
		most.heap, most.resident = max(most.heap, now.heap), max(most.resident, now.resident)
	}
	b.figures.count(fmt.Sprintf("%d clients ask for a list of 10 MiB and read nothing: heap", silentReaders),
		fmt.Sprintf("%.1f MiB more; resident memory %.0f MiB more", mib(most.heap-before.heap), mib(most.resident-before.resident)),
		"< 32 MiB", most.heap-before.heap < moreHeap)
	for _, conn := range conns {
		_ = conn.Close()
	}
	gone := time.Now()
	for {
		now, err := b.footprint(ctx)
		if err != nil {
			return err
		}
		took := time.Since(gone)
		if back := now.heap <= before.heap+heapNoise; back || took > 2*givenBack {
			b.figures.count("the same, they are gone: heap back", fmt.Sprintf("%.1f MiB more after %.1f s", mib(now.heap-before.heap), took.Seconds()),
				"≤ 30 s", back && took <= givenBack)
			return nil
		}
	}
}

// ask asks for the big list by a connection of HTTP/1.1 with room for little.
func (b *proxied) ask(w *way) (*tls.Conn, error) {
	raw, err := net.Dial("tcp", strings.TrimPrefix(w.server, "https://"))
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{RootCAs: b.ca, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12})
	err = errors.Join(raw.(*net.TCPConn).SetReadBuffer(4<<10), conn.Handshake())
	if err == nil {
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: application/json\r\n\r\n", b.bigPath(), w.bearer)
	}
	return conn, err
}

// writeAtGoaway writes through a proxy to a kube-apiserver that asks clients to connect again now and then, as those of EKS do.
func (b *proxied) writeAtGoaway(ctx context.Context) error {
	replica, err := b.NewReplica()
	if err != nil {
		return err
	}
	defer replica.Kill()
	if err := replica.Start(ctx, "", goawayFlag); err != nil {
		return err
	}
	front, err := b.StartManager(ctx, cluster.ManagerOptions{Command: "proxy", Args: append(b.args, "--proxy-upstream=https://"+replica.Address)})
	if err != nil {
		return err
	}
	defer func() { _ = front.Stop() }()
	direct, err := b.direct(ctx)
	if err != nil {
		return err
	}
	direct.server = "https://" + replica.Address
	through, _, err := b.through(ctx, front)
	if err != nil {
		return err
	}
	lost, first := b.write(ctx, through)
	lostDirect, _ := b.write(ctx, direct)
	measured := fmt.Sprintf("%d lost; direct by HTTP/2 %d", lost, lostDirect)
	if first != nil {
		measured += fmt.Sprintf("; the first: %v", first)
	}
	b.figures.count(fmt.Sprintf("%d writes, to a kube-apiserver with %s", goawayWrites, goawayFlag), measured, "0 lost", lost == 0)
	return nil
}

// write creates objects that are not stored, and returns how many failed, and why the first of them did.
func (b *proxied) write(ctx context.Context, w *way) (lost int64, first error) {
	var failed atomic.Int64
	var why atomic.Pointer[error]
	_ = each(goawayWrites, func(i int) error {
		if err := b.writeOne(ctx, w, i); err != nil {
			failed.Add(1)
			why.CompareAndSwap(nil, &err)
		}
		return nil
	})
	if e := why.Load(); e != nil {
		first = *e
	}
	return failed.Load(), first
}

func (b *proxied) writeOne(ctx context.Context, w *way, i int) error {
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"goaway-%d"},"data":{"a":"%s"}}`, i, strings.Repeat("x", 2000))
	// net/http sends a body of this type anew where it may; a proxy cannot, as it does not keep bodies.
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server+"/api/v1/namespaces/"+b.small+"/configmaps?dryRun=All", strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+w.bearer)
	request.Header.Set("Content-Type", "application/json")
	response, err := w.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("HTTP %d %s", response.StatusCode, text)
	}
	return err
}
