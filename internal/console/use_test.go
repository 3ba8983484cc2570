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

package console

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/console/page"
	"github.com/pat-operator/pat-operator/internal/proxyconfig"
	"github.com/pat-operator/pat-operator/test/env"
)

func TestCommandsForThisCluster(t *testing.T) {
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "report"}}
	elsewhere := pat.DeepCopy()
	elsewhere.Spec.Audiences = []string{"grafana"}
	bound := pat.DeepCopy()
	bound.Spec.From = []string{"192.0.2.0/24"}
	known := &Cluster{Server: "https://k8s.example.com:6443", CA: []byte("pem")}
	for name, test := range map[string]struct {
		pat     *v1alpha1.PersonalAccessToken
		cluster *Cluster
		want    *page.Use
	}{
		"a CA of its own": {pat, known, &page.Use{
			Curl:       `curl --cacert ca.crt -H "Authorization: Bearer $TOKEN" https://k8s.example.com:6443/api`,
			Kubectl:    `kubectl --kubeconfig=/dev/null --server=https://k8s.example.com:6443 --certificate-authority=ca.crt --token="$TOKEN" auth whoami`,
			Kubeconfig: "chmod 600 report.kubeconfig\nkubectl config set-credentials report --kubeconfig=report.kubeconfig --token=\"$TOKEN\"\nkubectl --kubeconfig=report.kubeconfig auth whoami",
			CA:         "/ca.crt", Download: "/tokens/team-a/report/kubeconfig", File: "report.kubeconfig",
		}},
		"a public CA": {pat, &Cluster{Server: "https://k8s.example.com"}, &page.Use{
			Curl:       `curl -H "Authorization: Bearer $TOKEN" https://k8s.example.com/api`,
			Kubectl:    `kubectl --kubeconfig=/dev/null --server=https://k8s.example.com --token="$TOKEN" auth whoami`,
			Kubeconfig: "chmod 600 report.kubeconfig\nkubectl config set-credentials report --kubeconfig=report.kubeconfig --token=\"$TOKEN\"\nkubectl --kubeconfig=report.kubeconfig auth whoami",
			Download:   "/tokens/team-a/report/kubeconfig", File: "report.kubeconfig",
		}},
		"with networks, by the proxy": {bound, &Cluster{Server: "https://pat.example.com", proxy: true}, &page.Use{
			Curl:       `curl -H "Authorization: Bearer $TOKEN" https://pat.example.com/api`,
			Kubectl:    `kubectl --kubeconfig=/dev/null --server=https://pat.example.com --token="$TOKEN" auth whoami`,
			Kubeconfig: "chmod 600 report.kubeconfig\nkubectl config set-credentials report --kubeconfig=report.kubeconfig --token=\"$TOKEN\"\nkubectl --kubeconfig=report.kubeconfig auth whoami",
			Download:   "/tokens/team-a/report/kubeconfig", File: "report.kubeconfig",
		}},
		"with networks, and no proxy": {bound, known, nil},
		"another API's token": {elsewhere, known, &page.Use{
			Curl: `curl -H "Authorization: Bearer $TOKEN" https://YOUR-API`, APIs: []string{"grafana"},
		}},
		"another API's token, an unknown address": {elsewhere, nil, &page.Use{
			Curl: `curl -H "Authorization: Bearer $TOKEN" https://YOUR-API`, APIs: []string{"grafana"},
		}},
		"an unknown address": {pat, nil, nil},
	} {
		if diff := cmp.Diff(test.want, test.cluster.use(test.pat)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAKubeconfigHasNoToken(t *testing.T) {
	s := open(t, func(o *Options) { o.Cluster = &Cluster{Server: "https://k8s.example.com", CA: []byte("pem")} })
	pat := made(t, "no") // a boolean to some readers of YAML
	b := s.signedIn(t, aliceBearer)
	a := b.get(pathOf(pat) + "/kubeconfig")
	config, err := clientcmd.Load([]byte(a.body))
	if err != nil {
		t.Fatal(err)
	}
	user, in := config.AuthInfos["no"], config.Contexts["no"]
	if user == nil || user.Token != "" || in == nil || in.Namespace != team || in.AuthInfo != "no" || config.CurrentContext != "no" ||
		config.Clusters[in.Cluster].Server != "https://k8s.example.com" || string(config.Clusters[in.Cluster].CertificateAuthorityData) != "pem" {
		t.Errorf("%s\n%s", a.Status, a.body)
	}
	if got := a.Header.Get("Content-Disposition"); got != `attachment; filename="no.kubeconfig"` {
		t.Errorf("Content-Disposition: %s", got)
	}
	if a := b.get("/ca.crt"); a.body != "pem" {
		t.Errorf("ca.crt: %s\n%s", a.Status, a.body)
	}
	for _, path := range []string{pathOf(pat) + "/kubeconfig", "/ca.crt"} {
		if a := s.browser(t).get(path); a.StatusCode != http.StatusSeeOther {
			t.Errorf("%s, for nobody: %s", path, a.Status)
		}
	}
	for name, test := range map[string]struct {
		change func(*v1alpha1.PersonalAccessToken)
		want   string
	}{
		"for-another-api": {func(p *v1alpha1.PersonalAccessToken) { p.Spec.Audiences = []string{"grafana"} }, "This token is for another API"},
		"of-networks":     {func(p *v1alpha1.PersonalAccessToken) { p.Spec.From = []string{"192.0.2.0/24"} }, "The address of the proxy is not known here"},
	} {
		limited := made(t, name, test.change)
		if a := b.get(pathOf(limited) + "/kubeconfig"); a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, test.want) {
			t.Errorf("%s: %s\n%s", name, a.Status, a.body)
		}
	}
	if a := s.signedIn(t, carolBearer).get(pathOf(pat) + "/kubeconfig"); a.StatusCode != http.StatusForbidden {
		t.Errorf("for carol: %s", a.Status)
	}
	unknown := open(t).signedIn(t, aliceBearer)
	if a := unknown.get(pathOf(pat) + "/kubeconfig"); a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "The address of the API server is not known here") {
		t.Errorf("an unknown address: %s\n%s", a.Status, a.body)
	}
	if a := unknown.get("/ca.crt"); a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "no CA of its own") {
		t.Errorf("no CA: %s\n%s", a.Status, a.body)
	}
}

// Where there is a proxy, commands and kubeconfig lead to it, if the visitor may know of it.
func TestCommandsLeadToTheProxy(t *testing.T) {
	direct := &Cluster{Server: "https://k8s.example.com", CA: []byte("pem")}
	s := open(t, func(o *Options) { o.Cluster, o.OperatorNamespace = direct, operatorNamespace })
	cert, _, _, err := cacert.New("proxy", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pat, proxy := made(t, "proxied"), &Cluster{Server: "https://pat.example.com", CA: cacert.Encode(cert)}
	alice := s.signedIn(t, aliceBearer)
	leadsTo := func(want *Cluster) error {
		a := alice.get(pathOf(pat) + "/kubeconfig")
		config, err := clientcmd.Load([]byte(a.body))
		if err != nil {
			return err
		}
		if got := config.Clusters["kubernetes"]; got == nil || got.Server != want.Server || string(got.CertificateAuthorityData) != string(want.CA) {
			return fmt.Errorf("%s\n%s\nwant %s", a.Status, a.body, want.Server)
		}
		if a := alice.get("/ca.crt"); a.body != string(want.CA) {
			return fmt.Errorf("ca.crt: %s\n%s", a.Status, a.body)
		}
		return nil
	}
	if err := leadsTo(direct); err != nil {
		t.Errorf("without a proxy: %v", err)
	}

	published := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: proxyconfig.ConfigMapName},
		Data:       proxyconfig.Config{URL: proxy.Server, CA: proxy.CA}.Data(),
	}
	name := metav1.ObjectMeta{Namespace: operatorNamespace, Name: "discovery"}
	role := &rbacv1.Role{ObjectMeta: name, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{published.Name}, Verbs: []string{"get"}}}}
	binding := &rbacv1.RoleBinding{ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name.Name}, Subjects: []rbacv1.Subject{env.Group("team-devs")}}
	add := func(o client.Object) {
		t.Helper()
		if err := api.admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = api.admin.Delete(context.Background(), o) })
	}
	add(published)
	if err := leadsTo(direct); err != nil {
		t.Errorf("for a visitor who may not read where it is: %v", err)
	}
	add(role)
	add(binding)
	if err := env.Poll(t.Context(), env.Patience, func() error { return leadsTo(proxy) }); err != nil {
		t.Fatal(err)
	}
	operate(t)
	form := alice.form()
	form.Set("name", "By proxy")
	form.Set("days", "30")
	if a := alice.post("/new", form); !strings.Contains(a.body, "--server=https://pat.example.com ") || strings.Contains(a.body, direct.Server) {
		t.Errorf("%s\n%s", a.Status, a.body)
	}

	published.Data = map[string]string{proxyconfig.KeyURL: "http://pat.example.com"}
	if err := api.admin.Update(t.Context(), published); err != nil {
		t.Fatal(err)
	}
	if a := alice.get(pathOf(pat) + "/kubeconfig"); a.StatusCode != http.StatusNotFound || strings.Contains(a.body, "http://pat.example.com") {
		t.Errorf("a proxy that cannot be used: %s\n%s", a.Status, a.body)
	}
}
