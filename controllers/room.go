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

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/lifecycle"
	"github.com/pat-operator/pat-operator/internal/policy"
	"github.com/pat-operator/pat-operator/internal/record"
)

// room keeps users to the number of tokens that TokenPolicies allow: the leader alone issues, and it takes a place for each token
// before it does. The zero value works.
type room struct {
	mu sync.Mutex
	// taken are the resources that were given a place, until the cache shows their token.
	taken map[types.NamespacedName]place
	// idle are resources without a token that wait for none: only a change by their user helps.
	idle map[types.NamespacedName]generation
}

// place is that of a resource's next token. after is the id of its token before, which has ended; empty for none.
type place struct {
	uid   types.UID
	after string
}

// shown reports whether a record, nil for none, has the token of the place.
func (p place) shown(rec *record.Record) bool {
	return rec != nil && rec.Current != nil && rec.Current.ID != p.after
}

type generation struct {
	uid    types.UID
	number int64
}

// note takes what a decision says of a resource, and its record, nil for none; pat is nil if the resource is gone. live reports that
// the decision did not go by the cache.
func (m *room) note(key types.NamespacedName, pat *v1alpha1.PersonalAccessToken, rec *record.Record, state *lifecycle.State, live bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case pat == nil:
		delete(m.idle, key)
		delete(m.taken, key)
	case state == nil:
	case !lifecycle.HoldsToken(rec) && (state.Ready.Status || state.Stalled != nil && state.Stalled.Reason != v1alpha1.ReasonTooManyTokens):
		delete(m.taken, key)
		if m.idle == nil {
			m.idle = map[types.NamespacedName]generation{}
		}
		m.idle[key] = generation{pat.UID, pat.Generation}
	default:
		delete(m.idle, key)
		if live && !lifecycle.HoldsToken(rec) && state.Stalled != nil {
			// There are too many now. Two that kept their places would wait for each other.
			delete(m.taken, key)
		}
	}
}

// TokensOf counts the tokens of a user that have not ended, and the resources that wait for one, that of a key left out.
func (r *Reconciler) TokensOf(ctx context.Context, username string, except types.NamespacedName) (int, error) {
	n := 0
	err := r.eachOf(ctx, username, except, func(pat *v1alpha1.PersonalAccessToken, rec *record.Record) {
		switch {
		case lifecycle.HoldsToken(rec):
			n++
		case rec == nil || rec.Current == nil:
			if now := r.Clock.Now(); now.Before(lifecycle.End(&pat.Spec, now)) {
				n++
			}
		}
	})
	return n, err
}

// before counts the tokens that come before that of a resource: those of the same user that have not ended, and the older ones that
// wait. The caller holds the room's lock.
func (r *Reconciler) before(ctx context.Context, pat *v1alpha1.PersonalAccessToken) (int, error) {
	n := 0
	err := r.eachOf(ctx, pat.Spec.User.Username, client.ObjectKeyFromObject(pat), func(other *v1alpha1.PersonalAccessToken, rec *record.Record) {
		key := client.ObjectKeyFromObject(other)
		its, taken := r.room.taken[key]
		taken = taken && its.uid == other.UID
		if taken && its.shown(rec) {
			delete(r.room.taken, key) // The record says it from now on.
			taken = false
		}
		idle := r.room.idle[key] == generation{other.UID, other.Generation}
		switch {
		case lifecycle.HoldsToken(rec), taken:
			n++
		case (rec == nil || rec.Current == nil) && !idle && older(other, pat):
			n++
		}
	})
	return n, err
}

// older reports whether a resource was created before another.
func older(a, b *v1alpha1.PersonalAccessToken) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// eachOf calls f with each resource of a user that is not being deleted, and its record, as the cache has them.
func (r *Reconciler) eachOf(
	ctx context.Context, username string, except types.NamespacedName, f func(*v1alpha1.PersonalAccessToken, *record.Record),
) error {
	pats, err := r.resources(ctx, client.MatchingFields{indexUsername: username})
	if err != nil {
		return err
	}
	for i := range pats {
		pat := &pats[i]
		key := client.ObjectKeyFromObject(pat)
		if key == except || !pat.DeletionTimestamp.IsZero() {
			continue
		}
		current, _, err := r.read(ctx, r.Client, key)
		if err != nil {
			return err
		}
		f(pat, current.of(pat))
	}
	return nil
}

// policies are what TokenPolicies ask of a resource.
func (r *Reconciler) policies(ctx context.Context, pat *v1alpha1.PersonalAccessToken, rec *record.Record) (p lifecycle.Policies, err error) {
	if pat == nil || pat.Spec.User == nil {
		return p, nil
	}
	p.Limits, p.Unknown = r.Policies.For(pat.Namespace, pat.Spec.User)
	p.APIAudiences = r.APIAudiences()
	if !limited(p.Limits, rec) {
		return p, nil
	}
	r.room.mu.Lock()
	defer r.room.mu.Unlock()
	p.Tokens, err = r.before(ctx, pat)
	return p, err
}

// limited reports whether policies limit how many tokens the user of a resource has, and it has none.
func limited(l policy.Limits, rec *record.Record) bool {
	_, by := l.MaxTokens()
	return by != nil && !lifecycle.HoldsToken(rec)
}

// takePlace counts the tokens before that of a resource, and takes a place if there is one. A place stays taken while the resource
// waits for its token.
func (r *Reconciler) takePlace(ctx context.Context, in *lifecycle.Input) (taken bool, err error) {
	most, by := in.Policies.Limits.MaxTokens()
	if by == nil || lifecycle.HoldsToken(in.Record) {
		return true, nil
	}
	r.room.mu.Lock()
	defer r.room.mu.Unlock()
	if in.Policies.Tokens, err = r.before(ctx, in.Resource); err != nil || in.Policies.Tokens >= most {
		return false, err
	}
	if r.room.taken == nil {
		r.room.taken = map[types.NamespacedName]place{}
	}
	its := place{uid: in.Resource.UID}
	if in.Record != nil && in.Record.Of(in.Resource) && in.Record.Current != nil {
		its.after = in.Record.Current.ID
	}
	r.room.taken[client.ObjectKeyFromObject(in.Resource)] = its
	return true, nil
}
