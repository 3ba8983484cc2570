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
	"os"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/scope"
	"github.com/pat-operator/pat-operator/test/env"
	"github.com/pat-operator/pat-operator/test/long"
)

// Every preset, for each verb, resource and subresource that the API server has, is held equal to the ClusterRole that
// stands for it: the authorizer's answer for a cluster administrator's token with the preset, against that of RBAC for a user who
// has only that role. Where they differ is written down by hand.
func TestCase29_PresetsEqualTheirClusterRoles(t *testing.T) {
	t.Parallel()
	ns, elsewhere := team(t), team(t)
	root := clusterAdmin(t, "presets-of-"+ns)
	resources := serverResources(t)
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "escalate", "bind", "approve", "sign", "attest", "use", "proxy"}
	if !long.Form() {
		verbs = []string{"get", "create", "impersonate"}
	}
	expected := differences(t)
	for _, preset := range scope.Presets() {
		only := "only-" + preset.Name + "-" + ns
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: only}, Rules: preset.Rules}
		create(t, admin, role)
		create(t, admin, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: only},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: only},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: only}},
		})
		plaintext := issued(t, root, pat(ns, preset.Name, scoped(v1alpha1.Scope{Preset: preset.Name})))
		info := accepted(t, plaintext)
		extra := map[string]authorizationv1.ExtraValue{}
		for key, value := range info.Extra {
			extra[key] = authorizationv1.ExtraValue(value)
		}
		var asked []question
		for _, verb := range verbs {
			for _, r := range resources {
				asked = append(asked, question{verb, r, ns})
			}
		}
		for _, r := range resources[:10] {
			asked = append(asked, question{"get", r, elsewhere}, question{"get", r, ""})
		}
		eventually(t, patience, func() bool { // the binding takes effect
			return allowed(t, authorizationv1.SubjectAccessReviewSpec{User: only, ResourceAttributes: question{"list", "pods", ns}.attributes()})
		}, func() string { return "the ClusterRole of " + preset.Name + " does not take effect" })
		var all sync.WaitGroup
		work := make(chan question)
		for range 8 {
			all.Go(func() {
				for q := range work {
					ours := allowed(t, authorizationv1.SubjectAccessReviewSpec{User: root.Name, Extra: extra, ResourceAttributes: q.attributes()})
					rbac := allowed(t, authorizationv1.SubjectAccessReviewSpec{User: only, ResourceAttributes: q.attributes()})
					if preset.OwnNamespace && q.namespace != ns {
						rbac = false
					}
					less := expected[preset.Name+" "+q.verb+" "+q.resource]
					for range 3 { // where the authorizer had no time to answer, kube-apiserver denies
						if ours || less || !rbac {
							break
						}
						ours = allowed(t, authorizationv1.SubjectAccessReviewSpec{User: root.Name, Extra: extra, ResourceAttributes: q.attributes()})
					}
					switch {
					case ours && !rbac:
						t.Errorf("%s allows %s %s in %q, and its ClusterRole does not", preset.Name, q.verb, q.resource, q.namespace)
					case rbac && !ours && !less:
						t.Errorf("%s does not allow %s %s in %q, and its ClusterRole does", preset.Name, q.verb, q.resource, q.namespace)
					case ours && less:
						t.Errorf("%s allows %s %s: take it out of testdata/scope-differences.txt", preset.Name, q.verb, q.resource)
					}
				}
			})
		}
		for _, q := range asked {
			work <- q
		}
		close(work)
		all.Wait()
		t.Logf("%s: %d questions", preset.Name, len(asked))
	}
}

// question is whether a user may do something with a resource, written as kubectl writes it: pods/log, deployments.apps/scale.
type question struct{ verb, resource, namespace string }

func (q question) attributes() *authorizationv1.ResourceAttributes {
	main, sub, _ := strings.Cut(q.resource, "/")
	resource, group, _ := strings.Cut(main, ".")
	a := &authorizationv1.ResourceAttributes{Verb: q.verb, Group: group, Resource: resource, Subresource: sub, Namespace: q.namespace}
	switch q.verb {
	case "list", "watch", "create", "deletecollection":
	default:
		a.Name = "x"
	}
	return a
}

func allowed(t *testing.T, spec authorizationv1.SubjectAccessReviewSpec) bool {
	review := &authorizationv1.SubjectAccessReview{Spec: spec}
	if err := admin.Create(t.Context(), review); err != nil {
		t.Error(err)
	}
	return review.Status.Allowed
}

// serverResources are all that the API server has, subresources included, but for the reviews that every token may make.
func serverResources(t *testing.T) []string {
	t.Helper()
	d := env.Must[*discovery.DiscoveryClient](t)(discovery.NewDiscoveryClientForConfig(cl.Admin()))
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var all []string
	for _, list := range lists {
		group, _, grouped := strings.Cut(list.GroupVersion, "/")
		for _, r := range list.APIResources {
			name, sub, isSub := strings.Cut(r.Name, "/")
			if grouped {
				name += "." + group
			}
			if isSub {
				name += "/" + sub
			}
			if !strings.HasPrefix(name, "selfsubject") && !seen[name] {
				seen[name] = true
				all = append(all, name)
			}
		}
	}
	if len(all) < 100 {
		t.Fatalf("the API server has only %d resources", len(all))
	}
	return all
}

func differences(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("testdata/scope-differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 3 || words[0] == "#" {
			continue
		}
		for verb := range strings.SplitSeq(words[1], ",") {
			for resource := range strings.SplitSeq(words[2], ",") {
				all[words[0]+" "+verb+" "+resource] = true
			}
		}
	}
	return all
}
