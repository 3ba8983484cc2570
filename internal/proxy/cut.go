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
	"context"
	"errors"

	"github.com/pat-operator/pat-operator/internal/verifier"
)

// cut is why the proxy ended what was open.
type cut struct {
	reason string
	// text is for the person at the other end.
	text string
	// ofToken reports that the token is the cause.
	ofToken bool
}

func (c *cut) Error() string { return c.text }

// audited is the reason as audit lines and metrics have it.
func (c *cut) audited() string { return "Cut:" + c.reason }

// notHonored begins what is said about a token.
const notHonored = "the personal access token is not honored any more"

var (
	cutStale   = &cut{reason: "Stale", text: "the proxy cannot verify tokens at the moment, because what it knows may be out of date; connect again"}
	cutSession = &cut{reason: "Session", text: "the longest time that a request may take has passed (--proxy-max-session); connect again"}
	cutDrain   = &cut{reason: "Drain", text: "this proxy is going away; connect again"}
	cutLoad    = &cut{reason: reasonLoad, text: "this proxy needs room for others, and your network has the most open requests; close some"}
)

// cutFor is the cut for the reason for which a token does not stand.
func cutFor(reason verifier.Reason) *cut {
	c := &cut{reason: string(reason), ofToken: true}
	switch reason {
	case verifier.ReasonNotReady:
		return cutStale
	case verifier.ReasonDeniedByPolicy, verifier.ReasonPolicyNotUnderstood:
		c.text = notHonored + ": a TokenPolicy denies it; look at it with kubectl pat describe"
	case verifier.ReasonExpired:
		c.text = notHonored + ": it has expired; make another one"
	case verifier.ReasonSuspended:
		c.text = notHonored + ": it is suspended; ask who suspended it"
	case verifier.ReasonChanged:
		c.text = notHonored + ": its user or its limits have changed; connect again"
	case verifier.ReasonEnded, verifier.ReasonDeleting, verifier.ReasonResourceNotSeen, verifier.ReasonOwnerNotSeen:
		c.reason = string(verifier.ReasonEnded)
		c.text = notHonored + ": it has ended; make another one"
	default:
		c.text = notHonored + "; look at it with kubectl pat describe"
	}
	return c
}

// cutOf returns why a context was ended by the proxy.
func cutOf(ctx context.Context) (*cut, bool) {
	return errors.AsType[*cut](context.Cause(ctx))
}
