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
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/test/long"
)

// Metrics are for those who may get /metrics, with any credential that the API server takes.
func TestMetricsAreForThoseWhoMayGetThem(t *testing.T) {
	long.Only(t)
	bearer := issued(t, alice, pat(team(t), "my-pat"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	restartOperator(t, "--metrics-bind-address="+address)
	defer restartOperator(t)

	client := face(t) // one: a source gets few connections here
	get := func(path, bearer string) (int, string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil)
		if err != nil {
			return 0, "", err
		}
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	for _, tc := range []struct {
		path, bearer string
		want         int
	}{{"/metrics", "", http.StatusUnauthorized}, {"/metrics", bearer, http.StatusForbidden}, {"/", bearer, http.StatusNotFound}} {
		if status, body, err := get(tc.path, tc.bearer); err != nil || status != tc.want || strings.Contains(body, "pat_operator_") {
			t.Errorf("%s: HTTP %d, %v; want %d and no metric", tc.path, status, err, tc.want)
		}
	}
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "metrics-reader"},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "metrics-reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "metrics-reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
	}
	if err := admin.Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Delete(context.Background(), role) }()
	if err := admin.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Delete(context.Background(), binding) }()
	NewWithT(t).Eventually(func() error {
		status, body, err := get("/metrics", bearer)
		if err != nil || status != http.StatusOK || !strings.Contains(body, "pat_operator_clock_skew_seconds") {
			return fmt.Errorf("HTTP %d, %d bytes, %w", status, len(body), err)
		}
		return nil
	}).WithTimeout(patience).Should(Succeed())
}
