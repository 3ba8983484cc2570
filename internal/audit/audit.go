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

// Package audit writes security events as lines of JSON. No event holds a token or a digest, and none makes a request wait.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/internal/token"
)

// Off is the path of a log that writes nothing, Stdout that of standard output.
const (
	Off    = "off"
	Stdout = "-"
)

const (
	// buffered is how many lines wait to be written; more are dropped.
	buffered = 8192
	// maxText is the length of a field in bytes, at most: users choose some of them.
	maxText = 1024
	// refusalsPerSecond and refusalsBurst bound the lines about refused tokens, for each reason.
	refusalsPerSecond = 5
	refusalsBurst     = 50
	// lookEvery is how often the log looks whether its file was moved.
	lookEvery = time.Second
	// quietFor is how long a further failure to write is not logged.
	quietFor = time.Minute
	// closeTimeout bounds the wait for a disk that hangs.
	closeTimeout = 2 * time.Second
)

var events = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "pat_operator_audit_events_total",
	Help: "Events of the audit log: written; dropped, since too many waited; failed, since the file could not be written; " +
		"suppressed, since refusals of one reason were too many.",
}, []string{"result"})

// tokens are tokens, or the beginnings of some, in what a user wrote and a refusal quotes.
var tokens = regexp.MustCompile(token.Prefix + `([a-z2-7]{16})_\w+`)

const (
	resultWritten    = "written"
	resultDropped    = "dropped"
	resultFailed     = "failed"
	resultSuppressed = "suppressed"
)

func init() {
	metrics.Registry.MustRegister(events)
	for _, result := range []string{resultWritten, resultDropped, resultFailed, resultSuppressed} {
		events.WithLabelValues(result)
	}
}

// Event is one line. Empty fields are left out.
type Event struct {
	// Time is set by the log.
	Time time.Time `json:"time"`
	// Event is what happened: a reason of an event of Kubernetes, or one of the names in docs/operations.md.
	Event string `json:"event"`
	// Namespace, Name and UID are those of the PersonalAccessToken.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	// TokenID is the public id of the token.
	TokenID string `json:"tokenID,omitempty"`
	// User is whose authority the token carries, By who asked.
	User string `json:"user,omitempty"`
	By   string `json:"by,omitempty"`
	// Operation, DryRun and Code are those of a request that admission refused; Code is that of the proxy's answer, too.
	Operation string `json:"operation,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
	Code      int32  `json:"code,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
	// SourceIP is the client that asked the verifier, mostly an API server, or the client of the proxy.
	SourceIP string `json:"sourceIP,omitempty"`
	// Count is how many events were dropped, or how many like this one were suppressed before it.
	Count int64 `json:"count,omitempty"`
	// Request is one that went through the proxy.
	Request *Request `json:"request,omitempty"`
}

// Request is a request to the API server. It has no path and no query, which can hold commands and secrets.
type Request struct {
	// AuditID is that of kube-apiserver's event, too.
	AuditID     string  `json:"auditID,omitempty"`
	Method      string  `json:"method,omitempty"`
	Verb        string  `json:"verb,omitempty"`
	Group       string  `json:"group,omitempty"`
	Resource    string  `json:"resource,omitempty"`
	Subresource string  `json:"subresource,omitempty"`
	Namespace   string  `json:"namespace,omitempty"`
	Name        string  `json:"name,omitempty"`
	UserAgent   string  `json:"userAgent,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"`
	Bytes       int64   `json:"bytes,omitempty"`
	// WithoutGroups are groups of the user that the request was sent without. Write may shorten them.
	WithoutGroups []string `json:"withoutGroups,omitempty"`
}

// texts are what users write of an event.
func (e *Event) texts() []*string {
	all := []*string{&e.Namespace, &e.Name, &e.UID, &e.TokenID, &e.User, &e.By, &e.Operation, &e.Reason, &e.Message, &e.SourceIP}
	if r := e.Request; r != nil {
		all = append(all, &r.AuditID, &r.Method, &r.Verb, &r.Group, &r.Resource, &r.Subresource, &r.Namespace, &r.Name, &r.UserAgent)
		for i := range r.WithoutGroups {
			all = append(all, &r.WithoutGroups[i])
		}
	}
	return all
}

// Log writes events. A nil Log writes none.
type Log struct {
	path  string
	out   io.Writer
	file  *os.File // nil for standard output
	log   logr.Logger
	now   func() time.Time
	lines chan []byte
	stop  chan struct{}
	done  chan struct{}

	dropped  atomic.Int64
	lookedAt time.Time
	quiet    time.Time

	mu      sync.Mutex
	refused map[string]*refusals
}

// refusals are those of one reason.
type refusals struct {
	limit      flowcontrol.PassiveRateLimiter
	suppressed int64
}

// Check returns why a log cannot be at a path.
func Check(flag, path string) error {
	if path == "" || strings.HasSuffix(path, "/") {
		return fmt.Errorf("%s %q is not a file; set it as %[1]s=-, %[1]s=/var/log/pat-operator/audit.log or %[1]s=off", flag, path)
	}
	return nil
}

// Open opens the log at a path, and writes until Close. It is nil for Off.
func Open(path string, log logr.Logger) (*Log, error) {
	if path == Off {
		return nil, nil
	}
	l := newLog(os.Stdout, log)
	if path != Stdout {
		l.path = path
		if err := l.open(); err != nil {
			return nil, err
		}
	}
	go l.run()
	return l, nil
}

func newLog(out io.Writer, log logr.Logger) *Log {
	return &Log{
		out: out, log: log, now: time.Now, lines: make(chan []byte, buffered), stop: make(chan struct{}), done: make(chan struct{}),
		refused: map[string]*refusals{},
	}
}

func (l *Log) open() error {
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the audit log: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file, l.out = file, file
	return nil
}

// Write queues an event. It never waits.
func (l *Log) Write(e Event) {
	if l == nil {
		return
	}
	e.Time = l.now().UTC()
	for _, text := range e.texts() {
		if len(*text) > maxText {
			*text = strings.ToValidUTF8((*text)[:maxText], "")
		}
		if strings.Contains(*text, token.Prefix) {
			*text = tokens.ReplaceAllString(*text, token.Prefix+"${1}_[redacted]")
		}
	}
	line, err := json.Marshal(e)
	if err != nil {
		l.drop()
		return
	}
	select {
	case l.lines <- append(line, '\n'):
	default:
		l.drop()
	}
}

func (l *Log) drop() {
	l.dropped.Add(1)
	events.WithLabelValues(resultDropped).Inc()
}

// Refused queues an event about a refused token, unless there were too many with its reason; the next one counts those. The
// reasons are few: callers do not let users choose them.
func (l *Log) Refused(e Event) {
	if l == nil {
		return
	}
	l.mu.Lock()
	of := l.refused[e.Reason]
	if of == nil {
		of = &refusals{limit: flowcontrol.NewTokenBucketPassiveRateLimiter(refusalsPerSecond, refusalsBurst)}
		l.refused[e.Reason] = of
	}
	if !of.limit.TryAccept() {
		of.suppressed++
		l.mu.Unlock()
		events.WithLabelValues(resultSuppressed).Inc()
		return
	}
	e.Count, of.suppressed = of.suppressed, 0
	l.mu.Unlock()
	l.Write(e)
}

// Close writes what waits and closes the file.
func (l *Log) Close() {
	if l == nil {
		return
	}
	close(l.stop)
	select {
	case <-l.done:
	case <-time.After(closeTimeout):
	}
}

func (l *Log) run() {
	defer close(l.done)
	for {
		select {
		case line := <-l.lines:
			l.put(line)
			continue
		default:
		}
		select {
		case line := <-l.lines:
			l.put(line)
		case <-l.stop:
			for len(l.lines) > 0 {
				l.put(<-l.lines)
			}
			if l.file != nil {
				_ = l.file.Close()
			}
			return
		}
	}
}

// put writes a line, after one that says how many events were dropped before it.
func (l *Log) put(line []byte) {
	l.follow()
	n := l.dropped.Swap(0)
	if n > 0 {
		said, err := json.Marshal(Event{Time: l.now().UTC(), Event: "EventsDropped", Count: n})
		if err == nil {
			line = append(append(said, '\n'), line...)
		}
	}
	if _, err := l.out.Write(line); err != nil {
		events.WithLabelValues(resultFailed).Inc()
		l.dropped.Add(n + 1)
		l.complain(err)
		return
	}
	events.WithLabelValues(resultWritten).Inc()
}

// follow opens the file again where another one, or none, is at its path: logrotate has moved it.
func (l *Log) follow() {
	now := l.now()
	if l.file == nil || now.Sub(l.lookedAt) < lookEvery {
		return
	}
	l.lookedAt = now
	ours, err := l.file.Stat()
	there, statErr := os.Stat(l.path)
	if err == nil && statErr == nil && os.SameFile(ours, there) {
		return
	}
	if statErr != nil && !errors.Is(statErr, os.ErrNotExist) {
		l.complain(statErr)
		return
	}
	if err := l.open(); err != nil {
		l.complain(err)
	}
}

func (l *Log) complain(err error) {
	if now := l.now(); !now.Before(l.quiet) {
		l.quiet = now.Add(quietFor)
		l.log.Error(err, "Cannot write the audit log")
	}
}
