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
	"bufio"
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stuckWrite ends an answer of which the client takes no byte.
	stuckWrite = 60 * time.Second
	// lastWords is how long a client has to take what is said to it at the end.
	lastWords = time.Second
	// lastBytes is how long a client has to send the rest of a body that nobody reads any more.
	lastBytes = 5 * time.Second
)

// answer writes the answer to the client, and keeps what audit tells of it.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	http1   bool
	code    int
	// length is how long the body is, where the answer says it; else -1.
	length   int64
	hijacked bool
	bytes    atomic.Int64
	ctx      context.Context

	// mu guards finished: after that the connection may be another request's.
	mu       sync.Mutex
	finished bool
}

func newAnswer(w http.ResponseWriter, r *http.Request) *answer {
	return &answer{ResponseWriter: w, control: http.NewResponseController(w), http1: r.ProtoMajor == 1, length: -1, ctx: r.Context()}
}

// follow frees the handler of a client that takes nothing, some time after the context has ended.
func (a *answer) follow(ctx context.Context) (stop func() bool) {
	a.ctx = ctx
	return context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, a.hurry) })
}

func (a *answer) hurry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.finished {
		_ = a.control.SetWriteDeadline(time.Now())
		_ = a.control.SetReadDeadline(time.Now())
	}
}

// finish ends the answer. The server still reads what is left of a short body, which a client could hold back forever; for the
// next request it sets a deadline of its own.
func (a *answer) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finished = true
	if a.http1 && !a.hijacked {
		_ = a.control.SetReadDeadline(time.Now().Add(lastBytes))
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	if a.code < http.StatusOK {
		a.code, a.length = code, lengthOf(a.Header())
	}
	a.renew()
	a.ResponseWriter.WriteHeader(code)
}

// lengthOf is the length of the body that a header says, or -1.
func lengthOf(h http.Header) int64 {
	if length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		return length
	}
	return -1
}

// Write implements http.ResponseWriter. A part of a body of known length goes out at once, as a part of any other body does: the
// ReverseProxy flushes those. The last part goes out with the end of the answer, so that a small answer is one write.
func (a *answer) Write(b []byte) (int, error) {
	a.renew()
	n, err := a.ResponseWriter.Write(b)
	if a.bytes.Add(int64(n)) < a.length && err == nil {
		_ = a.control.Flush()
	}
	return n, err
}

// renew gives the next write its time. For HTTP/2 the server has a timeout of its own; a deadline would end an idle watch.
func (a *answer) renew() {
	if a.http1 && a.ctx.Err() == nil {
		_ = a.control.SetWriteDeadline(time.Now().Add(stuckWrite))
	}
}

// Unwrap lets http.ResponseController reach the server's own.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Hijack implements http.Hijacker, for connections that become another protocol.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := a.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.hijacked, a.code = true, http.StatusSwitchingProtocols
	a.finish()
	// A client that does not close its side would keep the connection.
	context.AfterFunc(a.ctx, func() { time.AfterFunc(lastWords, func() { _ = conn.Close() }) })
	return &countedConn{Conn: conn, bytes: &a.bytes}, rw, nil
}

// countedConn counts what is written to the client.
type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// CloseWrite says to the client that nothing more comes.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// buffers are for copying bodies.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if v, ok := b.pool.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(v []byte) { b.pool.Put(&v) }
