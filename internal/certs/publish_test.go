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
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
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

	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
)

// published is a namespace with the Service and the ConfigMap as the installation creates them.
func published(t *testing.T) (AuthnConfigMap, *corev1.ConfigMap, *corev1.Service) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "published-"}}
	create(t, namespace)
	m := AuthnConfigMap{Namespace: namespace.Name}
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: authnconfig.ConfigMapName}}
	create(t, configMap)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: authnconfig.Service},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}
	create(t, service)
	return m, configMap, service
}

func TestWhatKubeAPIServerNeedsIsPublished(t *testing.T) {
	m, configMap, service := published(t)
	now := epoch
	bundle := cacert.Encode(must[*authority](t)(newAuthority("ca", now, day)).cert)
	url := "https://" + service.Spec.ClusterIP + "/authenticate"
	publish := func(bundle []byte) {
		t.Helper()
		if err := m.Publish(t.Context(), admin(t), bundle); err != nil {
			t.Fatal(err)
		}
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(configMap), configMap); err != nil {
			t.Fatal(err)
		}
		if configMap.Data[authnconfig.KeyCA] != string(bundle) {
			t.Errorf("%s holds %s", authnconfig.KeyCA, configMap.Data[authnconfig.KeyCA])
		}
		for key, want := range map[string]clientcmdapi.Cluster{
			authnconfig.KeyKubeconfig: {Server: url, TLSServerName: authnconfig.ServerName(m.Namespace), CertificateAuthority: authnconfig.CAFile},
			authnconfig.KeyEmbedded:   {Server: url, TLSServerName: authnconfig.ServerName(m.Namespace), CertificateAuthorityData: bundle},
		} {
			config := must[*clientcmdapi.Config](t)(clientcmd.Load([]byte(configMap.Data[key])))
			got := *config.Clusters[config.Contexts[config.CurrentContext].Cluster]
			got.Extensions = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", key, diff)
			}
		}
	}
	publish(bundle)

	before := configMap.ResourceVersion
	if publish(bundle); configMap.ResourceVersion != before {
		t.Error("what had not changed was written again")
	}
	configMap.Data[authnconfig.KeyCA], configMap.Data["more"] = "forged", "of another owner"
	if err := admin(t).Update(t.Context(), configMap); err != nil {
		t.Fatal(err)
	}
	publish(bundle)
	publish(append(bundle, cacert.Encode(must[*authority](t)(newAuthority("next", now, day)).cert)...))
	url = "https://pat.example.com:8443/authenticate"
	m.URL = url
	publish(bundle)
}

// Whether scopes are enforced stands next to what kube-apiserver needs, and is written only when it changes.
func TestWhetherScopesAreEnforcedIsPublished(t *testing.T) {
	m, configMap, _ := published(t)
	bundle := cacert.Encode(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
	for _, enforced := range []bool{false, true, true, false} {
		before := configMap.ResourceVersion
		was := configMap.Data[authnconfig.KeyScopesEnforced]
		if err := errors.Join(m.PublishScopes(t.Context(), admin(t), "uid-1", enforced), m.Publish(t.Context(), admin(t), bundle),
			admin(t).Get(t.Context(), client.ObjectKeyFromObject(configMap), configMap)); err != nil {
			t.Fatal(err)
		}
		is := fmt.Sprint(enforced)
		if data := configMap.Data; data[authnconfig.KeyScopesEnforced] != is || data[authnconfig.KeyInstallation] != "uid-1" || data[authnconfig.KeyCA] != string(bundle) {
			t.Errorf("it holds %v", data)
		}
		if unchanged := configMap.ResourceVersion == before; unchanged != (was == is) {
			t.Errorf("%s after %q: unchanged is %v", is, was, unchanged)
		}
	}
	if err := admin(t).Delete(t.Context(), configMap); err != nil {
		t.Fatal(err)
	}
	if err := m.PublishScopes(t.Context(), admin(t), "uid-1", true); err == nil || !strings.HasSuffix(err.Error(), "does not exist: apply the manifests of the installation again") {
		t.Errorf("got %v", err)
	}
}

func TestWhatCannotBePublishedNamesTheWayOut(t *testing.T) {
	m, configMap, service := published(t)
	bundle := cacert.Encode(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
	fails := func(want string) {
		t.Helper()
		if err := m.Publish(t.Context(), admin(t), bundle); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v; want %s", err, want)
		}
	}
	if err := admin(t).Delete(t.Context(), configMap); err != nil {
		t.Fatal(err)
	}
	fails("does not exist: apply the manifests of the installation again")
	if err := admin(t).Delete(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	fails("does not exist: apply the manifests of the installation again, or set --verifier-url to the verifier's URL")
}

// A ConfigMap that cannot be written keeps no replica from serving, and is tried again.
func TestAnUnpublishedBundleKeepsNoReplicaFromServing(t *testing.T) {
	c, options, _ := operator(t)
	unpublished := errors.New("for a test")
	options.Publish = func(context.Context, client.Client, []byte) error { return unpublished }
	a := NewAuthority(c, options)
	if err := a.sync(t.Context()); !errors.Is(err, unpublished) {
		t.Errorf("got %v, which is not logged", err)
	}
	if err := a.Ready(nil); err != nil {
		t.Errorf("the replica is not ready: %v", err)
	}
	unpublished = nil
	if err := a.sync(t.Context()); err != nil {
		t.Error(err)
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
		"headless":   {&corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{{Port: 443}}}, "has no ClusterIP: set --verifier-url to a URL at which kube-apiserver reaches the verifier"},
		"missing":    {nil, "does not exist: apply the manifests of the installation again, or set --verifier-url to the verifier's URL"},
	} {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name}}
		if tc.spec != nil {
			service.Spec = *tc.spec
			create(t, service)
		}
		got, err := serviceURL(t.Context(), admin(t), client.ObjectKeyFromObject(service))
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
		if got := must[string](t)(serviceURL(t.Context(), six, client.ObjectKey{Name: "six"})); got != want {
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
		published := authnconfig.Config{Server: server.URL + "/authenticate", ServerName: serverName, Bundle: cacert.Encode(ca.cert)}
		paths := must[[]string](t)(authnconfig.Write(t.TempDir(), must[[]authnconfig.File](t)(published.Files())))
		config := must[*rest.Config](t)(clientcmd.BuildConfigFromFlags("", paths[1]))
		response, err := must[*http.Client](t)(rest.HTTPClientFor(config)).Get(server.URL)
		if err == nil {
			_ = response.Body.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("with the server name %q: %v; want %q", serverName, err, want)
		}
	}
}
