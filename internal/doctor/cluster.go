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
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pat-operator/pat-operator/api/v1alpha1"
	"github.com/pat-operator/pat-operator/internal/authnconfig"
	"github.com/pat-operator/pat-operator/internal/cacert"
	"github.com/pat-operator/pat-operator/internal/holder"
	"github.com/pat-operator/pat-operator/internal/policy"
)

const (
	applyAgain = "apply the manifests of the installation again"
	webhooks   = "pat-operator"
)

// policies are ours; each has a binding of its name.
var policies = []string{"pat-operator-users", "pat-operator-records", "pat-operator-delivery", "pat-operator-authorities", "pat-operator-status", "pat-operator-impersonator"}

// minKubernetes is the oldest that the chart takes.
var minKubernetes = version.MustParseGeneric("1.33.0")

// entry is what the two kinds of webhooks have in common.
type entry struct {
	name   string
	policy *admissionregistrationv1.FailurePolicyType
	config admissionregistrationv1.WebhookClientConfig
}

// checkAdmission looks at what judges tokens before they exist.
func (d *doctor) checkAdmission(ctx context.Context) {
	mutating, validating := &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}
	called := false // whether each request for a token goes to the operator
	if what := "MutatingWebhookConfiguration " + webhooks; d.read(ctx, "the "+what, mutating) {
		var entries []entry
		for _, w := range mutating.Webhooks {
			entries = append(entries, entry{w.Name, w.FailurePolicy, w.ClientConfig})
		}
		called = d.checkWebhooks(what, entries)
	}
	if what := "ValidatingWebhookConfiguration " + webhooks; d.read(ctx, "the "+what, validating) {
		var entries []entry
		for _, w := range validating.Webhooks {
			entries = append(entries, entry{w.Name, w.FailurePolicy, w.ClientConfig})
		}
		d.checkWebhooks(what, entries)
	}
	found := 0
	for _, name := range policies {
		policy, binding := &admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		if err := d.Client.Get(ctx, client.ObjectKey{Name: name}, policy); err != nil {
			d.unread("admission", "the ValidatingAdmissionPolicy "+name, err, applyAgain)
		} else if policy.Spec.FailurePolicy != nil && *policy.Spec.FailurePolicy != admissionregistrationv1.Fail {
			d.add(Failed, "admission", "the ValidatingAdmissionPolicy "+name+" ignores failures", applyAgain)
		} else {
			found++
		}
		if err := d.Client.Get(ctx, client.ObjectKey{Name: name}, binding); err != nil {
			d.unread("admission", "the ValidatingAdmissionPolicyBinding "+name, err, applyAgain)
		} else if !slices.Contains(binding.Spec.ValidationActions, admissionregistrationv1.Deny) {
			d.add(Failed, "admission", "the ValidatingAdmissionPolicyBinding "+name+" denies nothing", applyAgain)
		} else {
			found++
		}
	}
	if found == 2*len(policies) {
		d.ok("admission", "the %d policies and their bindings are there", len(policies))
	}
	if called {
		d.dryRun(ctx)
	}
}

// read reads an object of the webhooks' name.
func (d *doctor) read(ctx context.Context, what string, o client.Object) bool {
	err := d.Client.Get(ctx, client.ObjectKey{Name: webhooks}, o)
	if err != nil {
		d.unread("admission", what, err, applyAgain)
	}
	return err == nil
}

// checkWebhooks reports whether they are in order.
func (d *doctor) checkWebhooks(what string, entries []entry) bool {
	wrong := len(d.findings)
	if len(entries) == 0 {
		d.add(Failed, "admission", "the "+what+" is empty", applyAgain)
	}
	for _, w := range entries {
		if w.policy != nil && *w.policy != admissionregistrationv1.Fail {
			d.add(Failed, "admission", fmt.Sprintf("the webhook %s ignores failures", w.name), applyAgain)
		}
		if len(w.config.CABundle) == 0 {
			d.add(Failed, "admission", fmt.Sprintf("the webhook %s has no caBundle, so kube-apiserver does not trust the operator", w.name),
				"the operator writes it when it runs: kubectl -n NAMESPACE logs deployment/pat-operator --tail=20")
		}
		if service := w.config.Service; service == nil || service.Namespace != d.OperatorNamespace {
			d.add(Failed, "admission", fmt.Sprintf("the webhook %s does not lead to the namespace %s", w.name, d.OperatorNamespace), applyAgain+", or name the namespace of the operator with --operator-namespace")
		}
	}
	if len(d.findings) > wrong {
		return false
	}
	d.ok("admission", "the %s is there, with a caBundle", what)
	return true
}

// dryRun asks for a token without making one. The operator is called before anybody can refuse it, so a refusal is an answer, too.
func (d *doctor) dryRun(ctx context.Context) {
	const check, fix = "admission", "does the operator run? kubectl -n NAMESPACE logs deployment/pat-operator --tail=20"
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: d.Namespace, Group: v1alpha1.GroupVersion.Group, Resource: "personalaccesstokens", Verb: "create",
	}}}
	if err := d.Client.Create(ctx, review); err != nil || !review.Status.Allowed {
		d.add(Unchecked, check, fmt.Sprintf("you may not create tokens in the namespace %s, so the operator was not asked", d.Namespace), "name a namespace where you may, with -n")
		return
	}
	pat, _, err := d.newToken()
	if err == nil {
		err = d.Client.Create(ctx, pat, client.DryRunAll)
	}
	switch {
	case err == nil, apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		d.ok(check, "the operator answers, when a token is asked for in a dry run")
	case apierrors.IsNotFound(err):
		d.add(Unchecked, check, fmt.Sprintf("the namespace %s does not exist, or the kind PersonalAccessToken does not", d.Namespace), "name another namespace with -n")
	case apierrors.IsInternalError(err):
		d.add(Failed, check, "the operator does not answer, so no token can be made or changed: "+err.Error(), fix)
	default:
		d.add(Unchecked, check, "a token in a dry run: "+err.Error(), fix)
	}
}

// checkWorkloads looks for pods that are not ready.
func (d *doctor) checkWorkloads(ctx context.Context) {
	const check = "workloads"
	of := []client.ListOption{client.InNamespace(d.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/name": "pat-operator"}}
	deployments, daemonSets := &appsv1.DeploymentList{}, &appsv1.DaemonSetList{}
	images := map[string]bool{}
	seen := 0
	judge := func(kind, name string, ready, want int32, template corev1.PodTemplateSpec) {
		seen++
		for _, container := range template.Spec.Containers {
			images[container.Image] = true
		}
		what := fmt.Sprintf("the %s %s/%s has %d of %d pods ready", kind, d.OperatorNamespace, name, ready, want)
		switch {
		case want == 0:
			d.add(Failed, check, fmt.Sprintf("the %s %s/%s is scaled to 0", kind, d.OperatorNamespace, name), "scale it up")
		case ready < want:
			d.add(Failed, check, what, fmt.Sprintf("kubectl -n NAMESPACE describe pods -l app.kubernetes.io/name=pat-operator; kubectl -n NAMESPACE logs %s/%s --tail=20", strings.ToLower(kind), name))
		default:
			d.ok(check, "%s", what)
		}
	}
	known := true
	for _, q := range []struct {
		what string
		list client.ObjectList
	}{{"Deployments", deployments}, {"DaemonSets", daemonSets}} {
		if err := d.Client.List(ctx, q.list, of...); err != nil {
			d.unread(check, "the "+q.what+" of the namespace "+d.OperatorNamespace, err, "")
			known = false
		}
	}
	for _, w := range deployments.Items {
		want := int32(1)
		if w.Spec.Replicas != nil {
			want = *w.Spec.Replicas
		}
		judge("Deployment", w.Name, w.Status.ReadyReplicas, want, w.Spec.Template)
	}
	for _, w := range daemonSets.Items {
		judge("DaemonSet", w.Name, w.Status.NumberReady, w.Status.DesiredNumberScheduled, w.Spec.Template)
	}
	if known && seen == 0 {
		d.add(Failed, check, "no Deployment of pat-operator is in the namespace "+d.OperatorNamespace, "install it, or name its namespace with --operator-namespace")
	}
	d.checkImages(slices.Sorted(maps.Keys(images)))
}

// checkImages compares the versions of the images, and with the plugin's.
func (d *doctor) checkImages(images []string) {
	var tags []string
	for _, image := range images {
		if _, digest, found := strings.Cut(image, "@"); found {
			tags = append(tags, digest)
			continue
		}
		if _, tag, found := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":"); found {
			tags = append(tags, tag)
		}
	}
	tags = unique(tags)
	tag := strings.Join(tags, ", ")
	_, theirs := version.ParseSemantic(tag)
	_, ours := version.ParseSemantic(d.Version)
	switch {
	case len(tags) == 0:
	case len(tags) > 1:
		d.add(Due, "versions", "the images differ: "+tag, "finish the upgrade")
	case theirs == nil && ours == nil && tag != d.Version:
		d.add(Due, "versions", fmt.Sprintf("kubectl pat is %s, and the image is %s", d.Version, tag), "install kubectl pat "+tag)
	default:
		d.ok("versions", "kubectl pat is %s, and the image is %s", d.Version, tag)
	}
}

// published reads what the verifier publishes.
func (d *doctor) published(ctx context.Context) (*corev1.ConfigMap, error) {
	configMap := &corev1.ConfigMap{}
	return configMap, d.Client.Get(ctx, client.ObjectKey{Namespace: d.OperatorNamespace, Name: authnconfig.ConfigMapName}, configMap)
}

// checkCA looks at what kube-apiserver needs, as published now. Its own copy is on the nodes.
func (d *doctor) checkCA(ctx context.Context) {
	const check = "CA"
	configMap, err := d.published(ctx)
	if err != nil {
		d.unread(check, "the ConfigMap "+d.OperatorNamespace+"/"+authnconfig.ConfigMapName, err, applyAgain)
		return
	}
	config, err := authnconfig.FromData(configMap.Data)
	if err != nil {
		d.add(Failed, check, err.Error(), fixVerifier)
		return
	}
	certs, err := cacert.Parse(config.Bundle)
	if err != nil {
		d.add(Failed, check, err.Error(), fixVerifier)
		return
	}
	now := d.Clock.Now()
	newest := slices.MaxFunc(certs, func(a, b *x509.Certificate) int { return a.NotBefore.Compare(b.NotBefore) })
	signs := newest.NotBefore.Add(cacert.Backdate + authnconfig.CAOverlap)
	switch {
	case now.After(newest.NotAfter):
		d.add(Failed, check, "the CA of the verifier expired at "+stamp(newest.NotAfter), fixVerifier)
	case len(certs) > 1 && now.Before(signs):
		d.add(Due, check, fmt.Sprintf("a new CA of the verifier signs from %s; each kube-apiserver needs the present files before", stamp(signs)), fixFiles)
	default:
		d.ok(check, "that of the verifier is valid until %s", stamp(newest.NotAfter))
	}
}

func stamp(t time.Time) string { return holder.Stamp(&metav1.Time{Time: t}) }

// checkVersions asks for what every user may read.
func (d *doctor) checkVersions(ctx context.Context) {
	const check = "versions"
	var group metav1.APIGroup
	status, _, err := d.servers[0].do(ctx, http.MethodGet, "/apis/"+v1alpha1.GroupVersion.Group, "application/json", nil, &group)
	served := slices.ContainsFunc(group.Versions, func(v metav1.GroupVersionForDiscovery) bool { return v.Version == v1alpha1.GroupVersion.Version })
	switch {
	case err != nil || status != http.StatusOK && status != http.StatusNotFound:
		d.add(Unchecked, check, fmt.Sprintf("cannot read the versions of %s (HTTP %d)", v1alpha1.GroupVersion.Group, status), "try again")
	case !served:
		d.add(Failed, check, "the cluster does not serve "+v1alpha1.GroupVersion.String(), applyAgain+", the CRD included")
	default:
		d.ok(check, "the cluster serves %s", v1alpha1.GroupVersion)
		d.checkPolicies(ctx)
	}
	var server struct {
		GitVersion string `json:"gitVersion"`
	}
	if _, _, err := d.servers[0].do(ctx, http.MethodGet, "/version", "application/json", nil, &server); err != nil {
		d.add(Unchecked, check, fmt.Sprintf("cannot read the version of Kubernetes: %v", err), "try again")
		return
	}
	switch is, err := version.ParseGeneric(server.GitVersion); {
	case err != nil:
		d.add(Unchecked, check, "the version of Kubernetes is "+server.GitVersion, "")
	case is.LessThan(minKubernetes):
		d.add(Failed, check, fmt.Sprintf("Kubernetes is %s", server.GitVersion), fmt.Sprintf("upgrade it to %s or later", minKubernetes))
	default:
		d.ok(check, "Kubernetes is %s", server.GitVersion)
	}
}

// checkPolicies looks whether there are TokenPolicies: every process waits for them that is not told to do without.
func (d *doctor) checkPolicies(ctx context.Context) {
	var kinds metav1.APIResourceList
	status, _, err := d.servers[0].do(ctx, http.MethodGet, "/apis/"+v1alpha1.GroupVersion.String(), "application/json", nil, &kinds)
	if err != nil || status != http.StatusOK {
		d.add(Unchecked, "versions", fmt.Sprintf("cannot read the kinds of %s (HTTP %d)", v1alpha1.GroupVersion, status), "try again")
		return
	}
	if !slices.ContainsFunc(kinds.APIResources, func(r metav1.APIResource) bool { return r.Name == policy.Resource.Resource }) {
		d.add(Failed, "versions", "the cluster does not serve TokenPolicies, so verifiers refuse every token and nothing is issued",
			applyAgain+", its CRDs included, or run each process with --policies=false")
	}
}
