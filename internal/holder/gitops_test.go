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

package holder

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
)

func managed(manager, subresource, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestGitOps(t *testing.T) {
	for name, tc := range map[string]struct {
		meta            metav1.ObjectMeta
		want            string
		trigger, expiry bool // whether Git says something of them
	}{
		"nobody": {want: "", trigger: true, expiry: true},
		"Flux by its label": {
			meta: metav1.ObjectMeta{Labels: map[string]string{fluxName: "apps", fluxNamespace: "flux-system"}},
			want: "Flux (Kustomization flux-system/apps)", trigger: true, expiry: true,
		},
		"Flux by its fields": {
			meta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
				managed("kubectl", "", `{"f:spec":{"f:rotation":{"f:trigger":{}}}}`),
				managed("kustomize-controller", "", `{"f:spec":{"f:expiresAt":{},"f:rotation":{".":{},"f:overlapSeconds":{}}}}`),
			}},
			want: "Flux", expiry: true,
		},
		"Argo CD by its annotation": {
			meta: metav1.ObjectMeta{
				Annotations:   map[string]string{argoTracking: "apps:pat-operator.io/PersonalAccessToken:team-a/ci"},
				ManagedFields: []metav1.ManagedFieldsEntry{managed("argocd-controller", "", `{"f:spec":{"f:rotation":{"f:trigger":{}}}}`)},
			},
			want: "Argo CD (application apps)", trigger: true,
		},
		"unreadable fields": {
			meta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{managed("argocd-controller", "", `?`)}},
			want: "Argo CD", trigger: true, expiry: true,
		},
		"status is in no Git": {
			meta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{managed("kustomize-controller", "status", `{"f:status":{}}`)}},
			want: "", trigger: true, expiry: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			pat := &v1alpha1.PersonalAccessToken{ObjectMeta: tc.meta}
			if got := GitOps(pat); got != tc.want {
				t.Errorf("got %q; want %q", got, tc.want)
			}
			if trigger, expiry := inGit(pat, "rotation", "trigger"), inGit(pat, "expiresAt"); trigger != tc.trigger || expiry != tc.expiry {
				t.Errorf("in Git: trigger %v, expiresAt %v", trigger, expiry)
			}
		})
	}
}

func TestRotationUndoneByGit(t *testing.T) {
	was := withConditions(1)
	was.Spec.ExpiresInDays = days(30)
	was.ManagedFields = []metav1.ManagedFieldsEntry{managed("kustomize-controller", "", `{"f:spec":{"f:expiresInDays":{}}}`)}
	for name, tc := range map[string]struct {
		options RotateOptions
		want    bool
	}{
		"nothing":       {RotateOptions{}, false},
		"an overlap":    {RotateOptions{Overlap: seconds(3600)}, false},
		"the same days": {RotateOptions{ExpiresIn: 30 * day}, false},
		"other days":    {RotateOptions{ExpiresIn: 60 * day}, true},
	} {
		r := rotationAsked(was, tc.options)
		if err := r.Edit(was.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		if got := r.Undone(); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
