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

package gitops

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/test/long"
)

const healthKey = "resource.customizations.health.pat-operator.io_PersonalAccessToken"

// argoStatus is what a health.lua returns, and healthTest an item of a health_test.yaml, both as Argo CD has them.
type (
	argoStatus struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	healthTest struct {
		HealthStatus argoStatus `json:"healthStatus"`
		InputPath    string     `json:"inputPath"`
	}
	healthTests struct {
		Tests []healthTest `json:"tests"`
	}
)

// customization is a file of the folder that Argo CD's own repository would have.
func customization(name string) string {
	return filepath.Join(root, "config", "gitops", "argocd", "resource_customizations", "pat-operator.io", "PersonalAccessToken", name)
}

// argoHealth runs health.lua as Argo CD does, with the libraries base and table.
func argoHealth(t *testing.T, o *unstructured.Unstructured) argoStatus {
	t.Helper()
	script, err := os.ReadFile(customization("health.lua"))
	if err != nil {
		t.Fatal(err)
	}
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l.SetContext(ctx)
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	l.SetGlobal("obj", luaValue(l, o.Object))
	if err := l.DoString(string(script)); err != nil {
		t.Fatalf("health.lua on %s: %v", o.GetName(), err)
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("health.lua returns %v", l.Get(-1))
	}
	return argoStatus{lua.LVAsString(table.RawGetString("status")), lua.LVAsString(table.RawGetString("message"))}
}

// luaValue is what Argo CD's VM makes of a resource.
func luaValue(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := l.CreateTable(len(v), 0)
		for _, item := range v {
			table.Append(luaValue(l, item))
		}
		return table
	case map[string]any:
		table := l.CreateTable(0, len(v))
		for key, item := range v {
			table.RawSetString(key, luaValue(l, item))
		}
		return table
	}
	return lua.LNil
}

// What changes from one cluster to the next, and says nothing of a state.
var volatile = map[*regexp.Regexp]string{
	regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)`): "2026-01-01T00:00:00Z",
	regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`):       "00000000-0000-0000-0000-000000000000",
	regexp.MustCompile(`\b[a-z2-7]{16}\b`):                                "abcdefghijklmnop",
	regexp.MustCompile(`\b[0-9a-f]{64}\b`):                                strings.Repeat("0", 64),
	regexp.MustCompile(`resourceVersion: "\d+"`):                          `resourceVersion: "1"`,
	regexp.MustCompile(`\n  managedFields:\n(  - .*\n|    .*\n)*`):        "\n",
}

func steady(text string) string {
	for pattern, always := range volatile {
		text = pattern.ReplaceAllString(text, always)
	}
	return text
}

// compareTestdata compares what is in the repository with what the cluster has said just now, or writes it, with -update.
func compareTestdata(t *testing.T, states []*state, tests []healthTest) {
	t.Helper()
	want := map[string]any{"health_test.yaml": healthTests{tests}}
	for _, s := range states {
		s.live.SetManagedFields(nil) // as kubectl get shows it
		want["testdata/"+s.name+".yaml"] = s.live.Object
	}
	for name, content := range want {
		is, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(customization(name), is, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		was, err := os.ReadFile(customization(name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(steady(string(was)), steady(string(is))); diff != "" {
			t.Errorf("%s is not what the cluster says (go test ./test/gitops -run TestHealthOfLiveResources -update; - was, + is):\n%s", name, diff)
		}
	}
}

// Argo CD's own test of a customization, over what is in the repository.
func TestArgoCDHealthOfTheTestdata(t *testing.T) {
	long.Only(t)
	t.Parallel()
	raw, err := os.ReadFile(customization("health_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var tests healthTests
	if err := yaml.UnmarshalStrict(raw, &tests); err != nil {
		t.Fatal(err)
	}
	inputs := map[string]bool{}
	for _, tc := range tests.Tests {
		inputs[filepath.Base(tc.InputPath)] = true
		manifest, err := os.ReadFile(customization(tc.InputPath))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.HealthStatus, argoHealth(t, decode(t, string(manifest)))); diff != "" {
			t.Errorf("%s (- want, + got):\n%s", tc.InputPath, diff)
		}
	}
	files, err := os.ReadDir(customization("testdata"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if !inputs[file.Name()] {
			t.Errorf("no test has %s for its input", file.Name())
		}
	}
}

// The kustomization puts health.lua into Argo CD's ConfigMap and leaves the rest of that alone.
func TestArgoCDConfigMapHasTheHealthScript(t *testing.T) {
	long.Only(t)
	t.Parallel()
	script, err := os.ReadFile(customization("health.lua"))
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "argocd"}}
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: "argocd-cm"}, Data: map[string]string{"url": "https://argocd.example.com"}}
	for _, o := range []client.Object{namespace, theirs} {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		_, _, err := cl.Kubectl(t.Context(), cl.AdminKubeconfig, "", "apply", "--server-side", "--field-manager=pat-operator-health",
			"-k", filepath.Join(root, "config", "gitops", "argocd"))
		if err != nil {
			t.Fatal(err)
		}
	}
	g := NewWithT(t)
	g.Expect(admin.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs)).To(Succeed())
	if diff := cmp.Diff(map[string]string{"url": "https://argocd.example.com", healthKey: string(script)}, theirs.Data); diff != "" {
		t.Errorf("argocd-cm (- want, + got):\n%s", diff)
	}
	g.Expect(theirs.Labels).To(HaveKeyWithValue("app.kubernetes.io/part-of", "argocd"))
}
