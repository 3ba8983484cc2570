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
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// published is a namespace with the Service and the ConfigMap as the installation creates them.
func published(t *testing.T) (AuthnConfigMap, *corev1.ConfigMap, *corev1.Service) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "published-"}}
	create(t, namespace)
	m := AuthnConfigMap{Namespace: namespace.Name, Service: "verifier", ServerName: "verifier." + namespace.Name + ".svc"}
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: AuthnConfigMapName}}
	create(t, configMap)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Service},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}},
	}
	create(t, service)
	return m, configMap, service
}

func TestWhatKubeAPIServerNeedsIsPublished(t *testing.T) {
	m, configMap, service := published(t)
	now := epoch
	bundle := encodeCertificates(must[*authority](t)(newAuthority("ca", now, day)).cert)
	url := "https://" + service.Spec.ClusterIP + "/authenticate"
	publish := func(bundle []byte) {
		t.Helper()
		if err := m.Publish(t.Context(), admin(t), bundle); err != nil {
			t.Fatal(err)
		}
		if err := admin(t).Get(t.Context(), client.ObjectKeyFromObject(configMap), configMap); err != nil {
			t.Fatal(err)
		}
		if configMap.Data[authnKeyCA] != string(bundle) {
			t.Errorf("%s holds %s", authnKeyCA, configMap.Data[authnKeyCA])
		}
		for key, want := range map[string]clientcmdapi.Cluster{
			authnKeyKubeconfig: {Server: url, TLSServerName: m.ServerName, CertificateAuthority: caFile},
			authnKeyEmbedded:   {Server: url, TLSServerName: m.ServerName, CertificateAuthorityData: bundle},
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
	configMap.Data[authnKeyCA], configMap.Data["more"] = "forged", "of another owner"
	if err := admin(t).Update(t.Context(), configMap); err != nil {
		t.Fatal(err)
	}
	publish(bundle)
	publish(append(bundle, encodeCertificates(must[*authority](t)(newAuthority("next", now, day)).cert)...))
	url = "https://pat.example.com:8443/authenticate"
	m.URL = url
	publish(bundle)
}

func TestWhatCannotBePublishedNamesTheWayOut(t *testing.T) {
	m, configMap, service := published(t)
	bundle := encodeCertificates(must[*authority](t)(newAuthority("ca", epoch, day)).cert)
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
	fails("does not exist: install the verifier first, or set --verifier-url to the verifier's URL")
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
