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

// Package guards proves that what judges wishes is in force: our validating webhook, the policy users and its binding.
//
// The operator accepts guards by their fingerprint, the UID and generation of each, which it keeps in a Secret of the
// records namespace. Before that it sees them in force for 10 seconds, longer than an API server takes to act on them, and
// refuses every wish that was there before. Guards whose fingerprint is the kept one have judged every other wish.
package guards

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/pat-operator/pat-operator/internal/audit"
)

// Options are what Guards needs; every field is required.
type Options struct {
	// Client writes the Secret that keeps the fingerprint.
	Client client.Client
	// Live reads from the API server itself.
	Live client.Reader
	// Cache watches the guards, see ByObject, and the Secrets of the records namespace.
	Cache            cache.Cache
	RecordsNamespace string
	// Service is where the validating webhook must lead.
	Service Service
	// Clock is monotonic.
	Clock clock.Clock
	// RefuseUncovered lists all resources live and marks as refused those whose spec is not covered. It runs after the guards
	// have been in force for 10 seconds and before their fingerprint is kept; an error starts the acceptance over.
	RefuseUncovered func(ctx context.Context) error
	Recorder        events.EventRecorder
	Log             logr.Logger
	// Audit takes changes of the guards; nil is allowed.
	Audit *audit.Log
}

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,resourceNames=pat-operator,verbs=get;list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,resourceNames=pat-operator-users,verbs=get;list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations,resourceNames=pat-operator,verbs=get
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,resourceNames=pat-operator-records;pat-operator-delivery;pat-operator-authorities;pat-operator-status;pat-operator-impersonator,verbs=get
// +kubebuilder:rbac:groups="",namespace=pat-operator-records,resources=secrets,verbs=get;list;watch;create;update;delete

// Guards knows whether the guards are in force and accepted. Every replica has one; the leader's accepts.
type Guards struct {
	opts  Options
	live  sharedReads
	woken chan struct{}

	// candidate and reported belong to Start.
	candidate *candidate
	reported  reported

	mu     sync.Mutex
	latest *examined
}

var (
	_ manager.Runnable               = (*Guards)(nil)
	_ manager.LeaderElectionRunnable = (*Guards)(nil)
	_ prometheus.Collector           = (*Guards)(nil)
)

// New makes informers of the guards, which start with the cache.
func New(o Options) (*Guards, error) {
	if o.Client == nil || o.Live == nil || o.Cache == nil || o.Clock == nil || o.RefuseUncovered == nil || o.Recorder == nil ||
		o.RecordsNamespace == "" || o.Service.Namespace == "" || o.Service.Name == "" || o.Service.Path == "" {
		return nil, errors.New("guards: an option is missing")
	}
	g := &Guards{opts: o, live: sharedReads{from: o.Live, clock: o.Clock}, woken: make(chan struct{}, 1)}
	watched := []client.Object{&corev1.Secret{}}
	for _, guard := range guards {
		watched = append(watched, guard.newObject())
	}
	for _, o := range watched {
		if err := g.wakeOn(o); err != nil {
			return nil, fmt.Errorf("cannot watch %T: %w", o, err)
		}
	}
	return g, nil
}

// wakeOn wakes the acceptance on each event of a guard, or of the Secret that keeps the fingerprint.
func (g *Guards) wakeOn(o client.Object) error {
	informer, err := g.opts.Cache.GetInformer(context.Background(), o, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	wake := func(o any) {
		if name, err := toolscache.DeletionHandlingObjectToName(o); err == nil && ours(name.Name) {
			g.wake()
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: wake, UpdateFunc: func(_, o any) { wake(o) }, DeleteFunc: wake,
	})
	return err
}

func ours(name string) bool { return name == webhookName || name == policyName || name == SecretName }

func (g *Guards) wake() {
	select {
	case g.woken <- struct{}{}:
	default: // a wake-up is pending
	}
}

// Accepted returns nil if the guards are in force and accepted, as far as the cache knows; it sends no request. The error is
// a *Missing or errAccepting, unless the cache cannot be read.
func (g *Guards) Accepted() error {
	_, err := g.cached()
	return err
}

// examined is the verdict on the objects with these resourceVersions.
type examined struct {
	resourceVersions [len(guards) + 1]string
	fingerprint      fingerprint
	verdict          error
}

// cached returns the fingerprint of the cached guards, zero if one does not exist, and the verdict on them: nil if they are in
// force and accepted.
func (g *Guards) cached() (fingerprint, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // for a cache that has not synced
	defer cancel()
	objects, err := read(ctx, g.opts.Cache, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fingerprint{}, fmt.Errorf("cannot read the guards from the cache: %w", err)
	}
	k, err := readKept(ctx, g.opts.Cache, g.opts.RecordsNamespace)
	if err != nil {
		return fingerprint{}, fmt.Errorf("cannot read the accepted fingerprint from the cache: %w", err)
	}
	e := &examined{}
	for i, o := range objects {
		if o != nil {
			e.resourceVersions[i] = o.GetResourceVersion()
		}
	}
	if k.secret != nil {
		e.resourceVersions[len(guards)] = k.secret.ResourceVersion
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	if g.latest == nil || g.latest.resourceVersions != e.resourceVersions {
		var missing *Missing
		e.fingerprint, missing = objects.examine(g.opts.Service)
		switch {
		case missing != nil:
			e.verdict = missing
		case e.fingerprint != k.fingerprint:
			e.verdict = errAccepting
		}
		g.latest = e
	}
	return g.latest.fingerprint, g.latest.verdict
}
