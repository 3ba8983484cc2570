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

package faults

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// scopesWindow is how long a token with scopes may do more than they say after a kube-apiserver has stopped enforcing them: the
// probe's interval and timeout, what kube-apiserver remembers, and what a busy machine adds.
const scopesWindow = 10*time.Second + 3*time.Second + 10*time.Second + 5*time.Second

// Two kube-apiservers, of which one no longer enforces scopes, or asks an authorizer that says nothing: a token with scopes gets
// nothing beyond them from either, within the scopesWindow, and works again when both enforce them. A token without scopes works all
// the while.
func TestCase71_AnAPIServerThatDoesNotEnforceScopes(t *testing.T) {
	long.Only(t)
	ctx := t.Context()
	p := env.Must[*env.Product](t)(env.Start(ctx, t.TempDir(), env.Options{}))
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	second := env.Must[*cluster.Replica](t)(p.NewReplica())
	t.Cleanup(second.Kill)
	must(t, second.Start(ctx, p.AuthorizationConfig))
	verifier := env.Must[*cluster.Manager](t)(p.StartVerifier(ctx, "--kube-apiservers="+second.Address))
	must(t, p.Verifier.Stop()) // It knew of one kube-apiserver.

	ns := env.Must[string](t)(p.Team(ctx, env.Group("team-devs")))
	root := env.Must[env.User](t)(p.User("root"))
	must(t, p.Admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "root"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "root"}},
	}))
	issue := func(name string, scopes ...v1alpha1.Scope) string {
		pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.PersonalAccessTokenSpec{Scopes: scopes}}
		must(t, root.Create(ctx, pat))
		return env.Must[string](t)(p.Take(ctx, p.Admin, ns, name))
	}
	full, scoped := issue("full"), issue("read-only", v1alpha1.Scope{Preset: "read-only"})

	servers := map[string]string{"the first": strings.TrimPrefix(p.Server, "https://"), "the second": second.Address}
	// does asks a kube-apiserver with a token and returns whether it does what is asked.
	does := func(address, plaintext string, list client.ObjectList) bool {
		config := p.Anonymous()
		config.Host, config.BearerToken = "https://"+address, plaintext
		c := env.Must[client.Client](t)(client.New(config, client.Options{Scheme: env.Scheme, Mapper: p.Admin.RESTMapper()}))
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		return c.List(ctx, list, client.InNamespace(ns)) == nil
	}
	reads := func(address string) bool { return does(address, scoped, &corev1.PodList{}) }
	// exceeds is a request outside of the scopes.
	exceeds := func(address string) bool { return does(address, scoped, &corev1.SecretList{}) }
	works := func(why string) {
		t.Helper()
		for name, address := range servers {
			env.Eventually(t, patience, func() bool { return reads(address) && !exceeds(address) },
				func() string { return why + ": the token with scopes does not work at " + name + "\n" + verifier.Log() })
		}
	}
	works("both enforce scopes")

	fake, fakeKubeconfig := silentAuthorizer(t)
	nothing := filepath.Join(t.TempDir(), "authorization.yaml")
	must(t, os.WriteFile(nothing, authnconfig.AuthorizationConfiguration(p.Minor, fakeKubeconfig), 0o600))
	ours, err := os.ReadFile(p.AuthorizationConfig)
	must(t, err)
	const rbac = "- type: RBAC\n  name: rbac\n"
	late := filepath.Join(t.TempDir(), "authorization.yaml")
	must(t, os.WriteFile(late, []byte(strings.Replace(strings.Replace(string(ours), rbac, "", 1), "authorizers:\n", "authorizers:\n"+rbac, 1)), 0o600))
	for _, fault := range []struct {
		name, config string
	}{{"no authorizer", ""}, {"an authorizer that has no opinion", nothing}, {"an authorizer after RBAC", late}} {
		must(t, second.Start(ctx, fault.config))
		started := time.Now()
		var exceeded, slowest time.Duration // when it was last asked and exceeded the scopes; the longest time that asking all took
		for began, still := started, true; still && time.Since(started) < scopesWindow+patience; {
			now := time.Now()
			slowest, began = max(slowest, now.Sub(began)), now
			if exceeds(second.Address) {
				exceeded = began.Sub(started)
			}
			if exceeds(servers["the first"]) {
				t.Fatalf("%s at the second: the first, which enforces scopes, exceeds them", fault.name)
			}
			works := does(second.Address, full, &corev1.SecretList{})
			if !works {
				works = does(second.Address, full, &corev1.SecretList{})
			}
			if !works {
				t.Fatalf("%s: a token without scopes does not work", fault.name)
			}
			if began.Sub(started) < scopesWindow {
				continue
			}
			still = false
			for _, address := range servers {
				if exceeds(address) || reads(address) {
					still, exceeded = true, began.Sub(started)
				}
			}
		}
		t.Logf("%s at one of two: exceeded for %v, of at most %v", fault.name, exceeded.Round(10*time.Millisecond), scopesWindow)
		if exceeded > scopesWindow+2*slowest {
			t.Errorf("%s: the token with scopes still works after %v, where asking took up to %v", fault.name, exceeded, slowest)
		}
		must(t, second.Start(ctx, p.AuthorizationConfig))
		works(fault.name + " no more")
	}
	if fake.Load() == 0 {
		t.Error("nobody asked the authorizer that has no opinion")
	}

	// Frozen, the authorizer answers nobody. Others never wait for it.
	must(t, verifier.Pause())
	fastest := time.Hour
	for started := time.Now(); time.Since(started) < 15*time.Second; {
		for name, address := range servers {
			if exceeds(address) {
				t.Fatalf("the verifier stands still: the token exceeds its scopes at %s", name)
			}
			config := p.Cluster.Admin()
			config.Host = "https://" + address
			asked := time.Now()
			c := env.Must[client.Client](t)(client.New(config, client.Options{Scheme: env.Scheme, Mapper: p.Admin.RESTMapper()}))
			if err := c.List(ctx, &corev1.SecretList{}, client.InNamespace(ns)); err != nil {
				t.Errorf("the verifier stands still: an administrator gets %v", err)
			}
			fastest = min(fastest, time.Since(asked))
		}
	}
	if fastest >= 3*time.Second { // kube-apiserver's patience with the authorizer
		t.Errorf("the verifier stands still: administrators wait for it, %v and more", fastest)
	}
	must(t, verifier.Resume())
	works("the verifier goes on")
}

// silentAuthorizer answers every review with no opinion, as another cluster's does for users that it does not know. It returns
// how often it was asked, and the kubeconfig that leads to it.
func silentAuthorizer(t *testing.T) (asked *atomic.Int32, kubeconfig string) {
	t.Helper()
	asked = &atomic.Int32{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","status":{"allowed":false}}`))
	}))
	t.Cleanup(server.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["a"] = &clientcmdapi.Cluster{Server: server.URL + "/authorize", CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})}
	config.AuthInfos["a"] = &clientcmdapi.AuthInfo{}
	config.Contexts["a"] = &clientcmdapi.Context{Cluster: "a", AuthInfo: "a"}
	config.CurrentContext = "a"
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	must(t, clientcmd.WriteToFile(*config, kubeconfig))
	return asked, kubeconfig
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
