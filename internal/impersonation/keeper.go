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

// Package impersonation keeps the ClusterRole that says whom the proxy may act for: exactly the users and groups of the tokens
// that are active now. The proxy cannot change this role, and the operator, which writes it, cannot use it.
//
// A name is added as soon as the watch of records shows a token that needs it. It is removed only when its absence is proven:
// the operator writes a Secret of its own, and its watch shows that write after everything that came before.
package impersonation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
)

const (
	// RoleName names the ClusterRole. Its manifest has no rules.
	RoleName = "pat-operator-impersonator-users"
	// MarkerName names the Secret, in the records namespace, whose writes show how far the watch of records is.
	MarkerName = "pat-operator-impersonator-users"
	// MarkerType is the type of that Secret. Records have another.
	MarkerType corev1.SecretType = "pat-operator.io/marker"

	// ReasonLimit is of the event that names a token whose user and groups the role has no room for.
	ReasonLimit = "ImpersonationLimit"

	users  = "users"
	groups = "groups"

	// leastPause is the time between two writes, so that changes of that time share one.
	leastPause = time.Second
	// bytesASecond bounds what is written of a large role, which etcd keeps for five minutes each time.
	bytesASecond = 100 << 10
	proofTimeout = 10 * time.Second
)

// afterFailure paces rounds that fail.
var afterFailure = wait.Backoff{Duration: leastPause, Factor: 2, Jitter: 0.1, Steps: 6, Cap: 30 * time.Second}

// Options are what Keeper needs; every field is required.
type Options struct {
	// Client writes the role and the marker.
	Client client.Client
	// Cache watches the role, see ByObject, and the Secrets of the records namespace.
	Cache            cache.Cache
	RecordsNamespace string
	Clock            clock.Clock
	Recorder         events.EventRecorder
	Log              logr.Logger
}

// Keeper keeps the role. Every replica has one; the leader's writes.
type Keeper struct {
	opts   Options
	ledger *ledger
	woken  chan struct{}
	synced []toolscache.InformerSynced
	// patience bounds the wait for the watch to show a write.
	patience time.Duration

	mu sync.Mutex
	// role is the newest that the watch, or a write of this process, has shown; nil if it does not exist.
	role *rbacv1.ClusterRole
	// refused are the tokens that the role has no room for, as last reported.
	refused map[record.Resource]bool
	// absent is that the absence of the role was last reported.
	absent bool
}

var (
	_ manager.Runnable               = (*Keeper)(nil)
	_ manager.LeaderElectionRunnable = (*Keeper)(nil)
	_ prometheus.Collector           = (*Keeper)(nil)

	namesMetric = prometheus.NewDesc("pat_operator_impersonator_names",
		"Users and groups in the ClusterRole pat-operator-impersonator-users, which the proxy may act for.", nil, nil)
	refusedMetric = prometheus.NewDesc("pat_operator_impersonator_refused_tokens",
		"PersonalAccessTokens whose users and groups that ClusterRole has no room for: the proxy cannot act for them.", nil, nil)
)

// ByObject restricts a cache to the role.
func ByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&rbacv1.ClusterRole{}: {Field: fields.OneTermEqualSelector("metadata.name", RoleName)},
	}
}

// New makes a Keeper, whose informers start with the cache.
func New(o Options) (*Keeper, error) {
	if o.Client == nil || o.Cache == nil || o.Clock == nil || o.Recorder == nil || o.RecordsNamespace == "" {
		return nil, errors.New("impersonation: an option is missing")
	}
	k := &Keeper{opts: o, ledger: newLedger(), woken: make(chan struct{}, 1), patience: proofTimeout}
	for kind, handler := range map[client.Object]toolscache.ResourceEventHandlerFuncs{
		&corev1.Secret{}:      handle(k.sawSecret, k.secretGone),
		&rbacv1.ClusterRole{}: handle(k.sawRole, k.roleGone),
	} {
		informer, err := o.Cache.GetInformer(context.Background(), kind, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("cannot watch %T: %w", kind, err)
		}
		feed, err := informer.AddEventHandler(handler)
		if err != nil {
			return nil, fmt.Errorf("cannot watch %T: %w", kind, err)
		}
		k.synced = append(k.synced, feed.HasSynced)
	}
	return k, nil
}

// handle calls saw with what is there, and gone with what is not any more.
func handle[T client.Object](saw, gone func(T)) toolscache.ResourceEventHandlerFuncs {
	typed := func(f func(T)) func(any) {
		return func(o any) {
			if lost, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = lost.Obj
			}
			if object, ok := o.(T); ok {
				f(object)
			}
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: typed(saw), UpdateFunc: func(_, o any) { typed(saw)(o) }, DeleteFunc: typed(gone),
	}
}

func (k *Keeper) sawSecret(secret *corev1.Secret) {
	if k.ledger.saw(secret) {
		k.wake()
	}
}

func (k *Keeper) secretGone(secret *corev1.Secret) {
	if k.ledger.gone(secret.Name) {
		k.wake()
	}
}

func (k *Keeper) sawRole(role *rbacv1.ClusterRole) {
	if role.Name != RoleName {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.role == nil || !reached(k.role.ResourceVersion, role.ResourceVersion) {
		k.role = role
		k.wake()
	}
}

func (k *Keeper) roleGone(role *rbacv1.ClusterRole) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.role != nil && k.role.UID == role.UID {
		k.role = nil
		k.wake()
	}
}

func (k *Keeper) current() *rbacv1.ClusterRole {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.role
}

func (k *Keeper) wake() {
	select {
	case k.woken <- struct{}{}:
	default: // a wake-up is pending
	}
}

// NeedLeaderElection is true: the leader writes.
func (*Keeper) NeedLeaderElection() bool { return true }

// Start keeps the role until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), k.synced...) {
		return nil
	}
	backoff := afterFailure
	for {
		pause, err := k.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			backoff = afterFailure
		} else {
			pause = max(pause, backoff.Step())
			k.opts.Log.Error(err, "Cannot bring the ClusterRole up to date; trying again", "name", RoleName, "after", pause.String())
			k.wake()
		}
		if pause > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-k.opts.Clock.After(pause):
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.woken:
		}
	}
}

// round brings the role up to date, and returns how long to wait before the next. With nothing to do, it sends no request.
func (k *Keeper) round(ctx context.Context) (pause time.Duration, err error) {
	role := k.current()
	if k.reportAbsence(role == nil); role == nil {
		return 0, nil
	}
	want, refused := k.ledger.names()
	kept := namesOf(role.Rules)
	if !subset(kept, want) {
		if err = k.prove(ctx); err == nil {
			want, refused = k.ledger.names()
		} else {
			err = fmt.Errorf("cannot prove that users or groups of the role are not needed any more: %w", err)
			maps.Copy(want, kept)
			if len(want) > MaxNames || size(want) > maxBytes {
				return 0, err
			}
		}
	}
	k.reportRefused(refused)
	next := role.DeepCopy()
	next.AggregationRule, next.Rules = nil, rulesOf(want)
	if equality.Semantic.DeepEqual(role.Rules, next.Rules) && role.AggregationRule == nil {
		return 0, err
	}
	if updateErr := k.opts.Client.Update(ctx, next); apierrors.IsConflict(updateErr) {
		return leastPause, errors.Join(err, errors.New("the role has changed; its watch is to show it"))
	} else if updateErr != nil {
		return 0, errors.Join(err, updateErr)
	}
	k.sawRole(next)
	return max(leastPause, time.Duration(size(want))*time.Second/bytesASecond), err
}

// prove returns nil once the ledger knows everything that was written before the call. It writes the marker and waits for the
// watch to show it, twice: a watch that starts anew lists, in any order, and the second write comes after all of that list.
func (k *Keeper) prove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	for range 2 {
		version, err := k.mark(ctx)
		if err != nil {
			return err
		}
		for {
			seen, changed := k.ledger.marker()
			if seen != "" && reached(seen, version) {
				break
			}
			select {
			case <-ctx.Done():
				return errors.New("the watch of the records does not show what was written")
			case <-changed:
			}
		}
	}
	return nil
}

// mark writes the marker and returns its resourceVersion.
func (k *Keeper) mark(ctx context.Context) (string, error) {
	marker := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: k.opts.RecordsNamespace, Name: MarkerName, Labels: map[string]string{record.LabelNoBackup: "true"},
			Annotations: map[string]string{"pat-operator.io/mark": rand.Text()}, // So that each update is one.
		},
		Type: MarkerType,
	}
	err := k.opts.Client.Update(ctx, marker)
	if apierrors.IsNotFound(err) {
		err = k.opts.Client.Create(ctx, marker)
	}
	return marker.ResourceVersion, err
}

// rulesOf writes the rules of the role in one form.
func rulesOf(names map[name]bool) []rbacv1.PolicyRule {
	byResource := map[string][]string{}
	for of := range names {
		byResource[of.resource] = append(byResource[of.resource], of.name)
	}
	var rules []rbacv1.PolicyRule
	for _, resource := range []string{users, groups} {
		if list := byResource[resource]; len(list) > 0 { // Without a list, everybody would be meant.
			rules = append(rules, rbacv1.PolicyRule{
				Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: slices.Sorted(slices.Values(list)),
			})
		}
	}
	return rules
}

// namesOf reads the names of rules in that form. What has another form is not kept.
func namesOf(rules []rbacv1.PolicyRule) map[name]bool {
	names := map[name]bool{}
	for _, rule := range rules {
		if len(rule.Resources) != 1 || rule.Resources[0] != users && rule.Resources[0] != groups || !slices.Equal(rule.Verbs, []string{"impersonate"}) {
			continue
		}
		for _, n := range rule.ResourceNames {
			if n != "" && !strings.HasPrefix(n, reserved) {
				names[name{rule.Resources[0], n}] = true
			}
		}
	}
	return names
}

func subset(of, all map[name]bool) bool {
	for n := range of {
		if !all[n] {
			return false
		}
	}
	return true
}

func size(names map[name]bool) int {
	n := 0
	for of := range names {
		n += len(of.name)
	}
	return n
}

func (k *Keeper) reportAbsence(absent bool) {
	k.mu.Lock()
	was := k.absent
	k.absent = absent
	k.mu.Unlock()
	if absent && !was {
		k.opts.Log.Info("The ClusterRole does not exist, so the proxy can act for nobody; apply the manifests of the proxy again", "name", RoleName)
	}
}

// reportRefused says once of each token that the role has no room for it.
func (k *Keeper) reportRefused(carriers []carrier) {
	k.mu.Lock()
	was := k.refused
	k.refused = make(map[record.Resource]bool, len(carriers))
	for _, c := range carriers {
		k.refused[c.resource] = true
	}
	k.mu.Unlock()
	for _, c := range carriers {
		if was[c.resource] {
			continue
		}
		pat := &v1alpha1.PersonalAccessToken{}
		pat.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PersonalAccessToken"))
		pat.Namespace, pat.Name, pat.UID = c.resource.Namespace, c.resource.Name, c.resource.UID
		k.opts.Log.Info("The proxy cannot act for a token: its ClusterRole has no room for its user and groups",
			"namespace", pat.Namespace, "name", pat.Name)
		k.opts.Recorder.Eventf(pat, nil, corev1.EventTypeWarning, ReasonLimit, "Refuse",
			"The proxy cannot act for this token: its user and groups do not fit into the ClusterRole %s, which holds %d names of %d KiB together. "+
				"Delete tokens that nobody needs, or make this one for fewer groups. "+
				"An administrator can choose another form of impersonation.", RoleName, MaxNames, maxBytes>>10)
	}
}

// Describe implements prometheus.Collector.
func (*Keeper) Describe(descs chan<- *prometheus.Desc) {
	descs <- namesMetric
	descs <- refusedMetric
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(samples chan<- prometheus.Metric) {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := 0
	if k.role != nil {
		names = len(namesOf(k.role.Rules))
	}
	samples <- prometheus.MustNewConstMetric(namesMetric, prometheus.GaugeValue, float64(names))
	samples <- prometheus.MustNewConstMetric(refusedMetric, prometheus.GaugeValue, float64(len(k.refused)))
}
