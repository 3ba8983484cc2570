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

package controllers

import (
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Something between us and the API server loses the answer to a creation that was done, and says: try again.
func TestASecretIsAskedForOnce(t *testing.T) {
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if asked[req.Method]++; asked[req.Method] == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"AlreadyExists","code":409}`))
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	config.Wrap(NoRetryOnSecretCreate)
	secrets := kubernetes.NewForConfigOrDie(config).CoreV1().Secrets("team-a")

	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "pat-a"}}, metav1.CreateOptions{})
	if asked[http.MethodPost] != 1 || !apierrors.IsServiceUnavailable(err) || definite(err) {
		t.Errorf("asked %d times, and answered: %v", asked[http.MethodPost], err)
	}
	if _, err := secrets.Get(t.Context(), "pat-a", metav1.GetOptions{}); err == nil || asked[http.MethodGet] != 2 {
		t.Errorf("read %d times, and answered: %v; want a second try", asked[http.MethodGet], err)
	}
}
