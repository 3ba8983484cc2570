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
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/console/page"
)

func TestCommandsForThisCluster(t *testing.T) {
	pat := &v1alpha1.PersonalAccessToken{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "report"}}
	elsewhere := pat.DeepCopy()
	elsewhere.Spec.Audiences = []string{"grafana"}
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
		"another service's token": {elsewhere, known, nil},
		"an unknown address":      {pat, nil, nil},
	} {
		if diff := cmp.Diff(test.want, (&Console{cluster: test.cluster}).useOf(test.pat)); diff != "" {
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
