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

package authn

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
)

// errGivenUp ends a question in favor of another source.
var errGivenUp = errors.New("given up in favor of another source")

// calls bounds how many questions are under way. When no more may be, the source that has the most gives up its oldest to a
// source that has fewer. So a source that has none is served, unless there are as many sources as questions.
type calls struct {
	max int

	mu   sync.Mutex
	open []*call // in the order in which they began
}

type call struct {
	source netip.Prefix
	giveUp context.CancelCauseFunc
}

func newCalls(limit int) *calls { return &calls{max: limit} }

// begin counts a question until end, or returns false if its source gets no more. The context ends when the question is given up.
func (c *calls) begin(ctx context.Context, source netip.Prefix) (_ context.Context, end func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) == c.max && !c.makeRoom(source) {
		return ctx, nil, false
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	mine := &call{source, giveUp}
	c.open = append(c.open, mine)
	return ctx, func() {
		giveUp(nil)
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.open, mine); i >= 0 {
			c.open = slices.Delete(c.open, i, i+1)
		}
	}, true
}

// makeRoom gives up a question of the source that has the most, if source has at least two fewer: otherwise the two would take
// from each other forever.
func (c *calls) makeRoom(source netip.Prefix) bool {
	held, most := map[netip.Prefix]int{}, source
	for _, open := range c.open {
		if held[open.source]++; held[open.source] > held[most] {
			most = open.source
		}
	}
	if held[most] < held[source]+2 {
		return false
	}
	oldest := slices.IndexFunc(c.open, func(open *call) bool { return open.source == most })
	c.open[oldest].giveUp(errGivenUp)
	c.open = slices.Delete(c.open, oldest, oldest+1)
	return true
}
