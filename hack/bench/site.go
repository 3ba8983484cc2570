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

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/record"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const (
	// roundNamespace holds the tokens of one round.
	roundNamespace = "bench-round"
	// makers is the group that may make tokens for themselves.
	makers = "makers"
	// settled is how long nothing changes once the operator is done.
	settled = time.Second
)

// site is a control plane with config/default and clients of it: an administrator, alice, who makes tokens for herself, and
// the operator's account.
type site struct {
	*cluster.Cluster
	admin, alice, account client.WithWatch
}

func newSite(ctx context.Context, c *cluster.Cluster) (*site, error) {
	alice, _, err := c.User("alice", makers)
	if err != nil {
		return nil, err
	}
	account, err := c.ServiceAccount(ctx, cluster.OperatorNamespace, cluster.OperatorAccount)
	if err != nil {
		return nil, err
	}
	s := &site{Cluster: c}
	for config, to := range map[*rest.Config]*client.WithWatch{c.Admin(): &s.admin, alice: &s.alice, account: &s.account} {
		if *to, err = client.NewWithWatch(config, client.Options{Scheme: env.Scheme}); err != nil {
			return nil, err
		}
	}
	if err := createNamespace(ctx, s.admin, roundNamespace); err != nil {
		return nil, err
	}
	return s, s.admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bench"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "pat-operator-personalaccesstoken-edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: makers}},
	})
}

// startBare starts a site with neither operator nor webhooks.
func startBare(ctx context.Context) (s *site, err error) {
	c, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if s, err = newSite(ctx, c); err != nil {
		return nil, err
	}
	for _, webhooks := range []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{},
	} {
		webhooks.SetName("pat-operator")
		if err = s.admin.Delete(ctx, webhooks); err != nil {
			return nil, err
		}
	}
	// kube-apiserver asks the webhooks until its caches have seen that they are gone.
	return s, eventually(ctx, func() error {
		pat, _, err := newToken(client.ObjectKey{Namespace: roundNamespace, Name: "first"}, holders)
		if err != nil {
			return err
		}
		pat.Spec.User = &v1alpha1.UserInfo{Username: "alice", Groups: []string{makers}}
		return s.alice.Create(ctx, pat, client.DryRunAll)
	})
}

// eventually calls f until it succeeds, for a minute. An invalid object never does.
func eventually(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := f()
		if err == nil || apierrors.IsInvalid(err) {
			return err
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no success within a minute: %w", err)
		}
	}
}

// first makes a token for alice and returns it once it is active, which takes seconds after an installation.
func (s *site) first(ctx context.Context, k kind) (*v1alpha1.PersonalAccessToken, error) {
	keys := newKeys(1)
	_, err := untilActive(ctx, s.admin, keys, func(int) error {
		return eventually(ctx, func() error { return s.create(ctx, keys[0], k) })
	})
	if err != nil {
		return nil, err
	}
	pat := &v1alpha1.PersonalAccessToken{}
	return pat, s.admin.Get(ctx, keys[0], pat)
}

// create makes a token for alice, as she would.
func (s *site) create(ctx context.Context, key client.ObjectKey, k kind) error {
	pat, _, err := newToken(key, k)
	if err != nil {
		return err
	}
	return s.alice.Create(ctx, pat)
}

// clear removes the tokens of a round and what the operator remembers of them.
func (s *site) clear(ctx context.Context) error {
	if err := s.admin.DeleteAllOf(ctx, &v1alpha1.PersonalAccessToken{}, client.InNamespace(roundNamespace)); err != nil {
		return err
	}
	records, err := s.settledRecords(ctx)
	if err != nil {
		return err
	}
	// The records policy allows no other account.
	if err := each(len(records), func(i int) error { return client.IgnoreNotFound(s.account.Delete(ctx, &records[i])) }); err != nil {
		return err
	}
	return s.admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(roundNamespace))
}

// settledRecords returns the records of the round once they no longer change.
func (s *site) settledRecords(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
	var was []metav1.PartialObjectMetadata
	since := time.Now()
	for {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		if err := s.admin.List(ctx, list, client.InNamespace(cluster.RecordsNamespace), client.MatchingLabels{record.LabelNamespace: roundNamespace}); err != nil {
			return nil, err
		}
		if !slices.EqualFunc(was, list.Items, func(a, b metav1.PartialObjectMetadata) bool {
			return a.UID == b.UID && a.ResourceVersion == b.ResourceVersion
		}) {
			was, since = list.Items, time.Now()
		}
		if time.Since(since) > settled {
			return was, nil
		}
		select {
		case <-time.After(settled / 8):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
