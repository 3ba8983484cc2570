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

package verifier

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/cache"
	"github.com/pat-operator/pat-operator/internal/policy"
)

const (
	// DefaultMaxStaleness is how old what a verifier knows may be.
	DefaultMaxStaleness = time.Minute
	// MinMaxStaleness leaves a watch the time for its bookmark, two seconds before its end.
	MinMaxStaleness = 20 * time.Second
	// probesPerBound: a proof takes up to two intervals, so half of the bound is left for what goes wrong.
	probesPerBound = 4
)

var staleness = prometheus.NewDesc("pat_operator_verifier_staleness_seconds",
	"How old what this verifier knows may be, by feed; +Inf before the first proof. It refuses beyond --max-staleness.",
	[]string{"feed"}, nil)

var maxStaleness = prometheus.NewDesc("pat_operator_verifier_max_staleness_seconds",
	"How old what this verifier knows may be before it refuses: --max-staleness.", nil, nil)

var indexSize = prometheus.NewDesc("pat_operator_verifier_index_entries",
	"What this verifier holds in memory: ids of tokens (token_ids), PersonalAccessTokens and records by name (names), serviceaccounts and TokenPolicies (policies).",
	[]string{"kind"}, nil)

// FeedOptions are how the feeds of an index are to be.
type FeedOptions struct {
	// RecordsNamespace is where the records are.
	RecordsNamespace string
	// MaxStaleness is how old what the index knows may be, at least MinMaxStaleness.
	MaxStaleness time.Duration
	// Policies reports whether TokenPolicies are read. Without, there are none.
	Policies bool
	// ClockOff returns why this clock must not decide what has expired, or nil.
	ClockOff func() error
	Clock    clock.PassiveClock
	Log      logr.Logger
}

// +kubebuilder:rbac:groups="",namespace=pat-operator-records,resources=secrets,verbs=list;watch
// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens,verbs=list;watch
// +kubebuilder:rbac:groups=pat-operator.io,resources=tokenpolicies,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=list;watch

// Feeds keeps an index up to date from the API server, and vouches for it as long as that is proven. It is a Runnable of
// every replica. It needs list and watch of Secrets in the records namespace, of PersonalAccessTokens, of TokenPolicies
// and of service accounts.
type Feeds struct {
	opts  FeedOptions
	index *Index
	feeds []*feed
}

// NewFeeds makes the feeds of an index, which says NotReady until they are started and have proven themselves.
func NewFeeds(c client.WithWatch, x *Index, opts FeedOptions) *Feeds {
	f := &Feeds{opts: opts, index: x}
	if f.opts.ClockOff == nil {
		f.opts.ClockOff = func() error { return nil }
	}
	f.add(c, "records", opts.RecordsNamespace, func() client.ObjectList { return &corev1.SecretList{} }, sink{
		set:       on(x.SetRecord),
		remove:    func(key types.NamespacedName) { x.DeleteRecord(key.Name) },
		keys:      func() []types.NamespacedName { return x.recordKeys(opts.RecordsNamespace) },
		transform: cache.StripSecret,
	})
	f.add(c, "resources", "", func() client.ObjectList { return &v1alpha1.PersonalAccessTokenList{} }, sink{
		set:       on(x.SetResource),
		remove:    func(key types.NamespacedName) { x.DeleteResource(key.Namespace, key.Name) },
		keys:      x.resourceKeys,
		transform: cache.StripResource,
	})
	f.add(c, "serviceaccounts", "", cache.ServiceAccountList, sink{
		set:       on(func(m *metav1.PartialObjectMetadata) { x.SetServiceAccount(m.Namespace, m.Name, m.UID) }),
		remove:    func(key types.NamespacedName) { x.DeleteServiceAccount(key.Namespace, key.Name) },
		keys:      x.accountKeys,
		transform: cache.StripServiceAccount,
	})
	if opts.Policies {
		f.add(c, "policies", "", policyList, sink{
			set:       on(x.SetPolicy),
			remove:    func(key types.NamespacedName) { x.DeletePolicy(key.Name) },
			keys:      x.policyKeys,
			transform: cache.StripPolicy,
			narrows:   true,
		})
	} else {
		opts.Log.Info("TokenPolicies are not read, so none of them counts")
	}
	x.vouchedBy(f.Ready)
	return f
}

func policyList() client.ObjectList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(policy.ListKind)
	return list
}

func (f *Feeds) add(c client.WithWatch, name, namespace string, newList func() client.ObjectList, s sink) {
	f.feeds = append(f.feeds, &feed{
		name: name, client: c, namespace: namespace, newList: newList, sink: s,
		interval: f.opts.MaxStaleness / probesPerBound,
		clock:    f.opts.Clock,
		log:      f.opts.Log.WithValues("feed", name),
	})
}

// NeedLeaderElection is false: every replica verifies.
func (*Feeds) NeedLeaderElection() bool { return false }

// Start feeds the index until ctx ends. Whatever fails is tried again.
func (f *Feeds) Start(ctx context.Context) error {
	if err := metrics.Registry.Register(f); err != nil {
		return err
	}
	defer metrics.Registry.Unregister(f)
	var running sync.WaitGroup
	for _, feed := range f.feeds {
		running.Go(func() { feed.run(ctx) })
	}
	running.Wait()
	return nil
}

// Ready says why what the index knows at a time may be too old to answer by, or nil.
func (f *Feeds) Ready(now time.Time) error {
	for _, feed := range f.feeds {
		age, ok := feed.freshness.age(now)
		if !ok || age > f.opts.MaxStaleness {
			return &staleError{feed: feed.name, age: age, proven: ok, limit: f.opts.MaxStaleness}
		}
	}
	return f.opts.ClockOff()
}

// staleError formats its text only when it is read, because every client may ask a stale replica at once.
type staleError struct {
	feed       string
	age, limit time.Duration
	proven     bool
}

func (e *staleError) Error() string {
	if !e.proven {
		return fmt.Sprintf("what is known of %s is not proven yet: the API server has not answered, or its watch is behind", e.feed)
	}
	return fmt.Sprintf("what is known of %s may be %v old, more than --max-staleness (%v): the API server does not answer, or its watch is behind",
		e.feed, e.age.Round(time.Second), e.limit)
}

// Describe implements prometheus.Collector.
func (*Feeds) Describe(descs chan<- *prometheus.Desc) {
	descs <- staleness
	descs <- maxStaleness
	descs <- indexSize
}

// Collect implements prometheus.Collector.
func (f *Feeds) Collect(samples chan<- prometheus.Metric) {
	samples <- prometheus.MustNewConstMetric(maxStaleness, prometheus.GaugeValue, f.opts.MaxStaleness.Seconds())
	for kind, size := range f.index.size() {
		samples <- prometheus.MustNewConstMetric(indexSize, prometheus.GaugeValue, float64(size), kind)
	}
	now := f.opts.Clock.Now()
	for _, feed := range f.feeds {
		seconds := math.Inf(1)
		if age, ok := feed.freshness.age(now); ok {
			seconds = age.Seconds()
		}
		samples <- prometheus.MustNewConstMetric(staleness, prometheus.GaugeValue, seconds, feed.name)
	}
}

// on calls set for objects of its type; a feed has no others.
func on[T any](set func(T)) func(any) {
	return func(obj any) {
		if o, ok := obj.(T); ok {
			set(o)
		}
	}
}
