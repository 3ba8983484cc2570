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

// Package gitops applies manifests again and again, by the ways that Flux and Argo CD do it, to a real control plane with
// the real manager: no drift, no token revoked by accident, none revived; and health as both compute it. Flux's part is
// Flux's own library; Argo CD's is kubectl, which it runs itself, and its rules for a difference and for health.
package gitops

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/token"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const (
	patience = env.Patience
	poll     = 50 * time.Millisecond
	// root is the module's folder.
	root = "../.."
)

var (
	product  *env.Product
	cl       *cluster.Cluster
	binary   string // the manager
	admin    client.Client
	operator *cluster.Manager
)

func TestMain(m *testing.M) {
	if flag.Parse(); !long.Form() {
		os.Exit(m.Run()) // What needs a cluster skips itself.
	}
	os.Exit(cluster.RunTests(m, 8, run))
}

func run(ctx context.Context, dir string, tests func()) (err error) {
	// Last use is not written, so that a revision that has not moved tells that nobody has written.
	if product, err = env.Start(ctx, dir, env.Options{Verifier: []string{"--last-used-rate=0"}}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, product.Stop()) }()
	cl, binary, operator, admin = product.Cluster, product.Binary, product.Operator, product.Admin
	tests()
	return nil
}

// tenant is a namespace where the accounts of the samples, flux and argocd, sync what a repository declares.
type tenant struct {
	ns string
	// flux and argocd are the accounts, by name alone, as both tools impersonate.
	flux, argocd string
}

// newTenant applies config/samples/gitops for a namespace of its own.
func newTenant(t *testing.T, ns string) *tenant {
	t.Helper()
	account := func(name string) string { return "system:serviceaccount:" + ns + ":" + name }
	n := &tenant{ns: ns, flux: account("flux"), argocd: account("argocd")}
	for _, name := range []string{"flux", "argocd"} {
		raw, err := os.ReadFile(filepath.Join(root, "config", "samples", "gitops", name+"-tenant.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		n.kubectl(t, "", strings.ReplaceAll(string(raw), "team-a", ns), "apply", "-f", "-")
	}
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}); err != nil {
			t.Error(err)
		}
	})
	g := NewWithT(t)
	for _, account := range []string{n.flux, n.argocd} {
		c := n.client(t, account)
		g.Eventually(func() error {
			return c.Create(t.Context(), n.manifest("probe", nil), client.DryRunAll)
		}, patience, poll).Should(Succeed(), "the account's rights do not take effect")
	}
	return n
}

// client acts as an account, by its name alone.
func (n *tenant) client(t *testing.T, account string) client.Client {
	t.Helper()
	config := rest.CopyConfig(cl.Admin())
	config.Impersonate = rest.ImpersonationConfig{UserName: account}
	c, err := client.New(config, client.Options{Scheme: env.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// kubectl runs kubectl in the namespace, as an account or, without one, as the administrator, and expects it to work.
func (n *tenant) kubectl(t *testing.T, account, stdin string, args ...string) string {
	t.Helper()
	out, _, err := n.try(t, account, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *tenant) try(t *testing.T, account, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	if account != "" {
		args = append(args, "--as="+account)
	}
	return cl.Kubectl(t.Context(), cl.AdminKubeconfig, stdin, append(args, "--namespace="+n.ns)...)
}

// spec is what a manifest in Git declares.
type spec map[string]any

// with is the spec with a field set; nil takes it away.
func (s spec) with(field string, value any) spec {
	out := runtime.DeepCopyJSON(s)
	out[field] = value
	if value == nil {
		delete(out, field)
	}
	return out
}

// manifest is one in Git: a token of alice, where s names nobody.
func (n *tenant) manifest(name string, s spec) *unstructured.Unstructured {
	content := runtime.DeepCopyJSON(s)
	if content == nil {
		content = map[string]any{}
	}
	if content["user"] == nil {
		content["user"] = map[string]any{"username": "alice", "groups": []any{n.ns + "-devs"}}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "pat-operator.io/v1alpha1", "kind": "PersonalAccessToken",
		"metadata": map[string]any{"name": name, "namespace": n.ns},
		"spec":     content,
	}}
}

// text is a manifest as kubectl reads it.
func text(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	raw, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// holder makes a token on the holder's machine and the spec that declares it.
func (n *tenant) holder(t *testing.T, name string, life time.Duration) (plaintext string, s spec) {
	t.Helper()
	id, plaintext, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return plaintext, spec{
		"expiresAt": in(life),
		"token": map[string]any{
			"id": id, "sha256": token.NewDigest(n.ns, name, plaintext).Hex(), "boundTo": n.ns + "/" + name,
		},
	}
}

// in is a moment as people write it: with an offset, which re-marshaling would rewrite.
func in(d time.Duration) string {
	return time.Now().Add(d).In(time.FixedZone("", 2*60*60)).Format(time.RFC3339)
}

func (n *tenant) get(t *testing.T, name string) *v1alpha1.PersonalAccessToken {
	t.Helper()
	p := &v1alpha1.PersonalAccessToken{}
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: n.ns, Name: name}, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// live is the resource as a tool reads it.
func (n *tenant) live(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	o := n.manifest(name, nil)
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// waitFor waits until the controller has said of this generation that a condition is "<status>/<reason>".
func (n *tenant) waitFor(t *testing.T, name, condition, want string) {
	t.Helper()
	if err := product.WaitFor(t.Context(), n.ns, name, condition, want); err != nil {
		t.Fatal(err)
	}
}

// take waits for a token and takes its plaintext from its Secret.
func (n *tenant) take(t *testing.T, name string) string {
	t.Helper()
	return env.Must[string](t)(product.Take(t.Context(), admin, n.ns, name))
}

// works expects kube-apiserver to take a token as alice's, soon.
func works(t *testing.T, plaintext string) {
	t.Helper()
	if user := env.Must[authenticationv1.UserInfo](t)(product.Whoami(t.Context(), plaintext)); user.Username != "alice" {
		t.Fatalf("the token is %q", user.Username)
	}
}

// over expects the verifier to refuse a token, soon: asked at its own address, past what kube-apiserver remembers.
func over(t *testing.T, plaintext string) {
	t.Helper()
	if err := product.RefusedByVerifier(t.Context(), plaintext); err != nil {
		t.Fatal(err)
	}
}
