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
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	ac "github.com/pat-operator/pat-operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
)

const (
	// countAgain is how soon the tokens of policies are counted again where tokens have changed, and countSoon where a policy has.
	countAgain = 10 * time.Second
	countSoon  = time.Second
	// countShare is how many times as long as a count took the next one waits: many tokens are counted less often.
	countShare = 20
)

// +kubebuilder:rbac:groups=pat-operator.io,resources=tokenpolicies/status,verbs=patch

// PolicyStatus writes the status of TokenPolicies: whether they are understood, and how many tokens they concern. It is a Runnable
// of the leader. A count walks the resources once for all policies, and waits until some have changed.
type PolicyStatus struct {
	Reconciler *Reconciler
	Log        logr.Logger
}

// NeedLeaderElection is true: the leader writes.
func (*PolicyStatus) NeedLeaderElection() bool { return true }

// Start counts until ctx ends.
func (s *PolicyStatus) Start(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	s.Reconciler.Policies.onChange(func(was, is *policy.Policy) {
		if was != nil && is != nil && was.UID == is.UID && was.Generation == is.Generation {
			return // Only its status or its metadata has changed; what this writes comes back so.
		}
		select {
		case changed <- struct{}{}:
		default: // A count is due.
		}
	})
	again := time.NewTimer(countAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(countSoon): // Several change together.
			}
		case <-again.C:
			if !s.Reconciler.moved.Load() {
				again.Reset(countAgain)
				continue
			}
		}
		s.Reconciler.moved.Store(false)
		began := time.Now()
		if err := s.count(ctx); err != nil {
			s.Reconciler.moved.Store(true)
			s.Log.Info("Cannot write the status of TokenPolicies; trying again", "reason", err.Error())
		}
		again.Reset(max(countAgain, countShare*time.Since(began)))
	}
}

// count writes the status of each policy that has changed.
func (s *PolicyStatus) count(ctx context.Context) error {
	r := s.Reconciler
	policies := r.Policies.set.All()
	if !r.Policies.synced() || len(policies) == 0 {
		return nil
	}
	pats, err := r.resources(ctx)
	if err != nil {
		return err
	}
	matched, affected := map[string]int32{}, map[string]int32{}
	for i := range pats {
		pat := &pats[i]
		if pat.Spec.User == nil || !pat.DeletionTimestamp.IsZero() {
			continue
		}
		limits := r.Policies.set.For(pat.Namespace, pat.Spec.User)
		if len(limits) == 0 {
			continue
		}
		token, ended, err := r.tokenOf(ctx, pat)
		if err != nil {
			return err
		}
		if ended {
			continue
		}
		for _, p := range limits {
			matched[p.Name]++
			if p.Affects(pat.Spec.User, token) {
				affected[p.Name]++
			}
		}
	}
	var errs []error
	for _, p := range policies {
		if err := s.write(ctx, p, matched[p.Name], affected[p.Name]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Name, err)) // The others have a status all the same.
		}
	}
	return errors.Join(errs...)
}

// tokenOf is the token of a resource as policies see it: the one it has, or the one that it waits for.
func (r *Reconciler) tokenOf(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (t policy.Token, ended bool, err error) {
	current, _, err := r.read(ctx, r.Client, client.ObjectKeyFromObject(pat))
	if err != nil {
		return t, false, err
	}
	now := r.Clock.Now()
	t = policy.Token{Spec: &pat.Spec, IssuedAt: now, Ends: lifecycle.End(&pat.Spec, now), APIAudiences: r.APIAudiences()}
	if rec := current.of(pat); rec != nil && rec.Current != nil {
		t.IssuedAt, t.Ends = rec.Current.IssuedAt, lifecycle.EffectiveEnd(&pat.Spec, rec.Current)
		ended = !lifecycle.HoldsToken(rec)
	}
	return t, ended || !now.Before(t.Ends), nil
}

// write applies the status of a policy where it has changed.
func (s *PolicyStatus) write(ctx context.Context, p *policy.Policy, matched, affected int32) error {
	stored, exists, err := s.Reconciler.Policies.informer.GetStore().GetByKey(p.Name)
	object, ok := stored.(*unstructured.Unstructured)
	if err != nil || !exists || !ok || object.GetUID() != p.UID || object.GetGeneration() != p.Generation {
		return err // Another count is due.
	}
	var was v1alpha1.TokenPolicy
	if status, ok := object.Object["status"].(map[string]any); ok {
		_ = runtime.DefaultUnstructuredConverter.FromUnstructured(status, &was.Status) // What does not fit is written anew.
	}
	want := was.Status.DeepCopy()
	want.ObservedGeneration, want.MatchedTokens, want.AffectedTokens = p.Generation, &matched, &affected
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReconciled, ObservedGeneration: p.Generation,
		Message: "The policy is in force.", LastTransitionTime: metav1.NewTime(s.Reconciler.Clock.Now()),
	}
	if len(p.Unknown) > 0 {
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonPolicyNotUnderstood
		ready.Message = fmt.Sprintf("This version of pat-operator does not know %s. %s Upgrade pat-operator, or change the policy.",
			strings.Join(p.Unknown, ", "), p.Instead())
	}
	meta.SetStatusCondition(&want.Conditions, ready)
	if equality.Semantic.DeepEqual(&was.Status, want) {
		return nil
	}
	c := meta.FindStatusCondition(want.Conditions, v1alpha1.ConditionReady)
	apply := ac.TokenPolicy(p.Name).WithStatus(ac.TokenPolicyStatus().
		WithObservedGeneration(want.ObservedGeneration).WithMatchedTokens(ptr.Deref(want.MatchedTokens, 0)).WithAffectedTokens(ptr.Deref(want.AffectedTokens, 0)).
		WithConditions(metav1ac.Condition().WithType(c.Type).WithStatus(c.Status).WithReason(c.Reason).WithMessage(c.Message).
			WithObservedGeneration(c.ObservedGeneration).WithLastTransitionTime(c.LastTransitionTime)))
	if err := s.Reconciler.Client.Status().Apply(ctx, apply, FieldOwner, client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	if was := meta.FindStatusCondition(was.Status.Conditions, v1alpha1.ConditionReady); c.Status == metav1.ConditionFalse && (was == nil || was.Message != c.Message) {
		s.Reconciler.warn(object, "", c.Reason, "Refuse", "%s", c.Message)
	}
	return nil
}
