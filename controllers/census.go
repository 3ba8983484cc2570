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

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

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

// Census counts what all records hold. The watch of their Secrets feeds it, so no question about all records lists them.
type Census struct {
	mu      sync.Mutex
	records map[string]tally
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
}

// NewCensus returns a census that the cache feeds, in every replica.
func NewCensus(ctx context.Context, c cache.Cache) (*Census, error) {
	informer, err := c.GetInformer(ctx, &corev1.Secret{})
	if err != nil {
		return nil, err
	}
	census := &Census{records: map[string]tally{}, remembered: map[string]int{}}
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
	c.set(secret.Name, tally{rec.Resource.Namespace, rec.Remembers(), rec.MissingSince != nil})
}

func (c *Census) set(name string, is tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.records[name]
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
