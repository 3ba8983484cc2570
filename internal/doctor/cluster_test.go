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

package doctor

import (
	"errors"
	"net/http"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
)

func TestTheDoctorJudgesAdmission(t *testing.T) {
	pats := v1alpha1.GroupVersion.WithResource("personalaccesstokens").GroupResource()
	diagnose(t, map[string]diagnosis{
		"no webhooks": {
			change: func(p *patient) {
				p.remove(&admissionregistrationv1.MutatingWebhookConfiguration{}, webhooks)
				p.remove(&admissionregistrationv1.ValidatingWebhookConfiguration{}, webhooks)
			},
			lost:   []string{well[3], well[4], well[6]},
			more:   []string{"failed admission: the MutatingWebhookConfiguration pat-operator does not exist", "failed admission: the ValidatingWebhookConfiguration pat-operator does not exist"},
			failed: true,
		},
		"webhooks without a caBundle that ignore failures and lead elsewhere": {
			change: func(p *patient) {
				w := &p.objects[0].(*admissionregistrationv1.MutatingWebhookConfiguration).Webhooks[0]
				w.ClientConfig.CABundle, w.FailurePolicy, w.ClientConfig.Service = nil, ptr.To(admissionregistrationv1.Ignore), nil
			},
			lost: []string{well[3], well[6]},
			more: []string{
				"failed admission: the webhook mutate ignores failures",
				"failed admission: the webhook mutate has no caBundle, so kube-apiserver does not trust the operator",
				"failed admission: the webhook mutate does not lead to the namespace pat-operator-system",
			},
			failed: true,
		},
		"no policy, and a binding that denies nothing": {
			change: func(p *patient) {
				p.remove(&admissionregistrationv1.ValidatingAdmissionPolicy{}, "pat-operator-status")
				for _, o := range p.objects {
					if binding, ok := o.(*admissionregistrationv1.ValidatingAdmissionPolicyBinding); ok && binding.Name == "pat-operator-users" {
						binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn}
					}
				}
			},
			lost: well[5:6],
			more: []string{
				"failed admission: the ValidatingAdmissionPolicyBinding pat-operator-users denies nothing",
				"failed admission: the ValidatingAdmissionPolicy pat-operator-status does not exist",
			},
			failed: true,
		},
		"admission may not be read": {
			change: func(p *patient) { p.forbid("WebhookConfiguration", "ValidatingAdmissionPolicyBinding") },
			lost:   []string{well[3], well[4], well[5], well[6]},
			more: []string{
				"unchecked admission: you may not read the MutatingWebhookConfiguration pat-operator", "unchecked admission: you may not read the ValidatingWebhookConfiguration pat-operator",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-users", "unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-records",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-delivery", "unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-authorities",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-status",
				"unchecked admission: you may not read the ValidatingAdmissionPolicyBinding pat-operator-impersonator",
			},
		},
		"the operator refuses a token": {change: func(p *patient) {
			p.dryRun(apierrors.NewForbidden(pats, "x", errors.New("a group may be in no token")))
		}},
		"no operator": {
			change: func(p *patient) { p.dryRun(apierrors.NewInternalError(errors.New("failed calling webhook"))) },
			lost:   well[6:7], more: []string{"failed admission: the operator does not answer, so no token can be made or changed: Internal error occurred: failed calling webhook"}, failed: true,
		},
		"no such namespace": {
			change: func(p *patient) { p.dryRun(apierrors.NewNotFound(pats, "x")) },
			lost:   well[6:7], more: []string{"unchecked admission: the namespace team-a does not exist, or the kind PersonalAccessToken does not"},
		},
		"a dry run that ends otherwise": {
			change: func(p *patient) { p.dryRun(errors.New("for a test")) },
			lost:   well[6:7], more: []string{"unchecked admission: a token in a dry run: for a test"},
		},
		"no right to tokens": {
			change: func(p *patient) { p.hooks.Create = nil },
			lost:   well[6:7], more: []string{"unchecked admission: you may not create tokens in the namespace team-a, so the operator was not asked"},
		},
	})
}

func TestTheDoctorJudgesWorkloadsVersionsAndCA(t *testing.T) {
	diagnose(t, map[string]diagnosis{
		"a pod that is not ready, and none at all": {
			change: func(p *patient) {
				p.objects[2].(*appsv1.Deployment).Status.ReadyReplicas = 1
				p.objects[3].(*appsv1.Deployment).Spec.Replicas = ptr.To(int32(0))
			},
			lost:   well[7:9],
			more:   []string{"failed workloads: the Deployment pat-operator-system/pat-operator has 1 of 2 pods ready", "failed workloads: the Deployment pat-operator-system/pat-operator-verifier is scaled to 0"},
			failed: true,
		},
		"no workloads": {
			change: func(p *patient) { p.objects = append(p.objects[:2:2], p.objects[4:]...) },
			lost:   well[7:10], more: []string{"failed workloads: no Deployment of pat-operator is in the namespace pat-operator-system"}, failed: true,
		},
		"workloads may not be read": {
			change: func(p *patient) { p.forbid("DeploymentList", "DaemonSetList") },
			lost:   well[7:10],
			more:   []string{"unchecked workloads: you may not read the Deployments of the namespace pat-operator-system", "unchecked workloads: you may not read the DaemonSets of the namespace pat-operator-system"},
		},
		"an upgrade under way": {
			change: func(p *patient) {
				p.objects[3].(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image = "pat-operator:v0.2.0"
			},
			lost: well[9:10], more: []string{"due versions: the images differ: v0.1.0, v0.2.0"},
		},
		"an old plugin": {
			change: func(p *patient) { p.options.Version = "v0.0.9" },
			lost:   well[9:10], more: []string{"due versions: kubectl pat is v0.0.9, and the image is v0.1.0"},
		},
		"no ConfigMap": {
			change: func(p *patient) { p.remove(&corev1.ConfigMap{}, authnconfig.ConfigMapName) },
			lost:   []string{well[10], well[14]}, more: []string{"failed CA: the ConfigMap pat-operator-system/pat-operator-authn does not exist", unpublished}, failed: true,
		},
		"an empty ConfigMap": {
			change: func(p *patient) { p.objects[4].(*corev1.ConfigMap).Data = nil },
			lost:   []string{well[10], well[14]}, more: []string{"failed CA: the ConfigMap pat-operator-authn is empty: no verifier has run, or it cannot write it; see its log", unpublished}, failed: true,
		},
		"a new CA": {
			change: func(p *patient) {
				p.objects[4] = published(t, ca(t, now.Add(-4*365*24*time.Hour)), ca(t, now.Add(-24*time.Hour)))
			},
			lost: well[10:11], more: []string{"due CA: a new CA of the verifier signs from 2027-09-24T12:00:00Z; each kube-apiserver needs the present files before"},
		},
		"a new CA that signs": {
			change: func(p *patient) {
				p.objects[4] = published(t, ca(t, now.Add(-4*365*24*time.Hour)), ca(t, now.Add(-301*24*time.Hour)))
			},
			lost: well[10:11], more: []string{"ok CA: that of the verifier is valid until 2031-01-31T12:00:00Z"},
		},
		"an old CA": {
			change: func(p *patient) { p.objects[4] = published(t, ca(t, now.Add(-6*365*24*time.Hour))) },
			lost:   well[10:11], more: []string{"failed CA: the CA of the verifier expired at 2025-11-29T12:00:00Z"}, failed: true,
		},
		"no CRD": {
			change: func(p *patient) { p.group = http.StatusNotFound },
			lost:   well[11:12], more: []string{"failed versions: the cluster does not serve pat-operator.io/v1alpha1"}, failed: true,
		},
		"no CRD of policies": {
			change: func(p *patient) { p.served = p.served[:1] },
			more:   []string{"failed versions: the cluster does not serve TokenPolicies, so verifiers refuse every token and nothing is issued"}, failed: true,
		},
		"kinds may not be read": {
			change: func(p *patient) { p.kinds = http.StatusForbidden },
			more:   []string{"unchecked versions: cannot read the kinds of pat-operator.io/v1alpha1 (HTTP 403)"},
		},
		"versions may not be read": {
			change: func(p *patient) { p.group = http.StatusForbidden },
			lost:   well[11:12], more: []string{"unchecked versions: cannot read the versions of pat-operator.io (HTTP 403)"},
		},
		"an old Kubernetes": {
			change: func(p *patient) { p.kubernetes = "v1.32.9" },
			lost:   well[12:13], more: []string{"failed versions: Kubernetes is v1.32.9"}, failed: true,
		},
	})
}
