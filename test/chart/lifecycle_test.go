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

package chart

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	release   = "pat-operator"
	namespace = "pat-operator-system"
	crdKey    = "CustomResourceDefinition /personalaccesstokens.pat-operator.io"
	policyCRD = "CustomResourceDefinition /tokenpolicies.pat-operator.io"
	recordsNS = "Namespace /pat-operator-records"
	service   = "Service " + namespace + "/pat-operator-verifier"
)

// What an administrator does with helm in the life of an installation, on a control plane without nodes: no pod runs, so
// nothing waits for one, and the test does what the operator would.
func TestLifeCycle(t *testing.T) {
	c := startLife(t)

	c.helm("install", release, c.chart)
	c.exists(crdKey, recordsNS, service, "Deployment "+namespace+"/pat-operator", "ValidatingAdmissionPolicyBinding /pat-operator-users")
	address, _, _ := unstructured.NestedString(c.get(service).Object, "spec", "clusterIP")
	for _, kind := range []string{"Mutating", "Validating"} { // as the operator does
		c.patch(kind+"WebhookConfiguration /pat-operator", types.JSONPatchType,
			fmt.Sprintf(`[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": %q}]`, base64.StdEncoding.EncodeToString(c.bundle)))
	}

	t.Log("a mistyped value changes nothing")
	c.refused("replcas", "upgrade", release, c.chart, "--set", "operator.replcas=3")

	t.Log("an upgrade changes what it says and no more")
	c.helm("upgrade", release, c.chart, "--set", "operator.replicas=3")
	c.field("Deployment "+namespace+"/pat-operator", int64(3), "spec", "replicas")
	c.field(service, address, "spec", "clusterIP")
	c.bundles()

	t.Log("a rollback, too")
	c.helm("rollback", release, "1")
	c.field("Deployment "+namespace+"/pat-operator", int64(2), "spec", "replicas")
	c.field(service, address, "spec", "clusterIP")
	c.bundles()

	t.Log("the address that the Service has can be pinned, as the notes say, and no other")
	c.helm("upgrade", release, c.chart, "--set", "verifier.service.clusterIP="+address)
	c.field(service, address, "spec", "clusterIP")
	c.refused("clusterIP", "upgrade", release, c.chart, "--set", "verifier.service.clusterIP="+other(address))
	c.helm("upgrade", release, c.chart)
	c.field(service, address, "spec", "clusterIP")

	t.Log("crds.enabled off keeps the CRD, and on takes it back")
	uid := c.get(crdKey).GetUID()
	c.helm("upgrade", release, c.chart, "--set", "crds.enabled=false")
	c.same(crdKey, uid)
	c.helm("upgrade", release, c.chart)
	c.same(crdKey, uid)
	c.bundles()

	t.Log("an autoscaler keeps its number")
	c.helm("upgrade", release, c.chart, "--set", "verifier.replicas=null")
	c.patch("Deployment "+namespace+"/pat-operator-verifier", types.MergePatchType, `{"spec": {"replicas": 5}}`)
	c.helm("upgrade", release, c.chart, "--set", "verifier.replicas=null", "--set", "maxLifetime=720h")
	c.field("Deployment "+namespace+"/pat-operator-verifier", int64(5), "spec", "replicas")

	t.Log("a cluster has one installation")
	c.refused("invalid ownership metadata", "install", "other", c.chart)

	t.Log("uninstalling keeps the CRDs and the records, and nothing else")
	installed := c.rendered()
	c.helm("uninstall", release)
	kept := map[string]bool{crdKey: true, policyCRD: true, recordsNS: true}
	for _, o := range installed {
		if !kept[key(o)] {
			c.gone(key(o))
		}
	}
	c.same(crdKey, uid)
	if out := c.helm("list", "--all-namespaces", "-q"); strings.TrimSpace(out) != "" {
		t.Errorf("releases are left: %s", out)
	}
	// Without the webhooks and policies, an administrator can write them; the operator wrote the like.
	token := c.create("pat-operator.io/v1alpha1", "PersonalAccessToken", "default", "kept", map[string]any{
		"spec": map[string]any{"user": map[string]any{"username": "alice"}, "expiresInDays": int64(30)},
	})
	record := c.create("v1", "Secret", "pat-operator-records", "kept", nil)

	t.Log("another release does not take them over, the same does")
	c.refused("invalid ownership metadata", "install", "other", c.chart)
	c.helm("install", release, c.chart)
	c.same(crdKey, uid)
	c.same(key(token), token.GetUID())
	c.same(key(record), record.GetUID())

	t.Log("without keep, uninstalling deletes all")
	c.helm("upgrade", release, c.chart, "--set", "crds.keep=false")
	installed = c.rendered()
	c.helm("uninstall", release)
	for _, o := range append(installed, token, record) {
		c.gone(key(o))
	}

	t.Log("namespaces can be chosen, and nothing of the first installation is in the way")
	c.namespace = "tokens"
	c.helm("install", "team", c.chart, "--set", "recordsNamespace.name=records")
	c.exists("Deployment tokens/pat-operator", "Namespace /records", "Role records/pat-operator", crdKey)
	c.helm("uninstall", "team")
}

// life is a cluster, and helm.
type life struct {
	t                              *testing.T
	client                         client.Client
	tool, chart, kubeconfig, state string
	namespace                      string // of the release
	bundle                         []byte
}

func startLife(t *testing.T) *life {
	t.Helper()
	c := &life{t: t, tool: os.Getenv("PAT_HELM"), namespace: namespace, state: t.TempDir()}
	if c.tool == "" || os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("PAT_HELM names no helm, or KUBEBUILDER_ASSETS no control plane: run `make chart-test`")
	}
	server := &envtest.Environment{}
	config, err := server.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	c.bundle = config.CAData
	if c.chart, err = filepath.Abs(dir); err != nil {
		t.Fatal(err)
	}
	c.kubeconfig = filepath.Join(c.state, "kubeconfig")
	if err := os.WriteFile(c.kubeconfig, server.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if c.client, err = client.New(config, client.Options{}); err != nil {
		t.Fatal(err)
	}
	c.startControllerManager()
	return c
}

// startControllerManager runs what empties namespaces that are deleted.
func (c *life) startControllerManager() {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kube-controller-manager"), //nolint:gosec // our own
		"--kubeconfig="+c.kubeconfig, "--controllers=namespace-controller", "--leader-elect=false",
		"--bind-address=127.0.0.1", "--secure-port=0", "--kube-api-qps=100", "--kube-api-burst=200")
	log, err := os.Create(filepath.Join(c.state, "kube-controller-manager.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c.t.Cleanup(func() {
		<-ended // the context of a test ends before its cleanups
		defer func() { _ = log.Close() }()
		if c.t.Failed() {
			if data, err := os.ReadFile(log.Name()); err == nil {
				c.t.Logf("kube-controller-manager:\n%s", data[max(0, len(data)-4000):])
			}
		}
	})
}

func (c *life) run(args ...string) (string, error) {
	c.t.Helper()
	args = append(args, "--kubeconfig", c.kubeconfig)
	switch args[0] {
	case "list":
	case "install":
		args = append(args, "--namespace", c.namespace, "--create-namespace")
	default:
		args = append(args, "--namespace", c.namespace)
	}
	cmd := exec.CommandContext(c.t.Context(), c.tool, args...) //nolint:gosec // our own tool
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+c.state, "HELM_CONFIG_HOME="+c.state, "HELM_DATA_HOME="+c.state)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// helm does what an administrator types.
func (c *life) helm(args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused does what must not work, with a word of the reason.
func (c *life) refused(why string, args ...string) {
	c.t.Helper()
	out, err := c.run(args...)
	if err == nil || !strings.Contains(out, why) {
		c.t.Fatalf("helm %s: %v; want an error that says %q\n%s", strings.Join(args, " "), err, why, out)
	}
}

// rendered are the objects of the release.
func (c *life) rendered() []*unstructured.Unstructured {
	c.t.Helper()
	objects, err := decode(c.helm("get", "manifest", release))
	if err != nil || len(objects) < 20 {
		c.t.Fatalf("%d objects, %v", len(objects), err)
	}
	return objects
}

var versions = map[string]string{
	"CustomResourceDefinition": "apiextensions.k8s.io/v1", "Deployment": "apps/v1", "PodDisruptionBudget": "policy/v1",
	"MutatingWebhookConfiguration": "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
	"ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
	"ClusterRole": "rbac.authorization.k8s.io/v1", "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
	"Role": "rbac.authorization.k8s.io/v1", "RoleBinding": "rbac.authorization.k8s.io/v1",
	"FlowSchema": "flowcontrol.apiserver.k8s.io/v1", "PersonalAccessToken": "pat-operator.io/v1alpha1",
}

// object is the one that key names.
func object(name string) *unstructured.Unstructured {
	kind, name, _ := strings.Cut(name, " ")
	namespace, name, found := strings.Cut(name, "/")
	if !found {
		namespace, name = "", namespace
	}
	version := versions[kind]
	if version == "" {
		version = "v1"
	}
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.FromAPIVersionAndKind(version, kind))
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func (c *life) get(name string) *unstructured.Unstructured {
	c.t.Helper()
	o := object(name)
	if err := c.client.Get(c.t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	return o
}

func (c *life) exists(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.get(name)
	}
}

// same demands the object that was there before.
func (c *life) same(name string, uid types.UID) {
	c.t.Helper()
	if o := c.get(name); o.GetUID() != uid || o.GetDeletionTimestamp() != nil {
		c.t.Fatalf("%s is another, or about to go: %v", name, o.Object["metadata"])
	}
}

func (c *life) field(name string, want any, path ...string) {
	c.t.Helper()
	if got, _, _ := unstructured.NestedFieldNoCopy(c.get(name).Object, path...); got != want {
		c.t.Errorf("%s of %s is %v, want %v", strings.Join(path, "."), name, got, want)
	}
}

// bundles demands what the operator has written.
func (c *life) bundles() {
	c.t.Helper()
	for _, kind := range []string{"Mutating", "Validating"} {
		webhooks, _, _ := unstructured.NestedSlice(c.get(kind+"WebhookConfiguration /pat-operator").Object, "webhooks")
		bundle, _, _ := unstructured.NestedString(webhooks[0].(map[string]any), "clientConfig", "caBundle")
		if bundle != base64.StdEncoding.EncodeToString(c.bundle) {
			c.t.Errorf("the caBundle of the %sWebhookConfiguration is %q", kind, bundle)
		}
	}
}

func (c *life) patch(name string, kind types.PatchType, patch string) {
	c.t.Helper()
	if err := c.client.Patch(c.t.Context(), object(name), client.RawPatch(kind, []byte(patch)), client.FieldOwner("pat-operator")); err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
}

func (c *life) create(version, kind, namespace, name string, content map[string]any) *unstructured.Unstructured {
	c.t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": version, "kind": kind}}
	for field, value := range content {
		o.Object[field] = value
	}
	o.SetNamespace(namespace)
	o.SetName(name)
	// The API server still asks for a moment what was deleted.
	c.eventually(kind+" "+name+" cannot be created", func() error { return c.client.Create(c.t.Context(), o) })
	return o
}

// gone waits until an object, or its kind, does not exist.
func (c *life) gone(name string) {
	c.t.Helper()
	c.eventually(name+" stays", func() error {
		o := object(name)
		switch err := c.client.Get(c.t.Context(), client.ObjectKeyFromObject(o), o); {
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("%v, %v", o.Object["metadata"], o.Object["status"])
	})
}

func (c *life) eventually(what string, try func() error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// other is another address of the range.
func other(address string) string {
	prefix := address[:strings.LastIndex(address, ".")+1]
	if address == prefix+"77" {
		return prefix + "78"
	}
	return prefix + "77"
}
