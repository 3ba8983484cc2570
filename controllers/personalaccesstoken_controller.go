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

// Package controllers reconciles PersonalAccessTokens: it executes the decisions of lifecycle.Decide.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/audit"
	"github.com/pat-operator/pat-operator/internal/cache"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
)

// FieldOwner owns what the reconciler writes into status.
const FieldOwner = client.FieldOwner("pat-operator")

const (
	concurrency = 32
	timeout     = time.Minute
	// maxSteps bounds one reconcile: adopt or issue, then at most one change of each kind.
	maxSteps = 8
)

// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens,verbs=get;list;watch
// +kubebuilder:rbac:groups=pat-operator.io,resources=personalaccesstokens/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups="",namespace=pat-operator-records,resources=secrets,verbs=get;list;watch;create;update;delete

// Guards report whether the guards of admission, which judge the wishes of specs, are the accepted ones.
type Guards interface {
	// Judged asks the API server, with a read that begins after the call.
	Judged(ctx context.Context) error
	// Accepted asks the cache alone.
	Accepted() error
}

// Reconciler issues, delivers, ends and removes tokens as PersonalAccessTokens ask.
type Reconciler struct {
	// Client writes, and reads the cache.
	Client client.Client
	// Live reads from the API server itself, so decisions never use stale data.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	// ClockCheck returns an error unless the clock was just compared with the API server's.
	ClockCheck func() error
	// Random is crypto/rand.Reader everywhere but in tests.
	Random           io.Reader
	RecordsNamespace string
	Config           lifecycle.Config
	// Guards report whether the judges of wishes are in force.
	Guards Guards
	// Census counts what all records hold.
	Census *Census
	// Policies are the TokenPolicies; nil knows none.
	Policies *Policies
	// Audit takes what Recorder takes; nil is allowed.
	Audit *audit.Log

	// sightings hold what the watch of resources has shown.
	sightings sightings
	// stopped reports that the breaker was last seen open, and that an event says so.
	stopped atomic.Bool
	// audiences are the API server's own; nil until they are known.
	audiences atomic.Pointer[[]string]
	// moved reports that resources, or audiences, have changed since the tokens of TokenPolicies were last counted.
	moved atomic.Bool
	// room knows who was given a place among a user's tokens.
	room room
	// waiting knows which resources wait for a token.
	waiting waiting
	// attempts delays what a namespace refuses: the operator's own writes would wake the queue at once.
	attempts attempts
}

// SetupWithManager registers the controller and its indexes.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := setupIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("personalaccesstoken").
		Watches(&v1alpha1.PersonalAccessToken{}, &resourceEvents{Reconciler: r}).
		WatchesMetadata(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(r.resourcesOfAccount), builder.WithPredicates(uidChanged)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.resourceOfRecord)).
		WatchesRawSource(r.policyChanges()).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency, ReconciliationTimeout: timeout}).
		Complete(r)
}

// Reconcile does what a resource asks, and ends what resources that are gone have left under its name. It fetches what the API
// server says now, converges, then applies status once and goes through the removals once.
//
// It looks into the cache first, and fetches only where there seems to be something to do: most events, those of its own writes
// and those of a restart among them, need nothing.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (_ ctrl.Result, err error) {
	defer func() { countError(err) }()
	if after, rests, err := r.rests(ctx, req.NamespacedName); err != nil || rests {
		return ctrl.Result{RequeueAfter: after}, err
	}
	in, current, err := r.fetch(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	began := in.Now
	o := r.converge(ctx, in, current)
	statusErr := r.applyStatus(ctx, in.Resource, o.current, o.state)
	if statusErr == nil && o.state != nil {
		r.waiting.issued(req.NamespacedName, in.Resource, o.current, began, r.Clock.Now())
	}
	r.waiting.note(req.NamespacedName, in.Resource, o.state, began)
	r.room.note(req.NamespacedName, in.Resource, o.current.of(in.Resource), o.state, true)
	after, removalsErr := r.remove(ctx, o.current, in.ClockProven)
	if err := errors.Join(o.err, statusErr, removalsErr); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: lifecycle.Sooner(o.after, after)}, nil
}

// rests reports, by the cache alone, whether nothing is to be done with a proven clock, and when to look again. A cache that
// lags sends an event once it has caught up.
func (r *Reconciler) rests(ctx context.Context, key types.NamespacedName) (after time.Duration, rests bool, err error) {
	current, recordErr, err := r.read(ctx, r.Client, key)
	if err != nil {
		return 0, false, err
	}
	pat := &v1alpha1.PersonalAccessToken{}
	if err := r.Client.Get(ctx, key, pat); apierrors.IsNotFound(err) {
		pat = nil
	} else if err != nil {
		return 0, false, err
	}
	if r.sightings.behind(key, versionOf(pat), current.version(), r.Clock.Now()) {
		return patience, true, nil // Its event wakes the queue again.
	}
	in, err := r.input(ctx, r.Client, key, pat, current, recordErr)
	if err != nil {
		return 0, false, err
	}
	in.ClockProven, in.Listed, in.Guards = true, pat == nil, r.Guards.Accepted()
	d := lifecycle.Decide(in)
	if d.Action != lifecycle.Nothing || current != nil && len(current.record.Removals) > 0 {
		return 0, false, nil
	}
	r.waiting.note(key, pat, d.State, in.Now)
	r.room.note(key, pat, current.of(pat), d.State, false)
	return d.After, d.State == nil || statusApplied(pat, current.of(pat), d.State, in.Now), nil
}

func versionOf(pat *v1alpha1.PersonalAccessToken) string {
	if pat == nil {
		return ""
	}
	return pat.ResourceVersion
}

// fetch reads what a decision needs from the API server itself.
func (r *Reconciler) fetch(ctx context.Context, key types.NamespacedName) (in lifecycle.Input, current *stored, err error) {
	current, recordErr, err := r.read(ctx, r.Live, key)
	if err != nil {
		return in, nil, err
	}
	// After the record: another leader may have written it for a later spec, or for a later resource.
	pat, listed, err := r.resource(ctx, key)
	if err != nil && !r.isOver(key, current) {
		return in, nil, err
	}
	if in, err = r.input(ctx, r.Live, key, pat, current, recordErr); err != nil {
		return in, nil, err
	}
	in.Listed = listed
	if asks(in) {
		in.Guards = r.Guards.Judged(ctx) // After the resource: its wishes were judged before it was read.
	}
	return in, current, nil
}

// converged is the result of converge.
type converged struct {
	// current is the record now; nil where none exists, or where a failed write left it unknown.
	current *stored
	// state is the content of status; nil leaves status unchanged.
	state *lifecycle.State
	// after is when to look again, 0 for never.
	after time.Duration
	err   error
}

// converge decides and acts until nothing is left to do, or nothing can be done now.
func (r *Reconciler) converge(ctx context.Context, in lifecycle.Input, current *stored) converged {
	pat := in.Resource
	for range maxSteps {
		d := lifecycle.Decide(in)
		var err error
		if issues(d) {
			taken, err := r.takePlace(ctx, &in)
			if err != nil {
				return converged{current: current, err: err}
			}
			if !taken {
				d = lifecycle.Decide(in) // It says so.
			}
		}
		switch d.Action {
		case lifecycle.Nothing:
			if rec := current.of(pat); rec != nil {
				r.sightings.keep(client.ObjectKeyFromObject(pat), func(id string) bool { return matters(pat, rec, id) })
			}
			return converged{current: current, state: d.State, after: d.After}
		case lifecycle.Issue:
			if wait := r.attempts.wait(pat.UID, in.Now); wait > 0 {
				return converged{current: current, state: meanwhile(pat, d.State), after: lifecycle.Sooner(wait, lifecycle.Wake(in))}
			}
			current, err = r.issue(ctx, pat, d, in.Now, current)
			if refused := (*refusal)(nil); errors.As(err, &refused) {
				return converged{refused.current, refused.state(d.State), r.attempts.failed(pat.UID, in.Now), refused.cause}
			}
			r.attempts.succeeded(pat.UID)
		default:
			current, err = r.act(ctx, pat, current, d)
		}
		if err != nil {
			return converged{current: current, state: stateAfterFailure(pat, d, err), err: err}
		}
		in.Record, in.Now = nil, r.Clock.Now()
		if current != nil {
			in.Record = current.record
		}
	}
	return converged{err: fmt.Errorf("the resource has not settled after %d steps", maxSteps)}
}

// isOver reports whether a record is a tombstone, or belongs to a resource whose deletion a watch has reported. No further read
// has to prove it; without the CRD none can.
func (r *Reconciler) isOver(key types.NamespacedName, current *stored) bool {
	_, _, deleted := r.sightings.of(key, "")
	return current != nil && (current.record.Tombstone() || current.record.Resource.UID == deleted)
}

// asks reports whether spec has a wish that the guards must have judged.
func asks(in lifecycle.Input) bool {
	if in.Resource == nil || !in.Resource.DeletionTimestamp.IsZero() || in.RecordErr != nil {
		return false
	}
	refused := in.Record != nil && in.Record.Of(in.Resource) && in.Record.Refused != ""
	return !refused && len(lifecycle.Wishes(in)) > 0
}

// input collects what a decision depends on; the service account is read from the same source as the rest.
func (r *Reconciler) input(
	ctx context.Context, from client.Reader, key types.NamespacedName, pat *v1alpha1.PersonalAccessToken, current *stored, recordErr error,
) (in lifecycle.Input, err error) {
	in = lifecycle.Input{Resource: pat, RecordErr: recordErr, Config: r.Config}
	if current != nil {
		in.Record = current.record
	}
	var uid types.UID
	if pat != nil {
		uid = pat.UID
	}
	in.Revoked, in.Used, in.Deleted = r.sightings.of(key, uid)
	in.Remembered = r.Census.Remembered(key.Namespace)
	in.BreakerOpen = r.breaker(in.Record)
	if in.Owner, err = r.owner(ctx, from, pat); err != nil {
		return in, err
	}
	if in.Policies, err = r.policies(ctx, pat, current.of(pat)); err != nil {
		return in, err
	}
	// After the reads, whose answers show the API server's clock.
	in.ClockProven = r.ClockCheck() == nil
	in.Now = r.Clock.Now()
	return in, nil
}

// owner reads the service account that a token belongs to.
func (r *Reconciler) owner(ctx context.Context, from client.Reader, pat *v1alpha1.PersonalAccessToken) (lifecycle.Owner, error) {
	if pat == nil || pat.Spec.User == nil {
		return lifecycle.Owner{}, nil
	}
	key, ok := identity.ServiceAccount(pat.Spec.User.Username)
	if !ok {
		return lifecycle.Owner{}, nil
	}
	account := cache.ServiceAccounts()
	if err := from.Get(ctx, key, account); err != nil {
		return lifecycle.Owner{}, client.IgnoreNotFound(err)
	}
	return lifecycle.Owner{UID: account.UID}, nil
}
