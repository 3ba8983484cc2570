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
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/policy"
)

// +kubebuilder:rbac:groups=pat-operator.io,resources=tokenpolicies,verbs=list;watch

// firstList is how long a new replica is unready for want of policies, at most.
const firstList = 30 * time.Second

var errPoliciesUnknown = errors.New("the API server has not listed them yet; check that it serves tokenpolicies of pat-operator.io, or set --policies=false")

// Policies are the TokenPolicies as a watch shows them, for admission and for issuing. It is a Runnable of every replica. It does
// without the cache of a manager, which fails where the API is not served. Nil is for installations without the API, and knows no
// policy.
type Policies struct {
	set      *policy.Set
	informer toolscache.SharedIndexInformer
	synced   toolscache.InformerSynced
	// began is when this process began to ask for them.
	began time.Time

	mu sync.Mutex
	// changed are told of each change: the policy before and after, of which one may be nil.
	changed []func(was, is *policy.Policy)
}

// NewPolicies returns the Runnable.
func NewPolicies(c dynamic.Interface, log logr.Logger) (*Policies, error) {
	p := &Policies{
		set:      policy.NewSet(),
		began:    time.Now(),
		informer: dynamicinformer.NewFilteredDynamicInformer(c, policy.Resource, metav1.NamespaceAll, 0, toolscache.Indexers{}, nil).Informer(),
	}
	if err := errors.Join(
		p.informer.SetTransform(ctrlcache.TransformStripManagedFields()),
		p.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
			log.Info("Cannot watch TokenPolicies; trying again", "reason", err.Error())
		}),
	); err != nil {
		return nil, err
	}
	feed, err := p.informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    p.saw,
		UpdateFunc: func(_, o any) { p.saw(o) },
		DeleteFunc: p.gone,
	})
	if err != nil {
		return nil, err
	}
	p.synced = feed.HasSynced
	return p, nil
}

// Ready fails until all policies are known, so that admission is not asked before. After firstList it passes in any case: where they
// cannot be listed, admission says so better than a webhook without endpoints.
func (p *Policies) Ready(*http.Request) error {
	if p.synced() || time.Since(p.began) >= firstList {
		return nil
	}
	return errPoliciesUnknown
}

// NeedLeaderElection is false: every replica answers admission.
func (*Policies) NeedLeaderElection() bool { return false }

// Start watches until ctx ends.
func (p *Policies) Start(ctx context.Context) error {
	p.informer.RunWithContext(ctx)
	return nil
}

// For is what the policies ask of tokens of a user in a namespace. It fails until all policies are known.
func (p *Policies) For(namespace string, u *v1alpha1.UserInfo) (policy.Limits, error) {
	if p == nil || u == nil {
		return nil, nil
	}
	if !p.synced() {
		return nil, errPoliciesUnknown
	}
	return p.set.For(namespace, u), nil
}

// Naming are the policies that name one of the groups, any without groups, and may match in a namespace. It fails until all policies
// are known.
func (p *Policies) Naming(namespace string, groups ...string) (policy.Limits, error) {
	if p == nil {
		return nil, nil
	}
	if !p.synced() {
		return nil, errPoliciesUnknown
	}
	return p.set.Naming(namespace, groups...), nil
}

func (p *Policies) saw(o any) {
	if object, ok := o.(*unstructured.Unstructured); ok {
		is := policy.Parse(object)
		p.tell(p.set.Put(is), is)
	}
}

func (p *Policies) gone(o any) {
	if key, err := toolscache.DeletionHandlingObjectToName(o); err == nil {
		p.tell(p.set.Remove(key.Name), nil)
	}
}

func (p *Policies) tell(was, is *policy.Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.changed {
		f(was, is)
	}
}

// onChange has f called with each change from now on.
func (p *Policies) onChange(f func(was, is *policy.Policy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = append(p.changed, f)
}

// policyChanges enqueues the resources that a changed policy matches, or has matched.
func (r *Reconciler) policyChanges() source.Source {
	return source.Func(func(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		if r.Policies == nil {
			return nil
		}
		r.Policies.onChange(func(was, is *policy.Policy) {
			if was.Equal(is) {
				return // Its status changes with the tokens that it matches.
			}
			for _, of := range concerned(was, is) {
				pats, err := r.resources(ctx, of...)
				if err != nil {
					return // The cache is not synced yet; its first list enqueues every resource.
				}
				for i := range pats {
					pat := &pats[i]
					if u := pat.Spec.User; u != nil && (was.Matches(pat.Namespace, u) || is.Matches(pat.Namespace, u)) {
						q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(pat)})
					}
				}
			}
		})
		return nil
	})
}

// concerned are options of lists in which all resources are that one of two policies may match: those of the users whom they name,
// or one list of all. Each person who leaves may leave a policy behind, so that there are thousands.
func concerned(was, is *policy.Policy) [][]client.ListOption {
	users, noneElse := policy.UsersOf(was, is)
	if !noneElse {
		return [][]client.ListOption{nil}
	}
	var lists [][]client.ListOption
	for _, username := range users {
		lists = append(lists, []client.ListOption{client.MatchingFields{indexUsername: username}})
	}
	return lists
}

// APIAudiences are the API server's own audiences; nil until they are known.
func (r *Reconciler) APIAudiences() []string {
	if audiences := r.audiences.Load(); audiences != nil {
		return *audiences
	}
	return nil
}

// SetAPIAudiences says which audiences are the API server's own. Policies may affect other tokens by that, so these are counted again.
func (r *Reconciler) SetAPIAudiences(audiences []string) {
	if was := r.audiences.Swap(&audiences); was == nil || !slices.Equal(*was, audiences) {
		r.moved.Store(true)
	}
}

// resources are all of the cache, which must not be written to.
func (r *Reconciler) resources(ctx context.Context, options ...client.ListOption) ([]v1alpha1.PersonalAccessToken, error) {
	var pats v1alpha1.PersonalAccessTokenList
	if err := r.Client.List(ctx, &pats, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("listing from the cache: %w", err)
	}
	return pats.Items, nil
}
