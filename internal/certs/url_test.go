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
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/pat-operator/pat-operator/internal/proxyconfig"
)

// A component that gets a certificate of another CA takes its own CA back: clients would trust only that.
func TestThePublishedCAGoesWithTheCertificateThatItSigned(t *testing.T) {
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: proxyconfig.ConfigMapName}}
	c := fake.NewClientBuilder().WithObjects(configMap).Build()
	p := URLConfigMap{Namespace: "system", Name: proxyconfig.ConfigMapName, URL: "https://pat.example.com"}
	for _, own := range []bool{false, true, false} {
		p.OwnCertificate = own
		if err := p.Publish(t.Context(), c, []byte("pem")); err != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(configMap), configMap); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"url": "https://pat.example.com", "ca.crt": "pem"}
		if own {
			delete(want, "ca.crt")
		}
		if diff := cmp.Diff(want, configMap.Data); diff != "" {
			t.Errorf("own certificate %v (-want +got):\n%s", own, diff)
		}
	}
}
