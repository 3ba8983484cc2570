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
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// startProxy starts `manager proxy` for the time of a test, and returns how its clients reach it. It acts for whom the operator says.
func startProxy(t *testing.T) *rest.Config {
	t.Helper()
	proxied(t)
	apply(t, "config/rbac/proxy/managed")
	restartOperator(t, "--managed-impersonation")
	t.Cleanup(func() { restartOperator(t) })
	proxy := env.Must[*cluster.Manager](t)(cl.StartManager(context.Background(), cluster.ManagerOptions{
		Command: "proxy", Args: append([]string{"--proxy-audit-log=off", "--proxy-drain-delay=0s", "--proxy-drain=1s"}, verbose...),
	}))
	t.Cleanup(func() {
		if err := proxy.Stop(); err != nil {
			t.Error(err)
		}
	})
	published := &corev1.ConfigMap{}
	eventually(t, patience, func() bool {
		err := admin.Get(t.Context(), client.ObjectKey{Namespace: cluster.OperatorNamespace, Name: "pat-operator-proxy"}, published)
		return err == nil && published.Data["url"] == proxy.ProxyURL() && published.Data["ca.crt"] != ""
	}, func() string { return fmt.Sprintf("the proxy has published %v", published.Data) })
	config := cl.Anonymous()
	config.Host, config.CAData = published.Data["url"], []byte(published.Data["ca.crt"])
	return config
}

// With the webhook, the authorizer and the proxy in one cluster, a token is the same person with the same limits by both ways, and
// ends on both. What the proxy sends on with the marks of a token with scopes is inside of them, so that the authorizer, which asks
// by the token's id, lets it through.
func TestTheWebhookAndTheProxyAgree(t *testing.T) {
	long.Only(t)
	through, direct := startProxy(t), cl.Anonymous()
	direct.Host = cl.Server
	ways := map[string]*rest.Config{"by the webhook": direct, "through the proxy": through}
	ns := team(t)
	create(t, admin, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "kept"}})
	carol := env.Must[user](t)(product.User("carol", "team-devs"))
	full := issued(t, carol, pat(ns, "full"))
	limited := issued(t, carol, pat(ns, "limited", scoped(v1alpha1.Scope{Preset: "read-only"})))
	bound := issued(t, carol, pat(ns, "bound", from("127.0.0.0/8"), scoped(v1alpha1.Scope{Preset: "read-only"})))
	pods, configMap, secrets := "/api/v1/namespaces/"+ns+"/pods", "/api/v1/namespaces/"+ns+"/configmaps/kept", "/api/v1/namespaces/"+ns+"/secrets"

	t.Run("one person", func(t *testing.T) {
		for name, plaintext := range map[string]string{"full": full, "limited": limited} {
			seen := map[string]authenticationv1.UserInfo{}
			for way, config := range ways {
				eventually(t, patience, func() bool {
					var review authenticationv1.SelfSubjectReview
					code := post(t, config, plaintext, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &authenticationv1.SelfSubjectReview{
						TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
					}, &review)
					seen[way] = review.Status.UserInfo
					return code == http.StatusCreated && seen[way].Username == "carol"
				}, func() string { return fmt.Sprintf("%s, %s: it is %+v", name, way, seen[way]) })
			}
			if diff := cmp.Diff(seen["by the webhook"], seen["through the proxy"]); diff != "" {
				t.Errorf("%s (-webhook +proxy):\n%s", name, diff)
			}
		}
	})

	t.Run("the same limits", func(t *testing.T) {
		outside := map[string]string{
			"by the webhook":    "outside of the scopes of the personal access token " + ns + "/limited",
			"through the proxy": "the scopes of personal access token " + ns + "/limited do not allow to ",
		}
		for way, config := range ways {
			for _, tc := range []struct {
				token, method, path string
				code                int
			}{
				{full, "GET", pods, http.StatusOK},
				{full, "GET", secrets, http.StatusOK},
				{limited, "GET", pods, http.StatusOK},
				{limited, "GET", "/version", http.StatusOK},
				{limited, "GET", secrets, http.StatusForbidden},
				{limited, "DELETE", configMap, http.StatusForbidden},
				{limited, "POST", pods, http.StatusForbidden},
				{limited, "GET", "/metrics", http.StatusForbidden},
				// What RBAC does not allow stays forbidden, and by RBAC.
				{limited, "GET", "/api/v1/nodes", http.StatusForbidden},
			} {
				code, text := rawAt(t, config, tc.token, tc.method, tc.path, "{}")
				if code != tc.code {
					t.Errorf("%s: %s %s: %d %s; want %d", way, tc.method, tc.path, code, text, tc.code)
				}
				if byScopes := tc.code == http.StatusForbidden && tc.path != "/api/v1/nodes"; strings.Contains(text, outside[way]) != byScopes {
					t.Errorf("%s: %s %s says %s", way, tc.method, tc.path, text)
				}
			}
			for verb, allowed := range map[string]bool{"list": true, "delete": false} {
				var review authorizationv1.SelfSubjectAccessReview
				code := post(t, config, limited, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &authorizationv1.SelfSubjectAccessReview{
					TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
					Spec:     authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: verb, Resource: "pods"}},
				}, &review)
				if code != http.StatusCreated || review.Status.Allowed != allowed || review.Status.Denied == allowed {
					t.Errorf("%s: may it %s pods: HTTP %d, %+v", way, verb, code, review.Status)
				}
			}
		}
		// Only the proxy knows where a request comes from.
		if code, text := rawAt(t, direct, bound, "GET", pods, ""); code != http.StatusUnauthorized {
			t.Errorf("a token with networks, by the webhook: %d %s", code, text)
		}
		for path, want := range map[string]int{pods: http.StatusOK, secrets: http.StatusForbidden} {
			if code, text := rawAt(t, through, bound, "GET", path, ""); code != want {
				t.Errorf("a token with networks, through the proxy: %s %d %s; want %d", path, code, text, want)
			}
		}
	})

	t.Run("one end", func(t *testing.T) {
		watch := open(t, through, limited, pods+"?watch=1")
		if err := carol.Status().Patch(t.Context(), pat(ns, "limited"), revocation(t, ns, "limited")); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(watch); err == nil || !strings.Contains(string(rest), "the personal access token is not honored any more: it has ended") {
			t.Errorf("the watch ends with %q, %v", rest, err)
		}
		if code, text := rawAt(t, through, limited, "GET", pods, ""); code != http.StatusUnauthorized {
			t.Errorf("through the proxy: %d %s", code, text)
		}
		refused(t, limited)
		if code, text := rawAt(t, direct, limited, "GET", pods, ""); code != http.StatusUnauthorized {
			t.Errorf("by the webhook: %d %s", code, text)
		}
		for way, config := range ways {
			if code, text := rawAt(t, config, full, "GET", pods, ""); code != http.StatusOK {
				t.Errorf("%s, the other token: %d %s", way, code, text)
			}
		}
	})
}

// post sends an object and reads the answer into another.
func post(t *testing.T, config *rest.Config, plaintext, path string, o, into any) int {
	t.Helper()
	body := env.Must[[]byte](t)(json.Marshal(o))
	response := send(t, config, plaintext, "POST", path, string(body))
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// open opens a watch, and returns what it says.
func open(t *testing.T, config *rest.Config, plaintext, path string) io.Reader {
	t.Helper()
	response := send(t, config, plaintext, "GET", path, "")
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("HTTP %d", response.StatusCode)
	}
	return response.Body
}
