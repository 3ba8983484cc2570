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

package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/proxy"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

func TestKubectlWorksAsTheTokensUser(t *testing.T) {
	token := issue(t, "kubectl", alice)
	whoami := want(t, token.Bearer, "", true, `"username": "alice@example.com"`, "auth", "whoami", "-o", "json")
	for _, part := range []string{`"uid": "u-4711"`, `"devs"`, `"ns:team-a"`, `"system:authenticated"`, `PAT=` + token.ID(), `"team-a/kubectl"`} {
		if !strings.Contains(whoami, part) {
			t.Errorf("no %s in %s", part, whoami)
		}
	}
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: b}\n"
	want(t, token.Bearer, manifest, true, "created", "apply", "-f", "-")
	want(t, token.Bearer, strings.Replace(manifest, "a: b", "a: c", 1), true, "configured", "apply", "-f", "-")
	want(t, token.Bearer, strings.Replace(manifest, "a: b", "a: d", 1), true, "serverside-applied", "apply", "--server-side", "--force-conflicts", "-f", "-")
	want(t, token.Bearer, "", true, "d", "get", "configmap", "one", "-o", "jsonpath={.data.a}")
	want(t, token.Bearer, "", true, "patched", "patch", "configmap", "one", "--type=merge", "-p", `{"data":{"x":"y"}}`)
	want(t, token.Bearer, "", true, "yes", "auth", "can-i", "create", "deployments")
	want(t, token.Bearer, "", false, "no", "auth", "can-i", "create", "deployments", "-n", "team-b")
	want(t, token.Bearer, "", true, "configmaps", "auth", "can-i", "--list")
	want(t, token.Bearer, "", true, "Server Version", "version")
	want(t, token.Bearer, "", true, "deleted", "delete", "configmap", "one")
	want(t, token.Bearer, "", false, `User "alice@example.com" cannot list resource "pods"`, "get", "pods", "-n", "team-b")
	want(t, token.Bearer, "", false, "impersonation (--as) does not work with a personal access token; use a token of that user, or leave --as out", "get", "pods", "--as", "bob")

	// Both audit logs name the same request, and the person.
	if err := env.Poll(t.Context(), env.Patience, func() error {
		ours := lines(t, front.auditFile("main"))
		for _, event := range lines(t, filepath.Join(dir, "audit.log")) {
			uri, _ := event["requestURI"].(string)
			if event["verb"] != "patch" || !strings.Contains(uri, "configmaps/one") {
				continue
			}
			if user := fmt.Sprint(event["impersonatedUser"]); !strings.Contains(user, "alice@example.com") || !strings.Contains(user, token.ID()) {
				return fmt.Errorf("kube-apiserver's event is of %s", user)
			}
			if got := fmt.Sprint(event["sourceIPs"]); !strings.HasPrefix(got, "[127.0.0.1") {
				return fmt.Errorf("kube-apiserver's event is from %s", got)
			}
			if !slices.ContainsFunc(ours, func(line map[string]any) bool {
				r, _ := line["request"].(map[string]any)
				return r["auditID"] == event["auditID"] && line["tokenID"] == token.ID() && line["user"] == "alice@example.com" && r["resource"] == "configmaps"
			}) {
				return fmt.Errorf("no line of ours has the id %v", event["auditID"])
			}
			return nil
		}
		return errors.New("no event of the patch")
	}); err != nil {
		t.Error(err)
	}
}

// The impersonator has done nothing as itself but ask what it may do.
func TestNothingIsDoneAsTheImpersonator(t *testing.T) {
	_ = issue(t, "nobody", alice)
	for _, event := range lines(t, filepath.Join(dir, "audit.log")) {
		user, _ := event["user"].(map[string]any)
		status, _ := event["responseStatus"].(map[string]any)
		if user["username"] == "system:serviceaccount:"+system+":pat-operator-impersonator" && event["impersonatedUser"] == nil &&
			fmt.Sprint(status["code"]) < "400" && !strings.Contains(fmt.Sprint(event["requestURI"]), "selfsubjectaccessreviews") {
			t.Errorf("as itself: %v", event["requestURI"])
		}
	}
}

func TestScopesAndNetworksOfATokenHold(t *testing.T) {
	limited := issue(t, "limited", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.Scopes = []v1alpha1.Scope{{Preset: "read-only"}} })
	want(t, limited.Bearer, "", true, "", "get", "pods")
	want(t, limited.Bearer, "", true, "limited", "auth", "whoami", "-o", "json")
	want(t, limited.Bearer, "", false, "the scopes of personal access token team-a/limited do not allow to create configmaps in namespace team-a", "create", "configmap", "x")
	want(t, limited.Bearer, "", false, "do not allow to list secrets", "get", "secrets")
	want(t, limited.Bearer, "", true, "yes", "auth", "can-i", "list", "pods")
	want(t, limited.Bearer, "", false, "no", "auth", "can-i", "delete", "pods")
	want(t, limited.Bearer, "", true, "", "auth", "can-i", "--list")
	// As the API server sees it, the user may delete: only the proxy stands in between.
	want(t, issue(t, "unlimited", alice).Bearer, "", true, "yes", "auth", "can-i", "delete", "pods")

	elsewhere := issue(t, "elsewhere", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = []string{"192.0.2.0/24"} })
	want(t, elsewhere.Bearer, "", false, "personal access token team-a/elsewhere may not be used from 127.0.0.1", "get", "pods")
	here := issue(t, "here", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = []string{"127.0.0.0/8"} })
	want(t, here.Bearer, "", true, "", "get", "pods")
}

// A token with networks counts the client's address, as the load balancer that is trusted has written it.
func TestNetworksAreTheClientsBehindALoadBalancer(t *testing.T) {
	token := issue(t, "office", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.From = []string{"192.0.2.0/24", "2001:db8::/32"} })
	for name, tc := range map[string]struct {
		forwarded string
		want      int
		says      string
	}{
		"inside":                    {"192.0.2.7", http.StatusOK, ""},
		"inside, IPv6":              {"2001:db8::7", http.StatusOK, ""},
		"inside, IPv4 in IPv6":      {"::ffff:192.0.2.7", http.StatusOK, ""},
		"inside, by two of them":    {"192.0.2.7, 127.0.0.2", http.StatusOK, ""},
		"outside":                   {"198.51.100.7", http.StatusForbidden, "personal access token team-a/office may not be used from 198.51.100.7"},
		"outside, forged as inside": {"192.0.2.7, 198.51.100.7", http.StatusForbidden, "may not be used from 198.51.100.7"},
		"the load balancer itself":  {"", http.StatusForbidden, "may not be used from 127.0.0.1"},
	} {
		response, text, err := get(t, token.Bearer, "/api/v1/namespaces/team-a/configmaps", "X-Forwarded-For", tc.forwarded)
		if err != nil || response.StatusCode != tc.want || !strings.Contains(text, tc.says) {
			t.Errorf("%s: %v %s %v; want HTTP %d", name, response, text, err, tc.want)
		}
	}
}

func TestAUserWhoIsNotListedIsRefused(t *testing.T) {
	carol := issue(t, "carol", v1alpha1.UserInfo{Username: "carol@example.com"})
	wantForbidden(t, carol.Bearer, `cannot impersonate resource "users"`)
	strange := issue(t, "strange", v1alpha1.UserInfo{Username: "bob@example.com", Groups: []string{"admins"}})
	wantForbidden(t, strange.Bearer, `"admins"`)
}

// wantForbidden checks that the API server does not let the user of a token be impersonated.
func wantForbidden(t *testing.T, bearer, contains string) {
	t.Helper()
	response, text, err := get(t, bearer, "/api/v1/namespaces/team-a/pods")
	if err != nil || response.StatusCode != http.StatusForbidden || !strings.Contains(strings.ReplaceAll(text, `\"`, `"`), contains) {
		t.Errorf("%v %s %v; want 403 with %q", response, text, err, contains)
	}
}

// A proxy that drops groups sends a user without those that it may not act for. The user itself has to be listed all the same.
func TestGroupsThatAreNotListedAreDropped(t *testing.T) {
	long.Only(t)
	strange := issue(t, "half-strange", v1alpha1.UserInfo{Username: "bob@example.com", Groups: []string{"admins", "devs", "system:monitoring"}})
	carol := issue(t, "carol-dropped", v1alpha1.UserInfo{Username: "carol@example.com", Groups: []string{"admins"}})
	wantForbidden(t, strange.Bearer, `"admins"`)

	dropping := startManager(t, apiServer.Config(t), binary, "dropping", "--proxy-unlisted-groups=drop")
	defer dropping.stop()
	defer func(m *manager) { front = m }(front)
	front = dropping
	if err := env.Poll(t.Context(), env.Patience, func() error {
		out, err := kubectl(t, strange.Bearer, "", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}")
		if err == nil && out != `bob@example.com ["devs","system:authenticated"]` {
			err = errors.New("it is " + out)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want(t, strange.Bearer, "", true, "", "get", "configmaps")
	wantForbidden(t, carol.Bearer, `cannot impersonate resource "users"`)
	if err := env.Poll(t.Context(), env.Patience, func() error {
		for _, line := range lines(t, dropping.auditFile("dropping")) {
			r, _ := line["request"].(map[string]any)
			if line["name"] == "half-strange" && r["resource"] == "configmaps" && fmt.Sprint(r["withoutGroups"]) == "[admins system:monitoring]" {
				return nil
			}
		}
		return errors.New("no line tells of the groups")
	}); err != nil {
		t.Error(err)
	}
}

func TestAServiceAccountTakesARuleOfItsOwn(t *testing.T) {
	long.Only(t)
	start(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "robot"}}
	create(t, admin, account)
	robot := issue(t, "robot", v1alpha1.UserInfo{
		Username: "system:serviceaccount:team-a:robot", UID: string(account.UID), Groups: []string{"system:serviceaccounts", "system:serviceaccounts:team-a"},
	})
	wantForbidden(t, robot.Bearer, `cannot impersonate resource "serviceaccounts"`)
	create(t, admin,
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "impersonate"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"impersonate"}},
		}},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "impersonate"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "impersonate"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: system, Name: proxy.DefaultImpersonator}},
		})
	if err := env.Poll(t.Context(), env.Patience, func() error {
		out, err := kubectl(t, robot.Bearer, "", "auth", "whoami", "-o", "json")
		for _, part := range []string{"system:serviceaccount:team-a:robot", "system:serviceaccounts:team-a", string(account.UID), "PAT=" + robot.ID()} {
			if !strings.Contains(out, part) {
				return fmt.Errorf("no %s in %s", part, out)
			}
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

func TestInformersThroughTheProxy(t *testing.T) {
	long.Only(t)
	token := issue(t, "informers", alice)
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		c := config(token.Bearer)
		c.ContentType = contentType
		factory := informers.NewSharedInformerFactoryWithOptions(env.Must[*kubernetes.Clientset](t)(kubernetes.NewForConfig(c)), 0, informers.WithNamespace("team-a"))
		seen := make(chan string, 100)
		informer := factory.Core().V1().ConfigMaps().Informer()
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) { seen <- o.(*corev1.ConfigMap).Name }}); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		go informer.Run(stop)
		if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
			t.Fatal("no sync")
		}
		created := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", GenerateName: "informer-"}}
		create(t, admin, created)
		timeout := time.After(env.Patience)
		for found := false; !found; {
			select {
			case name := <-seen:
				found = name == created.Name
			case <-timeout:
				t.Fatalf("%s: not seen", contentType)
			}
		}
		close(stop)
	}
}

func TestLastUseIsInStatusWithItsAddress(t *testing.T) {
	long.Only(t)
	token := issue(t, "used", alice)
	if _, _, err := get(t, token.Bearer, "/api"); err != nil {
		t.Fatal(err)
	}
	if err := env.Poll(t.Context(), env.Patience, func() error {
		pat := &v1alpha1.PersonalAccessToken{}
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(token.Resource), pat); err != nil {
			return err
		}
		if pat.Status.LastUsedAt == nil || pat.Status.FirstUsedAt == nil || pat.Status.LastUsedFrom != "127.0.0.1" {
			return fmt.Errorf("status is %+v", pat.Status)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
