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
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
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

// Guards say whether the guards of admission, which judge the wishes of specs, are the accepted ones.
type Guards interface {
	// Judged asks the API server, by a read that begins after the call.
	Judged(ctx context.Context) error
	// Accepted asks the cache alone.
	Accepted() error
}

// Reconciler makes the cluster be what PersonalAccessTokens say.
type Reconciler struct {
	// Client writes, and reads the cache where only an index is asked.
	Client client.Client
	// Live reads from the API server itself, so decisions never use stale data.
	Live     client.Reader
	Recorder events.EventRecorder
	Clock    clock.PassiveClock
	// ClockCheck returns why the clock is not proven against the API server's.
	ClockCheck func() error
	// Random is crypto/rand.Reader everywhere but in tests.
	Random           io.Reader
	RecordsNamespace string
	Config           lifecycle.Config
	// Guards say whether what judges wishes is in force.
	Guards Guards
	// Census counts what all records hold.
	Census *Census

	// sightings are what the watch of resources has shown.
	sightings sightings
	// stopped: the breaker was last seen open, which was said.
	stopped atomic.Bool
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
		Watches(&v1alpha1.PersonalAccessToken{}, &resourceEvents{Reconciler: r}).
		WatchesMetadata(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(r.resourcesOfAccount), builder.WithPredicates(uidChanged)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.resourceOfRecord)).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency, ReconciliationTimeout: timeout}).
		Complete(r)
}

// resourceOfRecord leads from a record's Secret to its resource.
func (r *Reconciler) resourceOfRecord(ctx context.Context, o client.Object) []reconcile.Request {
	secret, ok := o.(*corev1.Secret)
	if !ok || !record.InPlaceOfRecord(secret) {
		return nil
	}
	key := types.NamespacedName{Namespace: secret.Labels[record.LabelNamespace], Name: secret.Labels[record.LabelName]}
	if record.SecretName(key.Namespace, key.Name) == secret.Name {
		return []reconcile.Request{{NamespacedName: key}}
	}
	// The labels were edited, so the name alone says whose it is.
	var pats v1alpha1.PersonalAccessTokenList
	if err := r.Client.List(ctx, &pats); err != nil {
		return nil // The cache is not synced, and brings every resource when it is.
	}
	for i := range pats.Items {
		if key := client.ObjectKeyFromObject(&pats.Items[i]); record.SecretName(key.Namespace, key.Name) == secret.Name {
			return []reconcile.Request{{NamespacedName: key}}
		}
	}
	return nil
}

// uidChanged lets an object's beginning and end pass, an update only where it hides both.
var uidChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() },
}

// resourceEvents notes what the watch shows of resources before it wakes the queue.
type resourceEvents struct {
	handler.EnqueueRequestForObject
	*Reconciler
}

func (e *resourceEvents) Create(ctx context.Context, evt event.CreateEvent, q queue) {
	e.saw(ctx, evt.Object)
	e.EnqueueRequestForObject.Create(ctx, evt, q)
}

func (e *resourceEvents) Update(ctx context.Context, evt event.UpdateEvent, q queue) {
	if e.saw(ctx, evt.ObjectNew); onlyLastUse(evt.ObjectOld, evt.ObjectNew) {
		return
	}
	e.EnqueueRequestForObject.Update(ctx, evt, q)
}

// Delete treats a deletion event of the watch as evidence. A deletion inferred from a list does not count.
func (e *resourceEvents) Delete(ctx context.Context, evt event.DeleteEvent, q queue) {
	if pat, ok := evt.Object.(*v1alpha1.PersonalAccessToken); ok && !evt.DeleteStateUnknown {
		e.sightings.gone(pat, e.Clock.Now())
	}
	e.EnqueueRequestForObject.Delete(ctx, evt, q)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// saw notes what a resource shows.
func (r *Reconciler) saw(ctx context.Context, o client.Object) {
	pat, ok := o.(*v1alpha1.PersonalAccessToken)
	if !ok {
		return
	}
	current := sync.OnceValue(func() *record.Record {
		stored, _, err := r.read(ctx, r.Client, client.ObjectKeyFromObject(pat))
		if err != nil {
			return nil
		}
		return stored.of(pat)
	})
	r.sightings.saw(pat, func(id string) bool {
		// The cache may lag behind the record that knows the id; then the operator's status names it, or no record exists.
		return id == pat.Status.TokenID || id == pat.Status.PreviousTokenID || current() == nil || matters(pat, current(), id)
	})
}

// matters reports whether it is of use to remember that an id was revoked, or used.
func matters(pat *v1alpha1.PersonalAccessToken, rec *record.Record, id string) bool {
	return rec.EndOf(id) == nil && (rec.Knows(id) || pat.Spec.Token != nil && pat.Spec.Token.ID == id)
}

// onlyLastUse reports whether an update only says when a token was last used: there are many, and nothing follows. It sees
// resources as the cache has them, which holds the rest of status back; so it is false of other updates, whatever they change.
func onlyLastUse(before, after client.Object) bool {
	was, ok := before.(*v1alpha1.PersonalAccessToken)
	is, same := after.(*v1alpha1.PersonalAccessToken)
	if !ok || !same || was.Status.LastUsedAt.Equal(is.Status.LastUsedAt) {
		return false
	}
	was = was.DeepCopy()
	was.ResourceVersion, was.Status.LastUsedAt = is.ResourceVersion, is.Status.LastUsedAt
	return equality.Semantic.DeepEqual(was, is)
}

// resourcesOfAccount leads from a service account to the resources of its tokens.
func (r *Reconciler) resourcesOfAccount(ctx context.Context, account client.Object) []reconcile.Request {
	var pats v1alpha1.PersonalAccessTokenList
	username := serviceaccount.MakeUsername(account.GetNamespace(), account.GetName())
	if err := r.Client.List(ctx, &pats, client.MatchingFields{indexUsername: username}); err != nil {
		return nil // The cache is not synced yet; its first list enqueues the resources.
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
	if r.sightings.behind(key, versionOf(pat), current.version(), r.Clock.Now()) {
		return patience, true, nil // Its event comes later, and this is asked again.
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
	return d.After, d.State == nil || statusApplied(pat, current.of(pat), d.State, in.Now), nil
}

func versionOf(pat *v1alpha1.PersonalAccessToken) string {
	if pat == nil {
		return ""
	}
	return pat.ResourceVersion
}

// reconcile decides by what the API server says now, and acts.
func (r *Reconciler) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	current, recordErr, err := r.read(ctx, r.Live, key)
	if err != nil {
		return 0, err
	}
	// After the record: another leader may have written it for a spec that is younger, or for a younger resource.
	pat, listed, err := r.resource(ctx, key)
	if err != nil && !r.isOver(key, current) {
		return 0, err
	}
	in, err := r.input(ctx, r.Live, key, pat, current, recordErr)
	if err != nil {
		return 0, err
	}
	in.Listed = listed
	if asks(in) {
		in.Guards = r.Guards.Judged(ctx) // After the resource: its wishes were judged before it was read.
	}
	for range maxSteps {
		d := lifecycle.Decide(in)
		if d.Action == lifecycle.Nothing {
			if err := r.applyStatus(ctx, pat, current, d.State); err != nil {
				return 0, err
			}
			if rec := current.of(pat); rec != nil {
				r.sightings.keep(key, func(id string) bool { return matters(pat, rec, id) })
			}
			after, err := r.removeAgain(ctx, current, in.ClockProven)
			return lifecycle.Sooner(d.After, after), err
		}
		if d.Action == lifecycle.Issue {
			if wait := r.attempts.wait(pat.UID, in.Now); wait > 0 {
				if err := r.applyStatus(ctx, pat, current, meanwhile(pat, d.State)); err != nil {
					return 0, err
				}
				after, err := r.untilNextAttempt(ctx, current, in.ClockProven, wait)
				return lifecycle.Sooner(after, lifecycle.Wake(in)), err
			}
			current, err = r.issue(ctx, pat, d, in.Now, current)
			if refused := (*refusal)(nil); errors.As(err, &refused) {
				applied := r.applyStatus(ctx, pat, refused.current, refused.state(d.State))
				after, err := r.untilNextAttempt(ctx, refused.current, in.ClockProven, r.attempts.failed(pat.UID, in.Now))
				return after, errors.Join(refused.cause, applied, err)
			}
			r.attempts.succeeded(pat.UID)
		} else {
			current, err = r.act(ctx, pat, current, d)
		}
		if err != nil {
			return 0, errors.Join(err, r.applyStatus(ctx, pat, current, stateAfterFailure(pat, d, err)))
		}
		in.Record, in.Now = nil, r.Clock.Now()
		if current != nil {
			in.Record = current.record
		}
	}
	return 0, fmt.Errorf("the resource has not settled after %d steps", maxSteps)
}

// isOver reports whether a record is a tombstone, or of a resource that a watch has said was deleted. No read has to prove it, and
// none can where the CRD was deleted.
func (r *Reconciler) isOver(key types.NamespacedName, current *stored) bool {
	_, _, deleted := r.sightings.of(key, "")
	return current != nil && (current.record.Tombstone() || current.record.Resource.UID == deleted)
}

// asks reports whether spec has a wish that the guards have to vouch for.
func asks(in lifecycle.Input) bool {
	if in.Resource == nil || !in.Resource.DeletionTimestamp.IsZero() || in.RecordErr != nil {
		return false
	}
	refused := in.Record != nil && in.Record.Of(in.Resource) && in.Record.Refused != ""
	return !refused && len(lifecycle.Wishes(in)) > 0
}

// input is what a decision rests on; the service account is read from where the rest was.
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
	// After the reads, whose answers have just shown the API server's clock.
	in.ClockProven = r.ClockCheck() == nil
	in.Now = r.Clock.Now()
	return in, nil
}

// breaker reports whether too many resources are missing for any of them to count as deleted. It emits an event when a
// missing resource first finds the breaker open, and when the breaker closes again.
func (r *Reconciler) breaker(rec *record.Record) (open bool) {
	open, missing, all := r.Census.breaker()
	if concerns := rec != nil && rec.MissingSince != nil || r.stopped.Load(); !concerns || all == 0 || r.stopped.Swap(open) == open {
		return open
	}
	about := &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: r.RecordsNamespace},
	}
	if !open {
		collectionStopped.Set(0)
		r.event(about, v1alpha1.EventCollectionResumed, "Resume",
			"%d of %d PersonalAccessTokens that have a record cannot be found; their records are removed once they have been missing for an hour", missing, all)
		return false
	}
	collectionStopped.Set(1)
	r.Recorder.Eventf(about, nil, corev1.EventTypeWarning, v1alpha1.EventCollectionStopped, "Stop",
		"%d of %d PersonalAccessTokens that have a record cannot be found; their tokens are refused, and their records are kept for up to 7 days; check that the API pat-operator.io is served, or do nothing if they were deleted", missing, all)
	return true
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
