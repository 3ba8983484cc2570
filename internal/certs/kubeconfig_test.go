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

package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestAuthnKubeconfig(t *testing.T) {
	ca := must[*authority](t)(newAuthority("ca", epoch, day))
	next := must[*authority](t)(newAuthority("ca", epoch, day))
	// A relative folder that is not there yet, from a working directory of our own.
	t.Chdir(t.TempDir())
	const server, serverName = "https://pat.example.com:8443/authenticate", "pat-operator-verifier.pat-operator-system.svc"

	for _, bundle := range [][]byte{encodeCertificates(ca.cert), encodeCertificates(ca.cert, next.cert)} {
		path := must[string](t)(WriteAuthnKubeconfig("etc/pat", server, serverName, bundle, ClientCertificate{}))
		if !filepath.IsAbs(path) || filepath.Base(path) != kubeconfigFile {
			t.Errorf("path = %s", path)
		}
		caPath := filepath.Join(filepath.Dir(path), caFile)
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}, &clientcmd.ConfigOverrides{}).ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		if config.Host != server || config.ServerName != serverName || config.CAFile != caPath || len(config.CAData) > 0 {
			t.Errorf("host %s, server name %s, CA file %s, %d bytes of CA data", config.Host, config.ServerName, config.CAFile, len(config.CAData))
		}
		if named := must[*clientcmdapi.Config](t)(clientcmd.LoadFromFile(path)).Clusters["pat-operator"].CertificateAuthority; named != caFile {
			t.Errorf("the kubeconfig names the CA file %s; want %s, which leaves the folder open", named, caFile)
		}
		if got := must[[]byte](t)(os.ReadFile(caPath)); !bytes.Equal(got, bundle) {
			t.Errorf("%s holds\n%s", caFile, got)
		}
		modes := map[string]os.FileMode{}
		for _, entry := range must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(path))) {
			modes[entry.Name()] = must[os.FileInfo](t)(entry.Info()).Mode()
		}
		if diff := cmp.Diff(map[string]os.FileMode{kubeconfigFile: 0o644, caFile: 0o644}, modes); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

// The certificate need not hold the address: a client by the kubeconfig checks it by the name of the Service.
func TestTheCertificateIsCheckedByTheServicesName(t *testing.T) {
	const name = "pat-operator-verifier.pat-operator-system.svc"
	now := time.Now()
	ca := must[*authority](t)(newAuthority("ca", now, day))
	leaf := must[*tls.Certificate](t)(ca.newLeaf(now, Options{DNSNames: []string{name}, LeafValidity: time.Hour}))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{*leaf}, MinVersion: tls.VersionTLS13}
	server.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	for serverName, want := range map[string]string{name: "", "": "because it doesn't contain any IP SANs"} {
		path := must[string](t)(WriteAuthnKubeconfig(t.TempDir(), server.URL+"/authenticate", serverName, encodeCertificates(ca.cert), ClientCertificate{}))
		config := must[*rest.Config](t)(clientcmd.BuildConfigFromFlags("", path))
		response, err := must[*http.Client](t)(rest.HTTPClientFor(config)).Get(server.URL)
		if err == nil {
			_ = response.Body.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("with the server name %q: %v; want %q", serverName, err, want)
		}
	}
}

// kube-apiserver, which cannot look up names of Services, is given the ClusterIP that the cluster has chosen.
func TestTheURLIsTheClusterIPOfTheService(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "service-"}}
	create(t, namespace)
	for name, tc := range map[string]struct {
		spec *corev1.ServiceSpec
		// want is the URL, with IP for the address, or the error.
		want string
	}{
		"port-443":   {&corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}, "https://IP/authenticate"},
		"other-port": {&corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 8443}}}, "https://IP:8443/authenticate"},
		"headless":   {&corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 443}}}, "has no ClusterIP: set --server to a URL at which kube-apiserver reaches the verifier"},
		"missing":    {nil, "does not exist: install the verifier first, or set --server to the verifier's URL"},
	} {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name}}
		if tc.spec != nil {
			service.Spec = *tc.spec
			create(t, service)
		}
		got, err := ServiceURL(t.Context(), admin(t), client.ObjectKeyFromObject(service), "--server")
		want := strings.ReplaceAll(tc.want, "IP/", service.Spec.ClusterIP+"/")
		want = strings.ReplaceAll(want, "IP:8443", service.Spec.ClusterIP+":8443")
		if err != nil {
			got = strings.TrimPrefix(err.Error(), fmt.Sprintf("the Service %s/%s ", namespace.Name, name))
		}
		if got != want {
			t.Errorf("%s: got %s; want %s", name, got, want)
		}
	}
	six := fakeService{corev1.ServiceSpec{ClusterIP: "fd00::a", Ports: []corev1.ServicePort{{Port: 443}}}}
	for want, port := range map[string]int32{"https://[fd00::a]/authenticate": 443, "https://[fd00::a]:8443/authenticate": 8443} {
		six.spec.Ports[0].Port = port
		if got := must[string](t)(ServiceURL(t.Context(), six, client.ObjectKey{Name: "six"}, "--server")); got != want {
			t.Errorf("got %s; want %s", got, want)
		}
	}
}

// fakeService answers every read with one Service: the API server of these tests has no range of IPv6 addresses.
type fakeService struct{ spec corev1.ServiceSpec }

func (f fakeService) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.(*corev1.Service).Spec = f.spec
	return nil
}

func (f fakeService) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func TestAuthnKubeconfigRefusesWhatCannotWork(t *testing.T) {
	good := encodeCertificates(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
	const url = "https://10.96.0.20/authenticate"
	for _, c := range []struct {
		name, server string
		bundle       []byte
		want         string
	}{
		{"nothing", "", good, "--server is empty"},
		{"no scheme", "10.96.0.20/authenticate", good, "--server must begin with https://"},
		{"host and port only", "localhost:9444", good, "--server must begin with https://"},
		{"http", "http://10.96.0.20/authenticate", good, "--server must begin with https://"},
		{"no host", "https:///authenticate", good, "--server must name a host"},
		{"port only", "https://:9444/authenticate", good, "--server must name a host"},
		{"empty port", "https://10.96.0.20:/authenticate", good, "--server must name a port"},
		{"port too high", "https://10.96.0.20:65536/authenticate", good, "--server must name a port"},
		{"port not a number", "https://10.96.0.20:https/authenticate", good, "--server is not a URL"},
		{"no path", "https://10.96.0.20", good, "--server must end with the path /authenticate"},
		{"slash after it", url + "/", good, "--server must end with the path /authenticate, without a slash after it"},
		{"query", url + "?a=b", good, "--server must not have a query"},
		{"empty query", url + "?", good, "--server must not have a query"},
		{"fragment", url + "#", good, "--server must not have a query or a fragment"},
		{"password", "https://u:hunter2@10.96.0.20/authenticate", good, "--server must not hold a user name"},
		{"password in no URL", "https://u:hunter2@10.96.0.20:x/authenticate", good, "--server is not a URL"},
		{"no bundle", url, nil, "the CA bundle is empty"},
		{"bundle of something else", url, []byte("x"), "the CA bundle is not PEM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := WriteAuthnKubeconfig(dir, c.server, "", c.bundle, ClientCertificate{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error = %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error quotes the password")
			}
			if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestAuthnKubeconfigNamesAFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bundle := encodeCertificates(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
	if _, err := WriteAuthnKubeconfig(file, "https://10.96.0.20/authenticate", "", bundle, ClientCertificate{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error = %v", err)
	}
}

func TestAuthnKubeconfigNamesAClientCertificate(t *testing.T) {
	bundle := encodeCertificates(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
	const server = "https://pat.example.com/authenticate"
	path := must[string](t)(WriteAuthnKubeconfig(t.TempDir(), server, "", bundle, ClientCertificate{"/etc/pat/kas.crt", "/etc/pat/kas.key"}))
	config := must[*clientcmdapi.Config](t)(clientcmd.LoadFromFile(path))
	user := config.AuthInfos["kube-apiserver"]
	if user.ClientCertificate != "/etc/pat/kas.crt" || user.ClientKey != "/etc/pat/kas.key" {
		t.Errorf("certificate %s, key %s", user.ClientCertificate, user.ClientKey)
	}
	for want, present := range map[string]ClientCertificate{
		"--client-certificate and --client-key go together: set both, or neither": {CertFile: "/a"},
		`--client-key "a.key" is not an absolute path`:                            {"/a", "a.key"},
	} {
		dir := t.TempDir()
		_, err := WriteAuthnKubeconfig(dir, server, "", bundle, present)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", present, err, want)
		}
		if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) > 0 {
			t.Errorf("%+v: %d files were written", present, len(left))
		}
	}
}
