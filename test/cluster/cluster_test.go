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

package cluster

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/pat-operator/pat-operator/test/long"
)

const standIn = `
apiVersion: v1
kind: Namespace
metadata: {name: pat-operator-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: pat-operator, namespace: pat-operator-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: pat-operator-verifier, namespace: pat-operator-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: publish, namespace: pat-operator-system}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: publish, namespace: pat-operator-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: publish}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts:pat-operator-system"}]
---
apiVersion: v1
kind: Service
metadata: {name: pat-operator-admission, namespace: pat-operator-system}
spec: {ports: [{port: 443, targetPort: admission}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: pat-operator, namespace: pat-operator-system}
spec:
  selector: {matchLabels: {app: pat-operator}}
  template:
    metadata: {labels: {app: pat-operator}}
    spec: {containers: [{name: manager, image: pat-operator}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: pat-operator}
webhooks:
- name: validate.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {service: {name: pat-operator-admission, namespace: pat-operator-system, path: /validate}}
  rules: [{apiGroups: [example.com], apiVersions: [v1], resources: [widgets], operations: [CREATE]}]
`

func TestClusterIsInstalledServesUsersAndLeavesNothing(t *testing.T) {
	long.Only(t)
	g := NewWithT(t)
	ctx := t.Context()
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	c, err := Start(ctx, Options{
		ConfigDir: kustomization(t, standIn), ManagerBinary: self, Audit: true, Logf: t.Logf,
	})
	g.Expect(err).NotTo(HaveOccurred())
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			g.Expect(c.Stop()).To(Succeed())
		}
	})
	admin := kubernetes.NewForConfigOrDie(c.Admin())

	_, err = admin.AppsV1().Deployments(OperatorNamespace).Get(ctx, "pat-operator", metav1.GetOptions{})
	g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "workloads are not installed")
	g.Eventually(func() error {
		_, err := admin.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	}).WithTimeout(readyTimeout).Should(Succeed(), "kube-controller-manager works")

	_, alice, err := c.User("alice", "team-a-devs")
	g.Expect(err).NotTo(HaveOccurred())
	asAccount, err := c.serviceAccountKubeconfig(ctx, OperatorNamespace, OperatorAccount, "")
	g.Expect(err).NotTo(HaveOccurred())

	_, err = c.StartOperator(ctx, "--broken")
	g.Expect(err).To(MatchError(ContainSubstring("broken as asked")))
	operator, err := c.StartOperator(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(operator.Log()).To(ContainSubstring("the stand-in serves"))
	pids := []int{c.EtcdPID(), c.APIServerPID(), c.controllerManager.pid(), operator.PID}
	first, err := c.StartVerifier(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.APIServerPID()).NotTo(BeElementOf(pids), "kube-apiserver was restarted with the webhook")
	pids = append(pids, c.APIServerPID(), first.PID)
	second, err := c.StartVerifier(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.APIServerPID()).To(BeElementOf(pids), "it is not restarted again")
	g.Expect(second.VerifierPort).NotTo(Equal(first.VerifierPort))
	both, err := c.StartManager(ctx, ManagerOptions{Command: "run"})
	g.Expect(err).NotTo(HaveOccurred())
	pids = append(pids, second.PID, both.PID)

	reached := func() map[string]bool {
		logs := map[string]bool{}
		for range 6 {
			answer, err := c.whoVerifies(ctx)
			if err != nil {
				return map[string]bool{"nobody": true}
			}
			logs[answer] = true
		}
		return logs
	}
	pid := func(managers ...*Manager) map[string]bool {
		out := map[string]bool{}
		for _, m := range managers {
			out[fmt.Sprint(m.PID)] = true
		}
		return out
	}
	eventually := func() AsyncAssertion { return g.Eventually(reached).WithTimeout(readyTimeout) }
	eventually().Should(Equal(pid(first, second, both)), "the Service leads to all that verify")
	g.Expect(second.Pause()).To(Succeed())
	eventually().Should(Equal(pid(first, both)), "one that does not answer leaves")
	g.Expect(second.Resume()).To(Succeed())
	eventually().Should(Equal(pid(first, second, both)), "and comes back")
	both.Kill()
	g.Expect(second.Stop()).To(Succeed())
	g.Expect(reached()).To(Equal(pid(first)), "one that is stopped leaves at once")
	c.PinVerifiers(second)
	g.Expect(reached()).To(Equal(map[string]bool{"nobody": true}), "pinned to what is gone")
	c.PinVerifiers()

	who := func(kubeconfig string, args ...string) authenticationv1.UserInfo {
		stdout, _, err := c.Kubectl(ctx, kubeconfig, "", append(args, "auth", "whoami", "-o", "json")...)
		g.Expect(err).NotTo(HaveOccurred())
		var review authenticationv1.SelfSubjectReview
		g.Expect(json.Unmarshal([]byte(stdout), &review)).To(Succeed())
		return review.Status.UserInfo
	}
	g.Expect(who(c.AnonymousKubeconfig, "--token="+goodToken)).To(HaveField("Username", "from-the-webhook"))
	g.Expect(who(alice)).To(SatisfyAll(
		HaveField("Username", "alice"), HaveField("Groups", ContainElement("team-a-devs"))))
	g.Expect(who(asAccount)).To(HaveField("Username", "system:serviceaccount:pat-operator-system:pat-operator"))

	ca, err := os.ReadFile(c.path(standInCA))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(ctx, "pat-operator",
		types.JSONPatchType, fmt.Appendf(nil, `[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": %q}]`,
			base64.StdEncoding.EncodeToString(ca)), metav1.PatchOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() error {
		_, _, err := c.Kubectl(ctx, c.AdminKubeconfig,
			`{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}}`,
			"create", "--dry-run=server", "-f", "-")
		return err
	}).WithTimeout(readyTimeout).Should(MatchError(ContainSubstring("the stand-in refuses /validate")),
		"the webhook's Service leads to the operator")

	audit, err := os.ReadFile(c.AuditLog)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(audit)).To(ContainSubstring("selfsubjectreviews"))
	g.Expect(strings.Contains(string(audit), goodToken)).To(BeFalse(), "the audit log holds the token")

	stopped = true
	g.Expect(c.Stop()).To(Succeed())
	g.Expect(c.Dir).NotTo(BeADirectory())
	for _, pid := range pids {
		g.Expect(errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)).To(BeTrue(), "PID %d is still there", pid)
	}
}

func TestStartThatFailsNamesTheCauseAndLeavesNothing(t *testing.T) {
	long.Only(t)
	g := NewWithT(t)
	t.Setenv("TMPDIR", t.TempDir())
	_, err := Start(t.Context(), Options{APIServerArgs: []string{"--no-such-flag"}})
	g.Expect(err).To(MatchError(SatisfyAll(
		ContainSubstring("kube-apiserver ended before it was ready"), ContainSubstring("no-such-flag"))))
	g.Expect(os.ReadDir(os.TempDir())).To(BeEmpty())
}

func TestProcessIsStoppedEvenWhereItIgnoresTheSignal(t *testing.T) {
	long.Only(t)
	g := NewWithT(t)
	log := filepath.Join(t.TempDir(), "log")
	p, err := startProcess("stubborn", log, nil, "/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.waitReady(t.Context(), readyTimeout, func(context.Context) error {
		if !strings.Contains(p.logTail(), "ready") {
			return errors.New("not yet")
		}
		return nil
	})).To(Succeed())
	g.Expect(p.stop(100 * time.Millisecond)).To(MatchError(ContainSubstring("did not end")))
	g.Expect(p.running()).To(BeFalse())
}

func TestPortsAreHeldUntilReleased(t *testing.T) {
	long.Only(t)
	g := NewWithT(t)
	var first, second reservedPorts
	t.Cleanup(first.release)
	t.Cleanup(second.release)
	taken := map[int]bool{}
	for i := range 200 {
		holder := &first
		if i%2 == 0 {
			holder = &second
		}
		port, err := holder.take()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(taken).NotTo(HaveKey(port))
		taken[port] = true
	}
}

// whoVerifies asks the verifier's Service, over a new connection, for the PID of who answers.
func (c *Cluster) whoVerifies(ctx context.Context) (string, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}, Timeout: 10 * time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.TokenReviewURL(), nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	return response.Header.Get("Pid"), nil
}

func kustomization(t *testing.T, manifests string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{
		"all.yaml": manifests, "kustomization.yaml": "resources: [all.yaml]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
