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
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/utils/lru"
)

const (
	// rememberedGroups is how many answers are remembered, askedAtOnce how many questions a request asks at the same time.
	rememberedGroups = 16384
	askedAtOnce      = 8
	// listedFor is how long a yes holds: after the group is not listed any more, the API server refuses requests for that long. A no
	// holds for unlistedFor, and each further one twice as long as the last, up to listedFor: a new token's groups count soon, and
	// thousands of groups that are never listed are not asked for all the time.
	listedFor   = time.Minute
	unlistedFor = 2 * time.Second
)

// Groups knows which groups the account that impersonates may name. The API server refuses a request that names another one, so
// what Groups leaves out is never more than what the API server would have refused.
type Groups struct {
	// may asks whether the account may name a group.
	may    func(ctx context.Context, group string) (bool, error)
	now    func() time.Time
	known  *lru.Cache
	asking singleflight.Group
}

// NewGroups returns what asks as the account of a self-test.
func NewGroups(s *SelfTest) *Groups { return newGroups(s.mayNameGroup, time.Now) }

func newGroups(may func(context.Context, string) (bool, error), now func() time.Time) *Groups {
	return &Groups{may: may, now: now, known: lru.New(rememberedGroups)}
}

type groupAnswer struct {
	listed bool
	until  time.Time
	holds  time.Duration
}

// Unlisted returns those of the groups that the account may not name.
func (g *Groups) Unlisted(ctx context.Context, groups []string) ([]string, error) {
	listed := make([]bool, len(groups))
	asking, inner := errgroup.WithContext(ctx)
	asking.SetLimit(askedAtOnce)
	for i, group := range groups {
		var ok bool
		if listed[i], ok = g.remembers(group); ok {
			continue
		}
		asking.Go(func() (err error) {
			listed[i], err = g.ask(inner, group)
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	var left []string
	for i, group := range groups {
		if !listed[i] {
			left = append(left, group)
		}
	}
	return left, nil
}

// remembers returns an answer that still holds.
func (g *Groups) remembers(group string) (listed, ok bool) {
	known, ok := g.known.Get(group)
	if !ok || !g.now().Before(known.(groupAnswer).until) {
		return false, false
	}
	return known.(groupAnswer).listed, true
}

// ask asks the API server. Requests that need the same answer share one question, which none of them ends by going away.
func (g *Groups) ask(ctx context.Context, group string) (bool, error) {
	answer := g.asking.DoChan(group, func() (any, error) {
		if listed, ok := g.remembers(group); ok { // since it was looked up
			return listed, nil
		}
		alone, cancel := context.WithTimeout(context.WithoutCancel(ctx), selfTestTimeout)
		defer cancel()
		began := g.now()
		listed, err := g.may(alone, group)
		if err != nil {
			return false, err
		}
		holds := listedFor
		if !listed {
			holds = unlistedFor
			if last, ok := g.known.Get(group); ok && !last.(groupAnswer).listed {
				holds = min(2*last.(groupAnswer).holds, listedFor)
			}
		}
		g.known.Add(group, groupAnswer{listed: listed, until: began.Add(holds), holds: holds})
		return listed, nil
	})
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case a := <-answer:
		return a.Err == nil && a.Val.(bool), a.Err
	}
}

// mayNameGroup asks for the plain verb and for that of constrained impersonation.
func (s *SelfTest) mayNameGroup(ctx context.Context, group string) (bool, error) {
	may, err := s.may(ctx, authorizationv1.ResourceAttributes{Verb: "impersonate", Resource: "groups", Name: group})
	if err != nil || may {
		return may, err
	}
	return s.may(ctx, authorizationv1.ResourceAttributes{Verb: constrained, Group: "authentication.k8s.io", Resource: "groups", Name: group})
}

// findUnlisted notes the groups that the request goes without. Without an answer, the request is not sent.
func (x *exchange) findUnlisted(ctx context.Context) *refusal {
	if x.proxy.Groups == nil {
		return nil
	}
	groups := groupsOf(&x.result)
	if len(groups) == 0 {
		return nil
	}
	unlisted, err := x.proxy.Groups.Unlisted(ctx, groups)
	if c, cut := cutOf(ctx); cut {
		return refuseEnded(c)
	}
	if err != nil && ctx.Err() != nil {
		x.reason = reasonClientGone
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		upstreamErrors.WithLabelValues(refuseUpstream.why).Inc()
		x.proxy.Log.V(1).Info("Cannot ask which groups are listed", "auditID", x.auditID, "reason", err.Error())
		return refuseUpstream
	}
	x.unlisted = unlisted
	return nil
}
