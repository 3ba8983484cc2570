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
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
)

const (
	// patience is how long anything that the operator does may take on a busy machine.
	patience = 30 * time.Second
	// kasRemembers bounds how long kube-apiserver may go on saying yes: its own 10 s and a moment.
	kasRemembers = 12 * time.Second
)

var soak = flag.Duration("soak", 0, "make as many resources as CASES ask for, and share this out among what lasts; 30m and more: all of them")

var (
	cl                 *cluster.Cluster
	binary             string // the manager
	operator, verifier *cluster.Manager
	scheme             = runtime.NewScheme()
	admin              client.WithWatch
	// alice and bob may do anything with PersonalAccessTokens in every team namespace, and read its Secrets and pods.
	alice, bob user
	// verbose is a manager's log at its most verbose; everything that it may ever say.
	verbose = []string{"--zap-log-level=7", "--zap-devel"}
)

// user is a user with a client certificate.
type user struct {
	name       string
	groups     []string
	kubeconfig string
	client.WithWatch
}

func TestMain(m *testing.M) { os.Exit(cluster.RunTests(m, 4, run)) }

func run(ctx context.Context, dir string, tests func()) (err error) {
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if binary, err = cluster.BuildManager(ctx, dir); err != nil {
		return err
	}
	if cl, err = cluster.Start(ctx, cluster.Options{ManagerBinary: binary, Audit: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cl.Stop()) }()
	// In this order: for the first verifier kube-apiserver restarts, which on a busy machine takes longer than a lease.
	if verifier, err = cl.StartVerifier(ctx, verbose...); err != nil {
		return err
	}
	if operator, err = cl.StartOperator(ctx, verbose...); err != nil {
		return err
	}
	if admin, err = client.NewWithWatch(cl.Admin(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for u, name := range map[*user]string{&alice: "alice", &bob: "bob"} {
		if *u, err = newUser(name, "team-devs"); err != nil {
			return err
		}
	}
	tests()
	logs, err := managerLogs(cl)
	if _, race, found := strings.Cut(logs, "WARNING: DATA RACE"); found {
		return fmt.Errorf("a manager raced:\n%s", race)
	}
	return err
}

// managerLogs is what every manager of a cluster has printed.
func managerLogs(c *cluster.Cluster) (string, error) {
	var all strings.Builder
	for _, command := range []string{"operator", "verifier", "run"} {
		files, err := filepath.Glob(filepath.Join(c.Dir, command+"-*.log"))
		if err != nil {
			return "", err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			all.Write(text)
		}
	}
	return all.String(), nil
}

func newUser(name string, groups ...string) (user, error) {
	config, kubeconfig, err := cl.User(name, groups...)
	if err != nil {
		return user{}, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	return user{name, groups, kubeconfig, c}, err
}

// team makes a namespace where the group team-devs may do what developers do, and returns its name.
func team(t *testing.T) string {
	t.Helper()
	if err := cl.WaitAccepted(t.Context()); err != nil { // An earlier test may have put the webhooks away.
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	create(t, admin, ns)
	create(t, admin, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "dev"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"pat-operator.io"}, Resources: []string{"personalaccesstokens"}, Verbs: []string{"*"}},
			{APIGroups: []string{"pat-operator.io"}, Resources: []string{"personalaccesstokens/status"}, Verbs: []string{"get", "patch", "update"}},
			{APIGroups: []string{""}, Resources: []string{"secrets", "pods"}, Verbs: []string{"get", "list", "watch"}},
		},
	})
	create(t, admin, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "dev"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "dev"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "team-devs"}},
	})
	eventually(t, patience, func() bool { return alice.List(t.Context(), &corev1.PodList{}, client.InNamespace(ns.Name)) == nil },
		func() string { return "the new role does not take effect" })
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), ns); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	return ns.Name
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
	waitFor(t, namespace, name, v1alpha1.ConditionActive, "True/Active")
	secret := &corev1.Secret{}
	key := types.NamespacedName{Namespace: namespace, Name: get(t, namespace, name).Status.DeliverySecretName}
	if err := u.Get(t.Context(), key, secret); err != nil {
		t.Fatal(err)
	}
	return string(secret.Data[v1alpha1.SecretKeyToken])
}

// waitFor waits until a condition is "<status>/<reason>".
func waitFor(t *testing.T, namespace, name, condition, want string) {
	t.Helper()
	var got string
	eventually(t, patience, func() bool {
		p := get(t, namespace, name)
		got = ""
		for _, c := range p.Status.Conditions {
			if c.Type == condition && c.ObservedGeneration == p.Generation {
				got = string(c.Status) + "/" + c.Reason
			}
		}
		return got == want
	}, func() string { return fmt.Sprintf("%s of %s/%s is %q; want %q", condition, namespace, name, got, want) })
}

// eventually polls; it returns how long it took.
func eventually(t *testing.T, within time.Duration, ok func() bool, otherwise func() string) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > within {
			t.Fatalf("%s, after %v", otherwise(), within)
		}
		<-tick.C
	}
	return time.Since(start)
}

// bearer is a client that holds nothing but a token.
func bearer(t *testing.T, plaintext string) client.Client {
	t.Helper()
	config := rest.CopyConfig(cl.Anonymous())
	config.BearerToken = plaintext
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// whoami asks kube-apiserver whom a token authenticates.
func whoami(ctx context.Context, c client.Client) (authenticationv1.UserInfo, error) {
	review := &authenticationv1.SelfSubjectReview{}
	err := c.Create(ctx, review)
	return review.Status.UserInfo, err
}

// refused waits until the verifier refuses a token, and then until kube-apiserver does; it returns how long both took.
func refused(t *testing.T, plaintext string) time.Duration {
	t.Helper()
	took := eventually(t, patience, func() bool { return !directReview(t, plaintext).Authenticated },
		func() string { return "the verifier still takes the token" })
	c := bearer(t, plaintext)
	var last error
	return took + eventually(t, kasRemembers, func() bool {
		_, last = whoami(t.Context(), c)
		return apierrors.IsUnauthorized(last)
	}, func() string { return fmt.Sprintf("kube-apiserver still takes the token (%v)", last) })
}

// accepted expects kube-apiserver to take a token, soon, and returns whom it stands for.
func accepted(t *testing.T, plaintext string) authenticationv1.UserInfo {
	t.Helper()
	c := bearer(t, plaintext)
	var info authenticationv1.UserInfo
	var last error
	eventually(t, patience, func() bool {
		info, last = whoami(t.Context(), c)
		return last == nil
	}, func() string { return fmt.Sprintf("kube-apiserver refuses the token: %v", last) })
	return info
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
