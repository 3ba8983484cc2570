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

package app

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/doctor"
)

// The CA, its key and the files fit: the verifier, which finds the Secret, serves by this CA.
func TestSetupMakesACABeforeTheClusterExists(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{})
	dir := filepath.Join(t.TempDir(), "files")
	args := []string{"setup", "--new-ca", "--endpoint=https://10.96.0.20", "--distribution=kubeadm", "--dir=" + dir}
	tr.run(t.Context(), t, exitOK, args...)
	for _, want := range []string{"cat > /etc/kubernetes/pki/pat-operator/pat-operator-ca.crt <<'PAT-OPERATOR'\n-----BEGIN CERT", "server: https://10.96.0.20/authenticate", "tls-server-name: pat-operator-verifier.pat-operator-system.svc"} {
		if !strings.Contains(tr.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, tr.out)
		}
	}
	secretFile := filepath.Join(dir, "pat-operator-verifier-ca.yaml")
	if got, want := tr.errOut.String(), secretFile+` has the key of the CA: keep it secret. When the cluster runs, and before you install pat-operator:
  kubectl create namespace pat-operator-system && kubectl apply -f `+secretFile+`
Install with verifier.endpoint=https://10.96.0.20, or, if that is the ClusterIP of the verifier's Service, with verifier.service.clusterIP=10.96.0.20.
`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(tr.out.String()+tr.errOut.String(), "PRIVATE") {
		t.Error("the key is printed")
	}
	info, err := os.Stat(secretFile)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	var secret corev1.Secret
	data, err := os.ReadFile(secretFile)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &secret)
	}
	if err != nil || secret.Type != corev1.SecretTypeTLS || secret.Namespace != authnconfig.Namespace || secret.Name != authnconfig.CASecretName {
		t.Fatalf("%v: %v", err, secret.ObjectMeta)
	}
	if _, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"]); err != nil {
		t.Error(err)
	}
	for name, want := range map[string][]byte{"pat-operator-ca.crt": secret.Data["ca.crt"], "pat-operator-authn.kubeconfig": nil} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || want != nil && !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tr.run(t.Context(), t, exitError, args...)
	tr.errs(t, "error: --dir: "+secretFile+" already exists and is not overwritten: choose another name, or remove the file first")
	if again, err := os.ReadFile(secretFile); err != nil || !bytes.Equal(again, data) {
		t.Errorf("the key is another one: %v", err)
	}
}

func TestSetupWithoutAnInstallation(t *testing.T) {
	tr := newTrial(t, interceptor.Funcs{})
	tr.run(t.Context(), t, exitError, "setup")
	tr.errs(t, "error: the ConfigMap pat-operator-system/pat-operator-authn does not exist: install pat-operator first, or name its namespace with --operator-namespace")
	if err := tr.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "tokens", Name: authnconfig.ConfigMapName}}); err != nil {
		t.Fatal(err)
	}
	tr.run(t.Context(), t, exitError, "setup", "--operator-namespace=tokens")
	tr.errs(t, "error: the ConfigMap pat-operator-authn is empty: no verifier has run, or it cannot write it; see its log")
}

// doctored is an API server that answers so, and a kubeconfig of it.
func doctored(t *testing.T, status int, text string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/apis/authentication.k8s.io/v1/tokenreviews":
			w.Header().Set("Date", start.Format(http.TimeFormat))
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(&authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{Error: text}})
		case "/version":
			_, _ = w.Write([]byte(`{"gitVersion":"v1.37.2"}`))
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["a"] = &clientcmdapi.Cluster{Server: server.URL, CertificateAuthorityData: cacert.Encode(server.Certificate())}
	config.Contexts["a"] = &clientcmdapi.Context{Cluster: "a"}
	config.CurrentContext = "a"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
}

func TestDoctor(t *testing.T) {
	cert, _, _, err := cacert.New("ca", start, authnconfig.CAValidity)
	if err != nil {
		t.Fatal(err)
	}
	data, err := authnconfig.Config{Server: "https://10.96.0.20/authenticate", ServerName: "a.b.svc", Bundle: cacert.Encode(cert)}.Data()
	if err != nil {
		t.Fatal(err)
	}
	published := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: authnconfig.Namespace, Name: authnconfig.ConfigMapName}, Data: data}
	const asks = "[invalid bearer token, " + authnconfig.UnknownError + "]"
	for name, tc := range map[string]struct {
		status int
		text   string
		// lines are some that are printed, last is the end of standard error.
		lines []string
		last  string
	}{
		"what fails": {http.StatusCreated, "connection refused\x1b[2J", []string{
			"✗ kube-apiserver HOST: reaches no verifier: the connection is refused — is the address in the kubeconfig that of the verifier, and does a verifier run? kubectl -n pat-operator-system get pods,services,endpointslices",
			"- kube-apiserver HOST: not checked: how long it takes a revoked token: you may not read /flagz — add --make-token: a token is made, used and revoked",
			"✓ CA: that of the verifier is valid until 2031-11-23T12:00:00Z",
		}, "error: 16 of 22 checks failed, and 3 could not be made"},
		"an unknown text":         {http.StatusCreated, "a\x1b[2J", []string{"✗ kube-apiserver HOST: does not get an answer from the verifier: a\\x1b[2J — see the log of kube-apiserver"}, ""},
		"well, as far as it goes": {http.StatusCreated, asks, []string{"✓ kube-apiserver HOST: asks the verifier, trusts it, and the verifier is up to date"}, ""},
		"not asked":               {http.StatusForbidden, "", []string{"- kube-apiserver HOST: not checked: you may not create tokenreviews — ask a cluster administrator"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, interceptor.Funcs{})
			if err := tr.client.Create(t.Context(), published.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			doctored(t, tc.status, tc.text)
			tr.run(t.Context(), t, exitError, "doctor")
			for _, line := range tc.lines {
				before, after, _ := strings.Cut(line, "HOST")
				if !strings.Contains(tr.out.String(), before) || !strings.Contains(tr.out.String(), after) {
					t.Errorf("it does not say\n%s\nbut\n%s", line, tr.out)
				}
			}
			if strings.Contains(tr.out.String(), "\x1b") {
				t.Errorf("a text controls the terminal: %q", tr.out)
			}
			if tc.last != "" {
				tr.errs(t, tc.last)
			}
			tr.run(t.Context(), t, exitError, "doctor", "-o", "json")
			var result doctorResult
			if err := json.Unmarshal(tr.out.Bytes(), &result); err != nil || result.OK || len(result.Findings) < 10 || result.Findings[0].Result == "" {
				t.Errorf("%v: %+v", err, result)
			}
		})
	}
}

// What could not be seen is never fine: the exit code is 0 only if kube-apiserver was asked.
func TestTheExitCodeOfTheDoctor(t *testing.T) {
	for name, tc := range map[string]struct {
		findings []doctor.Finding
		want     bool
	}{
		"nothing":               {nil, false},
		"asked":                 {[]doctor.Finding{{Check: "kube-apiserver a", Result: doctor.OK}}, true},
		"asked, and more due":   {[]doctor.Finding{{Check: "kube-apiserver a", Result: doctor.OK}, {Check: "CA", Result: doctor.Due}, {Check: "admission", Result: doctor.Unchecked}}, true},
		"asked, and one failed": {[]doctor.Finding{{Check: "kube-apiserver a", Result: doctor.OK}, {Check: "CA", Result: doctor.Failed}}, false},
		"not asked":             {[]doctor.Finding{{Check: "kube-apiserver a", Result: doctor.Unchecked}, {Check: "CA", Result: doctor.OK}}, false},
	} {
		if got := doctor.Passed(tc.findings); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
