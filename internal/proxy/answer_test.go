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
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// counted counts what a server is told to send.
type counted struct {
	httptest.ResponseRecorder
	mu              sync.Mutex
	writes, flushes int
	// waiting is how much was written since the last flush.
	waiting int
}

func (c *counted) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	c.waiting += len(b)
	return c.ResponseRecorder.Write(b)
}

func (c *counted) FlushError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushes, c.waiting = c.flushes+1, 0
	return nil
}

// An answer that is complete goes out with its end, in one write. Before that nothing waits.
func TestOnlyTheLastPartOfAnAnswerWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		length  string
		parts   []string
		flushes int
	}{
		"small":                   {"5", []string{"small"}, 0},
		"empty":                   {"0", nil, 0},
		"in two parts":            {"6", []string{"one", "two"}, 1},
		"in many":                 {"4", []string{"a", "b", "c", "d"}, 3},
		"not complete":            {"100", []string{"a", "b"}, 2},
		"a body of a HEAD":        {"100", nil, 0},
		"an end that comes later": {"3", []string{"a", "", "bc"}, 2},
		"a length that is a word": {"many", []string{"a", "b"}, 0},
		"without a length":        {"", []string{"a", "b"}, 0}, // the ReverseProxy flushes these
	} {
		t.Run(name, func(t *testing.T) {
			w := &counted{ResponseRecorder: *httptest.NewRecorder()}
			a := newAnswer(w, httptest.NewRequest(http.MethodGet, "/", nil))
			if tc.length != "" {
				a.Header().Set("Content-Length", tc.length)
			}
			a.WriteHeader(http.StatusOK)
			for _, part := range tc.parts {
				if _, err := io.WriteString(a, part); err != nil {
					t.Fatal(err)
				}
			}
			if w.writes != len(tc.parts) || w.flushes != tc.flushes {
				t.Errorf("%d writes and %d flushes; want %d and %d", w.writes, w.flushes, len(tc.parts), tc.flushes)
			}
		})
	}
}

func (c *counted) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// asked is a body whose next part is asked for only when the one before is on its way.
type asked struct {
	w     *counted
	parts []string
	held  []int
}

func (a *asked) Read(p []byte) (int, error) {
	a.held = append(a.held, a.w.held())
	if len(a.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, a.parts[0])
	a.parts = a.parts[1:]
	return n, nil
}

// Close implements io.Closer.
func (*asked) Close() error { return nil }

// The proxy passes on each part of an answer before it reads the next, with and without a length.
func TestAPartOfAnAnswerIsNotHeldBack(t *testing.T) {
	parts := []string{strings.Repeat("a", 10), strings.Repeat("b", 10), strings.Repeat("c", 10)}
	for _, length := range []int64{30, -1} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			w := &counted{ResponseRecorder: *httptest.NewRecorder()}
			body := &asked{w: w, parts: parts}
			b := newBed(t, nil, func(o *Options) {
				o.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
					h := http.Header{"Content-Type": {"text/plain"}}
					if length >= 0 {
						h.Set("Content-Length", strconv.FormatInt(length, 10))
					}
					return &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: h, ContentLength: length, Body: body, Request: r}, nil
				})
			})
			r := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/team-a/pods/a/log", nil)
			r.Header.Set("Authorization", "Bearer "+b.token.Bearer)
			b.proxy.ServeHTTP(w, r)
			if w.Code != http.StatusOK || w.Body.String() != strings.Join(parts, "") {
				t.Fatalf("HTTP %d %q", w.Code, w.Body)
			}
			for i, held := range body.held[:len(parts)] {
				if held != 0 {
					t.Errorf("%d bytes wait when part %d is read", held, i)
				}
			}
		})
	}
}
