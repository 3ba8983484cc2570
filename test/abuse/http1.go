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
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const perWorker = 64

var (
	tenMiB = make([]byte, 10<<20)
	deep   = bytes.Repeat([]byte("["), 60_000)
	bomb   = func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(tenMiB)
		_ = z.Close()
		return b.Bytes()
	}()
)

// head is a request that lacks its last headers and its body.
func (t Target) head() string {
	return "POST " + t.path() + " HTTP/1.1\r\nHost: pat-operator\r\nContent-Type: application/json\r\n"
}

// length is the last header before a body.
func length(n int) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n", n) }

// ReviewOf is a TokenReview as kube-apiserver writes it.
func ReviewOf(bearer string) string {
	return `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{"creationTimestamp":null},` +
		`"spec":{"token":"` + bearer + `","audiences":["https://kubernetes.default.svc"]},"status":{"user":{}}}`
}

func (t Target) request(bearer string) string {
	review := ReviewOf(bearer)
	return t.head() + length(len(review)) + review
}

// pipelined posts as many reviews as a connection takes, without waiting for one answer before the next question.
func pipelined(bearer func() string) func(context.Context, Target, *Done) {
	return func(ctx context.Context, t Target, done *Done) {
		t.workers(ctx, 4, func(ctx context.Context) error {
			conn, closeConn, err := t.open(ctx, "http/1.1")
			if err != nil {
				return err
			}
			defer closeConn()
			answers := bufio.NewReader(conn)
			for ctx.Err() == nil {
				var batch strings.Builder
				for range perWorker {
					batch.WriteString(t.request(bearer()))
				}
				if _, err := io.WriteString(conn, batch.String()); err != nil {
					return nil
				}
				for range perWorker {
					resp, err := http.ReadResponse(answers, nil)
					if err != nil {
						return nil
					}
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil {
						return nil
					}
					if bytes.Contains(body, []byte(`"authenticated":true`)) {
						done.Accepted.Add(1)
					}
					done.Count.Add(1)
				}
			}
			return nil
		})
	}
}

// hold opens connections, says something on each and holds them; one that the server ends is opened again.
func (t Target) hold(ctx context.Context, n int, done *Done, open func(context.Context) (net.Conn, func(), error),
	speak func(context.Context, io.Writer)) {
	t.workers(ctx, n, func(ctx context.Context) error {
		conn, closeConn, err := open(ctx)
		if err != nil {
			return err
		}
		defer closeConn()
		done.Count.Add(1)
		ended, end := context.WithCancel(ctx)
		var holding sync.WaitGroup
		if speak != nil {
			holding.Go(func() { speak(ended, conn) })
		}
		_, _ = io.Copy(io.Discard, conn)
		end()
		holding.Wait()
		return nil
	})
}

// silent holds connections that never say anything: half of them do not even begin a handshake.
func silent(ctx context.Context, t Target, done *Done) {
	var opened atomic.Int64
	t.hold(ctx, 200, done, func(ctx context.Context) (net.Conn, func(), error) {
		if opened.Add(1)%2 == 0 {
			return t.openTCP(ctx)
		}
		return t.open(ctx, "http/1.1")
	}, nil)
}

// holdSlots takes twice the slots that there are: what the server ends is opened again.
func holdSlots(ctx context.Context, t Target, done *Done) {
	t.hold(ctx, 2*max(t.Slots, 1), done, t.openTCP, nil)
}

// crowd has 1,500 requests under way, as a client of HTTP/2 has them where the server speaks it.
func crowd(ctx context.Context, t Target, done *Done) {
	transport := &http.Transport{
		TLSClientConfig: t.TLS, ForceAttemptHTTP2: true, MaxConnsPerHost: 300,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			conn, _, err := t.openTCP(ctx)
			return conn, err
		},
	}
	defer transport.CloseIdleConnections()
	client, body := &http.Client{Transport: transport}, cmp.Or(t.Body, ReviewOf(unknown()))
	t.workers(ctx, 1500, func(ctx context.Context) error {
		resp, err := send(ctx, client, t.URL(), body)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		done.Count.Add(1)
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	})
}

// unfinished begins handshakes and never finishes one.
func unfinished(ctx context.Context, t Target, done *Done) {
	t.hold(ctx, 200, done, func(ctx context.Context) (net.Conn, func(), error) {
		conn, closeConn, err := t.openTCP(ctx)
		if err != nil {
			return nil, nil, err
		}
		// The head of a ClientHello of 512 bytes, and the first of them.
		_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3})
		return conn, closeConn, nil
	}, nil)
}

// churn finishes handshakes, each from the start, and leaves.
func churn(ctx context.Context, t Target, done *Done) {
	t.workers(ctx, 8, func(ctx context.Context) error {
		_, closeConn, err := t.open(ctx, "http/1.1")
		if err != nil {
			return err
		}
		closeConn()
		done.Count.Add(1)
		return nil
	})
}

// slow says something and goes on at a byte now and then.
func slow(start string) func(context.Context, Target, *Done) {
	return func(ctx context.Context, t Target, done *Done) {
		t.hold(ctx, 100, done, func(ctx context.Context) (net.Conn, func(), error) {
			return t.open(ctx, "http/1.1")
		}, func(ctx context.Context, conn io.Writer) {
			_, err := io.WriteString(conn, t.head()+start)
			for err == nil && ctx.Err() == nil {
				pause(ctx, 50*time.Millisecond)
				_, err = io.WriteString(conn, "a")
			}
		})
	}
}

// posts sends the same request over and over, each on a connection of its own, and reads the answer. It does not wait for the
// server to close: one that has not looked at the body keeps the connection.
func posts(start string, body []byte) func(context.Context, Target, *Done) {
	return func(ctx context.Context, t Target, done *Done) {
		t.workers(ctx, 4, func(ctx context.Context) error {
			conn, closeConn, err := t.open(ctx, "http/1.1")
			if err != nil {
				return err
			}
			defer closeConn()
			done.Count.Add(1)
			if _, err := io.WriteString(conn, t.head()+start); err != nil {
				return nil // answered and closed before the body: as it should be
			}
			var writing sync.WaitGroup
			writing.Go(func() { _, _ = conn.Write(body) })
			if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
			closeConn()
			writing.Wait()
			return nil
		})
	}
}

// neverRead asks and asks, and reads no answer.
func neverRead(ctx context.Context, t Target, done *Done) {
	t.workers(ctx, 20, func(ctx context.Context) error {
		conn, closeConn, err := t.open(ctx, "http/1.1")
		if err != nil {
			return err
		}
		defer closeConn()
		one := t.request(unknown())
		for {
			if _, err := io.WriteString(conn, one); err != nil {
				return nil
			}
			done.Count.Add(1)
		}
	})
}
