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
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/internal/verifier"
)

// maxLastUsedRate keeps a slip of the pen from flooding the API server.
const maxLastUsedRate = 1000

// verifyingOptions are the flags of every process that verifies tokens.
type verifyingOptions struct {
	apiAudiences []string
	maxStaleness time.Duration
	lastUsedRate int

	// known is the process's index, which all of its faces share, and client reads and writes for it.
	known  *verifier.Index
	client client.WithWatch
}

// bind defines the flags; stale is what happens when what the process knows is too old.
func (o *verifyingOptions) bind(fs *pflag.FlagSet, stale string) {
	fs.StringSliceVar(&o.apiAudiences, "api-audiences", nil, "the API server's own audiences; found out by a TokenReview of this process's token when empty")
	fs.DurationVar(&o.maxStaleness, "max-staleness", verifier.DefaultMaxStaleness, "how old what this process knows may be before it "+stale)
	fs.IntVar(&o.lastUsedRate, "last-used-rate", 10, "how many times a second, at most, this replica records when a token was used; with 0 it records nothing, and no predecessor retires on first use")
}

func (o *verifyingOptions) validate() error {
	var errs []error
	if o.maxStaleness < verifier.MinMaxStaleness {
		errs = append(errs, fmt.Errorf("--max-staleness %v is less than %v: a proof takes up to half of it; set it as --max-staleness=1m", o.maxStaleness, verifier.MinMaxStaleness))
	}
	if o.lastUsedRate < 0 || o.lastUsedRate > maxLastUsedRate {
		errs = append(errs, fmt.Errorf("--last-used-rate %d is not between 0 and %d; set it as --last-used-rate=10", o.lastUsedRate, maxLastUsedRate))
	}
	if slices.Contains(o.apiAudiences, "") {
		errs = append(errs, errors.New("--api-audiences has an empty one; set it as --api-audiences=https://kubernetes.default.svc"))
	}
	return errors.Join(errs...)
}

// index adds what knows the tokens to the process, once for all faces. It uses nothing of the manager's cache, which says nothing of
// how old it is.
func (o *verifyingOptions) index(p *componentHost, log logr.Logger) (*verifier.Index, client.WithWatch, error) {
	if o.known != nil {
		return o.known, o.client, nil
	}
	index := verifier.NewIndex(log)
	c, err := client.NewWithWatch(p.GetConfig(), client.Options{HTTPClient: p.GetHTTPClient(), Scheme: p.GetScheme(), Mapper: p.GetRESTMapper()})
	if err != nil {
		return nil, nil, err
	}
	if err := p.Add(verifier.NewFeeds(c, index, verifier.FeedOptions{
		RecordsNamespace: p.recordsNamespace,
		MaxStaleness:     o.maxStaleness,
		Policies:         p.policies,
		ClockOff:         p.skew.Off,
		Clock:            clock.RealClock{},
		Log:              log,
	})); err != nil {
		return nil, nil, err
	}
	if len(o.apiAudiences) > 0 {
		index.SetAPIAudiences(o.apiAudiences)
	} else {
		own, err := verifier.OwnToken(p.GetConfig())
		if err != nil {
			return nil, nil, err
		}
		if err := p.Add(verifier.NewDiscovery(index.SetAPIAudiences, c, own, log)); err != nil {
			return nil, nil, err
		}
	}
	o.known, o.client = index, c
	return index, c, nil
}
