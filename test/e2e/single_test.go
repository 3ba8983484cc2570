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

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/long"
)

// config/single, with `manager run` as its one account: a token is issued, works, and is revoked.
func TestRunInOneProcess(t *testing.T) {
	long.Only(t)
	t.Parallel()
	root, err := cluster.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	single, err := cluster.Start(t.Context(), cluster.Options{ManagerBinary: binary, ConfigDir: filepath.Join(root, "config", "single")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := single.Stop(); err != nil {
			t.Error(err)
		}
	}()
	_, err = single.StartManager(t.Context(), cluster.ManagerOptions{Command: "run"})
	if err != nil {
		// kube-apiserver restarts for the first, on a busy machine for longer than its lease; its Deployment starts another.
		t.Log(err)
		_, err = single.StartManager(t.Context(), cluster.ManagerOptions{Command: "run"})
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(single.Admin(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	// The administrator is in system:masters, who gets no token with that group. The operator may have changed the CA of its
	// webhooks a moment ago, and until it has accepted that, it asks to try again.
	eventually(t, patience, func() bool {
		err = c.Create(t.Context(), pat("default", "my-pat", func(s *v1alpha1.PersonalAccessTokenSpec) { s.User = &v1alpha1.UserInfo{Username: "admin"} }))
		return err == nil
	}, func() string { return fmt.Sprint("no token can be made: ", err) })
	secret := &corev1.Secret{}
	eventually(t, patience, func() bool {
		p := &v1alpha1.PersonalAccessToken{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "my-pat"}, p); err != nil {
			t.Fatal(err)
		}
		key := client.ObjectKey{Namespace: "default", Name: p.Status.DeliverySecretName}
		return key.Name != "" && c.Get(t.Context(), key, secret) == nil
	}, func() string { return "no token is issued" })

	config := single.Anonymous()
	config.BearerToken = string(secret.Data[v1alpha1.SecretKeyToken])
	holder, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	whoIs := func() (string, error) {
		review := &authenticationv1.SelfSubjectReview{}
		err := holder.Create(t.Context(), review)
		return review.Status.UserInfo.Username, err
	}
	var last error
	eventually(t, patience, func() bool {
		var who string
		who, last = whoIs()
		return last == nil && who == "admin"
	}, func() string { return "the token does not work: " + last.Error() })
	eventually(t, patience, func() bool {
		p := &v1alpha1.PersonalAccessToken{}
		return c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "my-pat"}, p) == nil && p.Status.FirstUsedAt != nil
	}, func() string { return "the first use is not in status" })
	if err := c.Delete(t.Context(), pat("default", "my-pat")); err != nil {
		t.Fatal(err)
	}
	eventually(t, kasRemembers, func() bool {
		_, last = whoIs()
		return apierrors.IsUnauthorized(last)
	}, func() string { return "the token works on after its resource was deleted" })
}
