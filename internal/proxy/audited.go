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
	"net/http"
	"slices"
	"strconv"

	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/verifier"
)

// toldGroups is how many of the groups that a request is sent without are told.
const toldGroups = 16

// line is what audit tells of the request so far. It has no path and no query: these can hold commands and secrets.
func (x *exchange) line(r *http.Request, event string) audit.Event {
	e := audit.Event{
		Event: event, Namespace: x.result.Namespace, Name: x.result.Name, TokenID: x.result.ID, User: x.result.User.Username,
		SourceIP: x.origin.Address.String(), Reason: x.reason, Code: int32(x.w.code), //nolint:gosec // an HTTP status
		Request: &audit.Request{AuditID: x.auditID, Method: r.Method, UserAgent: r.UserAgent()},
	}
	if i := x.info; i != nil {
		e.Request.Verb = i.Verb
		if i.IsResourceRequest {
			e.Request.Group, e.Request.Resource, e.Request.Subresource = i.APIGroup, i.Resource, i.Subresource
			e.Request.Namespace, e.Request.Name = i.Namespace, i.Name
		}
	}
	e.Request.WithoutGroups = slices.Clone(x.unlisted[:min(len(x.unlisted), toldGroups)])
	return e
}

// started tells of a request that may take long.
func (x *exchange) started(r *http.Request) { x.proxy.Audit.Write(x.line(r, "RequestStarted")) }

// finish tells of a request that has ended.
func (x *exchange) finish(r *http.Request) {
	requests.WithLabelValues(strconv.Itoa(x.w.code)).Inc()
	if x.reason != "" {
		refusals.WithLabelValues(x.reason).Inc()
	}
	e := x.line(r, "Request")
	e.Request.Seconds, e.Request.Bytes = x.proxy.Now().Sub(x.began).Seconds(), x.w.bytes.Load()
	if x.result.Verdict != verifier.Authenticated {
		x.proxy.Audit.Refused(e)
		return
	}
	x.proxy.Audit.Write(e)
}
