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

// Package e2e tests the manager binary on a real control plane, as config/default installs it and as its own service
// account: what no part shows alone.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
)

const (
	patience     = env.Patience
	kasRemembers = env.KASRemembers
)

var soak = flag.Duration("soak", 0, "make as many resources as CASES ask for, and share this out among what lasts; 30m and more: all of them")

var (
	product            *env.Product
	cl                 *cluster.Cluster
	binary             string // the manager
	operator, verifier *cluster.Manager
	admin              client.WithWatch
	eventually         = env.Eventually
	// alice and bob may do anything with PersonalAccessTokens in every team namespace, and read its Secrets and pods.
	alice, bob user
	// verbose is a manager's log at its most verbose; everything that it may ever say.
	verbose = []string{"--zap-log-level=7", "--zap-devel"}
	// securityLog is the audit log of all managers.
	securityLog string
)

type user = env.User

func TestMain(m *testing.M) { os.Exit(cluster.RunTests(m, 4, run)) }

func run(ctx context.Context, dir string, tests func()) (err error) {
	securityLog = filepath.Join(dir, "security.log")
	verbose = append(verbose, "--audit-log="+securityLog)
	if product, err = env.Start(ctx, dir, env.Options{Options: cluster.Options{Audit: true}, Verifier: verbose, Operator: verbose}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, product.Stop()) }()
	cl, binary, operator, verifier, admin = product.Cluster, product.Binary, product.Operator, product.Verifier, product.Admin
	for u, name := range map[*user]string{&alice: "alice", &bob: "bob"} {
		if *u, err = product.User(name, "team-devs"); err != nil {
			return err
		}
	}
	tests()
	return nil
}

// team makes a namespace where the group team-devs may do what developers do, and returns its name.
func team(t *testing.T) string {
	t.Helper()
	revive(t)
	if err := cl.WaitAccepted(t.Context()); err != nil { // An earlier test may have put the webhooks away.
		t.Fatal(err)
	}
	ns := env.Must[string](t)(product.Team(t.Context(), env.Group("team-devs"), "secrets", "pods"))
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	return ns
}

func create(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// pat is a PersonalAccessToken as a manifest would hold it.
func pat(namespace, name string, with ...func(*v1alpha1.PersonalAccessTokenSpec)) *v1alpha1.PersonalAccessToken {
	p := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	for _, f := range with {
		f(&p.Spec)
	}
	return p
}

func get(t *testing.T, namespace, name string) *v1alpha1.PersonalAccessToken {
	t.Helper()
	p := &v1alpha1.PersonalAccessToken{}
	if err := admin.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// merge patches a resource with a client, whatever the operator writes into its status meanwhile.
func merge(t *testing.T, c client.Client, namespace, name, patch string) error {
	t.Helper()
	return c.Patch(t.Context(), pat(namespace, name), client.RawPatch(types.MergePatchType, []byte(patch)))
}

// issued creates a token as its user and takes the plaintext from its Secret, as its user.
func issued(t *testing.T, u user, p *v1alpha1.PersonalAccessToken) string {
	t.Helper()
	create(t, u, p)
	return take(t, u, p.Namespace, p.Name)
}

// take waits for a token and takes its plaintext.
func take(t *testing.T, u user, namespace, name string) string {
	t.Helper()
	return env.Must[string](t)(product.Take(t.Context(), u, namespace, name))
}

// waitFor waits until a condition is "<status>/<reason>".
func waitFor(t *testing.T, namespace, name, condition, want string) {
	t.Helper()
	if err := product.WaitFor(t.Context(), namespace, name, condition, want); err != nil {
		t.Fatal(err)
	}
}

// bearer is a client that holds nothing but a token.
func bearer(t *testing.T, plaintext string) client.Client {
	t.Helper()
	return env.Must[client.WithWatch](t)(product.Bearer(plaintext))
}

// refused waits until the verifier refuses a token, and then until kube-apiserver does; it returns how long both took.
func refused(t *testing.T, plaintext string) time.Duration {
	t.Helper()
	return env.Must[time.Duration](t)(product.Refused(t.Context(), plaintext))
}

// accepted expects kube-apiserver to take a token, soon, and returns whom it stands for.
func accepted(t *testing.T, plaintext string) authenticationv1.UserInfo {
	t.Helper()
	return env.Must[authenticationv1.UserInfo](t)(product.Whoami(t.Context(), plaintext))
}

// within is env.Within, and returns how long it took.
func within(t *testing.T, promised time.Duration, ok func() bool, otherwise string) time.Duration {
	t.Helper()
	start := time.Now()
	if err := env.Within(t.Context(), promised, func() error {
		if ok() {
			return nil
		}
		return errors.New(otherwise)
	}); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// directReview asks the verifier itself about a token, past everything that kube-apiserver remembers.
func directReview(t *testing.T, plaintext string, audiences ...string) authenticationv1.TokenReviewStatus {
	t.Helper()
	return env.Must[authenticationv1.TokenReviewStatus](t)(product.Review(t.Context(), plaintext, audiences...))
}

// review asks kube-apiserver's TokenReview API about a token.
func review(t *testing.T, plaintext string, audiences ...string) authenticationv1.TokenReviewStatus {
	t.Helper()
	r := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: plaintext, Audiences: audiences}}
	create(t, admin, r)
	return r.Status
}

// kubectl runs kubectl with a kubeconfig and expects it to work.
func kubectl(t *testing.T, kubeconfig, stdin string, args ...string) string {
	t.Helper()
	out, _, err := cl.Kubectl(t.Context(), kubeconfig, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// status expects an error with an HTTP status and a text.
func wantStatus(t *testing.T, err error, code int32, texts ...string) {
	t.Helper()
	var api apierrors.APIStatus
	if !errors.As(err, &api) || api.Status().Code != code {
		t.Errorf("got %v; want HTTP %d", err, code)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("got %q; want %q in it", err, text)
		}
	}
	if strings.Contains(err.Error(), "immutable") {
		t.Errorf("%q would make Flux's force delete and re-create", err)
	}
}

// restartOperator ends the operator and starts it with further flags.
func restartOperator(t *testing.T, args ...string) {
	t.Helper()
	if err := operator.Stop(); err != nil {
		t.Error(err)
	}
	startOperator(t, args...)
}

func startOperator(t *testing.T, args ...string) {
	t.Helper()
	var err error
	if operator, err = cl.StartOperator(context.Background(), append(args, verbose...)...); err != nil {
		t.Fatal(err)
	}
}

var reviving sync.Mutex

// revive starts the operator where it has ended: it loses its lease where kube-apiserver takes long to restart. Its Deployment
// would start another.
func revive(t *testing.T) {
	t.Helper()
	reviving.Lock()
	defer reviving.Unlock()
	select {
	case <-operator.Exited():
		t.Log("the operator has ended, and is started again")
		startOperator(t)
	default:
	}
}

// restartVerifier ends the verifier and starts it with further flags.
func restartVerifier(t *testing.T, args ...string) {
	t.Helper()
	if err := verifier.Stop(); err != nil {
		t.Error(err)
	}
	startVerifier(t, args...)
}

func startVerifier(t *testing.T, args ...string) {
	t.Helper()
	var err error
	if verifier, err = cl.StartVerifier(context.Background(), append(args, verbose...)...); err != nil {
		t.Fatal(err)
	}
}

func roleBinding(namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "dev"}}
}

func admissionURL() string {
	return fmt.Sprintf("https://127.0.0.1:%d/validate-pat-operator-io-v1alpha1-personalaccesstoken", operator.AdmissionPort)
}

// withoutRecordsPolicy lifts, for a moment, the policy that lets nobody else write records.
func withoutRecordsPolicy(t *testing.T, do func()) {
	t.Helper()
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
	if err := admin.Get(t.Context(), types.NamespacedName{Name: "pat-operator-records"}, binding); err != nil {
		t.Fatal(err)
	}
	if err := admin.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.RecordsNamespace, Name: "probe"}}
	eventually(t, patience, func() bool { return admin.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) == nil },
		func() string { return "the policy stays in force" })
	do()
	binding.ResourceVersion, binding.UID = "", ""
	create(t, admin, binding)
	eventually(t, patience, func() bool { return admin.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) != nil },
		func() string { return "the policy does not come back into force" })
}
