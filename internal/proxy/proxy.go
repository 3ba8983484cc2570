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

// Package proxy is a way to kube-apiserver for personal access tokens that needs no flag of kube-apiserver. It verifies a token
// from memory, enforces the token's scopes and networks, and forwards the request as the token's user by impersonation. When a
// token ends, what is open under it is cut.
//
// A client chooses nothing of the identity that is sent on: headers that could name one are refused, and the headers that do are
// built from the index alone, after all headers of the client that a connection may remove have gone. What carries no identity
// is not sent.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/serving"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// Index knows the tokens; verifier.Index is one.
type Index interface {
	// VerifyProxied decides whether a token is valid for the API server.
	VerifyProxied(bearer string, now time.Time) verifier.Result
	// Stands reports whether what was authenticated still is.
	Stands(r *verifier.Result, now time.Time) (verifier.Reason, bool)
}

// Options of a proxy.
type Options struct {
	Index Index
	// Upstream is the URL of the API server, and Transport leads there as the impersonator; see NewTransport.
	Upstream  *url.URL
	Transport http.RoundTripper
	// TrustedProxies are the networks of load balancers that are believed about whom they forward for.
	TrustedProxies []netip.Prefix
	// Nodes are those of the cluster, whose requests are counted; nil is allowed.
	Nodes *Nodes
	// MaxRequests and MaxRequestsPerToken are how many requests are open at once.
	MaxRequests, MaxRequestsPerToken int
	// MaxSession is how long a request may take; 0 is without a limit.
	MaxSession time.Duration
	// Groups leaves out those groups of a user that the impersonator may not name; nil: all are sent, and the API server refuses.
	Groups *Groups
	// Used is called for each token that is accepted, with the client's address; nil is allowed.
	Used func(r *verifier.Result, at time.Time, from string)
	// Crowded is called at most once an hour for a token that has reached MaxRequestsPerToken; nil is allowed.
	Crowded func(r *verifier.Result)
	// Audit takes a line for each request; nil is allowed.
	Audit *audit.Log
	Log   logr.Logger
	// Now is the clock; nil: the wall's.
	Now func() time.Time
}

// Proxy is the handler, and what is open through it.
type Proxy struct {
	Options
	reverse  *httputil.ReverseProxy
	live     *live
	failures *failures
	crowds   *crowds
	leaving  atomic.Bool
}

// flushAfter is how long the header of an answer of known length may wait for the first part of the body, so that a small answer goes
// out in one write. Every part of a body is passed on at once.
const flushAfter = 10 * time.Millisecond

// requestInfo reads a request as kube-apiserver does, because it is kube-apiserver's code.
var requestInfo = &request.RequestInfoFactory{
	APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
}

// New returns a proxy. Recheck must be told of the index's changes, and Sweep must run.
func New(o Options) *Proxy {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Used == nil {
		o.Used = func(*verifier.Result, time.Time, string) {}
	}
	if o.Crowded == nil {
		o.Crowded = func(*verifier.Result) {}
	}
	p := &Proxy{Options: o, live: newLive(o.MaxRequests, o.MaxRequestsPerToken), failures: newFailures(), crowds: newCrowds()}
	p.reverse = &httputil.ReverseProxy{
		// Rewrite runs after what a client names in Connection has been removed. Director runs before, so a client could remove
		// what it had set, and would be the impersonator.
		Rewrite:        p.rewrite,
		Transport:      o.Transport,
		FlushInterval:  flushAfter,
		ModifyResponse: p.modify,
		ErrorHandler:   p.failed,
		ErrorLog:       log.New(io.Discard, "", 0), // Errors are counted, and may quote clients.
		BufferPool:     &buffers{},
	}
	return p
}

// exchange is one request and its answer.
type exchange struct {
	proxy   *Proxy
	w       *answer
	began   time.Time
	origin  serving.Origin
	result  verifier.Result
	info    *request.RequestInfo
	auditID string
	// upgrade reports that the client asks for another protocol, long that the request may take until one side ends it.
	upgrade, long bool
	// reason is why the request was refused or cut, for audit and metrics.
	reason string
	// rulesType is what the API server answers a question for all rules in, where scopes narrow them; else empty.
	rulesType string
	// unlisted are the groups that the request is sent without.
	unlisted []string
	// sent reports that the API server may have seen a request that is not repeatable.
	sent sent
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request that is being forwarded.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// checks are what a request must pass, in this order.
var checks = []func(*exchange, *http.Request) *refusal{
	(*exchange).checkRequest, (*exchange).checkIdentity, (*exchange).authenticate, (*exchange).checkNetwork, (*exchange).checkScopes, (*exchange).checkUpgrade,
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{proxy: p, w: newAnswer(w, r), began: p.Now(), auditID: newAuditID()}
	x.origin = serving.OriginOf(r, p.TrustedProxies)
	if p.Nodes.has(x.origin.Address) {
		fromNodes.Inc()
	}
	defer func() {
		caught := recover()
		if err, _ := caught.(error); caught != nil && !errors.Is(err, http.ErrAbortHandler) {
			// The value may quote the request; the stack holds addresses only.
			p.Log.Error(nil, "Panic while serving a request", "type", fmt.Sprintf("%T", caught), "stack", string(debug.Stack()))
			x.reason = reasonPanic
			if x.w.code == 0 {
				refusePanic.write(x.w)
				caught = nil
			}
		}
		x.w.finish()
		x.finish(r)
		if caught != nil {
			panic(http.ErrAbortHandler)
		}
	}()
	for _, check := range checks {
		if refused := check(x, r); refused != nil {
			x.refuse(refused)
			return
		}
	}
	x.forward(r)
}

// forward sends the request on, for as long as the token stands.
func (x *exchange) forward(r *http.Request) {
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), exchangeKey{}, x))
	defer cancel(nil)
	s := &session{result: &x.result, source: x.origin.Source(), watch: x.long && !x.upgrade, cut: cancel}
	if end := x.result.AtEnd(); end == verifier.ReasonExpired {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadlineCause(ctx, x.result.ExpiresAt, cutFor(end))
		defer stop()
	} else { // By then the policy may be gone. Afterwards the sweep asks each second.
		defer time.AfterFunc(time.Until(x.result.ExpiresAt), func() { x.proxy.recheck([]*session{s}) }).Stop()
	}
	if limit := x.proxy.MaxSession; limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, limit, cutSession)
		defer stop()
	}
	switch x.proxy.live.enter(s) {
	case entered:
	case tokenIsFull:
		if x.proxy.crowds.first(x.result.ID, x.proxy.Now()) {
			x.proxy.Crowded(&x.result)
		}
		x.refuse(refuseCrowd(&x.result, x.proxy.MaxRequestsPerToken))
		return
	case proxyIsFull:
		x.refuse(refuseLoad)
		return
	}
	defer x.proxy.live.leave(s)
	// If the token has ended since it was verified, nobody has told this request.
	if reason, ok := x.proxy.Index.Stands(&x.result, x.proxy.Now()); !ok {
		x.refuse(refuseEnded(cutFor(reason)))
		return
	}
	defer x.w.follow(ctx)()
	if refused, answered := x.answerSelfReview(r); refused != nil || answered {
		if refused != nil {
			x.refuse(refused)
		}
		return
	}
	if refused := x.findUnlisted(ctx); refused != nil {
		x.refuse(refused)
		return
	}
	if x.long {
		x.started(r)
	}
	defer func() { // The ReverseProxy may panic when the copying fails.
		if c, cut := cutOf(ctx); cut {
			x.reason = c.audited()
		}
	}()
	x.proxy.reverse.ServeHTTP(x.w, r.WithContext(ctx))
	// The API server may end the answer in order when it sees that the request was canceled. The client must not take that for the
	// end of what it asked for.
	if _, cut := cutOf(ctx); cut && !x.w.hijacked && x.w.code < http.StatusBadRequest {
		panic(http.ErrAbortHandler)
	}
}

func (x *exchange) refuse(f *refusal) {
	x.reason = f.why
	f.write(x.w)
}
