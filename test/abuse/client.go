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
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// deadline of a review, as kube-apiserver's.
	deadline = 30 * time.Second
	// pacing keeps the client from being a flood of its own.
	pacing = 2 * time.Millisecond
	// oneInTen reviews is of a token whose secret is another's, and must not be authenticated.
	oneInTen = 10
)

// Load is what well-behaved clients ask, each one thing after another; i is another number each time.
type Load []func(ctx context.Context, i int) error

// Client reviews tokens as kube-apiserver does, over connections that it keeps: two of HTTP/2, two of HTTP/1.1.
type Client struct {
	load    Load
	url     string
	clients []*http.Client
	bearers []string
	// user is whom the i-th bearer is of.
	user func(i int) string
}

// NewClient returns a client that knows some valid tokens.
func NewClient(t Target, bearers []string, user func(i int) string) *Client {
	c := &Client{url: t.URL() + "?timeout=30s", bearers: bearers, user: user}
	for _, protocol := range []string{"h2", "h2", "http/1.1", "http/1.1"} {
		client := &http.Client{Transport: t.transport(protocol), Timeout: deadline}
		c.clients = append(c.clients, client)
		c.load = append(c.load, func(ctx context.Context, i int) error { return c.review(ctx, client, i) })
	}
	return c
}

// Clients returns a client that keeps its connection, and one that comes with a new connection and from another address
// each time, as who has not been there before.
func Clients(t Target) []*http.Client {
	protocol := "h2"
	if t.TLS == nil {
		protocol = "http/1.1"
	}
	newcomers := t.transport("http/1.1")
	newcomers.DisableKeepAlives = true
	newcomers.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: Source(1000 + int(dialed.Add(1))%1000)}}
		return dialer.DialContext(ctx, network, address)
	}
	return []*http.Client{{Transport: t.transport(protocol), Timeout: deadline}, {Transport: newcomers, Timeout: deadline}}
}

func (t Target) transport(protocol string) *http.Transport {
	transport := &http.Transport{ForceAttemptHTTP2: protocol == "h2"}
	if t.TLS != nil {
		transport.TLSClientConfig = t.TLS.Clone()
		transport.TLSClientConfig.NextProtos = []string{protocol}
	}
	if protocol != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		// net/http may dial more than it needs, lets the server time out what it has not used, and fails a request on that.
		transport.MaxConnsPerHost = 1
	}
	return transport
}

// Close lets go of the connections.
func (c *Client) Close() {
	for _, client := range c.clients {
		client.CloseIdleConnections()
	}
}

// Latencies are how long answers took, shortest first.
type Latencies []time.Duration

// Quantile is what a part of the answers took at most.
func (l Latencies) Quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[min(int(float64(len(l))*q), len(l)-1)]
}

// Merge is both in one.
func (l Latencies) Merge(other Latencies) Latencies {
	merged := slices.Concat(l, other)
	slices.Sort(merged)
	return merged
}

// Run asks for some time, and returns how long each answer took and what has failed.
func (l Load) Run(ctx context.Context, d time.Duration) (latencies Latencies, failures []error) {
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	end := time.Now().Add(d)
	for w, ask := range l {
		all.Go(func() {
			for i := w; time.Now().Before(end) && ctx.Err() == nil; i += len(l) {
				begun := time.Now()
				err := ask(ctx, i)
				took := time.Since(begun)
				mu.Lock()
				if latencies = append(latencies, took); err != nil {
					failures = append(failures, fmt.Errorf("after %v: %w", took, err))
				}
				mu.Unlock()
				pause(ctx, pacing)
			}
		})
	}
	all.Wait()
	slices.Sort(latencies)
	return latencies, failures
}

// Review reviews tokens for some time. Every failure and every wrong answer is an error.
func (c *Client) Review(ctx context.Context, d time.Duration) (Latencies, error) {
	latencies, failures := c.load.Run(ctx, d)
	if n := len(failures); n > 10 {
		failures = append(failures[:10], fmt.Errorf("and %d more", n-10))
	}
	return latencies, errors.Join(failures...)
}

func (c *Client) review(ctx context.Context, client *http.Client, i int) error {
	n := (i * 7919) % len(c.bearers)
	bearer, valid := c.bearers[n], i%oneInTen != 0
	if !valid {
		bearer = forged(bearer, unknown())
	}
	username, err := c.post(ctx, client, bearer)
	if err == nil && (valid && username != c.user(n) || !valid && username != "") {
		err = fmt.Errorf("token %d (valid: %t) is of %q", n, valid, username)
	}
	return err
}

// Ask reviews one token and returns whose it is; nobody's is empty. Different n go by different connections.
func (c *Client) Ask(ctx context.Context, n int, bearer string) (username string, err error) {
	return c.post(ctx, c.clients[n%len(c.clients)], bearer)
}

// send posts JSON.
func send(ctx context.Context, client *http.Client, url, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return client.Do(req)
}

func (c *Client) post(ctx context.Context, client *http.Client, bearer string) (username string, err error) {
	resp, err := send(ctx, client, c.url, ReviewOf(bearer))
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	var review struct {
		Status struct {
			Authenticated bool
			User          struct{ Username string }
		}
	}
	if err := json.Unmarshal(body, &review); err != nil {
		return "", err
	}
	if !review.Status.Authenticated {
		return "", nil
	}
	if review.Status.User.Username == "" {
		return "", errors.New("authenticated as nobody")
	}
	return review.Status.User.Username, nil
}
