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

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/faults/proxy"
)

// call is a sort of request: a verb, and a resource or another path of the API server.
type call struct{ verb, what string }

const (
	rightReviews   = "subjectaccessreviews (rights)"
	warningReviews = "subjectaccessreviews (warnings)"
)

// background reports whether the operator sends it even when it has nothing to do: lease, clock, discovery.
func (c call) background() bool { return c.what == "leases" || strings.HasPrefix(c.what, "/") }

// single reports whether it may concern a single token.
func (c call) single() bool { return !c.background() && c.verb != "watch" }

func (c call) event() bool { return c.single() && c.what == "events" }

func (c call) review() bool { return c.what == rightReviews || c.what == warningReviews }

func (c call) read() bool { return c.single() && (c.verb == "get" || c.verb == "list") }

func (c call) write() bool { return c.single() && !c.event() && !c.review() && !c.read() }

// calls counts requests by sort.
type calls map[call]float64

// sum adds up the sorts that match.
func (c calls) sum(match func(call) bool) (sum float64) {
	for sort, n := range c {
		if match(sort) {
			sum += n
		}
	}
	return sum
}

// since returns the requests after an earlier count, divided by n.
func (c calls) since(earlier calls, n int) calls {
	later := calls{}
	for sort, count := range c {
		if count > earlier[sort] {
			later[sort] = (count - earlier[sort]) / float64(n)
		}
	}
	return later
}

// counter is a proxy in front of kube-apiserver that counts requests.
type counter struct {
	*proxy.Proxy
	mu    sync.Mutex
	calls calls
	last  time.Time // of a request that is not background
}

func newCounter(c *cluster.Cluster) (*counter, error) {
	certificate, err := c.ServingCertificate("127.0.0.1")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Anonymous().CAData)
	n := &counter{calls: calls{}}
	n.Proxy, err = proxy.New(proxy.Options{Upstream: c.Server, RootCAs: roots, Certificate: certificate, Seen: n.seen})
	return n, err
}

func (n *counter) seen(info *request.RequestInfo, r *http.Request) {
	c := call{info.Verb, info.Resource}
	switch {
	case !info.IsResourceRequest:
		c.what = info.Path
	case info.Subresource != "":
		c.what += "/" + info.Subresource
	case info.Resource == "subjectaccessreviews":
		c.what = reviewed(r)
	case info.Resource == "secrets" && info.Namespace == cluster.RecordsNamespace:
		c.what += " (records)"
	case info.Resource == "secrets" && info.Namespace == cluster.OperatorNamespace:
		c.what += " (the operator's)"
	case info.Resource == "secrets":
		c.what += " (delivery)"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls[c]++
	if !c.background() {
		n.last = time.Now()
	}
}

// reviewed distinguishes reviews of the rights to impersonate, which decide, from those for warnings.
func reviewed(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return warningReviews
	}
	decoded, _, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	review, ok := decoded.(*authorizationv1.SubjectAccessReview)
	if err == nil && ok && review.Spec.ResourceAttributes != nil && review.Spec.ResourceAttributes.Verb == "impersonate" {
		return rightReviews
	}
	return warningReviews
}

func (n *counter) now() calls {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.calls)
}

// quiet waits for a gap of this length between requests, background aside, and returns when the last request came.
func (n *counter) quiet(ctx context.Context, gap time.Duration) (last time.Time, err error) {
	for {
		n.mu.Lock()
		last = n.last
		n.mu.Unlock()
		left := gap - time.Since(last)
		if left <= 0 {
			return last, nil
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
}
