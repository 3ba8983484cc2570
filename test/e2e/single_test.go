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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
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
	p := env.Must[*env.Product](t)(env.New(single))
	// The administrator is in system:masters, who gets no token with that group. The operator may have changed the CA of its
	// webhooks a moment ago, and until it has accepted that, it asks to try again.
	eventually(t, patience, func() bool {
		err = p.Admin.Create(t.Context(), pat("default", "my-pat", func(s *v1alpha1.PersonalAccessTokenSpec) { s.User = &v1alpha1.UserInfo{Username: "admin"} }))
		return err == nil
	}, func() string { return fmt.Sprint("no token can be made: ", err) })
	plaintext := env.Must[string](t)(p.Take(t.Context(), p.Admin, "default", "my-pat"))
	if who := env.Must[authenticationv1.UserInfo](t)(p.Whoami(t.Context(), plaintext)); who.Username != "admin" {
		t.Errorf("the token is %s", who.Username)
	}
	eventually(t, patience, func() bool {
		used := &v1alpha1.PersonalAccessToken{}
		return p.Admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "my-pat"}, used) == nil && used.Status.FirstUsedAt != nil
	}, func() string { return "the first use is not in status" })
	if err := p.Admin.Delete(t.Context(), pat("default", "my-pat")); err != nil {
		t.Fatal(err)
	}
	holder := env.Must[client.WithWatch](t)(p.Bearer(plaintext))
	within(t, kasRemembers, func() bool {
		_, last := env.WhoIs(t.Context(), holder)
		return apierrors.IsUnauthorized(last)
	}, "the token works on after its resource was deleted")
}
