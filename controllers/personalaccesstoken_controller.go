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

// Package controllers reconciles PersonalAccessTokens: it issues, delivers, expires and sweeps, as lifecycle.Decide says.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/identity"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/record"
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
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups="",namespace=pat-operator-records,resources=secrets,verbs=get;list;watch;create;update;delete

// Reconciler makes the cluster be what PersonalAccessTokens say.
type Reconciler struct {
	// Client writes, and reads the cache where only an index is asked.
	Client client.Client
	// Live reads from the API server itself: what is decided rests on nothing stale.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	// ClockCheck returns why the clock is not proven against the API server's.
	ClockCheck func() error
	// Random is crypto/rand.Reader everywhere but in tests.
	Random           io.Reader
	RecordsNamespace string
	Config           lifecycle.Config

	// attempts keeps what a namespace refuses from being asked for again and again: our own writes wake the queue.
	attempts attempts
}

// SetupWithManager registers the controller and its indexes.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := setupIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("personalaccesstoken").
		For(&v1alpha1.PersonalAccessToken{}, builder.WithPredicates(moreThanLastUse)).
		WatchesMetadata(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(r.resourcesOfAccount), builder.WithPredicates(anotherUID)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(resourceOfRecord)).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency, ReconciliationTimeout: timeout}).
		Complete(r)
}

// resourceOfRecord leads from a record's Secret to its resource.
func resourceOfRecord(_ context.Context, o client.Object) []reconcile.Request {
	secret, ok := o.(*corev1.Secret)
	if !ok || secret.Type != record.SecretType {
		return nil
	}
	key := types.NamespacedName{Namespace: secret.Labels[record.LabelNamespace], Name: secret.Labels[record.LabelName]}
	if key.Namespace == "" || key.Name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

// anotherUID lets an object's beginning and end pass, an update only where it hides both.
var anotherUID = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() },
}

// moreThanLastUse lets no update pass that only says when a token was last used: there are many, and nothing follows. It sees
// resources as the cache has them, which holds the rest of status back; so other updates pass whatever they change.
var moreThanLastUse = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		was, ok := e.ObjectOld.(*v1alpha1.PersonalAccessToken)
		is, same := e.ObjectNew.(*v1alpha1.PersonalAccessToken)
		if !ok || !same || was.Status.LastUsedAt.Equal(is.Status.LastUsedAt) {
			return true
		}
		before := was.DeepCopy()
		before.ResourceVersion, before.Status.LastUsedAt = is.ResourceVersion, is.Status.LastUsedAt
		return !equality.Semantic.DeepEqual(before, is)
	},
}

// resourcesOfAccount leads from a service account to the resources of its tokens.
func (r *Reconciler) resourcesOfAccount(ctx context.Context, account client.Object) []reconcile.Request {
	var pats v1alpha1.PersonalAccessTokenList
	username := serviceaccount.MakeUsername(account.GetNamespace(), account.GetName())
	if err := r.Client.List(ctx, &pats, client.MatchingFields{indexUsername: username}); err != nil {
		return nil // The cache does not have it yet, and then brings the resources by itself.
	}
	var requests []reconcile.Request
	for i := range pats.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pats.Items[i])})
	}
	return requests
}

// Reconcile does what a resource asks, a step at a time, and ends what resources that are gone have left under its name.
//
// It looks into the cache first, and reads live where there seems to be something to do: of most events, those of its own
// writes and those of a restart among them, nothing follows.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	after, rests, err := r.rests(ctx, req.NamespacedName)
	if err == nil && !rests {
		after, err = r.reconcile(ctx, req.NamespacedName)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// rests tells by the cache alone whether there is nothing to do, were the clock proven, and when to look again. A cache that
// is behind brings an event once it is not.
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
	in, err := r.input(ctx, r.Client, pat, current, recordErr)
	if err != nil {
		return 0, false, err
	}
	in.ClockProven = true
	d := lifecycle.Decide(in)
	if d.Action != lifecycle.Nothing || current != nil && len(current.record.Removals) > 0 {
		return 0, false, nil
	}
	return d.After, d.State == nil || mirrored(pat, current.of(pat), d.State, in.Now), nil
}

// reconcile decides by what the API server says now, and acts.
func (r *Reconciler) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	current, recordErr, err := r.read(ctx, r.Live, key)
	if err != nil {
		return 0, err
	}
	// After the record: another leader may have written it for a spec that is younger, or for a younger resource.
	pat, err := r.resource(ctx, key)
	if err != nil {
		return 0, err
	}
	in, err := r.input(ctx, r.Live, pat, current, recordErr)
	if err != nil {
		return 0, err
	}
	for range maxSteps {
		d := lifecycle.Decide(in)
		if d.Action == lifecycle.Nothing {
			if err := r.mirror(ctx, pat, current, d.State); err != nil {
				return 0, err
			}
			after, err := r.removeAgain(ctx, current, in.ClockProven)
			return lifecycle.Sooner(d.After, after), err
		}
		if d.Action == lifecycle.Issue {
			if wait := r.attempts.wait(pat.UID, in.Now); wait > 0 {
				if err := r.mirror(ctx, pat, current, meanwhile(pat, d.State)); err != nil {
					return 0, err
				}
				after, err := r.untilNextAttempt(ctx, current, in.ClockProven, wait)
				return lifecycle.Sooner(after, lifecycle.Wake(in)), err
			}
			current, err = r.issue(ctx, in, current)
			if refused := (*refusal)(nil); errors.As(err, &refused) {
				mirrored := r.mirror(ctx, pat, refused.current, refused.state(d.State))
				after, err := r.untilNextAttempt(ctx, refused.current, in.ClockProven, r.attempts.failed(pat.UID, in.Now))
				return after, errors.Join(refused.cause, mirrored, err)
			}
			r.attempts.succeeded(pat.UID)
		} else {
			current, err = r.act(ctx, pat, current, d)
		}
		if err != nil {
			return 0, errors.Join(err, r.mirror(ctx, pat, current, stateAfterFailure(pat, d, err)))
		}
		in.Record, in.Now = nil, r.Clock.Now()
		if current != nil {
			in.Record = current.record
		}
	}
	return 0, fmt.Errorf("no rest after %d steps", maxSteps)
}

// input is what a decision rests on; the service account is read from where the rest was.
func (r *Reconciler) input(ctx context.Context, from client.Reader, pat *v1alpha1.PersonalAccessToken, current *stored, recordErr error) (in lifecycle.Input, err error) {
	in = lifecycle.Input{Resource: pat, RecordErr: recordErr, Config: r.Config}
	if current != nil {
		in.Record = current.record
	}
	if pat != nil && pat.Spec.Token != nil && recordErr == nil && (in.Record == nil || in.Record.Current == nil || in.Record.Current.ID != pat.Spec.Token.ID) {
		if in.Tombstones, err = r.tombstones(ctx, pat.Namespace); err != nil {
			return in, err
		}
	}
	if in.Owner, err = r.owner(ctx, from, pat); err != nil {
		return in, err
	}
	// After the reads, whose answers have just shown the API server's clock.
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
	account := &metav1.PartialObjectMetadata{}
	account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	if err := from.Get(ctx, key, account); err != nil {
		return lifecycle.Owner{}, client.IgnoreNotFound(err)
	}
	return lifecycle.Owner{UID: account.UID}, nil
}
