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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// aggregated is an aggregated API server that keeps the headers of the last list.
type aggregated struct {
	*httptest.Server
	mu   sync.Mutex
	seen http.Header
}

func (a *aggregated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/things"):
		a.mu.Lock()
		a.seen = r.Header.Clone()
		a.mu.Unlock()
		_, _ = io.WriteString(w, `{"kind":"ThingList","apiVersion":"aggregated.example.com/v1","metadata":{},"items":[]}`)
	default:
		_, _ = io.WriteString(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"aggregated.example.com/v1",`+
			`"resources":[{"name":"things","namespaced":false,"kind":"Thing","verbs":["list"]}]}`)
	}
}

// startAggregated registers an API, and lets the group devs list its things.
func startAggregated(t *testing.T) *aggregated {
	t.Helper()
	a := &aggregated{}
	a.Server = httptest.NewTLSServer(a)
	t.Cleanup(a.Close)
	port := a.Listener.Addr().(*net.TCPAddr).Port
	name := metav1.ObjectMeta{Name: "aggregated"}
	api := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1.aggregated.example.com"},
		"spec": map[string]any{
			"group": "aggregated.example.com", "version": "v1", "groupPriorityMinimum": int64(1000), "versionPriority": int64(10), "insecureSkipTLSVerify": true,
			"service": map[string]any{"namespace": "team-b", "name": "aggregated", "port": int64(port)},
		},
	}}
	create(t, admin,
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "team-b", Name: "aggregated"}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: "localhost", Ports: []corev1.ServicePort{{Port: int32(port)}},
		}},
		&rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"aggregated.example.com"}, Resources: []string{"*"}, Verbs: []string{"list", "get"}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name}, Subjects: []rbacv1.Subject{env.Group("devs")}},
		api,
	)
	// Tests that follow would wait for an API that does not answer.
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), api); err != nil {
			t.Error(err)
		}
	})
	return a
}

// An aggregated API server sees the token's user and the token, and none of the credentials on the way.
func TestAnAggregatedAPISeesThePerson(t *testing.T) {
	long.Only(t)
	token := issue(t, "aggregated", alice)
	server := startAggregated(t)
	if err := env.Poll(t.Context(), env.Patience, func() error {
		response, text, err := get(t, token.Bearer, "/apis/aggregated.example.com/v1/things")
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("HTTP %d %s", response.StatusCode, text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	for name, want := range map[string][]string{
		"X-Remote-User":  {alice.Username},
		"X-Remote-Uid":   {alice.UID},
		"X-Remote-Group": append(slices.Clone(alice.Groups), "system:authenticated"),
		"X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id": {"PAT=" + token.ID()},
		"X-Remote-Extra-Pat-Operator.io%2fname":                       {"team-a/aggregated"},
	} {
		got := slices.Clone(server.seen[http.CanonicalHeaderKey(name)])
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
	for name, values := range server.seen {
		if strings.HasPrefix(name, "Impersonate-") || name == "Authorization" || strings.Contains(strings.Join(values, " "), token.Bearer) {
			t.Errorf("it saw %s", name)
		}
	}
}

// helm is the program of make chart-test, or skips the test where it has not been built.
func helm(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("PAT_HELM"); program != "" {
		return program
	}
	cache := os.Getenv("PAT_OPERATOR_CACHE")
	if cache == "" {
		folder, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(folder, "pat-operator")
	}
	built, err := filepath.Glob(filepath.Join(cache, "bin", "helm-*", "helm"))
	if err != nil {
		t.Fatal(err)
	}
	if len(built) == 0 {
		t.Skip("SKIPPED: the helm program is missing; make chart-test builds it")
	}
	slices.Sort(built)
	return built[len(built)-1]
}

// chart is a chart with a ConfigMap and a Deployment.
var chart = map[string]string{
	"Chart.yaml":               "apiVersion: v2\nname: app\nversion: 1.0.0\n",
	"values.yaml":              "greeting: hello\n",
	"templates/configmap.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\"}\ndata: {greeting: {{ .Values.greeting | quote }}}\n",
	"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec: {containers: [{name: app, image: app}]}
`,
}

// Helm installs, upgrades, rolls back and uninstalls with a token, and with one of the preset for deployments where it keeps its
// releases in ConfigMaps.
func TestHelmThroughTheProxy(t *testing.T) {
	long.Only(t)
	program := helm(t)
	folder := t.TempDir()
	for name, text := range chart {
		file := filepath.Join(folder, "app", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	full := issue(t, "helm", alice)
	scoped := issue(t, "helm-scoped", alice, func(s *v1alpha1.PersonalAccessTokenSpec) { s.Scopes = []v1alpha1.Scope{{Preset: "ci-deploy"}} })
	for _, tc := range []struct{ release, bearer, driver string }{{"full", full.Bearer, "secret"}, {"scoped", scoped.Bearer, "configmap"}} {
		kubeconfig := filepath.Join(folder, tc.release+".kubeconfig")
		writeKubeconfig(t, kubeconfig, front.url, front.ca, tc.bearer)
		run := func(ok bool, args ...string) string {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 2*env.Patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, program, append(args, "--kubeconfig", kubeconfig, "--namespace", "team-a")...)
			cmd.Env = append(os.Environ(), "HOME="+folder, "HELM_DRIVER="+tc.driver)
			out, err := cmd.CombinedOutput()
			if (err == nil) != ok {
				t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
			}
			return string(out)
		}
		greeting := func(want string) {
			t.Helper()
			if got := run(true, "get", "manifest", tc.release); !strings.Contains(got, want) {
				t.Errorf("%s: no %q in %s", tc.release, want, got)
			}
			config := configMap(tc.release)
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(config), config); err != nil || config.Data["greeting"] != want {
				t.Errorf("%s: %q, %v; want %q", tc.release, config.Data["greeting"], err, want)
			}
		}
		app := filepath.Join(folder, "app")
		run(true, "install", tc.release, app)
		greeting("hello")
		run(true, "upgrade", tc.release, app, "--set", "greeting=goodbye")
		greeting("goodbye")
		run(true, "rollback", tc.release, "1")
		greeting("hello")
		var history []map[string]any
		if err := json.Unmarshal([]byte(run(true, "history", tc.release, "--output", "json")), &history); err != nil || len(history) != 3 {
			t.Errorf("%s: %d revisions, %v", tc.release, len(history), err)
		}
		run(true, "uninstall", tc.release)
	}
	// Helm's Secrets are not in the preset.
	kubeconfig := filepath.Join(folder, "scoped.kubeconfig")
	cmd := exec.CommandContext(t.Context(), program, "install", "secret", filepath.Join(folder, "app"), "--kubeconfig", kubeconfig, "--namespace", "team-a")
	cmd.Env = append(os.Environ(), "HOME="+folder, "HELM_DRIVER=secret")
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("the scopes of personal access token team-a/helm-scoped do not allow to")) {
		t.Errorf("%v %s; want a refusal that names the token", err, out)
	}
}
