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
	"net/http"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/test/cluster"
)

// What verifier, proxy and API face read comes before other workloads where the API server is busy; what they do else does not. What the
// proxy forwards has the priority of its user, whom the impersonator stands for.
func TestVerifiersDoNotQueueBehindOthers(t *testing.T) {
	proxied(t)
	withAPI(t)
	for name, account := range map[string]string{
		"pat-operator-verifier": cluster.VerifierUser, "pat-operator-proxy": proxyAccount, "pat-operator-api": apiAccount,
	} {
		t.Run(name, func(t *testing.T) {
			ours := &flowcontrolv1.FlowSchema{}
			if err := admin.Get(t.Context(), client.ObjectKey{Name: name}, ours); err != nil {
				t.Fatal(err)
			}
			// kube-apiserver follows a new FlowSchema after a moment.
			for _, path := range []string{
				"/apis/pat-operator.io/v1alpha1/personalaccesstokens", "/apis/pat-operator.io/v1alpha1/tokenpolicies",
				"/api/v1/serviceaccounts", "/api/v1/namespaces/pat-operator-records/secrets",
			} {
				eventually(t, patience, func() bool { return flowSchema(t, account, path+"?limit=1") == string(ours.UID) },
					func() string { return "another FlowSchema counts for " + path })
			}
			if flowSchema(t, account, "/version") == string(ours.UID) {
				t.Error("it counts for everything")
			}
			if flowSchema(t, impersonatorAccount, "/version") == string(ours.UID) {
				t.Error("it counts for the impersonator")
			}
		})
	}
}

// flowSchema is the UID of the FlowSchema that counts for a request of an account.
func flowSchema(t *testing.T, account, path string) string {
	t.Helper()
	config := rest.CopyConfig(cl.Admin())
	config.Impersonate = rest.ImpersonationConfig{UserName: account}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Get(cl.Server + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s: HTTP %d", path, resp.StatusCode)
	}
	return resp.Header.Get("X-Kubernetes-PF-FlowSchema-UID")
}
