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
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/chart/v2/util"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestPodsKeepToTheRestrictedLevel(t *testing.T) {
	r := render(t, Release{Values: []map[string]any{values(t, proxy("form: managed")), values(t, api(""))}})
	for _, name := range []string{
		"Deployment pat-operator-system/pat-operator", "Deployment pat-operator-system/pat-operator-verifier", "Deployment pat-operator-system/pat-operator-proxy",
		"Deployment pat-operator-system/pat-operator-api",
	} {
		spec, _, _ := unstructured.NestedMap(find(t, r, name).Object, "spec", "template", "spec")
		want := map[string]any{"runAsNonRoot": true, "seccompProfile": map[string]any{"type": "RuntimeDefault"}}
		if diff := cmp.Diff(want, spec["securityContext"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		want = map[string]any{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}}}
		if diff := cmp.Diff(want, spec["containers"].([]any)[0].(map[string]any)["securityContext"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Hooks, lookup and generated certificates fail with GitOps; a rendered caBundle would undo the operator's own; clusters such
// as GKE Autopilot let nobody write to kube-system; and no pod touches files of its node.
func TestWhatIsNeverRendered(t *testing.T) {
	for _, name := range valuesFiles(t) {
		out := text(t, render(t, Release{Values: []map[string]any{file(t, name)}}))
		for _, never := range []string{"helm.sh/hook", "caBundle", "kube-system", "kind: Job", "kind: CronJob", "hostPath", "finalizers:"} {
			// The CRD and the comments of policies may speak of finalizers.
			if never == "finalizers:" {
				never = "\n  finalizers:"
			}
			if strings.Contains(out, never) {
				t.Errorf("%s renders %q", filepath.Base(name), never)
			}
		}
		if strings.Contains(out, "kind: Namespace\nmetadata:\n  name: pat-operator-system") {
			t.Errorf("%s renders the release namespace", filepath.Base(name))
		}
	}
	functions := regexp.MustCompile(`\{\{[^}]*\b(lookup|gen[A-Z]\w*|rand[A-Z]\w*|uuidv4|now|htpasswd|derivePassword|Capabilities)\b`)
	templates, err := filepath.Glob(dir + "/templates/*")
	if err != nil || len(templates) == 0 {
		t.Fatal(templates, err)
	}
	for _, name := range templates {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := functions.FindString(string(data)); m != "" {
			t.Errorf("%s uses %q: two renderings could differ", name, m)
		}
	}
}

// Each form gives the impersonator what it says, and by default nobody acts for another.
func TestEachFormOfImpersonationIsWhatItSays(t *testing.T) {
	for _, tc := range []struct {
		values string
		// roles are bound to the impersonator in the whole cluster.
		roles []string
		// everybody is that a role allows all users.
		everybody bool
	}{
		{"{}", nil, false},
		{proxy("form: managed"), []string{"pat-operator-impersonator", "pat-operator-impersonator-users"}, false},
		{proxy("form: listed, users: [a]"), []string{"pat-operator-impersonator", "pat-operator-impersonator-listed"}, false},
		{proxy("form: namespaces, namespaces: [a]"), []string{"pat-operator-impersonator", "pat-operator-impersonator-constrained"}, false},
		{proxy("form: unlimited"), []string{"pat-operator-impersonator", "pat-operator-impersonator-unlimited"}, true},
	} {
		t.Run(tc.values, func(t *testing.T) {
			r := render(t, Release{Values: []map[string]any{values(t, tc.values)}})
			var roles []string
			everybody := false
			for _, o := range r.Objects {
				if o.GetKind() == "ClusterRoleBinding" && strings.Contains(fmt.Sprint(o.Object["subjects"]), "pat-operator-impersonator") {
					role, _, _ := unstructured.NestedString(o.Object, "roleRef", "name")
					roles = append(roles, role)
				}
				if o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
					continue
				}
				rules, _, _ := unstructured.NestedSlice(o.Object, "rules")
				for _, rule := range rules {
					rule := rule.(map[string]any)
					names, _ := rule["resourceNames"].([]any)
					if !slices.Contains(rule["verbs"].([]any), any("impersonate")) {
						continue
					}
					if users := fmt.Sprint(rule["resources"]); strings.Contains(users, "[users") || strings.Contains(users, "groups") {
						everybody = everybody || len(names) == 0
					}
				}
			}
			slices.Sort(roles)
			if diff := cmp.Diff(tc.roles, roles); diff != "" || everybody != tc.everybody {
				t.Errorf("the impersonator's roles (-want +got), everybody %t, want %t:\n%s", everybody, tc.everybody, diff)
			}
		})
	}
}

// Without the API face, nothing of it is there: no account, no right, no Service.
func TestNothingIsLeftOfAnAPIFaceThatIsOff(t *testing.T) {
	for _, mode := range []string{"split", "single"} {
		off := byKey(render(t, Release{Values: []map[string]any{values(t, "mode: "+mode)}}).Objects)
		on := byKey(render(t, Release{Values: []map[string]any{values(t, "mode: "+mode), values(t, api(""))}}).Objects)
		added := 0
		for name, o := range on {
			if off[name] == nil {
				added++
				if !strings.HasPrefix(o.GetName(), "pat-operator-api") {
					t.Errorf("mode %s: the API face adds %s", mode, name)
				}
			} else if diff := cmp.Diff(off[name].Object, o.Object); diff != "" {
				t.Errorf("mode %s: the API face changes %s (-off +on):\n%s", mode, name, diff)
			}
		}
		for name, o := range off {
			if strings.HasPrefix(o.GetName(), "pat-operator-api") {
				t.Errorf("mode %s: without the API face there is %s", mode, name)
			}
		}
		if added < 10 {
			t.Errorf("mode %s: the API face adds %d objects", mode, added)
		}
	}
}

// Each default is one that some cluster refuses otherwise: OpenShift a user, GKE a priority class outside kube-system, and a
// node the kubelet's port.
func TestDefaultsFitEveryCluster(t *testing.T) {
	out := text(t, render(t, Release{}))
	for _, never := range []string{"runAsUser", "runAsGroup", "priorityClassName", "10250", "hostNetwork", "NetworkPolicy", "ServiceMonitor", "Ingress", "HTTPRoute"} {
		if strings.Contains(out, never) {
			t.Errorf("the defaults render %s:\n%s", never, grep(out, never))
		}
	}
	dockerfile, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	// By number: kubelet cannot tell of a name that it is not root.
	if !regexp.MustCompile(`(?m)^USER [1-9]\d*:[1-9]\d*$`).Match(dockerfile) {
		t.Error("the Dockerfile names no user by number")
	}
}

// Providers add a suffix to the version, which a plain >=1.33 does not take.
func TestKubernetesVersions(t *testing.T) {
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]bool{
		"v1.33.0": true, "v1.33.0-eks-1234567": true, "v1.37.2+k3s1": true, "v1.34.1-gke.1000": true, "v1.32.9": false, "v1.32.9-eks-1": false,
	} {
		if got := util.IsCompatibleRange(c.Metadata.KubeVersion, version); got != want {
			t.Errorf("%s is taken: %t, want %t", version, got, want)
		}
	}
}
