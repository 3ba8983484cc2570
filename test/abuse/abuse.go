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

// Package abuse is what hostile clients do to a server of ours, and the well-behaved client that must not notice, for
// tests and benchmarks. Its attacks need no certificate and no token: every client that reaches the port can run them.
package abuse

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"hash/crc32"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pat-operator/pat-operator/internal/token"
)

// Path is where TokenReviews are posted.
const Path = "/authenticate"

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Target is a server.
type Target struct {
	Address string
	// Path is what attacks ask for; empty: where TokenReviews are posted.
	Path string
	// Body is of the requests of a crowd; empty: a review of an unknown token.
	Body string
	// Bearer is a valid token of the attacker's, for attacks that need one.
	Bearer string
	// Slots is how much the server holds at once, for the attack that takes all of them.
	Slots int
	// TLS trusts it; nil: it serves plain HTTP.
	TLS *tls.Config `json:"-"`
	// Scale multiplies how many connections an attack opens; 0 is 1.
	Scale int
	// Sources is the number of addresses that an attack comes from in turn: Source(1), Source(2) and so on; 0: one of the
	// system's choice.
	Sources int
	// Once: a few connections only, and what the server has ended is not opened again.
	Once bool
}

// Attack is one way to abuse a server.
type Attack struct {
	Name string
	// Unit is what Done counts.
	Unit string
	// Holds: it opens connections to keep them, until the server ends them.
	Holds bool
	// Fills: it has begun only once it has opened twice the slots of the server.
	Fills bool
	// Run runs the attack until ctx ends, and returns when its connections and goroutines are gone.
	Run func(ctx context.Context, t Target, done *Done)
}

// Done is what an attack has done so far.
type Done struct {
	// Count is how many of its units.
	Count atomic.Int64
	// Accepted is how often a server authenticated an invalid token.
	Accepted atomic.Int64
}

// Floods of unique tokens: no answer can be remembered, and each costs a checksum, or a look into the index.
func Floods() []Attack {
	return []Attack{
		{Name: "unique garbage", Unit: "reviews", Run: pipelined(garbage)},
		{Name: "unique unknown tokens", Unit: "reviews", Run: pipelined(unknown)},
	}
}

// Others are attacks by everything else that a client can do.
func Others() []Attack {
	return []Attack{
		{Name: "silent connections", Unit: "connections", Holds: true, Run: silent},
		{Name: "unfinished handshakes", Unit: "connections", Holds: true, Run: unfinished},
		{Name: "connect and close", Unit: "connections", Run: churn},
		{Name: "slow headers", Unit: "connections", Holds: true, Run: slow("X-Slow: ")},
		{Name: "slow bodies", Unit: "connections", Holds: true, Run: slow(length(60_000) + "{")},
		{Name: "slow bodies, HTTP/2", Unit: "streams", Holds: true, Run: slowStreams},
		{Name: "10 MiB bodies", Unit: "requests", Run: posts(length(len(tenMiB)), tenMiB)},
		{Name: "10 MiB bodies, chunked", Unit: "requests", Run: posts("Transfer-Encoding: chunked\r\n\r\na00000\r\n", tenMiB)},
		{Name: "deep JSON", Unit: "requests", Run: posts(length(len(deep)), deep)},
		{Name: "gzip bombs", Unit: "requests", Run: posts("Content-Encoding: gzip\r\n"+length(len(bomb)), bomb)},
		{Name: "huge headers", Unit: "requests", Run: posts("X-Huge: ", bytes.Repeat([]byte("x"), 1<<20))},
		{Name: "rapid reset", Unit: "streams", Run: rapidReset},
		{Name: "CONTINUATION flood", Unit: "frames", Run: continuations},
		{Name: "SETTINGS flood", Unit: "frames", Run: settings},
		{Name: "PING flood", Unit: "frames", Run: pings},
		{Name: "answers never read", Unit: "requests", Holds: true, Run: neverRead},
		{Name: "answers never read, HTTP/2", Unit: "streams", Holds: true, Run: neverReadStreams},
		{Name: "no window for answers", Unit: "streams", Holds: true, Run: noWindow},
	}
}

// crowds are attacks by many at once: one takes every slot of the server twice over and keeps it, one asks.
func crowds() []Attack {
	return []Attack{
		{Name: "every slot held", Unit: "connections", Holds: true, Fills: true, Run: holdSlots},
		{Name: "1,500 requests at once", Unit: "requests", Run: crowd},
	}
}

// All are all attacks.
func All() []Attack { return slices.Concat(Floods(), Others(), crowds()) }

// URL is what attacks ask for.
func (t Target) URL() string {
	scheme := "https"
	if t.TLS == nil {
		scheme = "http"
	}
	return scheme + "://" + t.Address + t.path()
}

func (t Target) path() string { return cmp.Or(t.Path, Path) }

// workers runs loops of the same step until ctx ends. A step returns an error where it got no connection; it is tried
// again a little later.
func (t Target) workers(ctx context.Context, n int, step func(context.Context) error) {
	if n *= max(t.Scale, 1); t.Once {
		n = max(n/20, 1)
	}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				if step(ctx) != nil {
					pause(ctx, time.Millisecond)
				} else if t.Once {
					return
				}
			}
		})
	}
	all.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// open dials, with TLS for one protocol where the server has it. The connection ends with ctx; close may be called before that.
func (t Target) open(ctx context.Context, protocol string) (conn net.Conn, closeConn func(), err error) {
	raw, closeConn, err := t.openTCP(ctx)
	if err != nil {
		return nil, nil, err
	}
	if t.TLS == nil {
		return raw, closeConn, nil
	}
	config := t.TLS.Clone()
	config.NextProtos = []string{protocol}
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		closeConn()
		return nil, nil, err
	}
	return secured, closeConn, nil
}

var dialed atomic.Int32

// Source is a local address of this machine, another one for each number up to 65,000: 127.0.0.1 is number 0. Only Linux has
// them all.
func Source(n int) net.IP { n++; return net.IPv4(127, 0, byte(n>>8), byte(n)) }

// openTCP dials. The connection is reset and not just closed, so that no port of this machine waits for the peer.
func (t Target) openTCP(ctx context.Context) (conn net.Conn, closeConn func(), err error) {
	dialer := &net.Dialer{}
	if t.Sources > 0 {
		dialer.LocalAddr = &net.TCPAddr{IP: Source(1 + int(dialed.Add(1))%t.Sources)}
	}
	raw, err := dialer.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, nil, err
	}
	_ = raw.(*net.TCPConn).SetLinger(0)
	if t.Once {
		_ = raw.(*net.TCPConn).SetReadBuffer(4 << 10) // who never reads makes the server notice sooner
	}
	unhook := context.AfterFunc(ctx, func() { _ = raw.Close() })
	return raw, func() { unhook(); _ = raw.Close() }, nil
}

func garbage() string {
	var b [40]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func unknown() string {
	_, plaintext, err := token.New(rand.Reader)
	if err != nil {
		panic(err)
	}
	return plaintext
}

// forged is a token with one token's id and another's secret, its checksum in order.
func forged(id, secret string) string {
	const idEnd, checksumStart = len(token.Prefix) + token.IDLength, token.Length - 6
	body := id[:idEnd] + secret[idEnd:checksumStart]
	n := crc32.ChecksumIEEE([]byte(body))
	var sum [6]byte
	for i := len(sum) - 1; i >= 0; i-- {
		sum[i] = base62[n%62]
		n /= 62
	}
	return body + string(sum[:])
}
