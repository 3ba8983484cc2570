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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/test/long"
)

// kustomized is what kustomize makes of a manifest with an overlay.
func (n *tenant) kustomized(t *testing.T, base *unstructured.Unstructured, overlay string) *unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"token.yaml": text(t, base), "kustomization.yaml": "resources: [token.yaml]\n" + overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return decode(t, n.kubectl(t, "", "", "kustomize", dir))
}

// decode reads a manifest as YAML.
func decode(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return o
}

// Each way of kustomize to rename or move a manifest makes another resource. The operator makes that one a token of its own.
func TestARenamedManifestIsAnotherToken(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n := newTenant(t, "renamed")
	f := newFlux(t, n)
	base := n.manifest("my-pat", nil)
	f.apply(t, ssa.CreatedAction, base)
	first := n.take(t, "my-pat")
	for overlay, name := range map[string]string{"namePrefix: eu-": "eu-my-pat", `nameSuffix: "-2"`: "my-pat-2"} {
		renamed := n.kustomized(t, base, overlay)
		f.apply(t, ssa.CreatedAction, renamed)
		second := n.take(t, name)
		works(t, second)
		works(t, first)
		f.quiet(t, base, renamed)
		if second == first {
			t.Error("two resources have one token")
		}
	}
}

// A holder's digest is of one resource. Renamed or moved it is refused, with what to do, and nothing is created.
func TestCase42_KustomizeRenamesOrMovesAHoldersDigest(t *testing.T) {
	long.Only(t)
	t.Parallel()
	n, other := newTenant(t, "bound"), newTenant(t, "bound-elsewhere")
	mine, ofHolder := n.holder(t, "mine", time.Hour)
	base := n.manifest("mine", ofHolder)
	f := newFlux(t, n)
	f.apply(t, ssa.CreatedAction, base)
	n.waitFor(t, "mine", v1alpha1.ConditionActive, "True/Active")
	for overlay, here := range map[string]string{
		"namePrefix: eu-": "bound/eu-mine", `nameSuffix: "-2"`: "bound/mine-2", "namespace: " + other.ns: other.ns + "/mine",
	} {
		t.Run(overlay, func(t *testing.T) {
			built := n.kustomized(t, base, overlay)
			in := n
			if built.GetNamespace() == other.ns {
				in = other
				if err := unstructured.SetNestedStringSlice(built.Object, []string{other.ns + "-devs"}, "spec", "user", "groups"); err != nil {
					t.Fatal(err)
				}
			}
			forced := newFlux(t, in)
			forced.force = true
			_, byFlux := forced.try(t, built)
			_, _, byArgo := in.try(t, in.argocd, text(t, built), clientSide...)
			namespace, name, _ := strings.Cut(here, "/")
			for _, err := range []error{byFlux, byArgo} {
				for _, text := range []string{
					"spec.token.boundTo", `this resource is "` + here + `"`, `set boundTo to "` + here + `"`, "' " + namespace + " " + name + ` "$TOKEN" | sha256sum`,
				} {
					if err == nil || !strings.Contains(err.Error(), text) {
						t.Errorf("got %v; want %q in it", err, text)
					}
				}
				if err != nil && strings.Contains(err.Error(), ofHolder["token"].(map[string]any)["sha256"].(string)) {
					t.Errorf("the digest is in %v", err)
				}
			}
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(built), built); client.IgnoreNotFound(err) != nil || err == nil {
				t.Errorf("the resource: %v; want none", err)
			}
		})
	}
	works(t, mine)
	f.quiet(t, base)

	// The same name with a digest for another: Git made a mistake, the token that is there goes on.
	_, elsewhere := n.holder(t, "elsewhere", time.Hour)
	if _, err := f.try(t, n.manifest("mine", elsewhere)); err == nil || !strings.Contains(err.Error(), "spec.token.boundTo") {
		t.Errorf("got %v", err)
	}
	works(t, mine)
}
