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

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// acceptTimeout is how long the operator may take to accept the guards of admission: ten seconds, and a busy machine's more.
const acceptTimeout = 3 * time.Minute

// guardsSecret is guards.SecretName: the tests of that package use this one.
const guardsSecret = "pat-operator-guards"

// WaitAccepted waits until the operator has accepted the guards of admission as they are now, so that it carries out what
// they judge.
func (c *Cluster) WaitAccepted(ctx context.Context) error {
	api, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, acceptTimeout, true, func(ctx context.Context) (bool, error) {
		return accepted(ctx, api)
	})
	if err != nil {
		return fmt.Errorf("the operator does not accept the guards of admission: %w", err)
	}
	return nil
}

// guarded reports whether what is installed has guards at all.
func (c *Cluster) guarded(ctx context.Context) bool {
	api, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		return false
	}
	_, err = api.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(ctx, "pat-operator-users", metav1.GetOptions{})
	return err == nil
}

// version is what the operator keeps of each guard.
type version struct {
	UID        types.UID `json:"uid"`
	Generation int64     `json:"generation"`
}

func accepted(ctx context.Context, api kubernetes.Interface) (bool, error) {
	secret, err := api.CoreV1().Secrets(RecordsNamespace).Get(ctx, guardsSecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	var kept struct {
		Guards []version `json:"guards"`
	}
	if err := json.Unmarshal(secret.Data["guards"], &kept); err != nil {
		return false, err
	}
	admission := api.AdmissionregistrationV1()
	webhooks, err := admission.ValidatingWebhookConfigurations().Get(ctx, "pat-operator", metav1.GetOptions{})
	if err != nil {
		return false, ignoreNotFound(err)
	}
	policy, err := admission.ValidatingAdmissionPolicies().Get(ctx, "pat-operator-users", metav1.GetOptions{})
	if err != nil {
		return false, ignoreNotFound(err)
	}
	binding, err := admission.ValidatingAdmissionPolicyBindings().Get(ctx, "pat-operator-users", metav1.GetOptions{})
	if err != nil {
		return false, ignoreNotFound(err)
	}
	for i, o := range []metav1.Object{webhooks, policy, binding} {
		if i >= len(kept.Guards) || kept.Guards[i] != (version{o.GetUID(), o.GetGeneration()}) {
			return false, nil
		}
	}
	return true, nil
}

// ignoreNotFound is nil for an object that is not there yet.
func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
