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
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is what a proxy does; the zero value is Pass.
type Mode struct {
	kind   kind
	delay  time.Duration
	status int
	verbs  []string
}

type kind int

const (
	pass kind = iota
	cut
	stall
	slow
	hangWatches
	refuse
)

// The modes without a parameter.
var (
	// Pass passes everything on.
	Pass = Mode{}
	// Cut closes every connection and refuses new ones.
	Cut = Mode{kind: cut}
	// Stall takes connections and says nothing: no byte moves in either direction, on those that are open neither.
	Stall = Mode{kind: stall}
	// HangWatches lets nothing more through of any watch, open or new, its end included; all else works.
	HangWatches = Mode{kind: hangWatches}
)

// Slow delays the beginning of every answer, and every part of a watch.
func Slow(by time.Duration) Mode { return Mode{kind: slow, delay: by} }

// Refuse answers lists with an HTTP status, and a Status object as kube-apiserver writes one; watches pass.
func Refuse(status int) Mode { return Mode{kind: refuse, status: status, verbs: []string{"list"}} }

// AndWatches extends Refuse to new watches.
func (m Mode) AndWatches() Mode {
	m.verbs = []string{"list", "watch"}
	return m
}

// String names the mode as a table would.
func (m Mode) String() string {
	switch m.kind {
	case pass:
		return "pass"
	case cut:
		return "cut off"
	case stall:
		return "black hole"
	case slow:
		return fmt.Sprintf("answers %v late", m.delay)
	case hangWatches:
		return "watches hang"
	case refuse:
		what := "lists"
		if len(m.verbs) > 1 {
			what = "lists and watches"
		}
		return fmt.Sprintf("%s answer %d %s", what, m.status, http.StatusText(m.status))
	}
	return "unknown"
}

func (m Mode) cuts() bool   { return m.kind == cut }
func (m Mode) stalls() bool { return m.kind == stall }
func (m Mode) hangs() bool  { return m.kind == hangWatches }

// Counts is what a proxy has done so far.
type Counts struct {
	Connections, Requests, Lists, Watches int64
	// Cut connections; Refused and Delayed answers; Held: times that a connection or a watch had to wait.
	Cut, Refused, Delayed, Held int64
}

type counts struct {
	connections, requests, lists, watches, cut, refused, delayed, held atomic.Int64
}

// Counts returns what the proxy has done so far.
func (p *Proxy) Counts() Counts {
	c := &p.counts
	return Counts{
		Connections: c.connections.Load(), Requests: c.requests.Load(), Lists: c.lists.Load(), Watches: c.watches.Load(),
		Cut: c.cut.Load(), Refused: c.refused.Load(), Delayed: c.delayed.Load(), Held: c.held.Load(),
	}
}

// gate is the mode and where to wait for another one.
type gate struct {
	mu      sync.Mutex
	mode    Mode
	changed chan struct{}
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

func (g *gate) set(mode Mode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = mode
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) now() (Mode, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mode, g.changed
}

// pass waits while the mode holds; it is false when gone is closed first.
func (g *gate) pass(gone <-chan struct{}, holds func(Mode) bool, held *atomic.Int64) bool {
	for first := true; ; first = false {
		mode, changed := g.now()
		if !holds(mode) {
			return true
		}
		if first {
			held.Add(1)
		}
		select {
		case <-changed:
		case <-gone:
			return false
		}
	}
}
