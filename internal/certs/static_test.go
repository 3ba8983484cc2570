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
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/test/cluster"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

const configDir = "../../config"

// An attacker with the operator's account may change all of its webhook configurations: docs/security.md says so. With the
// policy among the API server's files they can change only the caBundle, which the operator needs.
func TestAPolicyInAFileKeepsTheOperatorToTheBundle(t *testing.T) {
	long.Only(t)
	ask := must[*discovery.DiscoveryClient](t)(discovery.NewDiscoveryClientForConfig(api.Config(t)))
	version := must[*version.Info](t)(ask.ServerVersion())
	if minor := must[int](t)(strconv.Atoi(strings.TrimSuffix(version.Minor, "+"))); minor < 37 {
		t.Skipf("an API server of 1.%d reads no policies from files", minor)
	}
	guarded := &env.APIServer{Files: map[string]string{"admission-control-config-file": staticPolicies(t)}}
	t.Cleanup(guarded.Stop)

	bundle := base64.StdEncoding.EncodeToString(cacert.Encode(must[*authority](t)(newAuthority("ca", epoch, day)).cert))
	cases := map[string]struct {
		patch   string
		refused bool // by the policy
	}{
		"nothing":        {`[]`, false},
		"the caBundle":   {fmt.Sprintf(`[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":%q}]`, bundle), false},
		"no failures":    {`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`, true},
		"a selector":     {`[{"op":"add","path":"/webhooks/0/objectSelector","value":{"matchLabels":{"a":"b"}}}]`, true},
		"every resource": {`[{"op":"add","path":"/webhooks/0/rules/-","value":{"apiGroups":["*"],"apiVersions":["*"],"operations":["*"],"resources":["*/*"]}}]`, true},
		"another server": {`[{"op":"replace","path":"/webhooks/0/clientConfig","value":{"url":"https://mallory.example.com"}}]`, true},
		"another path":   {`[{"op":"replace","path":"/webhooks/0/clientConfig/service/path","value":"/x"}]`, true},
		"a condition":    {`[{"op":"add","path":"/webhooks/0/matchConditions/-","value":{"name":"never","expression":"false"}}]`, true},
		"no condition":   {`[{"op":"remove","path":"/webhooks/0/matchConditions"}]`, true},
		"a timeout":      {`[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":1}]`, true},
		"another name":   {`[{"op":"replace","path":"/webhooks/0/name","value":"other.pat-operator.io"}]`, true},
		"one more":       {`[{"op":"copy","from":"/webhooks/0","path":"/webhooks/1"},{"op":"replace","path":"/webhooks/1/name","value":"other.pat-operator.io"}]`, true},
		"none":           {`[{"op":"replace","path":"/webhooks","value":[]}]`, true},
		"an annotation":  {`[{"op":"add","path":"/metadata/annotations/pat-operator.io~1rules","value":"99"}]`, true},
		"no annotations": {`[{"op":"remove","path":"/metadata/annotations"}]`, true},
		"a finalizer":    {`[{"op":"add","path":"/metadata/finalizers","value":["a.example.com/b"]}]`, true},
	}
	const says = "pat-operator changes nothing of its webhook configurations but the caBundle."
	for where, server := range map[string]*env.APIServer{"with the policy": guarded, "without it": &api} {
		administrator, operator, webhooks := installed(t, server)
		for name, tc := range cases {
			for _, o := range webhooks {
				patch := func(by client.Client) error {
					return by.Patch(t.Context(), o.DeepCopyObject().(client.Object), client.RawPatch(types.JSONPatchType, []byte(tc.patch)), client.DryRunAll)
				}
				err := patch(operator)
				if refused := tc.refused && server == guarded; refused != (err != nil) || refused && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), says)) {
					t.Errorf("%s, %s in a %T: %v", where, name, o, err)
				}
				if err := patch(administrator); err != nil {
					t.Errorf("%s, %s in a %T by an administrator: %v", where, name, o, err)
				}
			}
		}
	}
}

// staticPolicies is a file for --admission-control-config-file, as docs/security.md has it.
func staticPolicies(t *testing.T) string {
	t.Helper()
	const policy = "pat-operator-webhooks.yaml"
	dir := t.TempDir()
	content := must[[]byte](t)(os.ReadFile(filepath.Join(configDir, "apiserver", policy)))
	if err := os.WriteFile(filepath.Join(dir, policy), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ValidatingAdmissionPolicy
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: ValidatingAdmissionPolicyConfiguration
      staticManifestsDir: %s
`, dir)
}

// installed applies the webhook configurations and the rights of the operator's account.
func installed(t *testing.T, server *env.APIServer) (administrator, operator client.Client, webhooks []client.Object) {
	t.Helper()
	administrator, operator = server.Client(t), server.As(t, cluster.OperatorUser)
	webhooks = []client.Object{&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}}
	read(t, "webhook/manifests.yaml", webhooks...)
	role := &rbacv1.ClusterRole{}
	read(t, "rbac/operator/role.yaml", role)
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: cluster.OperatorUser}},
	}
	for _, o := range append([]client.Object{role, binding}, webhooks...) {
		if err := administrator.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = administrator.Delete(context.WithoutCancel(t.Context()), o) })
	}
	NewWithT(t).Eventually(func() error {
		return operator.Get(t.Context(), client.ObjectKeyFromObject(webhooks[0]), webhooks[0].DeepCopyObject().(client.Object))
	}, env.Patience, "50ms").Should(Succeed(), "RBAC takes effect")
	return administrator, operator, webhooks
}

// read decodes the first documents of a file in config.
func read(t *testing.T, file string, into ...client.Object) {
	t.Helper()
	data := must[[]byte](t)(os.ReadFile(filepath.Join(configDir, file)))
	var documents []string
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		if strings.Contains(document, "\nkind: ") {
			documents = append(documents, document)
		}
	}
	for i, o := range into {
		if err := yaml.UnmarshalStrict([]byte(documents[i]), o); err != nil {
			t.Fatal(err)
		}
	}
}
