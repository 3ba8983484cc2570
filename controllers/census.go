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

package controllers

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	// maxMissing and maxMissingShare bound how many records, and what percentage, may lack their resource. Beyond both, a fault of
	// the API explains it better than deletions.
	maxMissing      = 20
	maxMissingShare = 10
)

var (
	missingResources = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pat_operator_missing_resources",
		Help: "Records whose PersonalAccessToken cannot be found although nothing says that it was deleted.",
	})
	collectionStopped = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pat_operator_collection_stopped",
		Help: "1 while too many resources are missing, so that no record is collected because of a missing resource.",
	})
)

func init() { metrics.Registry.MustRegister(missingResources, collectionStopped) }

// States of tokens, as their records have them.
const (
	stateActive    = "active"
	stateSuspended = "suspended"
	stateIssuing   = "issuing"
	stateRefused   = "refused"
	stateMissing   = "missing"
	stateExpired   = "expired"
	stateRevoked   = "revoked"
	// stateReplaced is that of a predecessor in its overlap.
	stateReplaced = "replaced"
)

var (
	states      = []string{stateActive, stateSuspended, stateIssuing, stateRefused, stateMissing, stateExpired, stateRevoked, stateReplaced}
	tokensGauge = prometheus.NewDesc("pat_operator_tokens",
		"Tokens by state. A predecessor that works during an overlap is replaced.", []string{"state"}, nil)
	// within are names of how soon an active token ends.
	within        = map[string]time.Duration{"1d": v1alpha1.Day, "7d": 7 * v1alpha1.Day}
	expiringGauge = prometheus.NewDesc("pat_operator_tokens_expiring",
		"Active tokens that end within a time, to the hour, and are not rotated automatically before.", []string{"within"}, nil)
)

// Census counts what all records hold. The watch of their Secrets feeds it, so no question about all records lists them.
type Census struct {
	// maxLifetime is how long after a user last asked a token is rotated automatically.
	maxLifetime time.Duration
	clock       clock.PassiveClock

	mu      sync.Mutex
	records map[string]tally
	// states and expiries, by hours since 1970, count tokens.
	states   map[string]int
	expiries map[int64]int
	// remembered is how many ids each namespace has to remember.
	remembered map[string]int
	missing    int
	synced     func() bool
}

// tally is one record's share of the counts.
type tally struct {
	namespace  string
	remembered int
	missing    bool
	state      string
	overlap    bool
	// expires is the hour in which an active token ends, 0 if it is rotated before.
	expires int64
}

// NewCensus returns a census that the cache feeds, in every replica. Config is what issuing goes by.
func NewCensus(ctx context.Context, c cache.Cache, config lifecycle.Config, clock clock.PassiveClock) (*Census, error) {
	informer, err := c.GetInformer(ctx, &corev1.Secret{})
	if err != nil {
		return nil, err
	}
	census := newCensus()
	census.maxLifetime, census.clock = config.MaxLifetime, clock
	feed, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { census.count(o) },
		UpdateFunc: func(_, o any) { census.count(o) },
		DeleteFunc: func(o any) {
			if lost, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = lost.Obj
			}
			if secret, ok := o.(*corev1.Secret); ok {
				census.set(secret.Name, tally{})
			}
		},
	})
	if err != nil {
		return nil, err
	}
	census.synced = feed.HasSynced
	return census, nil
}

func newCensus() *Census {
	return &Census{records: map[string]tally{}, remembered: map[string]int{}, states: map[string]int{}, expiries: map[int64]int{}}
}

func (c *Census) count(o any) {
	secret, ok := o.(*corev1.Secret)
	if !ok || secret.Type != record.SecretType {
		return
	}
	rec, err := record.FromSecret(secret)
	if err != nil {
		c.set(secret.Name, tally{})
		return
	}
	is := tally{namespace: rec.Resource.Namespace, remembered: rec.Remembers(), missing: rec.MissingSince != nil, state: stateOf(rec)}
	is.overlap = is.state != "" && rec.Previous != nil && rec.EndOf(rec.Previous.ID) == nil
	if is.state == stateActive && !lifecycle.Renews(rec, c.maxLifetime) {
		is.expires = hour(rec.Current.EndsAt())
	}
	c.set(secret.Name, is)
}

// stateOf is the state of the record's token; "" for a tombstone, which has none.
func stateOf(rec *record.Record) string {
	t := rec.Current
	switch {
	case rec.Tombstone():
		return ""
	case t == nil && rec.Refused != "":
		return stateRefused
	case t == nil:
		return stateIssuing
	case rec.EndOf(t.ID) != nil && rec.EndOf(t.ID).Reason == record.EndedExpired:
		return stateExpired
	case rec.EndOf(t.ID) != nil:
		return stateRevoked
	case rec.MissingSince != nil:
		return stateMissing
	case rec.Granted != nil && rec.Granted.Suspend:
		return stateSuspended
	}
	return stateActive
}

func hour(t time.Time) int64 { return t.Unix() / int64(time.Hour/time.Second) }

// share adds what a record counts for, or takes it away.
func (c *Census) share(t tally, n int) {
	if t.state != "" {
		c.states[t.state] += n
	}
	if t.overlap {
		c.states[stateReplaced] += n
	}
	if t.expires == 0 {
		return
	}
	if c.expiries[t.expires] += n; c.expiries[t.expires] == 0 {
		delete(c.expiries, t.expires)
	}
}

var _ prometheus.Collector = (*Census)(nil)

// Describe implements prometheus.Collector.
func (*Census) Describe(descs chan<- *prometheus.Desc) {
	descs <- tokensGauge
	descs <- expiringGauge
}

// Collect implements prometheus.Collector. It looks at a week of hours, however many tokens there are.
func (c *Census) Collect(samples chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, state := range states {
		samples <- prometheus.MustNewConstMetric(tokensGauge, prometheus.GaugeValue, float64(c.states[state]), state)
	}
	now := c.clock.Now()
	for name, d := range within {
		expiring := 0
		for at := hour(now); at <= hour(now.Add(d)); at++ {
			expiring += c.expiries[at]
		}
		samples <- prometheus.MustNewConstMetric(expiringGauge, prometheus.GaugeValue, float64(expiring), name)
	}
}

func (c *Census) set(name string, is tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.records[name]
	c.share(was, -1)
	c.share(is, 1)
	if c.remembered[was.namespace] -= was.remembered; c.remembered[was.namespace] <= 0 {
		delete(c.remembered, was.namespace)
	}
	if was.missing {
		c.missing--
	}
	if is == (tally{}) {
		delete(c.records, name)
	} else {
		c.records[name] = is
		c.remembered[is.namespace] += is.remembered
	}
	if is.missing {
		c.missing++
	}
	missingResources.Set(float64(c.missing))
}

// Remembered is how many ended ids a namespace remembers, those that its tokens will leave included.
func (c *Census) Remembered(namespace string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remembered[namespace]
}

// breaker reports whether too many resources are missing for any of them to count as deleted, and how many of all.
func (c *Census) breaker() (open bool, missing, all int) {
	if !c.synced() {
		return true, 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	missing, all = c.missing, len(c.records)
	return missing > maxMissing && missing*100 > all*maxMissingShare, missing, all
}
