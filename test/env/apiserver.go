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

// Package env is the environment of our tests. An APIServer shows what only a real API server knows: schemas, policies,
// optimistic locking, watches. A Product is test/cluster with a verifier, an operator and clients.
//
// The tests of most packages in internal use it, so it imports none of these.
package env

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
)

// Scheme has the kinds of Kubernetes and ours.
var Scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}()

// APIServer is a real etcd and kube-apiserver, without controllers, that the tests of a package share. The first test that
// asks starts it.
type APIServer struct {
	// CRDs installs config/crd.
	CRDs bool
	// Namespaces and Objects are created at the start.
	Namespaces []string
	Objects    []client.Object
	// Flags are further flags of kube-apiserver, without dashes. Files are those that name a file, with its content.
	Flags, Files map[string]string

	once        sync.Once
	err         error
	dir         string
	environment *envtest.Environment
	config      *rest.Config
	client      client.WithWatch
}

// Run runs the tests of a package and stops what they have started. It returns the exit code for TestMain.
func (s *APIServer) Run(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	defer s.Stop()
	return m.Run()
}

// Start starts it where it has not been started, and returns the configuration of a member of system:masters.
func (s *APIServer) Start() (*rest.Config, error) {
	if s.once.Do(func() { s.err = s.start() }); s.err != nil {
		return nil, s.err
	}
	return rest.CopyConfig(s.config), nil
}

func (s *APIServer) start() error {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set: run make test, or set it to what hack/controlplane/assets.sh prints")
	}
	environment := &envtest.Environment{ControlPlaneStartTimeout: 2 * Patience}
	if s.CRDs {
		root, err := cluster.ModuleRoot()
		if err != nil {
			return err
		}
		environment.CRDDirectoryPaths, environment.ErrorIfCRDPathMissing = []string{filepath.Join(root, "config", "crd", "bases")}, true
	}
	args := environment.ControlPlane.GetAPIServer().Configure()
	for name, value := range s.Flags {
		args.Append(name, value)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "pat-apiserver-"); err != nil {
		return err
	}
	for name, content := range s.Files {
		file := filepath.Join(s.dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return err
		}
		args.Append(name, file)
	}
	s.environment = environment
	if s.config, err = environment.Start(); err != nil {
		return err
	}
	s.config.QPS = -1 // API Priority and Fairness throttles, not the client
	if s.client, err = client.NewWithWatch(s.config, client.Options{Scheme: Scheme}); err != nil {
		return err
	}
	objects := make([]client.Object, 0, len(s.Namespaces)+len(s.Objects))
	for _, name := range s.Namespaces {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	for _, o := range append(objects, s.Objects...) {
		if err := s.client.Create(context.Background(), o); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends it. Its data is gone.
func (s *APIServer) Stop() {
	if s.environment != nil {
		_ = s.environment.Stop() // A busy machine may take longer than envtest waits.
	}
	_ = os.RemoveAll(s.dir)
}

// Config returns the configuration of a member of system:masters.
func (s *APIServer) Config(t testing.TB) *rest.Config {
	t.Helper()
	return Must[*rest.Config](t)(s.Start())
}

// Client returns the client of a member of system:masters.
func (s *APIServer) Client(t testing.TB) client.WithWatch {
	t.Helper()
	s.Config(t)
	return s.client
}

// As returns the client of a user with these groups.
func (s *APIServer) As(t testing.TB, user string, groups ...string) client.WithWatch {
	t.Helper()
	config := s.Config(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return Must[client.WithWatch](t)(client.NewWithWatch(config, client.Options{Scheme: Scheme}))
}

// Must returns what a call has returned, and fails the test where that is an error.
func Must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
