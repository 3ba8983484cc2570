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

package patauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Defaults of Options.
const (
	DefaultCacheFor  = 10 * time.Second
	DefaultCacheSize = 10_000
	DefaultTimeout   = 5 * time.Second
)

const (
	// maxQuestions is how many questions to a source are on their way at once, about tokens that were valid before, and as many
	// about others: who sends made-up tokens does not keep those from being asked about.
	maxQuestions = 64
	// logEvery is how often at most a failing source is logged.
	logEvery = 10 * time.Second
)

// Options of an Authenticator. Source and Audience are required.
type Options struct {
	// Source is asked about tokens: a TokenReview or an Introspection.
	Source Source
	// Audience is the name of this API. A token is accepted if its spec.audiences has it.
	Audience string
	// Realm names the protected area in challenges. Default: Audience.
	Realm string
	// Basic accepts a token as the password of HTTP Basic authentication too, with any username, for clients such as git. A
	// browser sends such a password with requests of other sites, so an API for browsers then needs http.CrossOriginProtection.
	Basic bool
	// CacheFor is how long an accepted token is remembered. Default: 10 s. Negative: not at all.
	CacheFor time.Duration
	// CacheSize is how many accepted tokens are remembered. Default: 10,000.
	CacheSize int
	// Timeout is how long a question to the source may take. Default: 5 s.
	Timeout time.Duration
	// Logger is told of a source that fails, at most every 10 s, and by the level Debug why a token is refused. It is never
	// told a token. Default: slog.Default().
	Logger *slog.Logger
}

// Authenticator verifies personal access tokens for one API. Its methods are safe for concurrent use.
type Authenticator struct {
	source          Source
	audience, realm string
	basic           bool
	cacheFor        time.Duration
	timeout         time.Duration
	logger          *slog.Logger
	refusals        refusals
	// A slot for each question that is on its way, about tokens that were valid before, and about others.
	known, unknown chan struct{}

	mu      sync.Mutex // guards the rest
	cache   *cache
	flights map[key]*flight
	logged  time.Time // when a failure was logged, and how many were not since
	unsaid  int
}

// New returns an Authenticator, or an error that names the option to change. It reads the files of the source and does not
// connect to it.
func New(opts Options) (*Authenticator, error) {
	if opts.Source == nil {
		return nil, errors.New("patauth: Options.Source is required: use &patauth.TokenReview{} in a cluster, or a *patauth.Introspection")
	}
	if s, ok := opts.Source.(interface{ prepare() error }); ok {
		if err := s.prepare(); err != nil {
			return nil, fmt.Errorf("patauth: %w", err)
		}
	}
	if opts.Audience == "" {
		return nil, errors.New("patauth: Options.Audience is required: the name of this API in spec.audiences of its tokens")
	}
	if opts.Realm == "" {
		opts.Realm = opts.Audience
	}
	if !quotable(opts.Realm) {
		return nil, errors.New("patauth: Options.Realm, which defaults to Audience, is not printable ASCII without quotes and backslashes")
	}
	if opts.CacheSize < 0 || opts.Timeout < 0 {
		return nil, errors.New("patauth: Options.CacheSize and Options.Timeout cannot be negative")
	}
	a := &Authenticator{
		source: opts.Source, audience: opts.Audience, realm: opts.Realm, basic: opts.Basic,
		cacheFor: opts.CacheFor, timeout: opts.Timeout, logger: opts.Logger,
		refusals: newRefusals(opts.Realm, opts.Basic),
		known:    make(chan struct{}, maxQuestions),
		unknown:  make(chan struct{}, maxQuestions),
		flights:  map[key]*flight{},
	}
	if a.cacheFor == 0 {
		a.cacheFor = DefaultCacheFor
	}
	if a.timeout == 0 {
		a.timeout = DefaultTimeout
	}
	if a.logger == nil {
		a.logger = slog.Default()
	}
	size := opts.CacheSize
	if size == 0 {
		size = DefaultCacheSize
	}
	a.cache = newCache(size, maxCacheBytes)
	return a, nil
}

// flight is a question that is on its way, or waits for a slot, and all who wait for its answer.
type flight struct {
	done     chan struct{}
	cancel   context.CancelFunc
	waiting  int // guarded by Authenticator.mu
	identity *Identity
	err      error
}

// Verify returns the identity of a token that comes by another way than the Authorization header, such as gRPC metadata. An
// error that wraps ErrInvalidToken is a refusal; with any other, nothing is known about the token. No error quotes the token.
func (a *Authenticator) Verify(ctx context.Context, token string) (*Identity, error) {
	if len(token) != tokenLength {
		return nil, errMalformed
	}
	k := keyOf(token)
	a.mu.Lock()
	identity, _ := a.cache.get(k, time.Now())
	a.mu.Unlock()
	if identity != nil {
		return identity, nil
	}
	id, ok := parse(token)
	if !ok {
		return nil, errMalformed
	}
	f, identity := a.join(ctx, k, id, token)
	if identity != nil {
		return identity, nil
	}
	select {
	case <-f.done:
		return f.identity, f.err
	case <-ctx.Done():
		a.leave(k, f)
		return nil, fmt.Errorf("cannot verify the token: %w", context.Cause(ctx))
	}
}

// join returns the question about a token that is on its way, after it has begun one where necessary; or the identity, if an answer
// has come meanwhile.
func (a *Authenticator) join(ctx context.Context, k key, id, token string) (*flight, *Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	identity, known := a.cache.get(k, time.Now())
	if identity != nil {
		return nil, identity
	}
	f := a.flights[k]
	if f == nil {
		slots := a.unknown
		if known {
			slots = a.known
		}
		f = a.begin(ctx, slots, k, id, token)
	}
	f.waiting++
	return f, nil
}

// begin starts a question. It goes on when its first caller leaves, and ends with the last.
func (a *Authenticator) begin(ctx context.Context, slots chan struct{}, k key, id, token string) *flight {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
	f := &flight{done: make(chan struct{}), cancel: cancel, err: errors.New("the source ended its goroutine")}
	a.flights[k] = f
	go func() {
		var until time.Time
		defer func() {
			cancel()
			if p := recover(); p != nil {
				// The value may quote the token; the stack holds addresses only.
				f.identity, f.err = nil, fmt.Errorf("panic of the type %T in the source:\n%s", p, debug.Stack())
			}
			a.end(k, id, f, until)
		}()
		f.identity, until, f.err = a.ask(ctx, slots, token)
	}()
	return f
}

// ask asks the source when it gets one of the slots, and returns until when the answer may be used.
func (a *Authenticator) ask(ctx context.Context, slots chan struct{}, token string) (*Identity, time.Time, error) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return nil, time.Time{}, fmt.Errorf("%d questions are on their way already: %w", maxQuestions, ctx.Err())
	}
	asked := time.Now()
	identity, err := a.source.Verify(ctx, token, a.audience)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := identity.check(); err != nil {
		return nil, time.Time{}, err
	}
	holds := a.cacheFor
	if !identity.ValidUntil.IsZero() {
		holds = min(holds, identity.ValidUntil.Sub(asked))
	}
	return identity, asked.Add(holds), nil
}

// end keeps an answer, and hands it to all who wait.
func (a *Authenticator) end(k key, id string, f *flight, until time.Time) {
	a.mu.Lock()
	switch {
	case f.err == nil && until.After(time.Now()):
		a.cache.put(k, f.identity, until)
	case errors.Is(f.err, ErrInvalidToken):
		a.cache.drop(k)
	}
	if a.flights[k] == f {
		delete(a.flights, k)
	}
	a.mu.Unlock()
	close(f.done)
	switch {
	case f.err == nil:
	case errors.Is(f.err, ErrInvalidToken):
		a.logger.Debug("Refused a personal access token", "id", id, "reason", f.err)
	case errors.Is(f.err, context.Canceled): // The last caller has left.
	default:
		a.logFailure(f.err)
	}
}

// leave is called by a caller who waits no longer. A question that nobody waits for is given up.
func (a *Authenticator) leave(k key, f *flight) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.waiting--; f.waiting > 0 {
		return
	}
	if a.flights[k] == f {
		delete(a.flights, k)
	}
	f.cancel()
}

func (a *Authenticator) logFailure(err error) {
	a.mu.Lock()
	if now := time.Now(); a.logged.IsZero() || now.Sub(a.logged) >= logEvery {
		unsaid := a.unsaid
		a.logged, a.unsaid = now, 0
		a.mu.Unlock()
		a.logger.Warn("Cannot verify personal access tokens; requests get 503", "error", err, "failuresNotLogged", unsaid)
		return
	}
	a.unsaid++
	a.mu.Unlock()
}
